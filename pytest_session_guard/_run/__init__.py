"""One run, start to finish; the only room that combines controls.

1. Options have merged into one frozen `Settings` (`_core.settings`); wrong values failed there.
2. `places` captures the real roots (home directories, rootdir, temp) before any redirect and before conftests are
   imported, and makes the one `Policy` that every layer reads. A test that changes ``HOME`` moves nothing of it.
3. `guard` starts: the controller makes and locks the run's directory, workers join it; the journal is opened; the
   kernel layer is entered; then redirect, then the hook, the seal last, because nothing after it can be undone.
4. From here everything is guarded, collection included; a test only lends its node id (`GuardRun.span`).
5. After every test, journals of children and upper layers are read; what is new is charged to the test.
6. At the end the report is built, the run's artifacts in shared zones are removed by proof, the verdict is given.
7. After the end the hook stays; a late violation makes the process exit with 1.
"""

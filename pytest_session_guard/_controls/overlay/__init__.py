"""The overlay: the disk read-only for the run, and copy-on-write on top of what is protected.

`enter` puts this process, and all that it starts from then on, into a mount namespace where

- the whole disk is read-only,
- the places of the plan that may be written are bound through, as writable as they were,
- every protected root has an overlay on top: a change of it seems to work, is seen by the run alone, and lands in a
  throw-away upper layer, which `Overlay.changes` reads.

What it does not hold: descriptors, mappings and threads from before; hard links and bind mounts of protected files
that others made in writable places; programs outside that are asked to do it.

What a test can notice inside:

- everybody: renaming or linking between a protected root, the rest of the disk and a writable place fails (EXDEV),
  also where all lie on one file system, and so does renaming a real directory within a protected root; removing a
  protected root fails (EBUSY); the rest of the disk answers EROFS; `/proc/mounts` is longer. A protected root has a
  device number of its own, its directories have one link, and its free space is that of the upper layer (half of the
  memory), into which every file goes that is opened for writing. Locks on files in it are not seen outside.
  Directories on the way from a writable place to a protected root in it cannot be renamed.
- an ordinary user, because the right to mount takes a user namespace: files of other owners seem to belong to
  ``nobody`` (65534), and so do supplementary groups in ``os.getgroups()``, though they count as before; ``sudo``,
  ``su`` and other set-uid programs, and programs with file capabilities (``ping``), do not gain anything; ``ssh`` may
  refuse the system's configuration files for their owner. giving a file away fails with EINVAL
  where it failed with EPERM. uid, gid, own files and `chown` to oneself are as ever.
- root: all ids, owners and set-uid programs are as ever, but CAP_SYS_ADMIN and CAP_SYS_PTRACE are gone: mounting,
  ``unshare`` without a user namespace and attaching to processes of other users fail (EPERM).

In the run's processes: `entrance` (enter, attach, probe) · `handle` (what one who stands inside asks and reads) · `changes` and
`comparison` (what an upper layer holds) · `missing` (protected roots that were not there).
In the process beside it: `service` (starts, answers, ends) · `keeper` (what it knows) · `base` (the disk as it was) · `pristine`
(views for one test) · `unheard` and `custody` (calls that leave no trace, and those that are refused) · `heard_calls` (what
such a call is about) · `rings` (who goes unheard) · `makings` (what others bring about in shared places) · `door` (the last
word) · `end_note` (when the run went).
Both: `layout` (a plan as mounts) · `construction` (the mounts made) · `disk_store` (upper layers on the disk) · `joining`
(namespaces) · `wire` (messages) · `hearing` (whether there is news) · `reasons` (why not).
"""

from __future__ import annotations

from .changes import Change
from .disk_store import sweep_leftovers
from .entrance import attach, call_keeper, enter, probe, resume, tell_keeper, witness_places
from .forks import environment_of_fork
from .handle import Overlay
from .layout import OverlayPlan
from .makings import Making
from .service import Ahead
from .unheard import Try
from .wire import MAIN

__all__ = [
    "MAIN",
    "Ahead",
    "Change",
    "Making",
    "Overlay",
    "OverlayPlan",
    "Try",
    "attach",
    "call_keeper",
    "enter",
    "environment_of_fork",
    "probe",
    "resume",
    "sweep_leftovers",
    "tell_keeper",
    "witness_places",
]

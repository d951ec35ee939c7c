"""The scratch home that vectors go for, built afresh and made to look old."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3

from .projects import project_files
from .vector import Scene, Vector

LONG_AGO: float = 1_000_000_000.0


def build_world(scene: Scene, vector: Vector) -> None:
    """Make home, free directory and project below ``scene.base``, then run the vector's own ``setup``."""
    for directory in (scene.prot / "emptydir", scene.prot / "sub" / "deep", scene.tmp, scene.rootdir, scene.out):
        directory.mkdir(parents=True)
    _fill_protected_tree(scene)
    (scene.home / ".bashrc").write_text("alias ll='ls -l'\n")
    (scene.home / "Documents").mkdir()
    (scene.home / "Documents" / "thesis.txt").write_text("chapter one\n")
    if vector.setup is not None:
        vector.setup(scene)
    for name, text in project_files(vector, scene).items():
        (scene.rootdir / name).write_text(text)
    for directory_name, directories, files in os.walk(scene.home):
        for name in [*directories, *files]:
            os.utime(os.path.join(directory_name, name), (LONG_AGO, LONG_AGO), follow_symlinks=False)


def _fill_protected_tree(scene: Scene) -> None:
    prot = scene.prot
    scene.notes.write_text("first line\nsecond line a\nthird line a\n")
    scene.data.write_bytes(bytes(range(256)) * 16)
    (prot / "app.log").write_text("2001-09-09 started\n")
    (prot / "config.ini").write_text("[model]\nname = small\n")
    (prot / "tool.py").write_text("VALUE = 1\n")
    (prot / "session.json").write_text(json.dumps({"messages": [{"role": "user", "content": "hello"}]}))
    (prot / "sub" / "b.txt").write_text("b\n")
    (prot / "sub" / "deep" / "c.txt").write_text("c\n")
    os.symlink("notes.txt", prot / "link")
    # Without support for attributes the vectors that need one are listed as not tried.
    with contextlib.suppress(OSError):
        os.setxattr(scene.data, "user.origin", b"camera")
    connection = sqlite3.connect(scene.database)
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT)")
    connection.executemany("INSERT INTO message VALUES (?, ?)", [(1, "hello"), (2, "world")])
    connection.commit()
    connection.close()

"""The methods of ``pathlib.Path`` that change something."""

from __future__ import annotations

from pathlib import Path

from ..vector import Scene, vector


@vector("pathlib")
def pathlib_write_text(s: Scene) -> None:
    s.notes.write_text("gone")


@vector("pathlib")
def pathlib_write_bytes(s: Scene) -> None:
    s.data.write_bytes(b"gone")


@vector("pathlib")
def pathlib_open_w(s: Scene) -> None:
    with s.notes.open("w") as stream:
        stream.write("gone")


@vector("pathlib")
def pathlib_open_home(s: Scene) -> None:
    with (Path.home() / ".bashrc").open("a") as stream:
        stream.write("export CLOBBERED=1\n")


@vector("pathlib")
def pathlib_expanduser(s: Scene) -> None:
    Path("~/.prot/notes.txt").expanduser().write_text("gone")


@vector("pathlib")
def pathlib_unlink(s: Scene) -> None:
    s.notes.unlink()


@vector("pathlib")
def pathlib_unlink_missing_ok(s: Scene) -> None:
    s.data.unlink(missing_ok=True)


@vector("pathlib")
def pathlib_rename(s: Scene) -> None:
    s.notes.rename(s.prot / "renamed.txt")


@vector("pathlib")
def pathlib_replace(s: Scene) -> None:
    s.notes.replace(s.data)


@vector("pathlib")
def pathlib_symlink_to(s: Scene) -> None:
    (s.prot / "second-link").symlink_to("notes.txt")


@vector("pathlib")
def pathlib_hardlink_to(s: Scene) -> None:
    (s.prot / "twin.txt").hardlink_to(s.notes)


@vector("pathlib")
def pathlib_touch_new(s: Scene) -> None:
    (s.prot / "touched").touch()


@vector("pathlib")
def pathlib_touch_existing(s: Scene) -> None:
    s.notes.touch()


@vector("pathlib")
def pathlib_mkdir(s: Scene) -> None:
    (s.prot / "newdir").mkdir()


@vector("pathlib")
def pathlib_mkdir_parents(s: Scene) -> None:
    (s.prot / "a" / "b").mkdir(parents=True, exist_ok=True)


@vector("pathlib")
def pathlib_rmdir(s: Scene) -> None:
    (s.prot / "emptydir").rmdir()


@vector("pathlib")
def pathlib_chmod(s: Scene) -> None:
    s.notes.chmod(0o600)


@vector("pathlib")
def pathlib_rglob_unlink(s: Scene) -> None:
    for path in list(s.prot.rglob("*.txt")):
        path.unlink()


@vector("pathlib")
def pathlib_atomic_save(s: Scene) -> None:
    scratch = s.notes.with_suffix(".tmp")
    scratch.write_text("gone")
    scratch.replace(s.notes)

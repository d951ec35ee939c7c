"""``shutil``, archives and ``tempfile``: whole trees copied, moved, unpacked, removed or made in the wrong place."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ..vector import Scene, vector


def _foreign(s: Scene) -> Path:
    """A directory with a ``notes.txt`` and an old mtime that is not the user's."""
    tree = s.tmp / "foreign"
    tree.mkdir()
    (tree / "notes.txt").write_text("foreign")
    os.chmod(tree / "notes.txt", 0o751)
    os.utime(tree / "notes.txt", (900_000_000, 900_000_000))
    return tree


@vector("shutil")
def shutil_rmtree_root(s: Scene) -> None:
    shutil.rmtree(s.prot)


@vector("shutil")
def shutil_rmtree_sub(s: Scene) -> None:
    shutil.rmtree(s.prot / "sub")


@vector("shutil")
def shutil_rmtree_ignore_errors(s: Scene) -> None:
    shutil.rmtree(s.prot, ignore_errors=True)


@vector("shutil")
def shutil_rmtree_onerror_retries(s: Scene) -> None:
    def retry(function: object, path: str, _: object) -> None:
        os.chmod(path, 0o700)
        os.unlink(path)

    shutil.rmtree(s.prot / "sub", onerror=retry)


@vector("shutil")
def shutil_rmtree_dirfd(s: Scene) -> None:
    shutil.rmtree("sub", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("shutil")
def shutil_rmtree_then_recreate(s: Scene) -> None:
    shutil.rmtree(s.prot, ignore_errors=True)
    os.makedirs(s.prot, exist_ok=True)


@vector("shutil")
def shutil_copy_over(s: Scene) -> None:
    shutil.copy(_foreign(s) / "notes.txt", s.prot)


@vector("shutil")
def shutil_copy2_over(s: Scene) -> None:
    shutil.copy2(_foreign(s) / "notes.txt", s.notes)


@vector("shutil")
def shutil_copyfile_over(s: Scene) -> None:
    shutil.copyfile(_foreign(s) / "notes.txt", s.notes)


@vector("shutil")
def shutil_copyfileobj(s: Scene) -> None:
    with open(s.notes, "wb") as target:
        shutil.copyfileobj(io.BytesIO(b"foreign"), target)


@vector("shutil")
def shutil_copytree_into(s: Scene) -> None:
    shutil.copytree(_foreign(s), s.prot / "copied")


@vector("shutil")
def shutil_copytree_merge(s: Scene) -> None:
    shutil.copytree(_foreign(s), s.prot, dirs_exist_ok=True)


@vector("shutil")
def shutil_copymode(s: Scene) -> None:
    shutil.copymode(_foreign(s) / "notes.txt", s.notes)


@vector("shutil")
def shutil_copystat(s: Scene) -> None:
    shutil.copystat(_foreign(s) / "notes.txt", s.notes)


@vector("shutil")
def shutil_move_in(s: Scene) -> None:
    shutil.move(_foreign(s), s.prot)


@vector("shutil")
def shutil_move_out(s: Scene) -> None:
    shutil.move(s.notes, s.tmp / "stolen.txt")


@vector("shutil")
def shutil_move_directory_out(s: Scene) -> None:
    shutil.move(s.prot / "sub", s.tmp)


@vector("shutil")
def shutil_chown(s: Scene) -> None:
    shutil.chown(s.notes, os.getuid(), os.getgid())


@vector("shutil")
def shutil_make_archive(s: Scene) -> None:
    shutil.make_archive(str(s.prot / "backup"), "zip", _foreign(s))


@vector("shutil")
def shutil_unpack_archive(s: Scene) -> None:
    archive = shutil.make_archive(str(s.tmp / "foreign-archive"), "zip", _foreign(s))
    shutil.unpack_archive(archive, s.prot)


@vector("archive")
def zipfile_write_new(s: Scene) -> None:
    with zipfile.ZipFile(s.prot / "new.zip", "w") as archive:
        archive.writestr("a", "b")


def _existing_zip(s: Scene) -> None:
    with zipfile.ZipFile(s.prot / "old.zip", "w") as archive:
        archive.writestr("a", "b")


@vector("archive", setup=_existing_zip)
def zipfile_append(s: Scene) -> None:
    with zipfile.ZipFile(s.prot / "old.zip", "a") as archive:
        archive.writestr("c", "d")


@vector("archive")
def zipfile_extractall_over(s: Scene) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "foreign")
    with zipfile.ZipFile(buffer) as archive:
        archive.extractall(s.prot)


@vector("archive")
def tarfile_write_new(s: Scene) -> None:
    with tarfile.open(s.prot / "new.tar.gz", "w:gz") as archive:
        archive.add(_foreign(s), "foreign")


@vector("archive")
def tarfile_extractall_over(s: Scene) -> None:
    with tarfile.open(s.tmp / "foreign.tar", "w") as archive:
        archive.add(_foreign(s) / "notes.txt", "notes.txt")
    with tarfile.open(s.tmp / "foreign.tar") as archive:
        archive.extractall(s.prot)


@vector("archive")
def tarfile_extract_path_escape(s: Scene) -> None:
    entry = tarfile.TarInfo("../home/.prot/notes.txt")
    entry.size = 7
    with tarfile.open(s.tmp / "escape.tar", "w") as archive:
        archive.addfile(entry, io.BytesIO(b"foreign"))
    with tarfile.open(s.tmp / "escape.tar") as archive:
        archive.extractall(s.tmp, filter="fully_trusted")


@vector("tempfile")
def tempfile_named_kept(s: Scene) -> None:
    with tempfile.NamedTemporaryFile(dir=s.prot, delete=False) as stream:
        stream.write(b"left over")


@vector("tempfile")
def tempfile_named_then_replace(s: Scene) -> None:
    with tempfile.NamedTemporaryFile("w", dir=s.prot, delete=False) as stream:
        stream.write("saved atomically")
    os.replace(stream.name, s.notes)


@vector("tempfile")
def tempfile_mkstemp(s: Scene) -> None:
    tempfile.mkstemp(dir=s.prot)


@vector("tempfile")
def tempfile_mkdtemp(s: Scene) -> None:
    tempfile.mkdtemp(dir=s.prot)


@vector("tempfile")
def tempfile_mktemp_open(s: Scene) -> None:
    with open(tempfile.mktemp(dir=s.prot), "w") as stream:
        stream.write("left over")


@vector("tempfile")
def tempfile_tempdir_assigned(s: Scene) -> None:
    tempfile.tempdir = str(s.prot)
    tempfile.mkstemp()


@vector("tempfile")
def tempfile_tmpdir_variable_changed(s: Scene) -> None:
    os.environ["TMPDIR"] = str(s.prot)
    tempfile.tempdir = None
    tempfile.mkstemp()


@vector("tempfile")
def temporary_directory_renamed_to_data(s: Scene) -> None:
    holder = tempfile.TemporaryDirectory()
    holder.name = str(s.prot)
    holder.cleanup()

"""Opening a file so that it changes: every mode, flag and detour of ``open`` and ``os.open``."""

from __future__ import annotations

import _io
import _pyio  # type: ignore[import-not-found]
import codecs
import io
import os
import posix

from ..vector import Scene, vector


@vector("open")
def open_w(s: Scene) -> None:
    with open(s.notes, "w") as stream:
        stream.write("gone")


@vector("open")
def open_w_same_bytes(s: Scene) -> None:
    text = s.notes.read_text()
    with open(s.notes, "w") as stream:
        stream.write(text)


@vector("open")
def open_w_plus(s: Scene) -> None:
    with open(s.notes, "w+") as stream:
        stream.write("gone")


@vector("open")
def open_a(s: Scene) -> None:
    with open(s.notes, "a") as stream:
        stream.write("more")


@vector("open")
def open_a_plus_binary(s: Scene) -> None:
    with open(s.data, "ab+") as stream:
        stream.write(b"more")


@vector("open")
def open_r_plus(s: Scene) -> None:
    with open(s.notes, "r+") as stream:
        stream.write("X")


@vector("open")
def open_r_plus_truncate(s: Scene) -> None:
    with open(s.notes, "r+") as stream:
        stream.truncate(5)


@vector("open")
def open_x_new_file(s: Scene) -> None:
    with open(s.prot / "brand-new.txt", "x") as stream:
        stream.write("new")


@vector("open")
def open_w_new_file_in_home(s: Scene) -> None:
    with open(s.home / ".newrc", "w") as stream:
        stream.write("new")


@vector("open")
def open_wb_bytes_path(s: Scene) -> None:
    with open(os.fsencode(s.notes), "wb") as stream:
        stream.write(b"gone")


@vector("open")
def open_wb_unbuffered(s: Scene) -> None:
    with open(s.notes, "wb", buffering=0) as stream:
        stream.write(b"gone")


@vector("open")
def open_w_expanduser(s: Scene) -> None:
    with open(os.path.expanduser("~/.prot/notes.txt"), "w") as stream:
        stream.write("gone")


@vector("open")
def open_w_expandvars(s: Scene) -> None:
    with open(os.path.expandvars("$HOME/.bashrc"), "w") as stream:
        stream.write("gone")


@vector("open")
def open_custom_opener(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    with open("notes.txt", "w", opener=lambda path, flags: os.open(path, flags, dir_fd=directory)) as stream:
        stream.write("gone")


@vector("open")
def open_opener_swaps_path(s: Scene) -> None:
    with open(s.tmp / "harmless.txt", "w", opener=lambda path, flags: os.open(s.notes, flags)) as stream:
        stream.write("gone")


@vector("open")
def io_open_w(s: Scene) -> None:
    with io.open(s.notes, "w") as stream:  # noqa: UP020
        stream.write("gone")


@vector("open")
def private_io_open_w(s: Scene) -> None:
    with _io.open(str(s.notes), "w") as stream:
        stream.write("gone")


@vector("open")
def pure_python_io_open_w(s: Scene) -> None:
    with _pyio.open(str(s.notes), "w") as stream:
        stream.write("gone")


@vector("open")
def io_file_io_w(s: Scene) -> None:
    with io.FileIO(str(s.notes), "w") as stream:
        stream.write(b"gone")


@vector("open")
def io_file_io_a(s: Scene) -> None:
    with io.FileIO(os.fsencode(s.notes), "a") as stream:
        stream.write(b"more")


@vector("open")
def io_file_io_r_plus(s: Scene) -> None:
    with io.FileIO(str(s.notes), "r+") as stream:
        stream.write(b"X")


@vector("open")
def codecs_open_w(s: Scene) -> None:
    with codecs.open(str(s.notes), "w", "utf-8") as stream:
        stream.write("gone")


@vector("open")
def os_open_wronly_trunc(s: Scene) -> None:
    os.close(os.open(s.notes, os.O_WRONLY | os.O_TRUNC))


@vector("open")
def os_open_rdonly_trunc(s: Scene) -> None:
    os.close(os.open(s.notes, os.O_RDONLY | os.O_TRUNC))


@vector("open")
def os_open_rdonly_creat(s: Scene) -> None:
    os.close(os.open(s.prot / "fresh.bin", os.O_RDONLY | os.O_CREAT, 0o644))


@vector("open")
def os_open_creat_excl(s: Scene) -> None:
    os.close(os.open(s.prot / ".lock", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


@vector("open")
def os_open_wronly_append(s: Scene) -> None:
    descriptor = os.open(s.notes, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"more")
    os.close(descriptor)


@vector("open")
def os_open_rdwr_pwrite(s: Scene) -> None:
    descriptor = os.open(s.notes, os.O_RDWR)
    os.pwrite(descriptor, b"X", 3)
    os.close(descriptor)


@vector("open")
def os_open_fdopen(s: Scene) -> None:
    with os.fdopen(os.open(s.notes, os.O_WRONLY), "w") as stream:
        stream.write("gone")


@vector("open")
def os_open_dup2_onto_stdout(s: Scene) -> None:
    saved = os.dup(1)
    os.dup2(os.open(s.notes, os.O_WRONLY), 1)
    try:
        os.write(1, b"gone")
    finally:
        os.dup2(saved, 1)


@vector("open")
def os_open_dirfd_relative(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    os.write(os.open("notes.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=directory), b"gone")


@vector("open")
def os_open_dirfd_parent_relative(s: Scene) -> None:
    directory = os.open(s.prot / "sub", os.O_RDONLY)
    os.write(os.open("../notes.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=directory), b"gone")


@vector("open")
def os_open_dirfd_o_path(s: Scene) -> None:
    directory = os.open(s.prot, os.O_PATH | os.O_DIRECTORY)
    os.write(os.open("notes.txt", os.O_WRONLY, dir_fd=directory), b"gone")


@vector("open")
def os_open_tmpfile_linkat(s: Scene) -> None:
    descriptor = os.open(s.prot, os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(descriptor, b"came from nowhere")
    # Only with a directory descriptor does CPython use linkat, which can follow the link in /proc.
    os.link(f"/proc/self/fd/{descriptor}", s.prot / "appeared.txt", src_dir_fd=descriptor, follow_symlinks=True)


@vector("open")
def reopen_proc_self_fd(s: Scene) -> None:
    reader = os.open(s.notes, os.O_RDONLY)
    with open(f"/proc/self/fd/{reader}", "w") as stream:
        stream.write("gone")


@vector("open")
def reopen_dev_fd(s: Scene) -> None:
    reader = os.open(s.notes, os.O_RDONLY)
    with open(f"/dev/fd/{reader}", "w") as stream:
        stream.write("gone")


@vector("open")
def reopen_o_path_descriptor(s: Scene) -> None:
    place = os.open(s.notes, os.O_PATH)
    os.close(os.open(f"/proc/self/fd/{place}", os.O_WRONLY | os.O_TRUNC))


@vector("open")
def posix_open_trunc(s: Scene) -> None:
    os.close(posix.open(str(s.notes), os.O_WRONLY | os.O_TRUNC))


@vector("open")
def open_print_redirect(s: Scene) -> None:
    with open(s.notes, "a") as stream:
        print("more", file=stream)


@vector("open")
def open_seek_past_end(s: Scene) -> None:
    with open(s.data, "rb+") as stream:
        stream.seek(100_000)
        stream.write(b"far")

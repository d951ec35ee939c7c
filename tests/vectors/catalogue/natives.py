"""Code that is not Python: ``ctypes``, raw system calls, C extensions, io_uring."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Final

from ..vector import Scene, vector

SOURCES: Final = Path(__file__).parents[1] / "native"
AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4


def libc() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def build_library(s: Scene) -> None:
    """Compile ``hurt.c`` into the free directory."""
    library, source = str(s.tmp / "hurt.so"), str(SOURCES / "hurt.c")
    subprocess.run(["gcc", "-O1", "-w", "-shared", "-fPIC", "-pthread", "-o", library, source], check=True)


def build_extension(s: Scene) -> None:
    """Compile ``hurtmodule.c`` into the free directory as the module ``hurt``."""
    include = sysconfig.get_path("include")
    target = str(s.tmp / f"hurt{sysconfig.get_config_var('EXT_SUFFIX')}")
    subprocess.run(
        ["gcc", "-O1", "-w", "-shared", "-fPIC", f"-I{include}", "-o", target, str(SOURCES / "hurtmodule.c")],
        check=True,
    )


def library(s: Scene) -> ctypes.CDLL:
    """The compiled ``hurt.c``."""
    found = ctypes.CDLL(str(s.tmp / "hurt.so"))
    found.ring_make.restype = ctypes.c_void_p
    for name in ("unlink", "truncate", "mkdir", "setxattr"):
        getattr(found, f"ring_{name}").argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("link", "rename", "symlink"):
        getattr(found, f"ring_{name}").argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    return found


def _extension(s: Scene) -> ModuleType:
    sys.path.insert(0, str(s.tmp))
    return importlib.import_module("hurt")


@vector("native")
def ctypes_unlink(s: Scene) -> None:
    libc().unlink(bytes(s.notes))


@vector("native")
def ctypes_unlinkat(s: Scene) -> None:
    libc().unlinkat(os.open(s.prot, os.O_RDONLY), b"notes.txt", 0)


@vector("native")
def ctypes_remove_directory(s: Scene) -> None:
    libc().rmdir(bytes(s.prot / "emptydir"))


@vector("native", needs=("x86_64",))
def ctypes_syscall_unlink(s: Scene) -> None:
    libc().syscall(87, bytes(s.notes))


@vector("native")
def ctypes_truncate(s: Scene) -> None:
    libc().truncate(bytes(s.notes), ctypes.c_long(3))


@vector("native")
def ctypes_open_write(s: Scene) -> None:
    descriptor = libc().open(bytes(s.notes), os.O_WRONLY)
    libc().write(descriptor, b"gone", 4)


@vector("native")
def ctypes_creat(s: Scene) -> None:
    libc().creat(bytes(s.notes), 0o644)


@vector("native")
def ctypes_rename(s: Scene) -> None:
    libc().rename(bytes(s.notes), bytes(s.prot / "renamed.txt"))


@vector("native")
def ctypes_rename_exchange(s: Scene) -> None:
    libc().renameat2(AT_FDCWD, bytes(s.notes), AT_FDCWD, bytes(s.data), RENAME_EXCHANGE)


@vector("native", needs=("whiteout",))
def ctypes_rename_whiteout(s: Scene) -> None:
    libc().renameat2(AT_FDCWD, bytes(s.notes), AT_FDCWD, bytes(s.prot / "renamed.txt"), RENAME_WHITEOUT)


@vector("native")
def ctypes_rename_tree_out(s: Scene) -> None:
    libc().rename(bytes(s.prot), bytes(s.tmp / "stolen"))


@vector("native")
def ctypes_link_out(s: Scene) -> None:
    libc().link(bytes(s.notes), bytes(s.tmp / "twin"))


@vector("native")
def ctypes_symlink(s: Scene) -> None:
    libc().symlink(b"notes.txt", bytes(s.prot / "second-link"))


@vector("native")
def ctypes_mkdir(s: Scene) -> None:
    libc().mkdir(bytes(s.prot / "newdir"), 0o755)


@vector("native")
def ctypes_mkfifo(s: Scene) -> None:
    libc().mkfifo(bytes(s.prot / "pipe"), 0o644)


@vector("native")
def ctypes_chmod(s: Scene) -> None:
    libc().chmod(bytes(s.notes), 0o600)


@vector("native", needs=("fchmodat2",))
def ctypes_fchmodat2(s: Scene) -> None:
    libc().syscall(452, AT_FDCWD, bytes(s.notes), 0o600, 0)


@vector("native")
def ctypes_chown_noop(s: Scene) -> None:
    libc().chown(bytes(s.notes), os.getuid(), os.getgid())


@vector("native")
def ctypes_utimensat_now(s: Scene) -> None:
    libc().utimensat(AT_FDCWD, bytes(s.notes), None, 0)


@vector("native", needs=("xattr",))
def ctypes_setxattr(s: Scene) -> None:
    libc().setxattr(bytes(s.notes), b"user.mood", b"bad", 3, 0)


@vector("native")
def ctypes_system(s: Scene) -> None:
    libc().system(b"rm '" + bytes(s.notes) + b"'")


@vector("native")
def ctypes_fork_unlink(s: Scene) -> None:
    child = libc().fork()
    if child == 0:
        libc().unlink(bytes(s.notes))
        libc()._exit(0)
    os.waitpid(child, 0)


@vector("native")
def ctypes_stdio(s: Scene) -> None:
    functions = libc()
    functions.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(functions.fopen(bytes(s.notes), b"w"))
    functions.fputs(b"gone", stream)
    functions.fclose(stream)


@vector("native")
def ctypes_python_api_run(s: Scene) -> None:
    ctypes.pythonapi.PyRun_SimpleString(f"import os; os.remove({str(s.notes)!r})".encode())


@vector("native")
def ctypes_callback(s: Scene) -> None:
    functions = libc()
    ctypes.CFUNCTYPE(None, ctypes.c_char_p)(functions.unlink)(bytes(s.notes))


@vector("native", needs=("root", "open_by_handle"), beyond="an overlay gives no file handles, so there is none to open")
def ctypes_open_by_handle(s: Scene) -> None:
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint))[0] = 128
    mount_id = ctypes.c_int()
    libc().name_to_handle_at(AT_FDCWD, bytes(s.notes), handle, ctypes.byref(mount_id), 0)
    descriptor = libc().open_by_handle_at(os.open(s.base, os.O_RDONLY), handle, os.O_WRONLY | os.O_TRUNC)
    libc().write(descriptor, b"gone", 4)


@vector("native", setup=build_library, needs=("gcc",))
def library_stdio(s: Scene) -> None:
    library(s).with_stdio(bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc",))
def library_mapping(s: Scene) -> None:
    library(s).with_mapping(bytes(s.data))


@vector("native", setup=build_library, needs=("gcc",))
def library_vfork(s: Scene) -> None:
    library(s).in_vfork(bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc",))
def library_signal_handler(s: Scene) -> None:
    library(s).in_signal_handler(bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc",))
def library_thread(s: Scene) -> None:
    library(s).in_thread(bytes(s.notes), 0)
    library(s).join_briefly()


@vector("native", setup=build_library, needs=("gcc",))
def library_atexit(s: Scene) -> None:
    library(s).at_library_exit(bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc", "narrow_calls"))
def library_narrow_link_out(s: Scene) -> None:
    """Through the entrance for 32-bit programs, which has numbers of its own."""
    library(s).narrow_link(bytes(s.notes), bytes(s.tmp / "twin"))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_unlink(s: Scene) -> None:
    rings = library(s)
    rings.ring_unlink(rings.ring_make(0), bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_open_truncate(s: Scene) -> None:
    rings = library(s)
    rings.ring_truncate(rings.ring_make(0), bytes(s.notes))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_link_out(s: Scene) -> None:
    rings = library(s)
    rings.ring_link(rings.ring_make(0), bytes(s.notes), bytes(s.tmp / "twin"))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_rename_out(s: Scene) -> None:
    rings = library(s)
    rings.ring_rename(rings.ring_make(0), bytes(s.notes), bytes(s.tmp / "taken"))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_rename_within(s: Scene) -> None:
    rings = library(s)
    rings.ring_rename(rings.ring_make(0), bytes(s.notes), bytes(s.data))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_mkdir(s: Scene) -> None:
    rings = library(s)
    rings.ring_mkdir(rings.ring_make(0), bytes(s.prot / "new"))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_symlink(s: Scene) -> None:
    rings = library(s)
    rings.ring_symlink(rings.ring_make(0), b"notes.txt", bytes(s.prot / "new"))


@vector("native", setup=build_library, needs=("gcc", "io_uring", "xattr"))
def io_uring_setxattr(s: Scene) -> None:
    rings = library(s)
    rings.ring_setxattr(rings.ring_make(0), bytes(s.notes))


@vector(
    "native",
    setup=build_library,
    needs=("gcc", "io_uring"),
    beyond="a thread of the kernel takes what this ring is told, without a call; the link is refused, a note says who has the ring",
)
def io_uring_polled_link_out(s: Scene) -> None:
    rings = library(s)
    rings.ring_link(rings.ring_make(1), bytes(s.notes), bytes(s.tmp / "twin"))


@vector("native", setup=build_library, needs=("gcc", "io_uring"))
def io_uring_polled_unlink(s: Scene) -> None:
    rings = library(s)
    rings.ring_unlink(rings.ring_make(1), bytes(s.notes))


@vector("native", setup=build_extension, needs=("gcc", "python_headers"))
def extension_unlink(s: Scene) -> None:
    _extension(s).unlink(str(s.notes))


@vector("native", setup=build_extension, needs=("gcc", "python_headers"))
def extension_write(s: Scene) -> None:
    _extension(s).write(str(s.notes))


@vector("native", setup=build_extension, needs=("gcc", "python_headers"))
def extension_at_import(s: Scene) -> None:
    os.environ["VECTOR_REMOVE_AT_IMPORT"] = str(s.notes)
    _extension(s)


def _program(s: Scene) -> None:
    (s.tmp / "rm.c").write_text("#include <unistd.h>\nint main(int n, char **v) { return unlink(v[n - 1]); }\n")
    subprocess.run(["gcc", "-static", "-o", str(s.tmp / "static-rm"), str(s.tmp / "rm.c")], check=True)


@vector("native", setup=_program, needs=("gcc", "static_libc"))
def static_program(s: Scene) -> None:
    subprocess.run([str(s.tmp / "static-rm"), str(s.notes)], check=False)

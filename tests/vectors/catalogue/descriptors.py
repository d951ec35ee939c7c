"""Moving bytes through descriptors and mappings that the test itself opens."""

from __future__ import annotations

import array
import mmap
import os
import socket

from ..vector import Scene, vector


def _source(s: Scene) -> int:
    """A readable descriptor on foreign bytes."""
    (s.tmp / "source.bin").write_bytes(b"foreign bytes")
    return os.open(s.tmp / "source.bin", os.O_RDONLY)


@vector("descriptor")
def os_sendfile(s: Scene) -> None:
    os.sendfile(os.open(s.notes, os.O_WRONLY), _source(s), 0, 13)


@vector("descriptor")
def os_copy_file_range(s: Scene) -> None:
    os.copy_file_range(_source(s), os.open(s.notes, os.O_WRONLY), 13)


@vector("descriptor")
def os_splice(s: Scene) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"foreign bytes")
    os.splice(reader, os.open(s.notes, os.O_WRONLY), 13)


@vector("descriptor")
def os_writev(s: Scene) -> None:
    os.writev(os.open(s.notes, os.O_WRONLY), [b"foreign", b"bytes"])


@vector("descriptor")
def os_pwritev(s: Scene) -> None:
    os.pwritev(os.open(s.notes, os.O_WRONLY), [b"foreign"], 2)


@vector("descriptor")
def os_posix_fallocate(s: Scene) -> None:
    os.posix_fallocate(os.open(s.notes, os.O_RDWR), 0, 50_000)


@vector("descriptor")
def mmap_write(s: Scene) -> None:
    with open(s.data, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapping:
        mapping[0:4] = b"gone"


@vector("descriptor")
def mmap_resize(s: Scene) -> None:
    with open(s.data, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapping:
        mapping.resize(10)


@vector("descriptor")
def array_tofile(s: Scene) -> None:
    with open(s.data, "wb") as stream:
        array.array("i", [1, 2, 3]).tofile(stream)


@vector("descriptor")
def descriptor_sent_over_socket(s: Scene) -> None:
    left, right = socket.socketpair()
    socket.send_fds(left, [b"x"], [os.open(s.notes, os.O_WRONLY)])
    _, received, _, _ = socket.recv_fds(right, 1, 1)
    os.write(received[0], b"gone")


@vector("descriptor")
def descriptor_inherited_by_fork(s: Scene) -> None:
    descriptor = os.open(s.notes, os.O_WRONLY)
    child = os.fork()
    if child == 0:
        os.write(descriptor, b"gone")
        os._exit(0)
    os.waitpid(child, 0)

"""Messages between the keeper and those inside: JSON with descriptors beside it, on a sequenced-packet socket."""

from __future__ import annotations

import _socket
import array
import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

# The stack that the run began in; the others have the names of workers.
MAIN: Final = "main"
# SCM_MAX_FD is 253: a kernel refuses more in one message.
_FDS_PER_MESSAGE: Final = 200
_MESSAGE_BYTES: Final = 1 << 20
_REPLY_TIMEOUT_S: Final = 20.0
_INT_BYTES: Final = array.array("i").itemsize


class Channel:
    """One end of a connection, held by its bare descriptor: a socket object left open would warn at exit.

    Sockets are made from ``_socket``: plugins replace ``socket.socket`` to keep tests off the network.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends."""
        one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        return cls(one.detach()), cls(other.detach())

    @classmethod
    def connected(cls, name: str) -> Channel:
        """An end connected to the keeper that listens by an abstract name.

        :raises OSError: nobody listens.
        """
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            end.connect("\0" + name)
        except OSError:
            end.close()
            raise
        return cls(end.detach())

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    @contextmanager
    def _socket_for(self, timeout_s: float | None) -> Iterator[_socket.socket]:
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the connection to the keeper of the overlay was closed")
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, self._descriptor)
        try:
            # Always said: a descriptor keeps whether it blocks, and a test may have set a default.
            end.settimeout(timeout_s)
            yield end
        finally:
            end.detach()

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it.

        :raises OSError: the other end is gone.
        """
        body = json.dumps({**message, "descriptors": len(descriptors)}).encode("ascii")
        with self._socket_for(None) as end:
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _MESSAGE_BYTES)
            _send(end, body, descriptors[:_FDS_PER_MESSAGE])
            for start in range(_FDS_PER_MESSAGE, len(descriptors), _FDS_PER_MESSAGE):
                _send(end, b"+", descriptors[start : start + _FDS_PER_MESSAGE])

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors (close-on-exec).

        :raises EOFError: the other end is gone.
        :raises OSError: nothing came in time.
        """
        with self._socket_for(timeout_s) as end:
            body, descriptors = _receive(end)
            message = json.loads(body)
            while len(descriptors) < message["descriptors"]:
                descriptors += _receive(end)[1]
        return message, descriptors

    def ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its answer.

        :raises OSError: the other end refused (its errno and reason) or is gone.
        """
        self.send(message, descriptors)
        try:
            answer, received = self.receive(_REPLY_TIMEOUT_S)
        except EOFError:
            raise ConnectionResetError(errno.ECONNRESET, "the keeper of the overlay is gone") from None
        if "error" in answer:
            for descriptor in received:
                os.close(descriptor)
            raise OSError(answer["errno"], answer["error"])
        return answer, received

    def peer(self) -> tuple[int, int]:
        """The process at the other end, and its user, as of the moment of connecting."""
        with self._socket_for(None) as end:
            credentials = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 3 * _INT_BYTES)
        pid, uid, _ = array.array("i", credentials)
        return pid, uid

    def close(self) -> None:
        """Close this end; a second time is no error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _send(end: _socket.socket, body: bytes, descriptors: Sequence[int]) -> None:
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    end.sendmsg([body], rights, _socket.MSG_NOSIGNAL)


def _receive(end: _socket.socket) -> tuple[bytes, list[int]]:
    space = _socket.CMSG_SPACE(_FDS_PER_MESSAGE * _INT_BYTES)
    body, ancillary, _, _ = end.recvmsg(_MESSAGE_BYTES, space, _socket.MSG_CMSG_CLOEXEC)
    if not body:
        raise EOFError("the other end is gone")
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return body, list(descriptors)


class Listener:
    """Waits for connections of this user's processes by an abstract name, which leaves nothing on any disk."""

    def __init__(self, name: str) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self._socket.bind("\0" + name)
        self._socket.listen(64)

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def accept(self) -> Channel | None:
        """The next connection; `None` for one of another user, which is closed, and for one that is gone already."""
        try:
            descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # what socket.accept itself calls
        except OSError:
            return None
        channel = Channel(descriptor)
        # Abstract names have no permissions.
        if channel.peer()[1] == os.geteuid():
            return channel
        channel.close()
        return None

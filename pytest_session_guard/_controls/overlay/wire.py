"""Messages between the keeper and those inside: JSON with descriptors beside it, on a sequenced-packet socket."""

from __future__ import annotations

import _socket
import array
import json
import os
from collections.abc import Sequence
from typing import Any, Final

# SCM_MAX_FD is 253: a kernel refuses more in one message.
_FDS_PER_MESSAGE: Final = 200
_MESSAGE_BYTES: Final = 1 << 20
_REPLY_TIMEOUT_S: Final = 20.0
_INT_BYTES: Final = array.array("i").itemsize


class Channel:
    """One end of a connection.

    Sockets are made from ``_socket``: plugins replace ``socket.socket`` to keep tests off the network.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, descriptor)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _MESSAGE_BYTES)

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
        end.connect("\0" + name)
        return cls(end.detach())

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it.

        :raises OSError: the other end is gone.
        """
        body = json.dumps({**message, "descriptors": len(descriptors)}).encode("ascii")
        self._send(body, descriptors[:_FDS_PER_MESSAGE])
        for start in range(_FDS_PER_MESSAGE, len(descriptors), _FDS_PER_MESSAGE):
            self._send(b"+", descriptors[start : start + _FDS_PER_MESSAGE])

    def _send(self, body: bytes, descriptors: Sequence[int]) -> None:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._socket.sendmsg([body], rights, _socket.MSG_NOSIGNAL)

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors (close-on-exec).

        :raises EOFError: the other end is gone.
        :raises OSError: nothing came in time.
        """
        self._socket.settimeout(timeout_s)
        body, descriptors = self._receive()
        message = json.loads(body)
        while len(descriptors) < message["descriptors"]:
            descriptors += self._receive()[1]
        return message, descriptors

    def _receive(self) -> tuple[bytes, list[int]]:
        body, ancillary, _, _ = self._socket.recvmsg(
            _MESSAGE_BYTES, _socket.CMSG_SPACE(_FDS_PER_MESSAGE * _INT_BYTES), _socket.MSG_CMSG_CLOEXEC
        )
        if not body:
            raise EOFError("the other end is gone")
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % _INT_BYTES])
        return body, list(descriptors)

    def ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its answer.

        :raises OSError: the other end refused (its errno and reason) or is gone.
        """
        self.send(message, descriptors)
        try:
            answer, received = self.receive(_REPLY_TIMEOUT_S)
        except EOFError:
            raise ConnectionResetError("the keeper of the overlay is gone") from None
        if "error" in answer:
            for descriptor in received:
                os.close(descriptor)
            raise OSError(answer["errno"], answer["error"])
        return answer, received

    def peer_uid(self) -> int:
        """The user at the other end, as of the moment of connecting."""
        credentials = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 3 * _INT_BYTES)
        return array.array("i", credentials)[1]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


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
        """The next connection; `None` for one of another user, which is closed."""
        descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # what socket.accept itself calls
        channel = Channel(descriptor)
        # Abstract names have no permissions.
        if channel.peer_uid() == os.geteuid():
            return channel
        channel.close()
        return None

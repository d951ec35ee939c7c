"""Unix sockets leave a name on disk where they are bound."""

from __future__ import annotations

import asyncio
import os
import socket
import socketserver

from ..vector import Scene, vector


@vector("socket")
def unix_socket_bind(s: Scene) -> None:
    # The limit of a socket's address is 108 bytes, so the long scratch path is left out.
    os.chdir(s.prot)
    socket.socket(socket.AF_UNIX).bind("socket")


@vector("socket")
def unix_socket_bind_bytes(s: Scene) -> None:
    os.chdir(s.home)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(b".prot/socket")


@vector("socket")
def unix_socketserver(s: Scene) -> None:
    os.chdir(s.prot)
    socketserver.UnixStreamServer("server", socketserver.BaseRequestHandler).server_close()


def _stale_socket(s: Scene) -> None:
    os.chdir(s.prot)
    socket.socket(socket.AF_UNIX).bind("stale")


@vector("socket", setup=_stale_socket)
def asyncio_unix_server_replaces_stale(s: Scene) -> None:
    os.chdir(s.prot)

    async def serve() -> None:
        server = await asyncio.start_unix_server(lambda reader, writer: None, "stale")
        server.close()

    asyncio.run(serve())


@vector("socket")
def asyncio_unix_server_new(s: Scene) -> None:
    os.chdir(s.prot)

    async def serve() -> None:
        server = await asyncio.start_unix_server(lambda reader, writer: None, "fresh")
        os.link("fresh", "kept")
        server.close()

    asyncio.run(serve())

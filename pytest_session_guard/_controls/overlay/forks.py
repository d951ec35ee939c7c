"""The environment of a fork, which lies in its memory: the keeper may look there where those inside may not.

Where only a process's ancestors may look into it (Yama's ``ptrace_scope`` of 1), a daemon's memory is closed to the process that
forked it; not to the keeper, which has the right that root has in the namespace.
"""

from __future__ import annotations

from collections.abc import Sequence

from .wire import Channel


def environment_of_fork(address: str, pid: int, place: int, marks: Sequence[str]) -> list[bytes]:
    """What a fork of this process has in its environment by now, as far as that is asked for.

    :param address: of the keeper.
    :param place: as `memory.environment_at` takes it.
    :param marks: a variable is told where it has one of these in it.
    :raises OSError: the keeper is gone.
    """
    # A connection of its own: a forked child must not share its parent's conversation.
    channel = Channel.connected(address)
    try:
        answer, _ = channel.ask({"ask": "environment", "pid": pid, "place": place, "marks": list(marks)})
    finally:
        channel.close()
    return [word.encode("latin-1") for word in answer["words"]]

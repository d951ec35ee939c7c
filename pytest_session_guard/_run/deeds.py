"""What ``report`` mode lets happen where no overlay contains it, and how names are put back at the end of the run.

What was changed in place has a pre-image. What came to be, got another name or a second one is taken back here, last things
first: then each is met as it was left. Written to the journal as well, because children do such things too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, Literal

from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.directories import OpenDirectory
from pytest_session_guard._host.fsops import OwnPath, Raw

KIND: Final = "deed"
What = Literal["created", "changed", "renamed", "linked"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One forbidden thing that was let happen.

    :param path: what was made, changed, renamed or linked.
    :param to: its new or second name.
    :param number: device and inode of what has that name now.
    """

    what: What
    time_ns: int
    path: str
    to: str = ""
    number: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """The deed as a record of a journal."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Deed:
        """The twin of `to_json`."""
        fields = {name: record[name] for name in cls.__slots__}
        return cls(**{**fields, "number": tuple(record["number"])})


def take_back(deeds: Iterable[Deed], remove: Callable[[str], object]) -> list[tuple[str, str]]:
    """Undo what was made, renamed and linked; pre-images of what was changed are the caller's to bring back.

    Only an object that is still the very one is touched, and nothing is ever put over something else.

    :param remove: removes what the run made at a path, by its proofs.
    :returns: what could not be taken back: path and why.
    """
    kept = []
    for deed in sorted(deeds, key=lambda deed: deed.time_ns, reverse=True):
        try:
            if deed.what == "created" and os.path.lexists(deed.path):
                remove(deed.path)
            elif deed.what == "renamed" and _stands_at(deed.to, deed.number):
                _move(deed.to, deed.path)
            elif deed.what == "linked" and _stands_at(deed.to, deed.number) and _stands_at(deed.path, deed.number):
                Raw.unlink(OwnPath(deed.to))
        except OSError as problem:
            kept.append((deed.path, problem.strerror or str(problem)))
    return kept


def _stands_at(path: str, number: tuple[int, int]) -> bool:
    try:
        found = Raw.lstat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == number


def _move(path: str, target: str) -> None:
    with OpenDirectory(os.path.dirname(path)) as here, OpenDirectory(os.path.dirname(target)) as there:
        here.move_if_free(os.path.basename(path), there, os.path.basename(target))

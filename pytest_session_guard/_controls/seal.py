"""The seal: Landlock refuses, to this process and all that it starts, to change files outside the writable places.

It needs no namespaces and costs a tenth of a millisecond; it cannot be undone. It is weaker than the overlay:

- it has no rights for them, so changes of mode, owner, times, xattrs, ACLs and file flags pass everywhere;
- it tells nobody: what it refused to a child or to C code leaves no trace but that program's own complaint;
- it knows no exceptions: a protected place inside a writable one is writable;
- descriptors, mappings and threads from before pass, and so do hard links and bind mounts of protected files in
  writable places;
- it forbids mounting, and for anybody but root set-uid programs (``sudo``) gain nothing any more;
- before its second version (Linux 5.19) renaming or linking into another directory fails (EXDEV) everywhere, before
  its third (6.2) ``truncate`` passes.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

from .._core.errors import LayerUnavailableError
from .._core.values import dataclass
from .._host import landlock, namespaces
from .._host.support import ProbeResult, tried_in_child

LAYER: Final = "seal"
ALWAYS_WRITABLE: Final = ("/dev", "/proc")
NOT_COVERED: Final = "changes of mode, owner, times and xattrs are not covered"

# Each takes a rule, and microseconds.
_BESIDE_AT_MOST: Final = 1000
# The process that was sealed, and whether its sealed threads can be told by a mark that the kernel hands down from them.
_sealed: list[tuple[int, bool]] = []


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal on this process.

    :ivar status: ``partial`` when less is held than Landlock's newest version holds.
    :ivar reason: what is not held; never empty, because some of it never is.
    :ivar absent: writable paths that do not exist, so nothing can be created there.
    :ivar exposed: protected roots that are not held, because they lie in a writable place.
    """

    abi: int
    status: Literal["enforced", "partial"]
    reason: str
    absent: tuple[str, ...]
    exposed: tuple[str, ...] = ()


def probe() -> ProbeResult:
    """What `enter` would give in this process, tried in a child of its own; changes nothing.

    :raises OSError: no child can be made.
    """
    try:
        version = landlock.abi()
    except OSError as problem:
        return ProbeResult("unavailable", _unavailable_clause(problem))
    answer = tried_in_child(lambda: _trial(version))
    if answer != "fine":
        return ProbeResult("unavailable", answer.removeprefix("error: "), version)
    status, reason = _standing(version, _thread_count(), ())
    return ProbeResult(status, reason, version)


def enter(writable: Sequence[str], protected: Sequence[str] = (), spare: Collection[str] = ()) -> Seal:
    """Seal this process and all that it starts from now on; it cannot be undone.

    :param writable: real paths, directories or files, at and below which everything stays allowed. A file that is to
        be made yet must exist, or its directory must be writable. ``/dev`` and ``/proc`` always are.
    :param protected: real roots; one that lies in a writable place is not held, which `reason` then says.
    :param spare: writable places of which it is enough that what is there by now stays writable, where a protected root
        lies in them; then nothing new can be made in them directly.
    :raises LayerUnavailableError: it cannot be had, and nothing is sealed; or it was entered before, by this thread or the one
        that started it.
    """
    if _is_sealed_here():
        raise LayerUnavailableError(LAYER, f"process {_sealed[0][0]} sealed itself and all its children already")
    count = _thread_count()
    places = tuple(dict.fromkeys((*ALWAYS_WRITABLE, *_parted(writable, protected, spare))))
    try:
        version = landlock.abi()
        absent = _restrict(places, version, count)
    except OSError as problem:
        raise LayerUnavailableError(LAYER, _unavailable_clause(problem)) from problem
    _sealed.append((os.getpid(), not _is_privileged() and landlock.forbids_new_privileges()))
    exposed = tuple(root for root in protected if any(_is_within(root, place) for place in places))
    status, reason = _standing(version, count, exposed)
    return Seal(version, status, reason, tuple(absent), exposed)


def _is_sealed_here() -> bool:
    """Whether this thread is sealed; where nothing marks one that is, all are taken to be."""
    return any(not is_marked or landlock.forbids_new_privileges() for _, is_marked in _sealed)


def _thread_count() -> int:
    try:
        return namespaces.thread_count()
    except OSError:
        return threading.active_count()  # without /proc; who is native only goes unsaid


def _is_privileged() -> bool:
    try:
        return namespaces.has_capability(namespaces.CAP_SYS_ADMIN)
    except OSError:
        return False  # without /proc; giving up on new privileges is right for both


def _parted(writable: Sequence[str], protected: Sequence[str], spare: Collection[str]) -> Iterator[str]:
    """The writable places, each that can be spared replaced by what lies in it beside the protected roots."""
    for place in writable:
        inside = [root for root in protected if root != place and _is_within(root, place)]
        beside = list(islice(_beside(place, inside), _BESIDE_AT_MOST + 1)) if inside and place in spare else [place]
        yield from beside if len(beside) <= _BESIDE_AT_MOST else [place]


def _beside(place: str, roots: Sequence[str]) -> Iterator[str]:
    try:
        with os.scandir(place) as entries:
            # A rule for a symlink would be one for what it leads to.
            found = sorted(entry.path for entry in entries if not entry.is_symlink())
    except OSError:
        return
    for path in found:
        if path in roots:
            continue
        if any(_is_within(root, path) for root in roots):
            yield from _beside(path, roots)
        else:
            yield path


def _restrict(places: Sequence[str], version: int, count: int) -> list[str]:
    if not _is_privileged():
        landlock.forbid_new_privileges()
    return landlock.confine(places, version, all_threads=count > 1 and version >= landlock.ALL_THREADS_ABI)


def _trial(version: int) -> str:
    try:
        _restrict(ALWAYS_WRITABLE, version, 1)
    except OSError as problem:
        return _unavailable_clause(problem)
    return "fine"


def _standing(version: int, count: int, exposed: Sequence[str]) -> tuple[Literal["enforced", "partial"], str]:
    """How much is held, and what is not."""
    gaps = []
    if version < landlock.REFER_ABI:
        gaps.append(f"Landlock's version {version} refuses every rename into another directory (5.19 has a newer one)")
    if version < landlock.TRUNCATE_ABI:
        gaps.append(f"Landlock's version {version} lets truncate pass (6.2 has a newer one)")
    if count > 1 and version < landlock.ALL_THREADS_ABI:
        others = count - 1
        many = f"{others} threads that ran before are not sealed"
        gaps.append("1 thread that ran before is not sealed" if others == 1 else many)
    gaps += [f"{root} lies in a writable place, and Landlock knows no exceptions" for root in exposed]
    return ("partial" if gaps else "enforced"), "; ".join([*gaps, NOT_COVERED])


def _unavailable_clause(problem: OSError) -> str:
    name = errno.errorcode.get(problem.errno or 0, "")
    match problem.errno:
        case errno.ENOSYS:
            return f"this kernel has no Landlock ({name}): it needs Linux 5.13 or newer with it built in"
        case errno.EOPNOTSUPP:
            return f"Landlock is switched off ({name}): add landlock to the lsm= list of the kernel command line"
        case errno.EPERM | errno.EACCES:
            return f"Landlock is refused ({name}): a seccomp filter, as in a container, forbids it"
        case errno.E2BIG:
            return f"sixteen Landlock rulesets bind this process already ({name})"
    return f"Landlock failed: {problem}"


def _is_within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")

"""One process's side of the overlay: enter, join, read, and give up the right to mount."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, Literal

from ..._core.errors import LayerUnavailableError
from ..._core.zones import is_within
from ..._host import namespaces, seccomp
from ..._host.fsops import Raw
from ..._host.identity import resolve_missing
from . import joining, reasons
from .changes import Change, LayerReader
from .construction import Layer
from .hearing import Hearing
from .layout import OverlayPlan, ancestors
from .makings import Making
from .missing import MissingRoots
from .unheard import Try
from .wire import MAIN, Channel

LAYER: Final = "overlay"
# What undoes the walls: mounting, and the view of processes outside through /proc/PID/root.
_DANGEROUS: Final = (namespaces.CAP_SYS_ADMIN, namespaces.CAP_SYS_PTRACE)
# What joining a mount namespace takes.
_NEEDED_BY_WORKERS: Final = (namespaces.CAP_SYS_ADMIN, namespaces.CAP_SYS_CHROOT)


class Overlay:
    """The overlay that this process lives in.

    :ivar status: ``partial`` when something of the plan could not be had; ``reason`` says what.
    :ivar missing: protected roots that do not exist and that nothing holds, because their place is writable.
    :ivar silent: protected roots that are held, but read-only: what native code tries there leaves no trace.
    :ivar absent: writable places of the plan that do not exist.
    :ivar address: by which other processes of the run `attach`.
    :ivar unheard: why tries that the walls refuse without a trace are not heard of; ``""`` where they are.
    :ivar namespace: the mount namespace of these layers, in the words of ``/proc/PID/ns/mnt``.
    :ivar keeper_pid: a process that ends by itself once nobody is connected to it and no process is left that it hears.
    """

    _hearing: Hearing | None = None
    unheard = ""

    def __init__(self, channel: Channel, answer: dict[str, Any], descriptors: list[int], note: str = "") -> None:
        self._channel = channel
        self._pid = os.getpid()
        self._before_entering = namespaces.Capabilities(*answer["before"])
        self.address: str = answer["address"]
        self.keeper_pid: int = answer["pid"]
        self._note = note
        self._heard: frozenset[str] = frozenset()
        self._missing = MissingRoots()
        self._take(answer, descriptors)

    def _take(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        self.label: str = answer["label"]
        self.missing: tuple[str, ...] = tuple(answer["uncovered"])
        # What appears there all processes of the run see alike; one of them is to tell it.
        self._missing.watch(self.missing if self.label == MAIN else ())
        self.silent: tuple[str, ...] = tuple(answer["silent"])
        self.absent: tuple[str, ...] = tuple(answer["absent"])
        self._shortfalls, self._loose = answer["shortfalls"], answer["loose"]
        self._describe()
        self._namespace_fd, self._root_fd, *layers, self._users_fd = descriptors
        self.namespace = f"mnt:[{os.fstat(self._namespace_fd).st_ino}]"
        self.layers = tuple(
            Layer(path, name, layers[2 * index], layers[2 * index + 1], tuple(rights))
            for index, (path, name, rights) in enumerate(answer["layers"])
        )
        self._readers = [LayerReader(layer) for layer in self.layers]

    def _describe(self) -> None:
        """Say what the layers do not do of the plan. Where the keeper hears of creations nothing comes to be at a missing root."""
        missing = () if self._heard >= seccomp.CREATIONS else self.missing
        clauses = (self._note, reasons.shortfall_clause(self._shortfalls, missing, self._loose))
        self.reason = "; ".join(clause for clause in clauses if clause)
        self.status: Literal["enforced", "partial"] = "partial" if self.reason else "enforced"

    def extend(self, writable: Sequence[str], overlaid: Sequence[str]) -> None:
        """Add places to the plan, for this process, its children and the workers to come.

        :param writable: real paths that shall be as writable as they are; those that do not exist are in `absent`.
        :param overlaid: real roots that shall get an overlay on top.
        :raises LayerUnavailableError: it was refused; what was mounted by then stays.
        """
        request = {"ask": "extend", "label": self.label, "path": "", "writable": writable, "overlaid": overlaid}
        try:
            self._take_again(*self._ask_about_here(request))
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no further places can be added: {problem.strerror}") from problem

    def _take_again(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        """Layers that were there before keep their readers, which know what has been told of them already."""
        before = {_object(layer.upper_fd): layer for layer in self.layers}
        readers = {_object(reader.layer.upper_fd): reader for reader in self._readers}
        for descriptor in (self._namespace_fd, self._root_fd, self._users_fd):
            os.close(descriptor)
        self._take(answer, descriptors)
        layers, fresh = [], []
        for reader in self._readers:
            upper = _object(reader.layer.upper_fd)
            known = before.pop(upper, None)
            if known is not None:
                os.close(reader.layer.upper_fd)
                os.close(reader.layer.lower_fd)
            layers.append(known or reader.layer)
            # One without a reader was to be forgotten.
            fresh += [reader] if known is None else [readers[upper]] if upper in readers else []
        for layer in before.values():
            os.close(layer.upper_fd)
            os.close(layer.lower_fd)
        self.layers = tuple(layers)
        self._readers = fresh

    def is_around_here(self) -> bool:
        """Whether this thread stands in these layers."""
        try:
            return Raw.stat(joining.OWN_NAMESPACES.format("mnt")).st_ino == Raw.fstat(self._namespace_fd).st_ino
        except OSError:
            return False  # whoever closed the descriptors knows of nothing that it could go on with

    def resume(self, plan: OverlayPlan, heard: frozenset[str]) -> None:
        """Serve a later session of this process, which cannot leave: its places come on top of the earlier session's.

        :param plan: of real paths.
        :param heard: the calls that are to be heard for it.
        :raises LayerUnavailableError: it was refused; what was mounted by then stays.
        """
        request = {
            "ask": "resume",
            "label": self.label,
            "path": "",
            "plan": asdict(plan),
            "alone": self._pid == os.getpid(),
        }
        outside = [place for place in namespaces.mounts_of_threads() if place != os.fstat(self._namespace_fd).st_ino]
        clauses = [reasons.outside_threads_clause(len(outside) + 1)] if outside else []
        self._note = "; ".join(clauses if heard <= self._heard else [*clauses, reasons.UNHEARD_SINCE])
        try:
            self._take_again(*self._ask_about_here(request))
        except OSError as problem:
            raise LayerUnavailableError(LAYER, reasons.resumption_clause(problem)) from problem
        lost = [path for path in self.absent if os.path.lexists(path)]
        if lost:
            raise LayerUnavailableError(LAYER, reasons.hidden_clause(lost[0]))

    def insist_on_real(self, paths: Iterable[str]) -> None:
        """For a later session of this process: what is made at these paths is to stay.

        :raises LayerUnavailableError: it would land in a layer.
        """
        for path in paths:
            place = next(above for above in (path, *ancestors(path)) if os.path.isdir(above))
            around = [layer.path for layer in self.layers if not layer.name and is_within(place, layer.path)]
            # Every overlay has a device number of its own.
            if any(os.stat(root).st_dev == os.stat(place).st_dev for root in around):
                raise LayerUnavailableError(LAYER, reasons.hidden_clause(path))

    @property
    def descriptors(self) -> frozenset[int]:
        """What this process holds open of the layers."""
        uppers = (fd for layer in self.layers for fd in (layer.upper_fd, layer.lower_fd))
        return frozenset((self._namespace_fd, self._root_fd, self._users_fd, *uppers))

    def changes(self) -> list[Change]:
        """What is new in the upper layers since the last call, or since the start; microseconds when nothing is.

        So is what appeared in the place of a root that was `missing`.

        :raises OSError: a layer cannot be read.
        """
        found = self._missing.appeared()
        for reader in self._readers:
            found += reader.changes()
        return found

    def is_untouched(self) -> bool:
        """Whether all upper layers are as they were made: the first change of anything below shows in their roots.

        Nothing shows where a root is `missing`: then somebody has to look.
        """
        return not self._missing and all(reader.is_untouched for reader in self._readers)

    @property
    def upper_roots(self) -> tuple[str, ...]:
        """The upper layers that `changes` reads, by paths that lead there from this process alone."""
        return tuple(f"/proc/self/fd/{reader.layer.upper_fd}" for reader in self._readers)

    def listen(self, listener: int | None = None, heard: frozenset[str] = frozenset()) -> None:
        """Hear of tries that the walls refuse without a trace, from `tries`.

        :param listener: of `seccomp.listen`, for the keeper to hear; ``None`` where it does so already.
        :param heard: the calls that it hears beyond those that are always heard.
        :raises OSError: the keeper is gone.
        """
        request = {"ask": "listen", "heard": sorted(heard)}
        answer, descriptors = self._channel.ask(request, [] if listener is None else [listener])
        if descriptors:
            self._hearing = Hearing(*descriptors)
            self._heard = frozenset(answer["heard"])
            self._describe()
        else:
            self.unheard = "the keeper has no listener"

    def hold_exit(self, stderr_fd: int) -> None:
        """From now on this process cannot end green before `let_go`, nor with something in a layer that came after it.

        Where the keeper hears nothing it can.

        :param stderr_fd: where the keeper is to say why.
        :raises OSError: the keeper is gone, or the kernel gives no descriptor of a process (before 5.3).
        """
        self._channel.ask({"ask": "hold", "pid": os.getpid()}, [stderr_fd])

    def let_go(self) -> None:
        """The session is over and everything was told; fine to be said twice, after more was told.

        :raises OSError: the keeper is gone, or a layer cannot be read.
        """
        if os.getpid() == self._pid:
            self._channel.ask({"ask": "let go", "pid": self._pid})

    def has_news(self) -> bool:
        """Whether `tries` or `makings` would have to ask; no system call."""
        return self._hearing is not None and self._hearing.has_news()

    def tries(self) -> list[Try]:
        """What was tried in this stack since the last call; no system call where nothing was.

        :raises OSError: the keeper is gone.
        """
        if self._hearing is None or not self._hearing.has_new_tries() or os.getpid() != self._pid:
            return []
        return self.tries_left(self.label)

    def tries_left(self, label: str) -> list[Try]:
        """The tries in one stack of the run that nobody has asked for yet.

        :raises OSError: the keeper is gone.
        """
        found: list[Try] = []
        while taken := self._channel.ask({"ask": "tries", "label": label})[0]["tries"]:
            found += (Try(*fields) for fields in taken)
        return found

    def askers_of_rings(self) -> list[str]:
        """Who in the run asked the kernel for a ring, in words: what it is told to do is not among the `tries`.

        :raises OSError: the keeper is gone.
        """
        if self._hearing is None:
            return []
        return list(self._channel.ask({"ask": "rings"})[0]["askers"])

    def makings(self) -> list[Making]:
        """What was brought about in shared places from this stack since the last call; no system call where nothing was.

        :raises OSError: the keeper is gone.
        """
        return self.makings_left(self.label) if self._hearing is not None and self._hearing.has_new_makings() else []

    def makings_left(self, label: str = "") -> list[Making]:
        """What was brought about from one stack of the run, or from all, that nobody has asked for yet.

        :raises OSError: the keeper is gone.
        """
        # A forked child must not share its parent's conversation.
        channel = self._channel if os.getpid() == self._pid else Channel.connected(self.address)
        try:
            found: list[Making] = []
            while (answer := channel.ask({"ask": "makings", "label": label})[0])["makings"]:
                found += map(Making.parse, answer["makings"])
            if self._hearing is not None:
                self._hearing.is_awaiting = answer["waiting"]
            return found
        finally:
            if channel is not self._channel:
                channel.close()

    def forget(self, path: str) -> None:
        """Read the layer at `path` no more: what is done there is the guard's own."""
        self._readers = [reader for reader in self._readers if reader.layer.path != path]

    def restack(self, label: str) -> None:
        """Move this process to upper layers of its own over the real disk; for the start of an xdist worker.

        Other threads of this process stay where they are: the layers they share with whoever started the worker.
        Ends with `drop_rights`.

        :param label: names the stack for `stack`, after this process has died.
        :raises LayerUnavailableError: it was refused, and this process is where it was before.
        """
        before = os.getcwd()
        try:
            answer, descriptors = self._channel.ask({"ask": "build", "label": label})
            # A fork of the process that kept the right has it in reserve only.
            namespaces.use_permitted_capabilities()
            namespaces.unshare(namespaces.SHARED_FS)
            joining.enter_mounts(descriptors[0], descriptors[1])
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no layer of its own for {label}: {problem.strerror}") from problem
        os.chdir(before)
        self._close_descriptors()
        self._take(answer, descriptors)
        self.drop_rights()

    def labels(self, scratch: str = "") -> tuple[str, ...]:
        """The stacks of the run: `MAIN` and one for each `restack`.

        :param scratch: of the session whose stacks are meant, where several went by these layers one after another.
        :raises OSError: the keeper is gone.
        """
        request = {"ask": "labels", "scratch": scratch and resolve_missing(scratch)}
        return tuple(self._channel.ask(request)[0]["labels"])

    def stack(self, label: str) -> Overlay:
        """The layers of another process of the run, to read them, also after it has died.

        :raises OSError: there is no such stack, or the keeper is gone.
        """
        return Overlay(Channel.connected(self.address), *self._channel.ask({"ask": "read", "label": label}))

    @contextmanager
    def pristine(self, path: str) -> Iterator[None]:
        """Inside, `path` shows the real data as they are, on a layer of its own; afterwards the earlier view is back.

        All threads and children of this process see it, and so does whoever shares its layers.

        :param path: absolute and real; a directory or a file, below a protected root or anywhere else.
        :raises LayerUnavailableError: it was refused, and nothing has changed.
        """
        try:
            self._ask_about_here({"ask": "show", "path": path})
        except OSError as problem:
            raise LayerUnavailableError(LAYER, f"no pristine view of {path!r}: {problem.strerror}") from problem
        try:
            yield
        finally:
            self._ask_about_here({"ask": "hide", "path": path})

    def _ask_about_here(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Have a mount of this namespace made or taken away; a working directory in it is looked up again."""
        if os.getpid() != self._pid:
            # A forked child must not share its parent's conversation.
            self._channel, self._pid = Channel.connected(self.address), os.getpid()
        before = os.getcwd()
        here, root = joining.open_own_namespace("mnt"), joining.open_root()
        try:
            answer = self._channel.ask(request, [here, root])
        finally:
            os.close(here)
            os.close(root)
        if (before + "/").startswith(request["path"] + "/"):
            # The nearest that is left: a directory made in a pristine view went with it.
            os.chdir(next(place for place in (before, *ancestors(before)) if os.path.isdir(place)))
        return answer

    def keep_rights_for_workers(self) -> None:
        """Let programs started from here join a stack of their own (`attach`, then `restack`).

        They have the right to mount until they `drop_rights`.

        :raises OSError: the right is gone already.
        """
        rights = self._before_entering.handed_down(_NEEDED_BY_WORKERS)
        namespaces.set_capabilities(rights)

    def drop_rights(self) -> None:
        """Give up, for this thread and all that it starts from now on, whatever could undo the walls.

        An ordinary user is left with no capability, as before; root with all but CAP_SYS_ADMIN and CAP_SYS_PTRACE.

        :raises OSError: the kernel refused.
        """
        namespaces.set_capabilities(self._before_entering.without(_DANGEROUS))

    def close(self) -> None:
        """Close the connection and the layers; once all processes of the run did, or ended, the layers are gone.

        The process stays in the namespace for as long as it lives. A forked child closes its own copies only.
        """
        self._channel.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._readers = []
        for layer in self.layers:
            os.close(layer.upper_fd)
            os.close(layer.lower_fd)
        for descriptor in (self._namespace_fd, self._root_fd, self._users_fd):
            os.close(descriptor)
        self.layers = ()


def _object(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino

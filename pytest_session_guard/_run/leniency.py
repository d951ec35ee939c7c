"""What ``report`` mode makes of violations: contained, or let happen and put back at the end, or else refused even so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pytest_session_guard._controls.audit.locate import Target
from pytest_session_guard._controls.cleanup import Cleanup
from pytest_session_guard._controls.ledger import read_run
from pytest_session_guard._core.events import Intent
from pytest_session_guard._core.records import Outcome
from pytest_session_guard._core.removal import NOT_TOLD
from pytest_session_guard._core.zones import Action, Zone, is_within
from pytest_session_guard._host.fsops import Raw
from pytest_session_guard._host.identity import identity_from_stat
from pytest_session_guard._run.deeds import Deed, What, take_back

if TYPE_CHECKING:
    from pytest_session_guard._run.guard import GuardRun

RENAME: Final = "os.rename"


class Leniency:
    """Lets violations happen where no overlay contains them, and remembers each.

    :ivar not_put_back: what could not be undone, in words.
    """

    def __init__(self, run: GuardRun) -> None:
        self._run = run
        self._deeds: list[Deed] = []
        self.not_put_back: list[str] = []

    def outcome_of(self, target: Target, intent: Intent) -> Outcome:
        """What becomes of a violation that is about to happen."""
        run = self._run
        if run.contains(target.path):
            # What a thread outside of the walls does is real, and from inside of them it could not be put back.
            return "contained" if run.walls.are_around_here() else "refused"
        if intent.nameless:
            return "refused"
        try:
            if target.found is None:
                run.ownership.intend(target.path, intent.directory)
                self._let_happen("created", target.path)
            elif not run.ownership.owns(target.path, target.found):
                run.preserve(target.path, target.found, intent.action is Action.DELETE)
                self._let_happen("changed", target.path)
        except OSError:
            return "refused"
        return "preserved"

    def note_pair(self, event: str, source: Target, target: Target) -> None:
        """A name is about to move, or to get a second one, although its zone forbids it."""
        run = self._run
        forbidden = {Zone.PROTECTED, Zone.SHARED} & {source.rule.zone, target.rule.zone}
        if source.found is None or not forbidden or run.contains(source.path) or run.contains(target.path):
            return
        number = source.found.st_dev, source.found.st_ino
        if not run.ownership.follows(source.path, source.found):
            self._let_happen("renamed" if event == RENAME else "linked", source.path, target.path, number)
        elif event != RENAME:
            run.ownership.named(target.path, identity_from_stat(source.path, source.found))
        elif source.rule.zone is Zone.PROTECTED:
            run.ownership.moved(source.path, target.path)  # in other zones the gate has told so

    def _let_happen(self, what: What, path: str, to: str = "", number: tuple[int, int] = (0, 0)) -> None:
        deed = Deed(what, Raw.time_ns(), path, to, number)
        self._run.journal.append(deed.to_json())
        self._deeds.append(deed)

    def learn(self, record: Mapping[str, Any]) -> None:
        """Another process of the run let something happen."""
        self._deeds.append(Deed.parse(record))

    def put_back(self, everywhere: Cleanup) -> None:
        """Have everything as it was; the last test is over.

        :param everywhere: removes what the run made, wherever it lies.
        """
        if not self._deeds:
            return
        # Imported here: most runs have nothing to bring back.
        from pytest_session_guard._core.restoring import AS_IT_WAS
        from pytest_session_guard._run.recover import undo_changes

        run = self._run
        run.ownership.settle()
        run.ownership.ask_others()
        known = [*run.ownership.paths, *run.ownership.lent]
        untold: dict[str, str] = {}

        def remove(path: str) -> None:
            # What was made elsewhere may have come along with a directory that was renamed.
            removed = everywhere.apply(everywhere.plan([path, *(inner for inner in known if is_within(inner, path))]))
            # What stays for another reason is somebody else's.
            untold.update((stays, why) for stays, why in removed.kept if why == NOT_TOLD)

        kept = [*take_back(self._deeds, remove), *untold.items()]
        changed = {deed.path for deed in self._deeds if deed.what == "changed"}
        kept += undo_changes(read_run(run.directory.path), changed).kept
        missed = ((path, why) for path, why in kept if why != AS_IT_WAS)
        self.not_put_back = [f"could not be put back as it was: {path!r}: {why}" for path, why in missed]
        run.notes += self.not_put_back

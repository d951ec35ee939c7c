"""Play every case under every guise, keep what was measured, write the page: ``python -m tests.incidents.record``."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .catalogue import INCIDENTS
from .incident import Incident, Reach
from .outcomes import Guise, Outcome, Recorded, save_recorded
from .plays import play
from .table import PAGE, render_page

PROCESSES = 2


def list_guises(incident: Incident) -> tuple[Guise, ...]:
    """Give the runs that an incident gets: those with a line only where it has one."""
    with_line = (Guise.LINE, Guise.LINE_REPORT) if incident.reach is Reach.LINE else (Guise.REPORT,)
    return (Guise.UNGUARDED, Guise.REDIRECTED, Guise.ENFORCE, *with_line)


def measure_all() -> Recorded:
    """Play everything, two runs at a time."""
    wanted = [(incident, guise) for incident in INCIDENTS for guise in list_guises(incident)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        measured = list(pool.map(_measure, wanted))
    outcomes: dict[str, dict[Guise, Outcome]] = {incident.key: {} for incident in INCIDENTS}
    for (incident, guise), outcome in zip(wanted, measured, strict=True):
        outcomes[incident.key][guise] = outcome
    return outcomes


def _measure(wanted: tuple[Incident, Guise]) -> Outcome:
    incident, guise = wanted
    with tempfile.TemporaryDirectory(prefix="incident-") as base:
        return play(incident, guise, Path(base).resolve())


def main() -> int:
    """Write ``outcomes.json`` and ``docs/incidents.md``."""
    recorded = measure_all()
    save_recorded(recorded)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render_page(recorded), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

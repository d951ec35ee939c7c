"""Findings as configuration to paste."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_session_guard._controls.discover.findings import Finding
from pytest_session_guard._controls.discover.libraries import COMMON
from pytest_session_guard._controls.discover.traces import UNKNOWN


def lines_for(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """The options that send what was found to the tests' private directories, as lines by ini name.

    One root line for each directory of the application covers every constant at or below it. A variable is pointed to
    where its default would be, so that both agree. A path that a function makes anew in each call is out of reach of
    both, unless a variable is asked before: then the run needs a home of its own.
    """
    roots = sorted({root_of(one.path) for one in findings if one.kind in ("constant", "default") and one.path} - {""})
    lines = [f"{root} = {place_of(root)}" for root in roots]
    made = {place_of(root): root for root in roots}
    for name, default in sorted(variables_of(findings).items()):
        place = place_of(default) if default else place_of_name(name)
        clash = made.get(place, default) not in (default, root_of(default))
        lines.append(f"env:{name} = {place + '-env' if clash else place}")
    out = {"session_guard_redirect": lines} if lines else {}
    if needs_home(findings):
        out["session_guard_home"] = ["redirect"]
    return out


def needs_home(findings: Iterable[Finding]) -> bool:
    """Whether some path is made from the home directory itself where nothing else can catch it."""
    for one in findings:
        caught = any(f"env:{name}" in {other.target for other in findings} for name in one.overrides)
        if (one.kind == "call" and not caught) or (one.kind == "constant" and not root_of(one.path)):
            return True
    return False


def variables_of(findings: Iterable[Finding]) -> dict[str, str]:
    """The environment variables, each with the path that stands in for it, or ``""``."""
    out: dict[str, str] = {}
    for one in findings:
        if one.kind == "environment":
            name = one.target.removeprefix("env:")
            out[name] = out.get(name, "") or known_part(one.path)
    return out


def known_part(path: str) -> str:
    """The directories of a path that are known before the program runs."""
    return path.partition(UNKNOWN)[0].rpartition("/")[0] if UNKNOWN in path else path


def root_of(path: str) -> str:
    """The application's own directory that a path lies in; ``""`` for the home itself and for common directories."""
    path = known_part(path)
    for common in COMMON:
        if path == common:
            return ""
        if path.startswith(common + "/"):
            return "/".join(path.split("/")[: common.count("/") + 2])
    return "/".join(path.split("/")[:2]) if path.startswith("~/") else ""


def place_of(path: str) -> str:
    """A place with the shape of a path below the home: ``~/.hermes/sessions`` → ``hermes/sessions``."""
    for common, place in COMMON.items():
        if path.startswith(common + "/"):
            return f"{place}/{path[len(common) + 1 :].lstrip('.')}"
    return path.removeprefix("~/").lstrip(".") if path != "~" else "home"


def place_of_name(variable: str) -> str:
    """A place for a variable of which nothing else is known: ``APP_DATA_DIR`` → ``app-data-dir``."""
    return re.sub(r"[^a-z0-9]+", "-", variable.lower()).strip("-")


def configuration_for(findings: Sequence[Finding]) -> str:
    """The configuration to paste, in the form of ``pytest.ini``; ``""`` when nothing needs any."""
    options = lines_for(findings)
    out = []
    for name, lines in options.items():
        if name == "session_guard_redirect":
            out += [f"{name} =", *(f"    {line}" for line in lines)]
        else:
            out.append(f"{name} = {' '.join(lines)}")
    return "".join(f"{line}\n" for line in out)

"""An application's paths to its users' data, as `session-guard discover` tells them and `session-guard init` sends them elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pytest_session_guard._controls.discover import Finding, configuration_for, discover, lines_for
from pytest_session_guard._controls.initialise import Plan, plan_init
from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._host.fsops import replace_file


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found in an application.

    :param options: the lines that would send all of it to the tests' private directories, by ini name.
    """

    application: str
    findings: tuple[Finding, ...]
    options: Mapping[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        """The survey as a JSON object."""
        return {
            "schema": "session-guard-discover/1",
            "application": self.application,
            "findings": [asdict(finding) for finding in self.findings],
            "configuration": dict(self.options),
        }

    def lines(self) -> Iterator[str]:
        """The survey for people: a line a finding, then the configuration to paste."""
        if not self.findings:
            yield f"no path of {self.application} leads below the home directory, as far as its source says"
            return
        here = os.getcwd() + os.sep
        width = max(len(finding.target) for finding in self.findings)
        for finding in self.findings:
            place = finding.path or "(only the environment says)"
            asked = f"  [asks {', '.join(finding.overrides)} first]" if finding.overrides else ""
            yield f"{finding.kind:11} {finding.target:{width}}  {place}{asked}  {finding.file.removeprefix(here)}:{finding.line}"
        if self.options:
            yield ""
            yield "for pytest.ini, below [pytest] (session-guard init puts it where this checkout keeps its own):"
            yield ""
            yield configuration_for(self.findings).rstrip("\n")


def survey(application: str, environ: Mapping[str, str]) -> Survey:
    """Read an application's source; nothing of it runs.

    :param application: a file, a directory or the name of an importable module.
    :raises ConfigurationError: there is no Python source to read.
    """
    found = tuple(discover(application, os.path.realpath(environ.get("HOME") or os.path.expanduser("~"))))
    return Survey(application, found, lines_for(found))


def plan_configuration(rootdir: str, options: Mapping[str, list[str]]) -> Plan:
    """The change of a checkout's own configuration that sets these options; nothing is written.

    :raises ConfigurationError: the file cannot be read, or not be edited without touching the rest of it.
    """
    try:
        return plan_init(rootdir, options)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(
            "init", rootdir, f"cannot read its configuration: {problem}", "a text file"
        ) from problem


def write_configuration(plan: Plan) -> None:
    """Carry the plan out: all or nothing, through a symlink, with the file's own mode.

    :raises ConfigurationError: the file is not what it was when the plan was made, or cannot be written.
    """
    path = os.path.realpath(plan.file)
    try:
        now, mode = "", 0o644
        if os.path.lexists(path):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            with open(path, encoding="utf-8", newline="") as file:
                now = file.read()
        if now != plan.old:
            raise ConfigurationError("init", path, "was changed meanwhile, so nothing was written", "to run it again")
        replace_file(path, plan.new.encode(), mode)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(
            "init", path, f"cannot be written: {problem}", "a file that this user may write"
        ) from problem

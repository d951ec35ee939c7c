"""An application's paths to its users' data, as `session-guard discover` tells them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_session_guard._controls.discover import Finding, configuration_for, discover, lines_for


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
            yield "for pytest.ini, below [pytest]:"
            yield ""
            yield configuration_for(self.findings).rstrip("\n")


def survey(application: str, environ: Mapping[str, str]) -> Survey:
    """Read an application's source; nothing of it runs.

    :param application: a file, a directory or the name of an importable module.
    :raises ConfigurationError: there is no Python source to read.
    """
    found = tuple(discover(application, os.path.realpath(environ.get("HOME") or os.path.expanduser("~"))))
    return Survey(application, found, lines_for(found))

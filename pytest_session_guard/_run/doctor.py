"""What each layer gives on this machine, found out by trying it; why not where it does not, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any, Final

from pytest_session_guard._core.settings import LAYERS
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._run.advice import advice_for
from pytest_session_guard._run.checks import check_children, check_ledger, check_pytest
from pytest_session_guard._run.finding import Finding, is_harmed, run_quietly, scratch_directory
from pytest_session_guard._run.handover import RUN_VARIABLE

GIVES: Final[Mapping[str, str]] = {
    "hook": "refuses writes of this process and of its Python children before the damage, with test and line",
    "overlay": "what native code and any child do to real data lands in a throw-away layer, and is seen after each test",
    "seal": "the kernel refuses native code and any child to change files outside the writable places",
    "manifest": "tells afterwards what was changed by anything that the hook did not see",
}


@dataclass(frozen=True, slots=True)
class Examination:
    """All findings, and the facts of the machine that explain them."""

    layers: tuple[Finding, ...]
    checks: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def guards(self) -> bool:
        """Whether at least the hook works; without it there is no guard."""
        return any(finding.name == "hook" and finding.status == "enforced" for finding in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The examination as a JSON object."""
        return {
            "schema": "session-guard-doctor/1",
            "guards": self.guards,
            "layers": {finding.name: _without_name(finding) for finding in self.layers},
            "checks": {finding.name: _without_name(finding) for finding in self.checks},
            "facts": dict(self.facts),
        }


def _without_name(finding: Finding) -> dict[str, Any]:
    fields = asdict(finding)
    del fields["name"]
    return fields


def examine(state_directory: str, environ: Mapping[str, str]) -> Examination:
    """Try every layer in processes of their own, on scratch files; nothing else on this machine changes.

    :param state_directory: where the ledger is, or would be.
    """
    clean = {name: value for name, value in environ.items() if name not in _INHERITED}
    layers = tuple(_examine_layer(name, clean) for name in LAYERS)
    return Examination(
        layers,
        (check_pytest(clean), check_children(clean), check_ledger(state_directory)),
        machine_facts(),
    )


# What an outer run, or an outer pytest, left in the environment: a trial is a run of its own.
_INHERITED: Final = frozenset(
    (
        RUN_VARIABLE,
        "SESSION_GUARD",
        "SESSION_GUARD_LAUNCH",
        "PYTEST_ADDOPTS",
        "PYTEST_CURRENT_TEST",
        "PYTEST_XDIST_WORKER",
    )
)


def _examine_layer(name: str, environ: Mapping[str, str]) -> Finding:
    with scratch_directory() as scratch:
        said = _ask_trial(name, scratch, environ)
        status, reason = said["status"], said["reason"]
        problem = _disproof(name, said, harmed=is_harmed(scratch))
        if status != "unavailable" and problem:
            status, reason = "unavailable", problem
        return Finding(name, status, GIVES[name], reason, advice_for(name, reason), said.get("abi"))


def _ask_trial(name: str, scratch: str, environ: Mapping[str, str]) -> dict[str, Any]:
    answer: dict[str, Any]
    command = [sys.executable, "-m", "pytest_session_guard", "trial", name, scratch]
    done = run_quietly(command, environ, f"{scratch}/project")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.strip().splitlines()
        return {"status": "unavailable", "reason": f"its trial died: {words[-1] if words else done.returncode}"}
    return answer


def _disproof(name: str, said: Mapping[str, Any], *, harmed: bool) -> str:
    """What shows that a layer does not hold although it claims to; ``""`` when nothing does."""
    if harmed and name != "manifest":
        return "its trial failed: the protected file was changed"
    if said.get("canary") == "failed" or said.get("refused") is False:
        return "its trial failed: a forbidden write went through"
    if said.get("seen") is False:
        return "its trial failed: a change went unseen"
    return ""


SETTINGS_OF_KERNEL: Final = (
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.unprivileged_userns_clone",
    "user.max_user_namespaces",
    "user.max_mnt_namespaces",
)


def machine_facts() -> dict[str, Any]:
    """What explains the findings: system, user, kernel settings, container, security modules."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "uid": os.getuid() if hasattr(os, "getuid") else None,
        "container": container(),
    }
    for name in SETTINGS_OF_KERNEL:
        facts[name] = first_line(f"/proc/sys/{name.replace('.', '/')}")
    facts["security_modules"] = first_line("/sys/kernel/security/lsm")
    facts["seccomp"] = _status_line("Seccomp")
    facts["no_new_privileges"] = _status_line("NoNewPrivs")
    return facts


_CONTAINER_VARIABLE: Final = "container"  # systemd's convention, in small letters


def container() -> str:
    """Which container this is, as far as its signs say, or ``""``."""
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return os.environ.get(_CONTAINER_VARIABLE, "") or ("kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else "")


def first_line(path: str) -> str | None:
    """The first line of a file of the kernel's, or ``None``."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None


def _status_line(name: str) -> str | None:
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(name + ":")), None)
    except OSError:
        return None

"""What the run's other processes need to know of it: a few words in the environment, the rest in a file of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pytest_session_guard._core.errors import LedgerError
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Pattern, Policy, Rule, Zone
from pytest_session_guard._host.fsops import read_file, replace_file

RUN_VARIABLE: Final = "SESSION_GUARD_RUN"


@dataclass(frozen=True)
class Handover:
    """What the environment says of a run, as builtins.

    :param label: the journals' label of the process that set it: ``main`` or a worker's name.
    :param home: the real home, captured before any redirect.
    :param overlay: the address of the overlay's keeper, or ``""``.
    """

    directory: str
    run_id: str
    started_ns: int
    label: str
    home: str = ""
    overlay: str = ""

    def encode(self) -> str:
        """The value of ``SESSION_GUARD_RUN``."""
        return json.dumps(vars(self))

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> Handover:
        """Read what the environment says.

        :raises LedgerError: it names no run.
        """
        try:
            return cls(**json.loads(environ[RUN_VARIABLE]))
        except (KeyError, ValueError, TypeError) as problem:
            raise LedgerError(RUN_VARIABLE, f"names no run to join: {problem!r}") from problem


def policy_file(directory: str, label: str) -> str:
    """Where a process of the run (and its children, which carry its label) finds the policy."""
    return f"{directory}/policy-{label}.json"


def write_policy(directory: str, label: str, policy: Policy, more: Mapping[str, Any]) -> None:
    """Put the policy where children find it.

    :raises OSError: it cannot be written.
    """
    content = {
        "rules": [[str(rule.zone), rule.prefix, rule.shown, rule.source, rule.declared] for rule in policy.rules],
        "patterns": [[pattern.glob, pattern.within, pattern.source] for pattern in policy.patterns],
        **more,
    }
    replace_file(policy_file(directory, label), json.dumps(content).encode())


def read_policy(directory: str, label: str = "main") -> tuple[Policy, dict[str, Any]]:
    """The run's policy, and what was written beside it.

    :raises LedgerError: it cannot be read, so nothing can be judged by it.
    """
    path = policy_file(directory, label)
    try:
        content = json.loads(read_file(path))
        rules = tuple(Rule(Zone(zone), *rest) for zone, *rest in content.pop("rules"))
        patterns = tuple(Pattern(*fields) for fields in content.pop("patterns"))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise LedgerError(path, f"the policy of the run cannot be read: {problem}") from problem
    return Policy(rules, patterns), content

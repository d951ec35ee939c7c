"""Where an expression leads: a path below the home directory, or one that the environment names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from pytest_session_guard._core.values import dataclass

MOST: Final = 12  # ways that one expression may lead; more of them are no news
UNKNOWN: Final = "{…}"  # a part of a path that only a running program knows


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing that an expression may be.

    :param text: ``~/.app/sessions``, ``$APP_HOME/sessions``, or any other text.
    :param pathy: something treats it as a path (``Path(…)``, ``os.path.join``), so that it is not just a text.
    :param constant: it comes by way of a constant or function of the application, and is found there.
    :param overrides: environment variables that are asked first.
    """

    text: str
    pathy: bool = False
    constant: bool = False
    overrides: frozenset[str] = frozenset()

    @property
    def variable(self) -> str:
        """The environment variable that the text starts with, or ``""``."""
        return self.text[1:].partition("/")[0] if self.text[:1] == "$" else ""

    @property
    def is_below_home(self) -> bool:
        """Whether it is a path at or below the home directory."""
        return self.text == "~" or self.text.startswith("~/")

    @property
    def leads(self) -> bool:
        """Whether it leads to a user's data."""
        return self.is_below_home or (self.pathy and bool(self.variable))


Traces = frozenset[Trace]
NOTHING: Final[Traces] = frozenset()


def limited(traces: Iterable[Trace]) -> Traces:
    """At most `MOST` traces, those that lead somewhere first."""
    ordered = sorted(traces, key=lambda trace: (not trace.leads, trace.text))
    return frozenset(ordered[:MOST])


def combined(first: Traces, second: Traces, join: Callable[[str, str], str], pathy: bool) -> Traces:
    """Every pair, joined; what is not known stands as `UNKNOWN`."""
    unknown = frozenset({Trace(UNKNOWN)})
    out = []
    for one in first or unknown:
        for other in second or unknown:
            if one.text == other.text == UNKNOWN:
                continue
            out.append(
                Trace(
                    join(one.text, other.text),
                    pathy or one.pathy,
                    one.constant or other.constant,
                    one.overrides | other.overrides,
                )
            )
    return limited(out)


def join_paths(first: str, second: str) -> str:
    """Two texts as ``/`` between paths joins them."""
    if second[:1] in ("/", "~", "$") or not first:
        return second
    return f"{first.rstrip('/') or ''}/{second}" if second else first


def as_paths(traces: Traces) -> Traces:
    """The same traces, treated as paths."""
    return frozenset(replace(trace, pathy=True) for trace in traces)


def as_constants(traces: Traces) -> Traces:
    """The same traces, come by way of a constant."""
    return frozenset(replace(trace, constant=True) for trace in traces)


def parents(traces: Traces) -> Traces:
    """The directories that the paths lie in."""
    return frozenset(replace(trace, text=os.path.dirname(trace.text) or trace.text) for trace in traces)


def overridden(traces: Traces) -> Traces:
    """Alternatives of one expression: a variable among them is asked before the others."""
    names = frozenset(trace.variable for trace in traces if trace.variable)
    return frozenset(replace(trace, overrides=trace.overrides | names - {trace.variable}) for trace in traces)

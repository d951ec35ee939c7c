"""The forms in which every vector is tried, as command lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from .vector import Scene, Vector

UNGUARDED: Final = "off"
"""The control: the plugin is absent and every vector must do damage."""

LAYER_OPTIONS: Final[dict[str, list[str]]] = {
    "hook": ["--session-guard-layers=hook"],
    "manifest": ["--session-guard-layers=hook,manifest"],
    "seal": ["--session-guard-layers=hook,seal"],
    "overlay": ["--session-guard-layers=hook,overlay"],
    "auto": [],
    "launcher": [],
}

LAYER_SETS: Final = (UNGUARDED, *LAYER_OPTIONS)
TITLES: Final = {
    "off": "no guard",
    "hook": "hook alone",
    "manifest": "hook, manifest",
    "seal": "hook, seal",
    "overlay": "hook, overlay",
    "auto": "auto, in-process",
    "launcher": "auto, launcher",
}


@dataclass(frozen=True)
class Form:
    """One way to run a vector: the layer set, the user, and the number of xdist workers (0 is without xdist)."""

    layers: str
    as_root: bool = False
    workers: int = 0

    @classmethod
    def parse(cls, label: str) -> Self:
        """The twin of ``label``.

        :raises ValueError: the label names no layer set, or a suffix that is none.
        """
        layers, *suffixes = label.split("@")
        workers = [suffix for suffix in suffixes if suffix.startswith("n") and suffix[1:].isdigit()]
        if layers not in LAYER_SETS or any(suffix != "root" and suffix not in workers for suffix in suffixes):
            raise ValueError(f"a form is one of {', '.join(LAYER_SETS)} with @root or @n<workers>, got {label!r}")
        return cls(layers, "root" in suffixes, int(workers[0][1:]) if workers else 0)

    @property
    def label(self) -> str:
        """The key of the verdict in the file of expected ones, the commonest form without a suffix."""
        return self.layers + ("@root" if self.as_root else "") + (f"@n{self.workers}" if self.workers else "")


def in_effect(form: Form, achieved: Mapping[str, str]) -> Form:
    """The form whose verdicts count where ``auto`` had to do without the overlay.

    :param achieved: status by layer, from the run's report; empty where the run was refused.
    """
    if form.layers != "auto" or achieved.get("overlay", "enforced") != "unavailable":
        return form
    holds = achieved.get("seal") in ("enforced", "partial")
    return replace(form, layers="seal" if holds else "manifest")


def command(vector: Vector, form: Form, scene: Scene) -> list[str]:
    """Give the command that runs the vector's project in this form."""
    python = [sys.executable, "-m"]
    arguments = [*python, "pytest", "-p", "no:cacheprovider", "-rA", "--color=no"]
    if form.workers:
        arguments += ["-p", "xdist.plugin", "-n", str(form.workers)]
    if vector.before is not None:
        arguments += ["-p", "before_the_guard"]
    if form.layers != UNGUARDED:
        arguments += ["-p", "pytest_session_guard", *LAYER_OPTIONS[form.layers]]
        arguments.append(f"--session-guard-json={scene.out / 'report.json'}")
        arguments += [f"--session-guard-protect={path}" for path in (vector.protects(scene) if vector.protects else [])]
    if vector.arguments is not None:
        arguments += vector.arguments(scene)
    if form.layers == "launcher":
        return [*python, "pytest_session_guard", "run", "--", *arguments]
    return arguments

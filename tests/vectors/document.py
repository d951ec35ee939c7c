"""The table in the docs, made from the catalogue and the reviewed verdicts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .catalogue import load_all
from .expected import Table
from .layers import LAYER_SETS, TITLES, UNGUARDED
from .vector import Vector

FILE: Final = Path(__file__).parents[2] / "docs" / "vectors.md"
GUARDED: Final = tuple(layers for layers in LAYER_SETS if layers != UNGUARDED)
NOT_TRIED: Final = "-"


def is_promised(verdict: str) -> bool:
    """Whether the verdict is what the guard promises: kept, not green, and the path named."""
    kept, colour, naming = verdict.split(" or ")[0].split()
    return kept == "kept" and colour not in ("green", "broken") and naming in ("named", "path")


def word(verdict: str | None) -> str:
    """One word for a verdict, for a cell of the long table."""
    if verdict is None:
        return NOT_TRIED
    kept, colour, naming = verdict.split(" or ")[0].split()
    if kept == "damaged":
        return "**damaged**" if colour == "green" else f"**damaged**, {naming if colour == 'red' else colour}"
    if colour == "green":
        return "kept, silent"
    return naming if colour == "red" else f"{colour}, {naming}"


def shown(row: dict[str, str], layers: str) -> str | None:
    """The verdict to show for a layer set: the ordinary user's, or root's for a way that only root has."""
    return row.get(layers, row.get(f"{layers}@root"))


def render(table: Table) -> str:
    """Give the whole page."""
    catalogue = load_all()
    tried = {name: vector for name, vector in catalogue.items() if name in table}
    parts = [PREFACE.format(total=len(catalogue), tried=len(tried)), _summary(table, tried)]
    parts += [_escapes(table, tried, layers) for layers in GUARDED if any(shown(table[name], layers) for name in tried)]
    parts += [_elsewhere(table, tried), _beyond(catalogue), _never_tried(catalogue, table), _long_table(table, tried)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(table: Table) -> None:
    """Write the page."""
    FILE.write_text(render(table), encoding="utf-8")


PREFACE: Final = """\
# Ways to hurt a file, and what became of them

This page is generated from `tests/vectors/expected.toml`; `python -m tests.vectors.regenerate` writes both.
{total} ways are in the catalogue, {tried} have been tried: each in a process of its own, as one test of a small pytest run, by an
ordinary user, against a scratch home, judged from outside by names, digests, modes, owners, times, attributes, links and
flags. Every way swallows its own errors, so a red run is the guard's doing alone. Unguarded, every one of them does damage.

| word | meaning |
|---|---|
| named | nothing changed, the run is red, the report names the test and the path |
| path | nothing changed, the run is red, the report names the path: it happened outside any test |
| refused | the run was refused before it began (exit status 4), the message names the option and the path |
| unnamed | nothing changed, the run is red, but the report has no path |
| kept, silent | nothing changed, and nobody was told |
| damaged | the real file changed |
| damaged, named (path) | the real file changed, and the run is as red, and says as much, as if it had been kept |
| exit-9, … | the process ended by that signal or status before it could give a verdict |"""


def _summary(table: Table, tried: dict[str, Vector]) -> str:
    heads = ("layers", "tried", "kept", "kept and red", "and named", "kept, silent", "damaged")
    lines = ["## In numbers", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for layers in GUARDED:
        verdicts = [verdict.split(" or ")[0] for name in tried if (verdict := shown(table[name], layers))]
        if not verdicts:
            continue
        kept = [verdict for verdict in verdicts if verdict.startswith("kept")]
        silent = [verdict for verdict in kept if verdict.split()[1] == "green"]
        named = [verdict for verdict in kept if is_promised(verdict)]
        groups = (verdicts, kept, kept[len(silent) :], named, silent, verdicts[len(kept) :])
        lines.append(f"| {TITLES[layers]} | {' | '.join(str(len(group)) for group in groups)} |")
    return "\n".join(lines)


def _escapes(table: Table, tried: dict[str, Vector], layers: str) -> str:
    """Name everything short of kept, red and named in this layer set, by family."""
    families: dict[str, dict[str, list[str]]] = {
        kind: {} for kind in ("damaged", "damaged, not green", "kept, silent", "red, unnamed")
    }
    for name, vector in tried.items():
        verdict = (shown(table[name], layers) or "kept red named").split(" or ")[0]
        if is_promised(verdict):
            continue
        kept, colour, _ = verdict.split()
        if kept == "damaged":
            kind = "damaged" if colour == "green" else "damaged, not green"
        else:
            kind = "kept, silent" if colour == "green" else "red, unnamed"
        families[kind].setdefault(vector.family, []).append(f"`{name}`")
    lines = [f"## Short of the promise: {TITLES[layers]}"]
    for kind, found in families.items():
        if found:
            lines += ["", f"**{kind}** ({sum(map(len, found.values()))})", ""]
            lines += [f"- {family}: {', '.join(sorted(names))}" for family, names in sorted(found.items())]
    return "\n".join(lines if len(lines) > 1 else [*lines, "", "Nothing."])


def _elsewhere(table: Table, tried: dict[str, Vector]) -> str:
    """Name what keeps the promise in one form and breaks it in another."""
    lines = [
        "## As root, with workers, on other Pythons",
        "",
        "Each layer set is recorded as an ordinary user, as root and with `-n 2`, and each of these on Python 3.11, 3.12 and 3.13.",
    ]
    for heading, promised in (
        ("Falls short there, and not in the tables of this page", False),
        ("Keeps the promise there, and not in the tables of this page", True),
    ):
        rows: dict[str, list[str]] = {}
        for name in tried:
            row = table[name]
            for key, verdict in row.items():
                ordinary = row.get(key.partition("@")[0])
                if "@" in key and ordinary and is_promised(verdict) is promised is not is_promised(ordinary):
                    rows.setdefault(key, []).append(f"`{name}`")
        lines += ["", f"**{heading}**", ""]
        lines += [
            f"- {TITLES[key.partition('@')[0]]}, {_said(key)}: {', '.join(rows[key])}"
            for key in sorted(rows, key=_order)
        ]
        lines += [] if rows else ["- nothing"]
    return "\n".join(lines)


def _order(key: str) -> tuple[int, str]:
    return LAYER_SETS.index(key.partition("@")[0]), key


def _said(key: str) -> str:
    """What a key refines its layer set by, in words."""
    return ", ".join(
        "as root" if part == "root" else "`-n 2`" if part == "n2" else f"Python {part.removeprefix('py')}"
        for part in key.split("@")[1:]
    )


def _beyond(catalogue: dict[str, Vector]) -> str:
    rows = [f"- `{name}`: {vector.beyond}" for name, vector in sorted(catalogue.items()) if vector.beyond]
    return "\n".join(["## What no layer can hold, or tell of", "", *rows])


def _never_tried(catalogue: dict[str, Vector], table: Table) -> str:
    rows = [
        f"- `{name}` needs {', '.join(vector.needs)}" for name, vector in sorted(catalogue.items()) if name not in table
    ]
    return "\n".join(["## In the catalogue, not tried where this page was made", "", *rows]) if rows else ""


def _long_table(table: Table, tried: dict[str, Vector]) -> str:
    columns = [layers for layers in GUARDED if any(shown(table[name], layers) for name in tried)]
    lines = [
        "## Every way",
        "",
        "| way | family | unguarded | " + " | ".join(TITLES[layers] for layers in columns) + " |",
    ]
    lines.append("|" + "---|" * (3 + len(columns)))
    for name, vector in sorted(tried.items(), key=lambda item: (item[1].family, item[0])):
        control = shown(table[name], UNGUARDED) or NOT_TRIED
        cells = [word(shown(table[name], layers)) for layers in columns]
        lines.append(f"| `{name}` | {vector.family} | {control} | {' | '.join(cells)} |")
    return "\n".join(lines)

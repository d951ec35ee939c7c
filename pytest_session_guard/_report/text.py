"""The report as words for people: one header line, one entry a violation, a count of the rest."""

from __future__ import annotations

import os
from builtins import len, repr, sorted  # noqa: A004 - captured: tests mock builtins
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from pytest_session_guard._core.records import Touch
from pytest_session_guard._report.wording import counted

SHOWN_IN_FULL: Final = 50

FIX_REDIRECT: Final = (
    "redirect the path (session_guard_redirect), or let tests create files there (session_guard_share)"
)
FIX_FREE: Final = "write below tmp_path, or allow the place (session_guard_free)"
FIX_LEDGER: Final = "leave the guard's own record alone, or keep it elsewhere (session_guard_dir)"
# Nobody sees whether a connection will write.
FIX_SQLITE: Final = "to read only, connect to 'file:PATH?mode=ro' with uri=True; else "
FIX_GUARD: Final = "an error of the guard itself; please report it with the lines above"

VERBS: Final[Mapping[str, str]] = {
    "os.remove": "delete",
    "os.rmdir": "delete",
    "os.exec": "exec",
    "os.rename": "rename",
    "os.mkdir": "create",
    "os.mkfifo": "create",
    "os.mknod": "create",
    "os.symlink": "create",
    "os.link": "link",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "os.chown": "chown",
    "os.utime": "utime",
    "os.setxattr": "setxattr",
    "os.removexattr": "removexattr",
    "session_guard.remove": "remove",
    "session_guard.sweep": "remove",
    "session_guard.artifact": "claim",
    "created": "create",
    "removed": "delete",
    "replaced": "replace",
    "metadata": "metadata change",
    "names": "change",
    "link": "link",
    "mkdir": "create",
    "mknod": "create",
    "symlink": "create",
    "rename": "rename",
    "remove": "delete",
    "truncate": "truncate",
    "chown": "chown",
    "setxattr": "setxattr",
    "ioctl": "change of flags",
}


def shown_path(path: str) -> str:
    """A path as a terminal may show it: quoted, control characters and lone bytes escaped."""
    return repr(path)  # which escapes both, and every other character that does not print


def printable(text: str) -> str:
    """Foreign text on one line: control characters and lone bytes escaped."""
    # Not by a codec, which may have to be imported: a test may have changed the root directory, or mocked imports.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def headline(touch: Touch) -> str:
    """The line that stands alone: what happened to which path, and the fact behind it."""
    verb = VERBS.get(_event_of(touch), "write")
    if touch.layer == "guard":
        verb = "guard-error"
    return printable(f"{verb} {touch.outcome}: {shown_path(touch.path)} {touch.reason}")


def _event_of(touch: Touch) -> str:
    return touch.operation.rpartition("(")[2].rstrip(")")


def fix_for(touch: Touch) -> str:
    """One thing that the reader can do now."""
    if touch.fix:
        return touch.fix
    if touch.layer == "guard":
        return FIX_GUARD
    if touch.rule.endswith("(default: the ledger)"):
        return FIX_LEDGER
    fix = FIX_FREE if touch.rule.startswith("protected / ") else FIX_REDIRECT
    return FIX_SQLITE + fix if _event_of(touch) == "sqlite3.connect" else fix


def entry(touch: Touch, rootdir: str = "") -> str:
    """One violation in full: the headline, labelled lines, the slug."""
    lines = [headline(touch), f"  operation: {touch.operation}      zone: {touch.rule or touch.zone}"]
    who = f"  test: {where(touch)}"
    if touch.file:
        who += f"   by: {relative(touch.file, rootdir)}:{touch.line} in {touch.function}"
    lines.append(who)
    if touch.process:
        lines.append("  process: " + (f"{touch.pid} {touch.process}" if touch.pid else touch.process))
    lines += [f"  fix:  {fix_for(touch)}", f"  [{slug(touch)}]"]
    # Whatever the parts hold (names of files and tests, command lines), each stays on its line.
    return "\n".join(printable(line) for line in lines)


def slug(touch: Touch) -> str:
    """The anchor of the README's paragraph about this kind of violation."""
    return {"guard": "guard-error", "object": "not-created-by-run"}.get(touch.layer, "protected-path")


def where(touch: Touch) -> str:
    """The test and its phase, or the moment outside any test."""
    if not touch.nodeid:
        return {"late": "(after the run)", "collection": "(during collection)"}.get(touch.phase, "(outside any test)")
    phase = {"late": "after its end", "": ""}.get(touch.phase, touch.phase)
    return f"{touch.nodeid} ({phase})" if phase else touch.nodeid


def relative(file: str, rootdir: str) -> str:
    """A file as seen from the rootdir, where it lies below it."""
    return file[len(rootdir) + 1 :] if rootdir and file.startswith(rootdir + "/") else file


def section(touches: Sequence[Touch], rootdir: str, uncounted: int = 0) -> list[str]:
    """The lines of the summary section: entries grouped by test, at most 50 in full.

    :param uncounted: further violations that are known by number only.
    """
    lines: list[str] = []
    ordered = sorted(touches, key=lambda touch: (touch.nodeid, touch.time))
    full, rest = ordered[:SHOWN_IN_FULL], ordered[SHOWN_IN_FULL:]
    for nodeid, group in groupby(full, key=lambda touch: touch.nodeid):
        lines.append(printable(nodeid) or "outside any test")
        for touch in group:
            lines.extend("  " + line for line in entry(touch, rootdir).splitlines())
    hidden = len(rest) + uncounted
    if hidden:
        lines.append(f"and {hidden} more; --session-guard-json=PATH writes down all that are on record")
    return lines


def header(
    mode: str, layers: Mapping[str, str], zones: Iterable[tuple[str, str]], home: str, notes: Sequence[str] = ()
) -> str:
    """The header line: mode, what each layer achieved, the zones that are not obvious."""
    shown = ", ".join(
        name if status == "enforced" else f"{name} {status}" for name, status in layers.items() if status != "off"
    )
    places = ", ".join(f"{zone} {printable(tilde(path, home))}" for zone, path in zones)
    line = f"session-guard: {mode}; layers: {shown or 'none'}; {places}"
    return "; ".join([line, *notes])


def tilde(path: str, home: str) -> str:
    """A path with the home directory written as ``~``."""
    return "~" + path[len(home) :] if home and (path == home or path.startswith(home + os.sep)) else path


def preserved_lines(paths: Sequence[str], run_id: str, rootdir: str) -> list[str]:
    """What the run changed in the workspace although it was there before, and how to bring it back."""
    head = f"{counted(len(paths), 'file')} of the workspace changed that existed before this run:"
    shown = [f"  {printable(relative(path, rootdir))}" for path in paths[:10]]
    more = [f"  and {len(paths) - 10} more"] if len(paths) > 10 else []
    return [head, *shown, *more, f"  bring back: session-guard restore {run_id}"]

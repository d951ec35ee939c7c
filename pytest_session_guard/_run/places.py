"""Where things really are, captured once and early, and the policy that follows from it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.records import MARKER_FILE, MARKER_KEY, Identity
from pytest_session_guard._core.settings import Line, Settings, is_glob
from pytest_session_guard._core.zones import Pattern, Policy, Rule, Zone, is_within
from pytest_session_guard._host.fsops import Raw, read_file, replace_file
from pytest_session_guard._host.identity import identity_of, resolve_missing

# Directories and files that tools keep in a checkout for themselves; anything in them can be made again.
TOOL_NAMES: Final = (
    "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".benchmarks",
    "pytest-cache-files-*", ".coverage", ".coverage.*", "htmlcov", ".testmondata*", ".tox", ".nox",
    ".pytype", ".pyre", ".ipynb_checkpoints",
)  # fmt: skip

# The source of rules for what pytest itself was told to write.
OUTPUT_SOURCE: Final = "pytest's own option"

# They beat both the working directory and `git -C`; git hooks export them (`git rev-parse --local-env-vars`).
GIT_LOCATIONS: Final = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_QUARANTINE_PATH",
)  # fmt: skip


@dataclass(frozen=True)
class Output:
    """A file or directory that pytest itself was told to write."""

    option: str
    path: str


@dataclass(frozen=True)
class Places:
    """Real paths of this machine and this invocation, symlinks resolved.

    :param homes: ``$HOME`` and the password database's home, without duplicates.
    :param temporary: temp directories; the first is the one that `tempfile` uses.
    :param home_links: where a home is a symlink, the link itself.
    :param workdirs: where pytest was told to let workers of this host work (``--tx popen//chdir=…``), outside the rootdir.
    """

    rootdir: str
    homes: tuple[str, ...]
    temporary: tuple[str, ...]
    cache: str
    home_links: tuple[str, ...] = ()
    workdirs: tuple[str, ...] = ()
    basetemp: str = ""
    outputs: tuple[Output, ...] = ()
    ledger: str = ""
    ini: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def home(self) -> str:
        """The home that ``~`` means, or ``""``."""
        return self.homes[0] if self.homes else ""


def capture(
    rootdir: str,
    environ: Mapping[str, str],
    *,
    basetemp: str = "",
    outputs: Sequence[Output] = (),
    ledger: str,
    ini: str = "",
    workdirs: Sequence[str] = (),
) -> Places:
    """Look where everything is.

    :param ledger: the configured directory of the ledger, absolute or relative to the rootdir.
    """
    root = resolve_missing(rootdir)
    temporary = _temporary_directories()
    homes, notes = _homes(environ, temporary)
    cache = environ.get("XDG_CACHE_HOME") or (f"{homes[0]}/.cache" if homes else "")
    if sys.platform == "darwin" and homes:
        cache = f"{homes[0]}/Library/Caches"
    return Places(
        rootdir=root,
        homes=homes,
        temporary=temporary,
        cache=resolve_missing(cache) if cache.startswith("/") else "",
        home_links=tuple(link for link in map(link_itself, _home_candidates(environ)) if link),
        workdirs=tuple(
            path for path in map(resolve_missing, map(os.path.abspath, workdirs)) if not is_within(path, root)
        ),
        basetemp=resolve_missing(os.path.abspath(basetemp)) if basetemp else "",
        outputs=tuple(
            Output(out.option, resolve_missing(os.path.abspath(os.path.expanduser(out.path)))) for out in outputs
        ),
        ledger=resolve_missing(os.path.join(root, os.path.expanduser(ledger))),
        ini=ini,
        notes=notes,
    )


def _temporary_directories() -> tuple[str, ...]:
    found = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    return tuple(dict.fromkeys(resolve_missing(os.path.abspath(path)) for path in found if os.path.isdir(path)))


def _homes(environ: Mapping[str, str], temporary: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    homes: list[str] = []
    notes: list[str] = []
    for candidate in _home_candidates(environ):
        real = resolve_missing(candidate)
        if real == "/" or real in homes:
            continue
        if real in temporary:
            notes.append(f"{candidate} is a temp directory, so it is not protected as a home")
            continue
        homes.append(real)
    return tuple(homes), tuple(dict.fromkeys(notes))


def _home_candidates(environ: Mapping[str, str]) -> list[str]:
    found = [environ.get("HOME", ""), environ.get("USERPROFILE", ""), _home_of_record()]
    return [path for path in found if os.path.isabs(path)]


def link_itself(path: str) -> str:
    """Where the symlink lies that a path's last component is, or ``""`` when it is none."""
    parent, _, name = path.rstrip("/").rpartition("/")
    own = f"{resolve_missing(parent or '/').rstrip('/')}/{name}"
    return own if name and os.path.islink(own) else ""


def _home_of_record() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        return ""


def build_policy(settings: Settings, places: Places) -> tuple[Policy, tuple[str, ...]]:
    """The policy of a run, and notes for its header.

    :raises ConfigurationError: a declared path cannot be used.
    """
    rules = [*_default_rules(settings, places)]
    patterns = [Pattern(name, place) for place in (places.rootdir, *places.workdirs) for name in TOOL_NAMES]
    if places.ledger:
        # The locks of runs are taken and given up by filelock, whose paths are not known as ours.
        patterns.append(Pattern(f"{escaped(places.ledger)}/runs/*/lock", source="default: the ledger"))
    for zone, option, lines in (
        (Zone.PROTECTED, "session_guard_protect", settings.protect),
        (Zone.SHARED, "session_guard_share", settings.share),
        (Zone.FREE, "session_guard_free", settings.free),
    ):
        for line in lines:
            path = expand(option, line, places)
            source = f"{line.source}: {option}"
            if zone is Zone.FREE and is_glob(line.text):
                patterns.append(Pattern(path, source=source))
                continue
            rules.extend(declared_rules(zone, path, line, source))
    policy = Policy(tuple(rules), tuple(patterns))
    return policy, (*places.notes, *_misplaced_shares(settings, places, rules, patterns))


def _default_rules(settings: Settings, places: Places) -> list[Rule]:
    rules = [Rule(settings.workspace, places.rootdir, "rootdir", settings.workspace_source)]
    rules += [Rule(Zone.PROTECTED, home, "~" if home == places.home else home, "default") for home in places.homes]
    # A home that is reached through a symlink: the link could be replaced.
    rules += [Rule(Zone.PROTECTED, link, link, "default") for link in places.home_links]
    rules += [Rule(settings.workspace, path, "--tx chdir=", OUTPUT_SOURCE) for path in places.workdirs]
    for checkout in (places.rootdir, *places.workdirs):
        rules += [Rule(Zone.PROTECTED, git, ".git", "default") for git in _git_directories(checkout)]
    rules += [Rule(Zone.FREE, path, path, "default") for path in (*places.temporary, "/dev", "/proc")]
    if places.cache:
        rules.append(Rule(Zone.FREE, places.cache, "user cache", "default"))
    if places.basetemp:
        rules.append(Rule(Zone.FREE, places.basetemp, "--basetemp", OUTPUT_SOURCE))
    rules += [Rule(Zone.FREE, out.path, out.option, OUTPUT_SOURCE) for out in places.outputs]
    if places.ledger:
        rules.append(Rule(Zone.PROTECTED, places.ledger, ".session_guard", "default: the ledger"))
    return rules


def escaped(path: str) -> str:
    """A path as a glob that matches nothing else."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _git_directories(rootdir: str) -> list[str]:
    """The rootdir's ``.git``; for a linked worktree (a file that names it) also the directory that it names."""
    found = [f"{rootdir}/.git"]
    if os.path.isfile(found[0]):
        try:
            with open(found[0], encoding="utf-8", errors="surrogateescape") as file:
                word, _, target = file.read(4096).partition(":")
        except OSError:
            return found
        if word == "gitdir" and target.strip():
            real = resolve_missing(os.path.join(rootdir, target.strip()))
            found.append(real)
            if "/.git/worktrees/" in real:
                found.append(real.partition("/worktrees/")[0])
    return found


def declared_rules(zone: Zone, path: str, line: Line, source: str) -> list[Rule]:
    """The rule of a declared path; for a symlink also one for the link itself, which could be replaced."""
    real = resolve_missing(path)
    rules = [Rule(zone, real, line.text, source, declared=True)]
    parent, _, name = path.rstrip("/").rpartition("/")
    own = f"{resolve_missing(parent or '/').rstrip('/')}/{name}"
    if own != real and zone is not Zone.FREE:
        rules.append(Rule(zone, own, line.text, source, declared=True))
    return rules


def expand(option: str, line: Line, places: Places) -> str:
    """A configured path, absolute: ``~`` is the captured home, ``{rootdir}`` the rootdir.

    :raises ConfigurationError: there is no home, or ``~user`` is unknown.
    """
    text = line.text.replace("{rootdir}", places.rootdir)
    if text == "~" or text.startswith("~/"):
        if not places.home:
            raise ConfigurationError(
                option, line.source, f"there is no home directory here, got {line.text!r}", "absolute paths"
            )
        text = places.home + text[1:]
    elif text.startswith("~"):
        text = os.path.expanduser(text)
        if text.startswith("~"):
            raise ConfigurationError(
                option, line.source, f"names an unknown user, got {line.text!r}", "absolute paths or ~/..."
            )
    return os.path.normpath(text) if not is_glob(text) else text


def _misplaced_shares(
    settings: Settings, places: Places, rules: Sequence[Rule], patterns: Sequence[Pattern]
) -> tuple[str, ...]:
    """A shared path inside a free place: pytest, or the system, may wipe it whatever the ledger says."""
    without = Policy(tuple(rule for rule in rules if rule.zone is not Zone.SHARED), tuple(patterns))
    notes = []
    for line in settings.share:
        path = resolve_missing(expand("session_guard_share", line, places))
        around = without.rule_for(path)
        if around.zone is Zone.FREE:
            notes.append(
                f"session_guard_share {line.text} lies in the free place {around.prefix}, which other tools may wipe"
            )
    return tuple(notes)


def check_outputs(policy: Policy, places: Places) -> None:
    """Refuse what pytest was told to write into guarded places, before it does.

    :raises ConfigurationError: an output, the base temp or the bytecode prefix lies over something that it would harm.
    """
    guarded = Policy(tuple(rule for rule in policy.rules if rule.source != OUTPUT_SOURCE), policy.patterns)
    allowed = "a path in the rootdir, a temp directory or a place named in session_guard_free"
    for out in places.outputs:
        rule = guarded.rule_for(out.path)
        if rule.zone in (Zone.PROTECTED, Zone.SHARED) and rule.prefix != "/":
            raise ConfigurationError(
                out.option, OUTPUT_SOURCE, f"points into a place that is {rule}, got {out.path!r}", allowed
            )
        if guarded.holds_guarded(out.path):
            raise ConfigurationError(out.option, OUTPUT_SOURCE, f"lies over a guarded place, got {out.path!r}", allowed)
    if places.basetemp:
        _check_basetemp(guarded, places)


def check_workdirs(policy: Policy, places: Places) -> None:
    """A worker's directory becomes a workspace, as the rootdir is; what is real data must not become one that way.

    :raises ConfigurationError: it is or holds a home or the rootdir, or lies in a declared place or in the ledger.
    """
    guarded = Policy(tuple(rule for rule in policy.rules if rule.source != OUTPUT_SOURCE), policy.patterns)
    for path in places.workdirs:
        problem = (
            "lies over the rootdir" if is_within(places.rootdir, path) else _problem_of_workdir(guarded, places, path)
        )
        if problem:
            raise ConfigurationError(
                "--tx chdir=", OUTPUT_SOURCE, f"{problem}, got {path!r}", "a directory of its own for the worker"
            )


def _problem_of_workdir(guarded: Policy, places: Places, path: str) -> str:
    rule = guarded.rule_for(path)
    if any(is_within(home, path) for home in places.homes):
        return "lies over a home"
    if rule.zone in (Zone.PROTECTED, Zone.SHARED) and (rule.declared or rule.shown in (".git", ".session_guard")):
        return f"points into a place that is {rule}"
    return ""


def with_usable_workdirs(settings: Settings, places: Places) -> Places:
    """Without the directories that cannot be a workspace: on another host the server's place chose them, not the user."""
    policy, _ = build_policy(settings, replace(places, workdirs=()))
    return replace(
        places, workdirs=tuple(path for path in places.workdirs if not _problem_of_workdir(policy, places, path))
    )


def _check_basetemp(guarded: Policy, places: Places) -> None:
    """Refuse a base temp that holds anything the run did not make: pytest wipes it before the first test.

    :raises ConfigurationError: it does, or it lies in or over a guarded place.
    """
    path = places.basetemp
    problem = ""
    rule = guarded.rule_for(path)
    if rule.zone in (Zone.PROTECTED, Zone.SHARED) and rule.prefix != "/":
        problem = f"points into a place that is {rule}"
    elif lies_over(path, places) or guarded.holds_guarded(path):
        problem = "lies over a guarded place"
    elif os.path.lexists(path) and not is_basetemp_of_a_run(path):
        problem = "holds what no guarded run made, and pytest would wipe it"
    if problem:
        raise ConfigurationError(
            "--basetemp", OUTPUT_SOURCE, f"{problem}, got {path!r}",
            "a directory that is absent, empty, or was the base temp of an earlier guarded run",
        )  # fmt: skip


def is_basetemp_of_a_run(path: str) -> bool:
    """Whether a directory is empty, or is the very one that an earlier guarded run marked as its base temp."""
    try:
        if not Raw.listdir(path):
            return True
        said = json.loads(read_file(f"{path}/{MARKER_FILE}"))
        return bool(Identity.parse(said["basetemp"]) == identity_of(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark_basetemp(path: str, run_id: str) -> None:
    """Write into a base temp which run made it, and which directory that was.

    :raises OSError: it cannot be written.
    """
    content = {MARKER_KEY: {"run": run_id}, "basetemp": identity_of(path).to_json()}
    replace_file(f"{path}/{MARKER_FILE}", json.dumps(content).encode())


def removable_git_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that send git elsewhere than it looks, where they are set."""
    return tuple(name for name in GIT_LOCATIONS if name in environ)


def lies_over(path: str, places: Places) -> bool:
    """Whether a directory is, or holds, the rootdir or a home."""
    return any(is_within(held, path) for held in (places.rootdir, *places.homes))


def zones_of(policy: Policy) -> list[dict[str, str]]:
    """The policy's rules, strictest first, as the report lists them."""
    rules = sorted(policy.by_prefix.values(), key=lambda rule: (-rule.zone.strictness, rule.prefix))
    return [{"zone": str(rule.zone), "path": rule.prefix, "source": rule.source} for rule in rules]


def declared_zones(policy: Policy) -> list[tuple[str, str]]:
    """The zones that a header names: the workspace, what is declared, and the home."""
    shown = [rule for rule in policy.by_prefix.values() if rule.declared or rule.shown in ("~", "rootdir")]
    ordered = sorted(shown, key=lambda rule: -rule.zone.strictness)
    return [(str(rule.zone), rule.prefix) for rule in ordered if rule.zone is not Zone.FREE]

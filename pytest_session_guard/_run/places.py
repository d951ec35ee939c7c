"""Where things really are, captured once and early, and the policy that follows from it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from pytest_session_guard._core.errors import ConfigurationError
from pytest_session_guard._core.settings import Line, Settings, is_glob
from pytest_session_guard._core.values import dataclass
from pytest_session_guard._core.zones import Pattern, Policy, Rule, Zone, is_within
from pytest_session_guard._host.identity import resolve_missing
from pytest_session_guard._run.whereabouts import ledger_place

# Directories and files that tools keep in a checkout for themselves; anything in them can be made again.
TOOL_NAMES: Final = (
    "__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".import_linter_cache", ".benchmarks",
    "pytest-cache-files-*", ".coverage", ".coverage.*", "htmlcov", ".testmondata*", ".tox", ".nox",
    ".pytype", ".pyre", ".ipynb_checkpoints",
)  # fmt: skip

# What lies in these is the system's.
SYSTEM_DIRECTORIES: Final = frozenset(
    (
        "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr",
        "/Applications", "/Library", "/System", "/private/etc",
    )
)  # fmt: skip

# The source of rules for what pytest itself was told to write.
OUTPUT_SOURCE: Final = "where the run writes"

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
    is_directory: bool = False


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
    place = ledger_place(root, ledger, environ)
    notes = (*notes, *_temporary_elsewhere(environ, temporary), *_ledger_elsewhere(root, ledger, place))
    cache, misplaced = _cache(environ, homes)
    notes = (*notes, *misplaced)
    return Places(
        rootdir=root,
        homes=homes,
        temporary=temporary,
        cache=cache,
        home_links=tuple(link for link in map(link_itself, _home_candidates(environ)) if link),
        workdirs=tuple(
            path for path in map(resolve_missing, map(os.path.abspath, workdirs)) if not is_within(path, root)
        ),
        basetemp=resolve_missing(os.path.abspath(basetemp)) if basetemp else "",
        outputs=tuple(
            replace(out, path=resolve_missing(os.path.abspath(os.path.expanduser(out.path)))) for out in outputs
        ),
        ledger=place,
        ini=ini,
        notes=notes,
    )


def busy_places(homes: Sequence[str]) -> tuple[str, ...]:
    """Where in a home the system's own services write at all hours: what changes there tells nothing about the run."""
    libraries = [f"{home}/Library" for home in homes] if sys.platform == "darwin" else []
    return tuple(path for path in libraries if os.path.isdir(path))


def _temporary_directories() -> tuple[str, ...]:
    found = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    return tuple(dict.fromkeys(resolve_missing(os.path.abspath(path)) for path in found if os.path.isdir(path)))


# What directories for temporary files are called, here or there.
_SAYS_TEMPORARY: Final = re.compile(r"te?mp|scratch", re.IGNORECASE)


_SAYS_CACHE: Final = re.compile(r"cache|te?mp|scratch", re.IGNORECASE)


def is_for_temporary_files(path: str, within: str = "", said: re.Pattern[str] = _SAYS_TEMPORARY) -> bool:
    """Whether a directory is named as one for temporary files is.

    :param within: what of the path says nothing; without it the last name alone counts.
    :param said: what it may be named.
    """
    name = path[len(within) :] if within and path != within else path.rpartition("/")[2]
    return said.search(name) is not None


def _cache(environ: Mapping[str, str], homes: Sequence[str]) -> tuple[str, list[str]]:
    """The user's cache directory, and a note where the variable for it leads to something else."""
    told, usual = environ.get("XDG_CACHE_HOME") or "", ".cache"
    if sys.platform == "darwin":
        told, usual = "", "Library/Caches"
    if not told.startswith("/"):
        return (resolve_missing(f"{homes[0]}/{usual}") if homes else ""), []
    path = resolve_missing(told)
    around = next((home for home in homes if is_within(path, home)), "")
    if is_for_temporary_files(path, around, _SAYS_CACHE) or not _holds_anything(path):
        return path, []
    return "", [f"XDG_CACHE_HOME={told} is not named as a cache and holds something, so it is not free"]


def _holds_anything(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is not None
    except OSError:
        return False  # it is not there yet, or nobody can put anything there


def _ledger_elsewhere(root: str, told: str, place: str) -> list[str]:
    if place == resolve_missing(os.path.join(root, os.path.expanduser(told.replace("{rootdir}", root)))):
        return []
    return [f"the rootdir lies on a read-only disk: the ledger is kept in {place}"]


def _temporary_elsewhere(environ: Mapping[str, str], temporary: Sequence[str]) -> list[str]:
    """`tempfile` passes over a directory that it cannot write to, and says nothing."""
    wanted = environ.get("TMPDIR") or ""
    if not temporary or not wanted or resolve_missing(os.path.abspath(wanted)) == temporary[0]:
        return []
    return [f"TMPDIR={wanted} is not used ({_why_unusable(wanted)}): temporary files go to {temporary[0]}"]


def _why_unusable(directory: str) -> str:
    if not os.path.isdir(directory):
        return "it is no directory"
    return "it was set too late" if os.access(directory, os.W_OK | os.X_OK) else "it cannot be written to"


def _homes(environ: Mapping[str, str], temporary: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    homes: list[str] = []
    notes: list[str] = []
    for candidate in _home_candidates(environ):
        real = resolve_missing(candidate)
        if real == "/" or real in homes:
            continue
        if real in temporary and is_for_temporary_files(real):
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
            if zone is Zone.SHARED:
                _insist_on_shareable(option, line, resolve_missing(path), places)
            if zone is Zone.FREE and is_glob(line.text):
                patterns.append(Pattern(path, source=source))
                continue
            rules.extend(declared_rules(zone, path, line, source))
    policy = Policy(tuple(rules), tuple(patterns))
    return policy, (*places.notes, *_misplaced_shares(settings, places, rules, patterns))


def _insist_on_shareable(option: str, line: Line, real: str, places: Places) -> None:
    """What is made in a shared place is removed at the end, and that is no business of a run's in the system's own directories.

    :raises ConfigurationError: it is, or lies in, one of these, or it is a home.
    """
    top = f"/{real.split('/')[1]}"
    problem = ""
    if real in places.homes:
        problem = "is a home directory, which stays protected"
    elif real == top or (
        any(is_within(real, system) for system in SYSTEM_DIRECTORIES) and not is_within(real, "/usr/local")
    ):
        problem = "is a directory of the system"
    if problem:
        raise ConfigurationError(
            option, line.source, f"{problem}, got {line.text!r}", "a directory of an application's data"
        )


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


def removable_git_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that send git elsewhere than it looks, where they are set."""
    return tuple(name for name in GIT_LOCATIONS if name in environ)


def zones_of(policy: Policy) -> list[dict[str, str]]:
    """The policy's rules, strictest first, as the report lists them."""
    rules = sorted(policy.by_prefix.values(), key=lambda rule: (-rule.zone.strictness, rule.prefix))
    return [{"zone": str(rule.zone), "path": rule.prefix, "source": rule.source} for rule in rules]


def declared_zones(policy: Policy) -> list[tuple[str, str]]:
    """The zones that a header names: the workspace, what is declared, and the home."""
    shown = [rule for rule in policy.by_prefix.values() if rule.declared or rule.shown in ("~", "rootdir")]
    ordered = sorted(shown, key=lambda rule: -rule.zone.strictness)
    return [(str(rule.zone), rule.prefix) for rule in ordered if rule.zone is not Zone.FREE]

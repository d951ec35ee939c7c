"""What a reader can do where a layer is not to be had: one sentence for each clause that layers give as their reason."""

from __future__ import annotations

from typing import Final

# (layer, words of the reason, what to do); the first that fits counts.
_TABLE: Final = (
    ("overlay", "other thread", "session-guard run -- pytest ... enters before any plugin is imported"),
    ("overlay", "stays outside", "session-guard run -- pytest ... enters before any plugin is imported"),
    ("overlay", "stay outside", "session-guard run -- pytest ... enters before any plugin is imported"),
    ("overlay", "leave no trace (", "run it outside whatever filters its system calls already; the walls hold all the same"),
    ("overlay", "AppArmor", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows userns"),
    ("overlay", "max_user_namespaces", "sudo sysctl user.max_user_namespaces=15000"),
    ("overlay", "max_mnt_namespaces", "sudo sysctl user.max_mnt_namespaces=15000"),
    ("overlay", "unprivileged_userns_clone", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("overlay", "too many namespaces", "end the processes that hold them (lsns), or raise user.max_user_namespaces"),
    ("overlay", "seccomp", "in docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined; under chroot: outside it"),
    ("overlay", "security module or a container", "in docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined"),
    ("overlay", "chroot", "run it outside the chroot, or make the chroot's root a mount of its own (mount --bind ROOT ROOT)"),
    ("overlay", "no space", "free memory or disk for the upper layer"),
    ("overlay", "needs Linux", "a newer kernel; until then the seal or the manifest takes its place"),
    ("overlay", "no user namespaces", "a kernel with CONFIG_USER_NS; until then the seal or the manifest takes its place"),
    ("overlay", "its keeper did not start", "end processes of this user, or raise the limit for them (ulimit -u)"),
    ("overlay", "no process can be started", "end processes of this user, or raise the limit for them (ulimit -u)"),
    ("overlay", "(EPERM)", "in docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined"),
    ("overlay", "building the overlay failed", "keep the ledger on a local disk that this user may write to: session_guard_dir"),
    ("overlay", "cannot be given up", "run it outside whatever filters its system calls"),
    ("overlay", "/proc is not mounted", "mount -t proc proc /proc, in the container or chroot that this is"),
    ("overlay", "working directory", "start from a directory that is there"),
    ("overlay", "symlink in a writable place", "name the place that the symlink leads to: session_guard_protect"),
    ("overlay", "read-only instead of overlaid", "what native code tries there is refused but leaves no trace; nothing needs doing"),
    ("overlay", "nothing holds it", "make the directory, so that it can be held"),
    ("seal", "no Landlock", "Linux 5.13 or newer, built with CONFIG_SECURITY_LANDLOCK"),
    ("seal", "switched off", "add landlock to the lsm= list of the kernel command line"),
    ("seal", "seccomp", "a container runtime whose seccomp profile knows the landlock_* system calls (Docker 20.10.10 or newer)"),
    ("seal", "has a newer one", "a newer kernel holds more"),
    ("seal", "ran before", "session-guard run -- pytest ... seals before any plugin is imported"),
    ("seal", "lies in a writable place", "let TMPDIR name another directory than the one that this lies in"),
    ("seal", "sealed itself", "start each session in a process of its own"),
    ("seal", "sixteen", "start from a process that is sealed less often"),
    ("pytest", "No module named pytest", "install pytest into this environment"),
    ("pytest", "not loaded", "take PYTEST_DISABLE_PLUGIN_AUTOLOAD out of the environment, or add -p pytest_session_guard"),
    ("children", "start-up file", "reinstall the package from its wheel: pip install --force-reinstall pytest-session-guard"),
    ("ledger", "locks", "keep the ledger on a local disk: session_guard_dir = /path/on/a/local/disk"),
    ("ledger", "birth times", "keep shared places on ext4, xfs, btrfs or tmpfs, or let tests tag what they make"),
    ("ledger", "", "name a directory that this user may write to: session_guard_dir"),
)  # fmt: skip


def advice_for(name: str, reason: str) -> str:
    """What to do about a reason, or ``""`` where there is nothing to do, or nothing known."""
    if not reason:
        return ""
    return next((advice for layer, words, advice in _TABLE if layer == name and words in reason), "")

"""The calls of ``os`` that change names, bytes, modes, owners, times, attributes and links."""

from __future__ import annotations

import fcntl
import os
import posix
import stat
import struct

from ..vector import Scene, vector


@vector("os")
def os_remove(s: Scene) -> None:
    os.remove(s.notes)


@vector("os")
def os_unlink_bytes(s: Scene) -> None:
    os.unlink(os.fsencode(s.notes))


@vector("os")
def os_unlink_dirfd(s: Scene) -> None:
    os.unlink("notes.txt", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_unlink_symlink(s: Scene) -> None:
    os.unlink(s.prot / "link")


@vector("os")
def os_remove_in_loop_swallowed(s: Scene) -> None:
    for entry in os.scandir(s.prot):
        try:
            os.remove(entry.path)
        except OSError:
            continue


@vector("os")
def posix_unlink(s: Scene) -> None:
    posix.unlink(str(s.notes))


@vector("os")
def os_rmdir(s: Scene) -> None:
    os.rmdir(s.prot / "emptydir")


@vector("os")
def os_rmdir_dirfd(s: Scene) -> None:
    os.rmdir("emptydir", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_removedirs(s: Scene) -> None:
    os.removedirs(s.prot / "emptydir")


@vector("os")
def os_mkdir(s: Scene) -> None:
    os.mkdir(s.prot / "newdir")


@vector("os")
def os_mkdir_dirfd(s: Scene) -> None:
    os.mkdir("newdir", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_makedirs(s: Scene) -> None:
    os.makedirs(s.prot / "a" / "b" / "c")


@vector("os")
def os_rename_inside(s: Scene) -> None:
    os.rename(s.notes, s.prot / "renamed.txt")


@vector("os")
def os_rename_out(s: Scene) -> None:
    os.rename(s.notes, s.tmp / "stolen.txt")


@vector("os")
def os_rename_in(s: Scene) -> None:
    (s.tmp / "foreign.txt").write_text("foreign")
    os.rename(s.tmp / "foreign.txt", s.prot / "foreign.txt")


@vector("os")
def os_rename_dirfd(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    os.rename("notes.txt", "renamed.txt", src_dir_fd=directory, dst_dir_fd=directory)


@vector("os")
def os_rename_directory(s: Scene) -> None:
    os.rename(s.prot / "sub", s.prot / "bus")


@vector("os")
def os_rename_protected_root(s: Scene) -> None:
    os.rename(s.prot, s.home / ".prot-old")


@vector("os")
def os_renames(s: Scene) -> None:
    os.renames(s.notes, s.prot / "x" / "y" / "notes.txt")


@vector("os")
def os_replace_out(s: Scene) -> None:
    os.replace(s.notes, s.tmp / "stolen.txt")


@vector("os")
def os_replace_in_overwrite(s: Scene) -> None:
    (s.tmp / "fresh.txt").write_text("overwritten")
    os.replace(s.tmp / "fresh.txt", s.notes)


@vector("os")
def os_replace_swallowed_then_copied(s: Scene) -> None:
    (s.tmp / "fresh.txt").write_text("overwritten")
    try:
        os.replace(s.tmp / "fresh.txt", s.notes)
    except OSError:
        with open(s.tmp / "fresh.txt", "rb") as source, open(s.notes, "wb") as target:
            target.write(source.read())


@vector("os")
def os_link_inside(s: Scene) -> None:
    os.link(s.notes, s.prot / "twin.txt")


@vector("os")
def os_link_out_only(s: Scene) -> None:
    os.link(s.notes, s.tmp / "twin.txt")


@vector("os")
def os_link_inside_dirfd(s: Scene) -> None:
    directory = os.open(s.prot, os.O_RDONLY)
    os.link("notes.txt", "twin.txt", src_dir_fd=directory, dst_dir_fd=directory)


@vector("os")
def os_symlink(s: Scene) -> None:
    os.symlink("notes.txt", s.prot / "second-link")


@vector("os")
def os_symlink_dirfd(s: Scene) -> None:
    os.symlink("notes.txt", "second-link", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_symlink_replaces_file(s: Scene) -> None:
    os.symlink("/dev/null", s.tmp / "pointer")
    os.replace(s.tmp / "pointer", s.notes)


@vector("os")
def os_truncate_path(s: Scene) -> None:
    os.truncate(s.notes, 3)


@vector("os")
def os_truncate_grow(s: Scene) -> None:
    os.truncate(s.notes, 1_000_000)


@vector("os")
def os_ftruncate(s: Scene) -> None:
    os.ftruncate(os.open(s.notes, os.O_RDWR), 3)


@vector("os")
def os_chmod(s: Scene) -> None:
    os.chmod(s.notes, 0o600)


@vector("os")
def os_chmod_directory(s: Scene) -> None:
    os.chmod(s.prot / "sub", 0o700)


@vector("os")
def os_chmod_through_symlink(s: Scene) -> None:
    os.chmod(s.prot / "link", 0o600)


@vector("os")
def os_chmod_dirfd(s: Scene) -> None:
    os.chmod("notes.txt", 0o600, dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_chmod_fd(s: Scene) -> None:
    os.chmod(os.open(s.notes, os.O_RDONLY), 0o600)


@vector("os")
def os_fchmod(s: Scene) -> None:
    os.fchmod(os.open(s.notes, os.O_RDONLY), 0o600)


@vector("os", needs=("root",))
def os_chown(s: Scene) -> None:
    os.chown(s.notes, 12345, 12345)


@vector("os")
def os_chown_noop_self(s: Scene) -> None:
    os.chown(s.notes, os.getuid(), os.getgid())


@vector("os")
def os_lchown_symlink(s: Scene) -> None:
    os.lchown(s.prot / "link", os.getuid(), os.getgid())


@vector("os")
def os_fchown(s: Scene) -> None:
    os.fchown(os.open(s.notes, os.O_RDONLY), os.getuid(), os.getgid())


@vector("os")
def os_utime(s: Scene) -> None:
    os.utime(s.notes, (1, 1))


@vector("os")
def os_utime_now(s: Scene) -> None:
    os.utime(s.notes)


@vector("os")
def os_utime_fd(s: Scene) -> None:
    os.utime(os.open(s.notes, os.O_RDONLY), ns=(1, 1))


@vector("os")
def os_utime_dirfd(s: Scene) -> None:
    os.utime("notes.txt", (1, 1), dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_utime_atime_only(s: Scene) -> None:
    os.utime(s.notes, ns=(1, os.stat(s.notes).st_mtime_ns))


@vector("os")
def os_utime_symlink_itself(s: Scene) -> None:
    os.utime(s.prot / "link", (1, 1), follow_symlinks=False)


@vector("os")
def os_utime_directory(s: Scene) -> None:
    os.utime(s.prot / "sub", (1, 1))


@vector("os", needs=("xattr",))
def os_setxattr(s: Scene) -> None:
    os.setxattr(s.notes, "user.mood", b"bad")


@vector("os", needs=("xattr",))
def os_setxattr_fd(s: Scene) -> None:
    os.setxattr(os.open(s.notes, os.O_RDONLY), "user.mood", b"bad")


@vector("os", needs=("xattr",))
def os_removexattr(s: Scene) -> None:
    os.removexattr(s.data, "user.origin")


@vector("os", needs=("acl",))
def os_setxattr_posix_acl(s: Scene) -> None:
    entries = [
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 7, 4321),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 7, 0xFFFFFFFF),
        (0x20, 4, 0xFFFFFFFF),
    ]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(s.notes, "system.posix_acl_access", packed)


@vector("os")
def os_mkfifo(s: Scene) -> None:
    os.mkfifo(s.prot / "pipe")


@vector("os")
def os_mkfifo_dirfd(s: Scene) -> None:
    os.mkfifo("pipe", dir_fd=os.open(s.prot, os.O_RDONLY))


@vector("os")
def os_mknod_regular(s: Scene) -> None:
    os.mknod(s.prot / "made", stat.S_IFREG | 0o644)


@vector("os", needs=("root",))
def os_mknod_device(s: Scene) -> None:
    os.mknod(s.prot / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


@vector("os", needs=("root",))
def os_chroot_then_remove(s: Scene) -> None:
    os.chroot(s.home)
    os.remove("/.prot/notes.txt")


@vector("os", needs=("chattr",))
def ioctl_chattr_nodump(s: Scene) -> None:
    fcntl.ioctl(os.open(s.notes, os.O_RDONLY), 0x40086602, struct.pack("l", 0x40 | 0x80000))


@vector("os", needs=("root", "chattr"))
def ioctl_chattr_append_only(s: Scene) -> None:
    fcntl.ioctl(os.open(s.notes, os.O_RDONLY), 0x40086602, struct.pack("l", 0x20 | 0x80000))

"""Trees and files that are protected because somebody says so, in a place that is free otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ..vector import Scene, vector


def _shelf(s: Scene) -> Path:
    """What holds the declared tree. It is nobody's mount point, and free."""
    return s.base / "real-prot"


def _tree(s: Scene) -> Path:
    return _shelf(s) / "models" / "weights"


def _with_tree(s: Scene) -> None:
    _tree(s).mkdir(parents=True)
    (_tree(s) / "layer.bin").write_bytes(b"learned")


def _with_file(s: Scene) -> None:
    _shelf(s).mkdir()
    (_shelf(s) / "keys.env").write_text("KEY=1\n")


def _empty(s: Scene) -> None:
    _shelf(s).mkdir()


def _protects_tree(s: Scene) -> list[str]:
    return [str(_tree(s))]


def _protects_file(s: Scene) -> list[str]:
    return [str(_shelf(s) / "keys.env")]


def _protects_shelf(s: Scene) -> list[str]:
    return [str(_shelf(s))]


def _shell(s: Scene, script: str) -> None:
    environment = {**os.environ, "S": str(_shelf(s)), "T": str(s.tmp)}
    subprocess.run(["sh", "-c", script], env=environment, check=False, stderr=subprocess.DEVNULL, timeout=20)


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_tree_write(s: Scene) -> None:
    (_tree(s) / "layer.bin").write_bytes(b"gone")


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_tree_shell_remove(s: Scene) -> None:
    _shell(s, 'rm "$S/models/weights/layer.bin"')


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_ancestor_renamed(s: Scene) -> None:
    os.rename(_shelf(s), s.base / "elsewhere")


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_ancestor_rmtree(s: Scene) -> None:
    shutil.rmtree(_shelf(s), ignore_errors=True)


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_ancestor_shell_renamed(s: Scene) -> None:
    _shell(s, 'mv "$S" "$S/../elsewhere"')


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_ancestor_shell_swapped(s: Scene) -> None:
    _shell(s, 'mkdir -p "$T/other/weights"; mv -T "$S/models" "$S/old" && ln -s "$T/other" "$S/models"')


@vector("declared", setup=_with_tree, protects=_protects_tree)
def declared_ancestor_shell_removed(s: Scene) -> None:
    _shell(s, 'rm -rf "$S"')


@vector("declared", setup=_empty, protects=_protects_shelf)
def declared_empty_tree_rmdir(s: Scene) -> None:
    os.rmdir(_shelf(s))


@vector("declared", setup=_empty, protects=_protects_shelf)
def declared_empty_tree_shell_rmdir(s: Scene) -> None:
    _shell(s, 'rmdir "$S"')


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_write(s: Scene) -> None:
    (_shelf(s) / "keys.env").write_text("gone")


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_shell_redirect(s: Scene) -> None:
    _shell(s, 'echo gone > "$S/keys.env"')


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_shell_remove(s: Scene) -> None:
    _shell(s, 'rm -f "$S/keys.env"')


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_shell_move_over(s: Scene) -> None:
    _shell(s, 'echo gone > "$S/new"; mv -f "$S/new" "$S/keys.env"; rm -f "$S/new"')


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_shell_sed(s: Scene) -> None:
    _shell(s, 'sed -i s/1/2/ "$S/keys.env"; rm -f "$S"/sed*')


@vector("declared", setup=_with_file, protects=_protects_file)
def declared_file_shell_chmod(s: Scene) -> None:
    _shell(s, 'chmod 600 "$S/keys.env"')


@vector("declared", setup=_empty, protects=_protects_file)
def declared_missing_file_made(s: Scene) -> None:
    (_shelf(s) / "keys.env").write_text("KEY=2\n")


@vector("declared", setup=_empty, protects=_protects_file)
def declared_missing_file_shell_made(s: Scene) -> None:
    _shell(s, 'echo KEY=2 > "$S/keys.env"')


@vector("declared", protects=_protects_shelf)
def declared_missing_tree_shell_made(s: Scene) -> None:
    _shell(s, 'mkdir "$S"; echo KEY=2 > "$S/keys.env"')

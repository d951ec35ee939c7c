"""From-imports, one under another name."""
# ruff: noqa: F401

from loom import paths
from loom.paths import RELATIVE, SESSION_DIR
from loom.paths import SESSION_DIR as STORE

BY_MODULE = paths.SESSION_DIR
UNRELATED = "loom.db"

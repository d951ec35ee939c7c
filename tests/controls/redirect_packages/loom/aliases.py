"""From-imports, one under another name."""

from loom import paths
from loom.paths import SESSION_DIR
from loom.paths import SESSION_DIR as STORE
from loom.paths import RELATIVE

BY_MODULE = paths.SESSION_DIR
UNRELATED = "loom.db"

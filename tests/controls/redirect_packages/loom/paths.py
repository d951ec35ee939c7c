"""The constants themselves."""

import os
from pathlib import Path, PurePosixPath

HOME_DIR = Path.home() / ".loom"
SESSION_DIR = HOME_DIR / "sessions"
INDEX_FILE = SESSION_DIR / "_index.json"
LOG_TEXT = str(HOME_DIR / "log.txt")
LOG_BYTES = os.fsencode(LOG_TEXT)
PURE = PurePosixPath(HOME_DIR, "pure")
UNEXPANDED = "~/.loom/unexpanded"
VARIABLE = "$HOME/.loom/variable"
TRAILING = f"{HOME_DIR}/sub/"
TEMPLATE = f"{HOME_DIR}/sessions/{{session}}.json"

URL = f"https://example.org{HOME_DIR}/sessions"
FILE_URL = f"file://{HOME_DIR}/sessions"
HELP = f"{HOME_DIR}/sessions is where chats are kept"
LINES = f"{HOME_DIR}/a\n{HOME_DIR}/b"
SEARCH = f"{HOME_DIR}/bin:/usr/bin"
NEIGHBOUR = f"{HOME_DIR}2/sessions"
SENTENCE = f"see {HOME_DIR}"
RELATIVE = "loom.db"
COUNT = 3
NOTHING = None

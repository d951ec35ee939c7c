"""A store whose place the environment names, and that is made at import."""

import os
from pathlib import Path

DATA = Path(os.environ.get("LOOM_DATA", Path.home() / ".loom" / "data"))
CHATS = DATA / "chats"
CHATS.mkdir(parents=True, exist_ok=True)

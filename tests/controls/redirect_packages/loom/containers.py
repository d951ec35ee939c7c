"""Copies in containers."""
# ruff: noqa: PYI024

from collections import OrderedDict, defaultdict, deque, namedtuple
from types import MappingProxyType, SimpleNamespace

from loom.paths import HOME_DIR, INDEX_FILE, SESSION_DIR

Pair = namedtuple("Pair", "name directory")

BY_NAME = {"sessions": SESSION_DIR, "nested": {"index": [INDEX_FILE, {"deep": (SESSION_DIR,)}]}}
BY_PATH = {SESSION_DIR: "sessions", INDEX_FILE: INDEX_FILE, "last": 1}
LIST = [1, SESSION_DIR, "text"]
TUPLE = (SESSION_DIR, INDEX_FILE)
NESTED = ("a", (SESSION_DIR, ["x", INDEX_FILE]))
SET = {SESSION_DIR, INDEX_FILE}
FROZEN = frozenset({SESSION_DIR})
QUEUE = deque([SESSION_DIR], maxlen=3)
PAIR = Pair("sessions", SESSION_DIR)
ORDERED = OrderedDict(a=SESSION_DIR, b=1)
DEFAULTS = defaultdict(list, dirs=[SESSION_DIR])
PROXY = MappingProxyType({"sessions": SESSION_DIR})
SPACE = SimpleNamespace(sessions=SESSION_DIR, other=HOME_DIR)

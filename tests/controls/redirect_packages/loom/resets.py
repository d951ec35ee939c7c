"""What a test finds as it was."""
# ruff: noqa: RUF012

import functools
from collections import OrderedDict

SESSIONS = {}
ORDER = OrderedDict()
NAMES = ["one"]
COUNT = 0
CALLS = []
CURRENT = None


class Cache:
    entries = {}


@functools.lru_cache
def lookup(name):
    CALLS.append(name)
    return name.upper()


def forget():
    global COUNT
    COUNT = -1

"""Copies where they cannot be rebound."""
# ruff: noqa: SIM115

import functools
import logging
import sqlite3

from loom.paths import HOME_DIR, SESSION_DIR


class Store:
    def __init__(self, directory):
        self.directory = directory

    @property
    def explosive(self):
        raise AssertionError("a property of the application was called")

    def __getattr__(self, name):
        raise AssertionError("__getattr__ of the application was called")


class Slotted:
    __slots__ = ("directory", "empty")

    def __init__(self, directory):
        self.directory = directory


class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("working outside of a context")


HOME_DIR.mkdir(parents=True, exist_ok=True)
STORE = Store(SESSION_DIR)
SLOTTED = Slotted(SESSION_DIR)
REGISTRY = {"store": Store(SESSION_DIR)}
PROXY = Proxy()
CONNECTION = sqlite3.connect(HOME_DIR / "state.db")
STREAM = open(HOME_DIR / "stream.log", "w")
HANDLER = logging.FileHandler(HOME_DIR / "handler.log")
logging.getLogger("loom.holders").addHandler(HANDLER)


@functools.lru_cache
def directory():
    return SESSION_DIR / "kept"


directory()


def close():
    CONNECTION.close()
    STREAM.close()
    logging.getLogger("loom.holders").removeHandler(HANDLER)
    HANDLER.close()

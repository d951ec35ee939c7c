"""Copies in classes and functions."""

import contextlib
import functools
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from loom.paths import HOME_DIR, INDEX_FILE, SESSION_DIR


class Store:
    directory = SESSION_DIR

    class Inner:
        directory = SESSION_DIR

    def load(self, directory=SESSION_DIR):
        return directory

    @classmethod
    def where(cls, directory=SESSION_DIR):
        return directory

    @staticmethod
    def place(directory=SESSION_DIR):
        return directory

    @property
    def index(self, index=INDEX_FILE):
        return index

    @functools.cached_property
    def cached(self, index=INDEX_FILE):
        return index

    bound = functools.partialmethod(load, SESSION_DIR)


class Child(Store):
    pass


@dataclass
class Config:
    directory: Path = SESSION_DIR
    index: Path = field(default=INDEX_FILE, kw_only=True)
    lazy: Path = field(default_factory=lambda directory=SESSION_DIR: directory)


@dataclass(frozen=True, slots=True)
class Frozen:
    directory: Path = SESSION_DIR


class Record(NamedTuple):
    name: str = "loom"
    directory: Path = SESSION_DIR


class Paths(Enum):
    SESSIONS = str(SESSION_DIR)


def default(name="x", directory=SESSION_DIR):
    return directory


def keyword(*, directory=SESSION_DIR):
    return directory


@functools.lru_cache
def cached(directory=SESSION_DIR):
    return directory


@contextlib.contextmanager
def managed(directory=SESSION_DIR):
    yield directory


def closing(directory):
    def inner():
        return directory

    return inner


def counting(directory):
    def inner():
        nonlocal directory
        directory = directory / "next"
        return directory

    return inner


closed = closing(SESSION_DIR)
counted = counting(SESSION_DIR)
partial = functools.partial(default, "x", SESSION_DIR)
keyword_partial = functools.partial(keyword, directory=SESSION_DIR)
default.directory = SESSION_DIR
late_default = functools.partial(default, directory=HOME_DIR)

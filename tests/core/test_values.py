"""Values: the same as the standard library's dataclasses to everybody who uses one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from pytest_session_guard._core import values


class Plain:
    """A class before it is decorated."""

    name: str
    size: int = 0
    parts: tuple[int, ...] = dataclasses.field(default=(), compare=False)
    seen: int = dataclasses.field(default=0, repr=False)
    kind: ClassVar[str] = "plain"


class Told(Plain):
    """One with a method of its own."""

    def __repr__(self) -> str:
        return "told"


OPTIONS = [
    pytest.param({"frozen": True, "slots": True}, id="frozen-slots"),
    pytest.param({"frozen": True}, id="frozen"),
    pytest.param({"slots": True, "eq": False}, id="identity"),
    pytest.param({}, id="plain"),
]


def pair(cls: type[Any], options: dict[str, bool]) -> tuple[type[Any], type[Any]]:
    """The class as the standard library makes it, and as we do."""
    body = dict(vars(cls))
    del body["__dict__"], body["__weakref__"]
    return dataclasses.dataclass(**options)(type("One", (), dict(body))), values.dataclass(**options)(
        type("One", (), dict(body))
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_value_says_and_compares_what_a_dataclass_does(options: dict[str, bool]) -> None:
    answers = []

    for made in pair(Plain, options):
        one, same, other = made("a", 1, (1,)), made("a", 1, (2,)), made("b", 1, (1,))
        answers.append(
            (
                repr(one),
                one == same,
                one == other,
                one != other,
                one == ("a", 1, 0),
                hasattr(one, "__dict__"),
                [field.name for field in dataclasses.fields(made)],
                dataclasses.astuple(dataclasses.replace(one, size=7)),
                copy.copy(one) == one,
            )
        )

    assert answers[0] == answers[1]


@pytest.mark.parametrize("options", OPTIONS)
def test_value_has_the_hash_of_a_dataclass(options: dict[str, bool]) -> None:
    standard, ours = pair(Plain, options)

    if options.get("frozen"):
        assert hash(ours("a", 1)) == hash(standard("a", 1))
    else:
        assert (ours.__hash__ is None) == (standard.__hash__ is None)


def test_value_keeps_the_methods_that_its_class_defines() -> None:
    made = values.dataclass(frozen=True)(Told)

    assert (repr(made()), made() == made()) == ("told", True)


@values.dataclass(frozen=True, slots=True)
class Kept:
    """One that can be found by its name."""

    name: str


def test_value_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept("a"))) == Kept("a")


def test_only_the_maker_of_a_value_is_compiled() -> None:
    written = [name for name, member in vars(Kept).items() if getattr(member, "__code__", None)]

    assert {name for name in written if vars(Kept)[name].__code__.co_filename == "<string>"} == {"__init__"}

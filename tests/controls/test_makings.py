"""What the keeper makes of the calls that it heard: made by the run, perhaps made by it, or somebody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pytest

if sys.platform != "linux":
    pytest.skip("the keeper is Linux's", allow_module_level=True)

from pytest_session_guard._controls.overlay import Overlay
from pytest_session_guard._controls.overlay import makings as makings_of_overlay
from pytest_session_guard._controls.overlay.hearing import Counter, Hearing
from pytest_session_guard._controls.overlay.makings import Expected, Making, Makings
from pytest_session_guard._controls.overlay.service import known
from pytest_session_guard._host.identity import identity_of

LATE_NS = 10_000_000_000


class Scene:
    """Calls that are heard, made and come to their end, in one directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.makings = Makings()

    def expect(
        self, name: str, thread: int = 1, *, label: str = "main", exclusive: bool = True, followed: bool = True
    ) -> Expected:
        expected = Expected(str(self.place / name), label, thread, exclusive, followed)
        self.makings.expect(expected)
        return expected

    def make(self, name: str, thread: int = 1, *, label: str = "main", exclusive: bool = True) -> None:
        """From the first to the last, as it goes well."""
        self.expect(name, thread, label=label, exclusive=exclusive)
        with (self.place / name).open("w"):
            self.makings.finish(thread, 0)

    def taken(self, label: str = "") -> list[tuple[str, str]]:
        return [(making.kind, os.path.relpath(making.path, self.place)) for making in self.makings.take(label)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.makings.close()


def by_another(directory: Path, script: str) -> None:
    subprocess.run(["sh", "-ec", script], cwd=directory, check=True)


def test_what_a_followed_call_made_is_the_runs(scene: Scene) -> None:
    scene.make("exclusive")
    scene.make("opened", exclusive=False)

    assert scene.taken() == [("made", "exclusive"), ("made", "opened")]
    assert scene.taken() == []


def test_what_comes_after_a_call_that_failed_is_nobodys(scene: Scene) -> None:
    scene.expect("a")
    scene.makings.finish(1, -24)
    by_another(scene.place, "echo live > a")

    assert (scene.taken(), scene.makings.is_waiting("")) == ([], False)


def test_what_stands_there_as_a_call_fails_is_nobodys(scene: Scene) -> None:
    scene.expect("a")
    by_another(scene.place, "echo live > a")  # so it fails: with EEXIST
    scene.makings.finish(1, -17)

    assert scene.taken() == []


@pytest.mark.parametrize("replace", ["rm a; echo live > a", "echo live > b; mv b a", "mv a b; echo live > a"])
def test_what_took_its_place_before_it_was_looked_at_is_nobodys(scene: Scene, replace: str) -> None:
    scene.expect("a")
    (scene.place / "a").touch()
    by_another(scene.place, replace)
    scene.makings.finish(1, 0)

    assert scene.taken() == []


def test_what_took_its_place_by_a_rename_alone_is_nobodys(scene: Scene) -> None:
    by_another(scene.place, "echo live > b")
    scene.expect("a")
    by_another(scene.place, "mv b a")
    scene.makings.finish(1, 3)

    assert scene.taken() == []


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_another_made_just_before_it_was_opened_is_not_the_runs(scene: Scene, exclusive: bool) -> None:
    scene.expect("a", exclusive=exclusive)
    by_another(scene.place, "echo live > a")
    with (scene.place / "a").open("a"):
        scene.makings.finish(1, 3)

    # A call that fails on anything that is there cannot have answered so.
    assert scene.taken() == [("made" if exclusive else "lent", "a")]


def test_what_another_has_open_as_well_is_lent(scene: Scene) -> None:
    scene.expect("a", exclusive=False)
    (scene.place / "a").touch()
    with subprocess.Popen(["sh", "-c", "exec < a; echo; read line"], cwd=scene.place, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        scene.makings.finish(1, 3)
        other.kill()

    assert scene.taken() == [("lent", "a")]


def test_calls_of_several_threads_at_one_name_are_told_apart(scene: Scene) -> None:
    scene.expect("a", 1)
    scene.expect("a", 2)
    (scene.place / "a").touch()
    scene.makings.finish(1, 0)
    scene.makings.finish(2, -17)

    assert (scene.taken(), scene.makings.is_waiting("")) == ([("made", "a")], False)


def test_of_names_alike_in_several_directories_each_is_looked_at(scene: Scene) -> None:
    for name in ("here", "there"):
        (scene.place / name).mkdir()
    scene.expect("here/a", 1, exclusive=False)
    scene.expect("there/a", 2, exclusive=False)
    by_another(scene.place / "there", "echo live > a")
    with (scene.place / "here/a").open("w"), (scene.place / "there/a").open("a"):
        scene.makings.finish(1, 3)
        scene.makings.finish(2, 3)

    assert scene.taken() == [("made", "here/a"), ("lent", "there/a")]


def test_what_is_not_followed_is_lent_once(scene: Scene) -> None:
    for name in ("there", "twice", "moved_there", "never"):
        scene.expect(name, followed=False)
        if name == "moved_there":
            by_another(scene.place, "touch older; mv older moved_there")
        elif name != "never":
            by_another(scene.place, f"touch {name}" + f"; rm {name}; touch {name}" * (name == "twice"))

    assert scene.taken() == [("lent", "there")]
    assert scene.taken() == []


def test_what_a_killed_thread_may_have_made_is_lent(scene: Scene) -> None:
    scene.expect("a")
    (scene.place / "a").touch()
    scene.makings.finish(1, None)

    assert (scene.taken(), scene.makings.is_waiting("")) == ([("lent", "a")], False)


def test_call_that_is_not_followed_has_failed_once_its_thread_is_heard_again(scene: Scene) -> None:
    for name, thread in (("failed", 1), ("slow", 2)):
        scene.expect(name, thread, followed=False)
    scene.make("made", 1)
    scene.makings.note(Making("moved", str(scene.place / "b"), str(scene.place / "c")), "main", 3)
    for name in ("failed", "slow"):
        (scene.place / name).touch()

    assert scene.taken() == [("made", "made"), ("moved", "b"), ("lent", "slow")]


def test_what_a_ring_is_told_to_make_is_waited_for_while_its_thread_is_heard_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [makings_of_overlay.stamp_clock_ns()]
    monkeypatch.setattr(makings_of_overlay, "stamp_clock_ns", lambda: now_ns[0])
    for name in ("first", "second"):
        scene.makings.expect(Expected(str(scene.place / name), "main", 1, True, False, True, now_ns[0]))
    scene.makings.settle(1)
    (scene.place / "second").touch()
    now_ns[0] += makings_of_overlay._DELAY_NS + 1
    scene.makings.settle(1)
    (scene.place / "first").touch()

    assert scene.taken() == [("lent", "second")]


def test_call_that_is_not_over_is_waited_for(scene: Scene) -> None:
    scene.expect("a", 1).heard_ns -= LATE_NS

    assert (scene.taken(), scene.makings.is_waiting("main"), scene.makings.is_waiting("gw0")) == ([], True, False)

    scene.makings.finish(1, -13)
    assert not scene.makings.is_waiting("main")


def test_call_of_a_thread_that_is_gone_is_not_waited_for(scene: Scene) -> None:
    scene.expect("a", 2**30).heard_ns -= LATE_NS
    scene.expect("b", os.getpid()).heard_ns -= LATE_NS
    scene.makings.settle()

    assert [expected.path for expected in scene.makings._expected.values()] == [str(scene.place / "b")]


def test_end_of_a_call_that_nobody_waits_for_is_nothing(scene: Scene) -> None:
    scene.expect("a", 1, followed=False)
    (scene.place / "a").touch()
    scene.makings.finish(1, 0)
    scene.makings.finish(2, 0)

    assert scene.taken() == [("lent", "a")]


def test_what_takes_its_place_while_it_is_looked_for_is_not_taken_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.expect("a")
    (scene.place / "a").touch()
    take = scene.makings._arrivals.take

    def take_and_let_it_be_replaced() -> object:
        told = list(take())
        by_another(scene.place, "touch b; mv b a")
        return told

    monkeypatch.setattr(scene.makings._arrivals, "take", take_and_let_it_be_replaced)
    made = identity_of(str(scene.place / "a"))
    scene.makings.finish(1, 0)

    assert [making.identity for making in scene.makings.take("")] == [made]
    assert identity_of(str(scene.place / "a")) != made


def test_what_is_made_in_a_directory_that_took_the_place_of_the_heard_one_is_nobodys(scene: Scene) -> None:
    (scene.place / "store").mkdir()
    scene.expect("store/a")
    (scene.place / "store" / "a").touch()
    by_another(scene.place, "mv store old; mkdir store; touch store/a")
    scene.makings.finish(1, 0)

    assert (scene.taken(), scene.makings.is_waiting("")) == ([], False)


def test_what_is_made_in_a_directory_that_was_not_there_when_it_was_heard_is_nobodys(scene: Scene) -> None:
    scene.expect("store/a", 1)
    by_another(scene.place, "mkdir store")
    scene.expect("store/b", 2)
    for number, name in enumerate("ab", 1):
        (scene.place / "store" / name).touch()
        scene.makings.finish(number, 0)

    assert scene.taken() == [("made", "store/b")]


def test_what_the_kernel_does_not_tell_of_is_lent(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.makings._arrivals, "take", list)
    scene.make("exclusive")
    scene.expect("unfollowed", followed=False)
    (scene.place / "unfollowed").touch()

    assert scene.taken() == [("lent", "exclusive")]
    next(iter(scene.makings._expected.values())).heard_ns -= 1_990_000_000
    while scene.makings.is_waiting(""):
        scene.makings.settle()
    assert scene.taken() == [("lent", "unfollowed")]


@pytest.mark.parametrize("refuses", ["none to be had", "no mark to be had"])
def test_where_nobody_tells_who_made_it_what_was_opened_is_lent(
    tmp_path: Path, refuses: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "no more")

    name = "__init__" if refuses == "none to be had" else "watch"
    monkeypatch.setattr(f"pytest_session_guard._controls.overlay.makings.Openers.{name}", refuse)
    scene = Scene(tmp_path)
    scene.make("opened", exclusive=False)
    scene.make("exclusive")

    assert scene.taken() == [("lent", "opened"), ("made", "exclusive")]
    scene.makings.close()


def test_an_object_that_is_older_than_the_call_is_nobodys(scene: Scene) -> None:
    scene.expect("a").heard_ns += LATE_NS
    (scene.place / "a").touch()
    scene.makings.finish(1, 0)

    assert scene.taken() == []


def test_each_stack_is_told_of_its_own_in_order_and_in_pieces(scene: Scene) -> None:
    for number in range(60):
        scene.make(str(number), label="gw0" if number % 60 else "gw1")

    first, second = scene.taken("gw0"), scene.taken("gw0")
    assert [*first, *second] == [("made", str(number)) for number in range(1, 60)]
    assert (len(first), scene.taken("gw0")) == (50, [])
    assert scene.taken() == [("made", "0")]


def test_a_making_survives_the_message(scene: Scene) -> None:
    scene.make("a\udcff")
    scene.makings.note(Making("moved", f"{scene.place}/b", f"{scene.place}/c"), "main", 2)

    sent = scene.makings.take("main")
    assert [Making.parse(json.loads(json.dumps(making.to_message()))) for making in sent] == sent
    assert [making.kind for making in sent] == ["made", "moved"]


def test_call_that_had_not_come_to_its_end_when_asked_is_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    makings, counter = scene.makings, Counter()
    layers = Overlay.__new__(Overlay)
    layers.label = "gw0"
    layers._pid = os.getpid()
    layers._hearing = Hearing(os.dup(counter.fd))
    keeper = SimpleNamespace(ear=SimpleNamespace(told=lambda _, label: makings.take(label), makings=makings))
    channel = SimpleNamespace(ask=lambda request: (json.loads(json.dumps(known(keeper, request), default=astuple)), []))
    monkeypatch.setattr(layers, "_channel", channel, raising=False)

    scene.expect("a", label="gw0")
    counter.count_making()
    assert [layers.makings(), layers.has_news()] == [[], True]
    (scene.place / "a").touch()
    makings.finish(1, 0)

    assert [making.path for making in layers.makings()] == [str(scene.place / "a")]
    assert [layers.makings(), layers.has_news()] == [[], False]
    counter.close()

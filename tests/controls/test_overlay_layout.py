"""Which mounts a plan leads to, in which order; no mount is made here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_session_guard._controls.overlay.layout import SPLIT_LIMIT, OverlayPlan, Surroundings, lay_out

DIRECTORIES = [
    "/",
    "/home",
    "/home/u",
    "/home/u/app",
    "/home/u/app/data",
    "/home/u/src",
    "/home/u/src/p",
    "/home/u/src/p/.git",
    "/home/u/src/p/a",
    "/home/u/src/p/a/b",
    "/home/u/mnt",
    "/home/u/mnt/disk",
    "/tmp",
    "/tmp/x",
    "/etc",
    "/srv",
]
FILES = {"/home/u/.bashrc", "/home/u/src/p/settings.json", "/etc/passwd"}
SOCKETS = {"/home/u/agent.sock", "/tmp/x.sock"}


def disk(mounts=(), sockets=(), locked=False, directories=DIRECTORIES):
    def kind_of(path):
        if path in directories:
            return "directory"
        if path in SOCKETS:
            return "socket"
        return "file" if path in FILES else "missing"

    def children(path):
        start = path.rstrip("/") + "/"
        names = [p[len(start) :] for p in (*directories, *FILES) if p.startswith(start) and p != start]
        return [name for name in names if "/" not in name]

    return Surroundings(kind_of, children, frozenset(mounts), tuple(sockets), locked)


def steps(writable=(), overlaid=(), witnessed=(), **surroundings):
    layout = lay_out(OverlayPlan(tuple(writable), tuple(overlaid), "/s", tuple(witnessed)), disk(**surroundings))
    return [f"{step.role} {step.path}" for step in layout.steps]


@pytest.mark.parametrize(
    ("writable", "overlaid", "expected"),
    [
        pytest.param(["/tmp"], ["/home/u"], ["cover /home/u", "through /tmp"], id="project-outside-home"),
        pytest.param(
            ["/tmp", "/home/u/src/p"],
            ["/home/u"],
            ["cover /home/u", "through /home/u/src/p", "through /tmp"],
            id="project-in-home",
        ),
        pytest.param(
            ["/home/u/src/p"],
            ["/home/u/src/p/.git", "/home/u"],
            ["cover /home/u", "through /home/u/src/p", "cover /home/u/src/p/.git"],
            id="three-deep",
        ),
        pytest.param([], ["/home/u", "/home/u/app", "/home/u/app/data"], ["cover /home/u"], id="nested-roots"),
        pytest.param(["/tmp", "/tmp/x"], [], ["through /tmp"], id="nested-writable"),
        pytest.param(["/tmp"], ["/tmp"], ["cover /tmp"], id="stricter-wins-a-tie"),
        pytest.param(["/home/u"], ["/home/u/src/p/settings.json"], [
            "through /home/u", "through /home/u/src", "through /home/u/src/p", "cover /home/u/src/p/settings.json",
        ], id="file-in-writable-place-and-its-pins"),
        pytest.param(["/home/u/src/p"], ["/home/u/src/p/a/b"], [
            "through /home/u/src/p", "through /home/u/src/p/a", "cover /home/u/src/p/a/b",
        ], id="pins-only-what-is-between"),
        pytest.param([], ["/home/u/.bashrc", "/home/u"], ["cover /home/u"], id="file-in-a-covered-home"),
        pytest.param(["/nowhere"], [], [], id="writable-place-that-does-not-exist"),
    ],
)  # fmt: skip
def test_layout_of_zones(writable: list[str], overlaid: list[str], expected: list[str]) -> None:
    assert steps(writable, overlaid) == expected


@pytest.mark.parametrize(
    ("overlaid", "writable", "expected", "uncovered", "silent"),
    [
        pytest.param("/home/u/no/such", [], ["cover /home/u"], (), (), id="nearest-ancestor-is-covered"),
        pytest.param("/home/ghost", [], ["cover /home"], (), (), id="directory-above-it"),
        pytest.param("/data/store", [], [], (), ("/data/store",), id="only-the-root-above-it"),
        pytest.param("/tmp/x/no", ["/tmp"], ["through /tmp"], ("/tmp/x/no",), (), id="in-a-writable-place"),
        pytest.param("/etc/passwd/no", [], [], (), ("/etc/passwd/no",), id="below-a-file"),
    ],
)
def test_layout_of_missing_root(
    overlaid: str, writable: list[str], expected: list[str], uncovered: tuple[str, ...], silent: tuple[str, ...]
) -> None:
    home = ("/home/u",) if overlaid.startswith("/home/u/") else ()
    layout = lay_out(OverlayPlan(tuple(writable), (*home, overlaid), "/s"), disk())

    assert [f"{step.role} {step.path}" for step in layout.steps] == expected
    assert (layout.uncovered, layout.silent) == (uncovered, silent)


def test_layout_with_the_root_directory_writable() -> None:
    layout = lay_out(OverlayPlan(("/", "/tmp"), ("/home/u",), "/s"), disk())

    assert [f"{step.role} {step.path}" for step in layout.steps] == ["through /home", "cover /home/u"]
    assert not layout.read_only


def test_layout_with_the_root_directory_protected() -> None:
    layout = lay_out(OverlayPlan(("/tmp", "/"), ("/", "/home/u"), "/s"), disk())

    assert [f"{step.role} {step.path}" for step in layout.steps] == ["cover /home/u", "through /tmp"]
    assert (layout.read_only, layout.silent) == (True, ("/",))


def test_layout_names_writable_places_that_are_absent() -> None:
    assert lay_out(OverlayPlan(("/tmp", "/tmp/out.xml"), (), "/s"), disk()).absent == ("/tmp/out.xml",)


def test_mounts_below_a_cover_get_one_of_their_own() -> None:
    assert steps([], ["/home/u"], mounts=["/", "/home/u/mnt/disk", "/tmp"]) == [
        "cover /home/u", "cover /home/u/mnt/disk",
    ]  # fmt: skip


def test_mounts_below_a_writable_place_come_along_with_it() -> None:
    assert steps(["/home/u/src/p"], ["/home/u"], mounts=["/home/u/src/p/a"]) == [
        "cover /home/u", "through /home/u/src/p",
    ]  # fmt: skip


def test_root_that_is_a_mount_in_a_covered_place_is_covered_itself() -> None:
    assert steps([], ["/home/u", "/home/u/app"], mounts=["/home/u/app"]) == ["cover /home/u", "cover /home/u/app"]


def test_locked_mounts_split_a_cover_into_its_directories() -> None:
    layout = lay_out(OverlayPlan((), ("/home/u",), "/s"), disk(mounts=["/home/u/mnt/disk"], locked=True))

    assert [f"{step.role} {step.path}" for step in layout.steps] == [
        "cover /home/u/app", "cover /home/u/mnt/disk", "cover /home/u/src",
    ]  # fmt: skip
    assert layout.silent == ("/home/u",)


def test_locked_mounts_in_a_writable_place_leave_the_root_frozen() -> None:
    assert steps(["/home/u"], ["/home/u/src/p"], mounts=["/home/u/src/p/a/b"], locked=True) == [
        "through /home/u", "through /home/u/src", "frozen /home/u/src/p",
        "cover /home/u/src/p/.git", "cover /home/u/src/p/a/b",
    ]  # fmt: skip


def test_home_with_too_many_directories_is_not_split() -> None:
    many = [*DIRECTORIES, *(f"/home/u/{number}" for number in range(SPLIT_LIMIT))]

    assert steps([], ["/home/u"], mounts=["/home/u/mnt/disk"], locked=True, directories=many) == [
        "cover /home/u/mnt/disk"
    ]


def test_sockets_below_a_cover_are_shown_as_they_are() -> None:
    assert steps(["/tmp"], ["/home/u"], sockets=["/home/u/agent.sock", "/tmp/x.sock", "/home/u/gone", "@x"]) == [
        "cover /home/u", "frozen /home/u/agent.sock", "through /tmp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("witnessed", "expected"),
    [
        pytest.param(["/etc", "/srv"], ["cover /etc", "cover /home/u", "cover /srv", "through /tmp"], id="of-the-rest"),
        pytest.param(["/home", "/tmp/x"], ["cover /home", "through /tmp"], id="around-and-within-others"),
        pytest.param(["/nowhere", "/etc/passwd"], ["cover /home/u", "through /tmp"], id="no-directories"),
    ],
)
def test_layout_of_witnessed_places(witnessed: list[str], expected: list[str]) -> None:
    assert steps(["/tmp"], ["/home/u"], witnessed) == expected


def test_the_way_to_a_covered_place_of_the_runs_own_is_not_pinned() -> None:
    plan = OverlayPlan(("/tmp",), ("/tmp/x", "/tmp/x/own"), "/s")
    disk_with_it = disk(directories=[*DIRECTORIES, "/tmp/p", "/tmp/p/runs", "/tmp/p/runs/canary"])

    def of(**changes):
        layout = lay_out(replace(plan, overlaid=("/tmp/p/runs/canary",), **changes), disk_with_it)
        return [f"{step.role} {step.path}" for step in layout.steps]

    assert of(unpinned=("/tmp/p/runs/canary",)) == ["through /tmp", "cover /tmp/p/runs/canary"]
    assert of() == ["through /tmp", "through /tmp/p", "through /tmp/p/runs", "cover /tmp/p/runs/canary"]


def test_parents_come_before_what_lies_in_them() -> None:
    layout = lay_out(
        OverlayPlan(("/home/u/src/p", "/tmp"), ("/home/u", "/home/u/src/p/.git", "/tmp/x"), "/s", ("/etc",)), disk()
    )
    paths = [step.path for step in layout.steps]

    assert all(not later.startswith(path + "/") for at, later in enumerate(paths) for path in paths[at + 1 :])


def test_layout_pins_symlinks_in_writable_places_alone() -> None:
    links = ("/tmp/x/store", "/home/u/link", "/etc/link")
    layout = lay_out(OverlayPlan(("/tmp",), ("/home/u",), "/s", links=links), disk())

    assert [(step.role, step.path, step.kind) for step in layout.steps if step.path.startswith("/tmp/")] == [
        ("through", "/tmp/x", "directory"),
        ("frozen", "/tmp/x/store", "link"),
    ]
    assert not {step.path for step in layout.steps} & {"/home/u/link", "/etc/link"}

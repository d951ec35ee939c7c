"""Every error and warning: where it lives, what it says, and that it survives the way home from another process."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
from collections.abc import Callable

import pytest

import pytest_session_guard
from pytest_session_guard import (
    ConfigurationError,
    DataChangedError,
    LateWriterWarning,
    LayerUnavailableError,
    LedgerError,
    MarkerError,
    NotCreatedByRunError,
    PreimageError,
    ProtectedPathError,
    RedirectWarning,
    SessionGuardError,
    SessionGuardWarning,
)
from pytest_session_guard._core import errors

ODD = "/home/u/caf\udce9\n"  # a lone byte and a newline, as a path may have them

EXAMPLES: list[BaseException] = [
    SessionGuardError("anything"),
    ProtectedPathError(ODD, "write refused\n  [protected-path]"),
    NotCreatedByRunError([(ODD, "it is not recorded"), ("/b", "another object")]),
    DataChangedError(["/a: 3 bytes, were 4", "/b: is gone"]),
    ConfigurationError("session_guard", "pytest.ini", "is not one of the words it takes, got 'on'", "enforce or off"),
    LayerUnavailableError("overlay", "user namespaces are not to be had", entered=True),
    LedgerError(ODD, "no space left on device"),
    PreimageError(ODD, "is larger than what is kept"),
    MarkerError(ODD, "is not JSON"),
    SessionGuardWarning("anything"),
    LateWriterWarning("anything"),
    RedirectWarning("anything"),
]
CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == "pytest_session_guard"]
FINAL = [cls for cls in CLASSES if not cls.__subclasses__()]


def name_of(example: object) -> str:
    return type(example).__name__


def test_every_class_has_an_example() -> None:
    assert {type(example) for example in EXAMPLES} == set(CLASSES)


def test_all_classes_of_the_module_are_public_errors_or_warnings() -> None:
    defined = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BaseException)]

    assert set(defined) == set(CLASSES)
    assert all(issubclass(cls, SessionGuardError | SessionGuardWarning) for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_class_is_found_under_the_name_that_it_gives(cls: type) -> None:
    assert cls.__module__ == "pytest_session_guard"
    assert getattr(pytest_session_guard, cls.__name__) is cls
    assert cls.__name__ in pytest_session_guard.__all__


@pytest.mark.parametrize("way", [
    *(pytest.param(lambda error, p=p: pickle.loads(pickle.dumps(error, p)), id=f"protocol-{p}") for p in range(6)),
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
])  # fmt: skip
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_error_survives_pickling(example: BaseException, way: Callable[[BaseException], BaseException]) -> None:
    found = way(example)

    assert type(found) is type(example)
    assert str(found) == str(example)
    assert vars(found) == vars(example)
    assert found.args == example.args
    if isinstance(example, OSError):
        assert isinstance(found, OSError)
        assert (found.errno, found.strerror, found.filename) == (example.errno, example.strerror, example.filename)


def test_slugs_are_unique_and_fit_for_anchors() -> None:
    slugs = [cls.slug for cls in FINAL]

    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("-", "").isalpha() and slug.islower() for slug in slugs)
    assert SessionGuardError.slug == SessionGuardWarning.slug == "session-guard"
    assert "session-guard" not in slugs


@pytest.mark.parametrize("cls", FINAL, ids=lambda cls: cls.__name__)
def test_last_classes_of_the_tree_say_that_they_are(cls: type) -> None:
    assert getattr(cls, "__final__", False)


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if type(example) in FINAL and isinstance(example, SessionGuardError)],
    ids=name_of,
)
def test_error_message_ends_in_its_slug_and_its_first_line_stands_alone(example: SessionGuardError) -> None:
    first, *_, last = str(example).splitlines()

    assert last == f"  [{example.slug}]"
    assert first
    assert not first.endswith((".", ":"))


@pytest.mark.parametrize(
    ("example", "kinds", "code"),
    [
        pytest.param(EXAMPLES[1], (PermissionError, OSError), errno.EACCES, id="refusal-looks-like-a-read-only-disk"),
        pytest.param(EXAMPLES[6], (OSError,), errno.EIO, id="ledger"),
        pytest.param(EXAMPLES[7], (OSError,), errno.EIO, id="preimage"),
    ],
)
def test_error_about_a_path_is_the_os_error_that_handlers_look_for(
    example: OSError, kinds: tuple[type, ...], code: int
) -> None:
    assert isinstance(example, kinds)
    assert (example.errno, example.filename) == (code, ODD)


@pytest.mark.parametrize(
    ("cls", "kind"),
    [(DataChangedError, AssertionError), (ConfigurationError, ValueError), (MarkerError, ValueError),
     (LayerUnavailableError, RuntimeError), (SessionGuardWarning, UserWarning)],
)  # fmt: skip
def test_error_is_also_of_a_kind_that_python_knows(cls: type, kind: type) -> None:
    assert issubclass(cls, kind)


def test_refusal_shows_its_message_and_keeps_the_path() -> None:
    found = ProtectedPathError("/a", "first line\n  [protected-path]")

    assert (str(found), found.path, found.message) == ("first line\n  [protected-path]", "/a", found.message)
    assert found.strerror == "refused by session-guard"


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        pytest.param(
            [("/a", "it is not recorded")],
            "removal refused: 1 path was not created by this run, nothing was removed\n"
            "  '/a': it is not recorded\n  [not-created-by-run]",
            id="one",
        ),
        pytest.param(
            iter([("/a\n", "x"), ("/b\udcff", "y")]),
            "removal refused: 2 paths were not created by this run, nothing was removed\n"
            "  '/a\\n': x\n  '/b\\udcff': y\n  [not-created-by-run]",
            id="two-with-odd-names",
        ),
    ],
)
def test_refused_removal_names_each_path_and_the_proof_that_is_missing(
    refused: list[tuple[str, str]], said: str
) -> None:
    assert str(NotCreatedByRunError(refused)) == said


@pytest.mark.parametrize(
    ("differences", "count"), [(["/a: is gone"], "1 difference"), (["/a: x", "/b: y"], "2 differences")]
)
def test_changed_data_lists_each_difference(differences: list[str], count: str) -> None:
    found = str(DataChangedError(differences))

    lines = "".join(f"  {line}\n" for line in differences)
    assert found == (f"data changed: {count} below paths that should have stayed as they were\n{lines}  [data-changed]")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        pytest.param(
            LayerUnavailableError("seal", "the kernel has no Landlock"),
            "layer seal is not to be had: the kernel has no Landlock\n  [layer-unavailable]",
            id="layer",
        ),
        pytest.param(
            LedgerError("/p/.session_guard", "no space left"),
            "the ledger cannot be used: '/p/.session_guard': no space left\n  [ledger-unusable]",
            id="ledger",
        ),
        pytest.param(
            PreimageError("/p/big", "is larger than what is kept"),
            "no pre-image kept: '/p/big' is larger than what is kept\n  [preimage-failed]",
            id="preimage",
        ),
        pytest.param(
            MarkerError("/p/a.json", "is not JSON"),
            "not tagged: '/p/a.json' is not JSON\n  [marker-refused]",
            id="marker",
        ),
    ],
)  # fmt: skip
def test_message(example: BaseException, said: str) -> None:
    assert str(example) == said


def test_layer_that_was_not_entered_can_be_done_without() -> None:
    assert LayerUnavailableError("overlay", "x").entered is False


def test_public_names_are_frozen() -> None:
    assert sorted(pytest_session_guard.__all__) == [
        "ConfigurationError",
        "DataChangedError",
        "LateWriterWarning",
        "LayerUnavailableError",
        "LedgerError",
        "MarkerError",
        "MarkerFormat",
        "NotCreatedByRunError",
        "PreimageError",
        "ProtectedPathError",
        "RedirectWarning",
        "SessionGuardError",
        "SessionGuardWarning",
        "Touch",
    ]


@pytest.mark.parametrize("name", pytest_session_guard.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(pytest_session_guard, name).__name__ == name


def test_name_that_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'pytest_session_guard' has no attribute 'Gate'"):
        pytest_session_guard.Gate  # noqa: B018

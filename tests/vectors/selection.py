"""Which vectors can be tried here, and which are listed instead, each with what it lacks."""

from __future__ import annotations

from .capabilities import is_available
from .catalogue import load_all
from .layers import Form
from .vector import Vector


def missing_capability(vector: Vector, form: Form) -> str:
    """Name the first capability that this vector lacks here, or give an empty string."""
    return next((need for need in vector.needs if not is_available(need, as_root=form.as_root)), "")


def select(form: Form) -> tuple[list[str], dict[str, str]]:
    """Give the names that can be tried in this form, and what the others lack."""
    absent = {name: missing_capability(vector, form) for name, vector in load_all().items()}
    return [name for name, need in absent.items() if not need], {name: need for name, need in absent.items() if need}

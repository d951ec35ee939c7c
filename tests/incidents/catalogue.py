"""All cases, in the order of the table."""

from __future__ import annotations

from typing import Final

from .families import (
    beyond_home,
    cleanups,
    databases,
    frozen_paths,
    git_mutation,
    home_defaults,
    native_and_children,
    other_programs,
    out_of_reach,
    redirects_missed,
    working_tree,
)
from .incident import Incident

INCIDENTS: Final[tuple[Incident, ...]] = (
    *redirects_missed.INCIDENTS,
    *other_programs.INCIDENTS,
    *frozen_paths.INCIDENTS,
    *home_defaults.INCIDENTS,
    *native_and_children.INCIDENTS,
    *databases.INCIDENTS,
    *cleanups.INCIDENTS,
    *working_tree.INCIDENTS,
    *git_mutation.INCIDENTS,
    *beyond_home.INCIDENTS,
    *out_of_reach.INCIDENTS,
)

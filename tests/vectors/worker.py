"""A worker process of the pool: reads one request a line, tries it, answers with one line."""

from __future__ import annotations

import json
import os
import sys

from .catalogue import load_all
from .layers import Form
from .reach import needed_paths, open_the_way
from .runner import become_subreaper, try_vector


def main() -> None:
    """Serve until standard input ends. Standard output carries nothing but answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    become_subreaper()
    if os.geteuid() == 0:
        open_the_way(needed_paths())
    catalogue = load_all()
    for line in sys.stdin:
        request = json.loads(line)
        outcome = try_vector(catalogue[request["vector"]], Form(**request["form"]))
        answers.write(outcome.to_json() + "\n")


if __name__ == "__main__":
    main()

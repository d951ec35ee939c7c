"""The manifest: an inventory of the protected roots before and after, where no kernel layer can hold them.

It says what changed, never who did it. The first inventory goes, a directory at a time, into a nameless file; the second
is compared with it as it is taken, so memory grows with the largest single directory and not with the tree. A
directory of which nothing changed costs its listing, a stat for each name, and one comparison of bytes.

Stat tells all changes but those that move no time: a store into a shared mapping whose page was dirty already, and, on
file systems with coarse times, a change within the tick of the inventory. Files so young are read, and told by digest.
Only regular files are ever opened. What is below another mount is not looked at, and counted.

`inventory` (taking and comparing) · `facts` (what a stat tells, and what a difference of two tells) · `listing` (one
directory) · `spool` (the nameless file).
"""

from __future__ import annotations

from .facts import Difference
from .inventory import Manifest

__all__ = ["Difference", "Manifest"]

"""The catalogue: one entry for each named pooling, with its formula, its source and when to use it.

The command line, the report, the documentation and the tests read it; a pooling does not. `CATALOG` keeps the order in
which a newcomer should meet them.

>>> from poolkit.catalog import entry
>>> entry("max_pool").formula
'y = max x'
"""

from __future__ import annotations

from poolkit.catalog import antialias, inverse, learned, local, pyramid
from poolkit.catalog.entry import FAMILIES, Entry, Family
from poolkit.catalog.promises import promise_zh

__all__ = ["CATALOG", "FAMILIES", "Entry", "Family", "entry", "promise_zh"]

CATALOG: tuple[Entry, ...] = (
    *local.ENTRIES,
    *learned.ENTRIES,
    *pyramid.ENTRIES,
    *antialias.ENTRIES,
    *inverse.ENTRIES,
)

_BY_NAME = {row.name: row for row in CATALOG}


def entry(name: str) -> Entry:
    """The entry with exactly this name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]

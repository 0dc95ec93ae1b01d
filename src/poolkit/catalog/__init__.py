"""The catalogue: one entry for each named pooling, with its formula, its source and when to use it.

The command line, the report, the documentation and the tests read it; a pooling does not. `CATALOG` holds the families
in the order of `FAMILIES`, and in a family the order in which a newcomer should meet its poolings.

>>> from poolkit.catalog import entry
>>> entry("max_pool").formula
'y = max x'
"""

from __future__ import annotations

from poolkit.catalog import (
    antialias,
    attention,
    inverse,
    learned,
    local,
    mixed,
    moments,
    order,
    pyramid,
    random,
    sequence,
    smooth,
    unpool,
    weighted,
    windows,
)
from poolkit.catalog.entry import FAMILIES, Entry, Family
from poolkit.catalog.families import KIN, Kin
from poolkit.catalog.promises import promise_zh

__all__ = ["CATALOG", "FAMILIES", "KIN", "Entry", "Family", "Kin", "entry", "promise_zh"]

_ROWS: tuple[Entry, ...] = (
    *local.ENTRIES,
    *smooth.ENTRIES,
    *windows.ENTRIES,
    *order.ENTRIES,
    *random.ENTRIES,
    *mixed.ENTRIES,
    *learned.ENTRIES,
    *weighted.ENTRIES,
    *moments.ENTRIES,
    *pyramid.ENTRIES,
    *antialias.ENTRIES,
    *inverse.ENTRIES,
    *unpool.ENTRIES,
    *attention.ENTRIES,
    *sequence.ENTRIES,
)
CATALOG: tuple[Entry, ...] = tuple(sorted(_ROWS, key=lambda row: FAMILIES.index(row.family)))

_BY_NAME = {row.name: row for row in CATALOG}


def entry(name: str) -> Entry:
    """The entry with exactly this name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]

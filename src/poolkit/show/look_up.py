"""Finds an entry of the catalogue by any of the names people use for it."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from poolkit.catalog import CATALOG
from poolkit.show.facts import promises
from poolkit.window import Sliding

if TYPE_CHECKING:
    from poolkit.catalog import Entry


def plain(name: str) -> str:
    """Letters and figures only, without the number of dimensions: MaxPool2d, max_pool and "Max pool" are one."""
    return re.sub(r"[123]d$", "", re.sub(r"[\W_]+", "", name.casefold()))


# What else people say. Names of the records and modules need no line here.
_ALSO = {"power_mean_pool": ("generalized mean",), "avg_pool": ("average pool",), "lse_pool": ("smooth max",)}


def names_of(entry: Entry) -> tuple[str, ...]:
    """What an entry answers to; the first is its name."""
    others = (*([entry.torch] if entry.torch else []), *entry.modules, *_ALSO.get(entry.name, ()))
    names = (entry.name, entry.en, entry.zh, *others)
    # A reducer's name means its plain pooling, not the adaptive or fractional one.
    return (*names, entry.reducer.__name__) if entry.reducer and entry.window is Sliding else names


def find(name: str) -> Entry | None:
    """The entry with this name, else the only one that begins with it, else None."""
    # Modules of different entries may differ in nothing but their number of dimensions.
    for entry in CATALOG:
        if name in entry.modules:
            return entry
    wanted = plain(name)
    if not wanted:
        return None
    exact = [entry for entry in CATALOG if wanted in map(plain, names_of(entry))]
    if exact:
        return exact[0]
    begins = [entry for entry in CATALOG if plain(entry.name).startswith(wanted)]
    return begins[0] if len(begins) == 1 else None


def suggestions(name: str, count: int = 3) -> list[str]:
    """Names of entries that look like `name`, the most alike first."""
    known = {plain(other): entry.name for entry in reversed(CATALOG) for other in names_of(entry)}
    close = difflib.get_close_matches(plain(name), known, n=2 * count, cutoff=0.5)
    inside = [key for key in known if plain(name) and plain(name) in key]
    return list(dict.fromkeys(known[key] for key in [*close, *inside]))[:count]


def record(entry: Entry) -> dict[str, Any]:
    """Everything an entry says, for `poolkit list --json`."""

    def both(pair: tuple[str, str]) -> dict[str, str]:
        return dict(zip(("en", "zh"), pair, strict=True))

    return {
        "name": entry.name,
        "en": entry.en,
        "zh": entry.zh,
        "family": entry.family,
        "functions": entry.functions,
        "modules": entry.modules,
        "window": entry.window and entry.window.__name__,
        "reducer": entry.reducer and entry.reducer.__name__,
        "formula": entry.formula,
        "latex": entry.latex,
        "parameters": [{"name": name, "en": en, "zh": zh} for name, en, zh in entry.parameters],
        "source": entry.source,
        "when": entry.when,
        "when_zh": entry.when_zh,
        "unless": both(entry.unless),
        "phases": both(entry.phases),
        "gradient": both(entry.gradient),
        "shape": entry.shape,
        "cost": both(entry.cost),
        "promises": {name.en: both(promise) for name, promise in promises(entry)},
        "traps": [both(trap) for trap in entry.traps],
        "ships": entry.ships,
        "torch": entry.torch,
        "call": entry.call,
    }

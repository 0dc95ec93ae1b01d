"""Which layers and which contestants a run has."""

from __future__ import annotations

from poolkit.bench.contestants import LAYOUTS, PEERS, installed
from poolkit.bench.rows import QUICK, Row, load

MEBI = 2**20
QUICK_SECONDS = 0.5


def layers(text: str = "", *, kind: str = "", quick: bool = False, cap: int = 96, dtype: str = "float32") -> list[Row]:
    """The layers whose network/layer contains `text`, of a kind or group, inputs cut to `cap` MiB of float32.

    Without those whose reducer takes no such `dtype`: powers of integers.

    >>> [row.layer for row in layers("resnet18")]
    ['avgpool']
    """
    chosen = [row for row in load()[0] if text in row.name and kind in {"", row.kind, row.group}]
    if quick:
        chosen = [row for row in chosen if (row.network, row.layer) in QUICK]
    if dtype == "int8":
        chosen = [row for row in chosen if row.reducer.integers]
    return [row.capped(cap * MEBI) for row in chosen]


def contestants(layout: str = "both", peers: str | None = None) -> tuple[str, ...]:
    """The installed contestants of a layout; `peers` names those beside poolkit, comma-separated.

    Raises:
        KeyError: `peers` names one that there is not.
    """
    names = LAYOUTS[layout]
    if peers is not None:
        asked = list(filter(None, peers.split(",")))
        unknown = [name for name in asked if name not in PEERS]
        if unknown:
            raise KeyError(", ".join(unknown))
        mine = tuple(name for name in names if name.startswith("poolkit"))
        names = (*mine, *(name for name in asked if name not in mine))
    return tuple(name for name in names if installed(name))

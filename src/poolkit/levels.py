"""The levels of pyramids, as every front end takes them."""

from __future__ import annotations

from poolkit.errors import PoolError, PoolTypeError, entries, integer, show


def pyramid_levels(levels: object, name: str) -> tuple[tuple[int, int], ...]:
    """`levels` as (rows, columns) of each.

    >>> pyramid_levels((1, (4, 2)), "levels")
    ((1, 1), (4, 2))
    """
    given = entries(levels)
    if not given:
        kind = PoolTypeError if given is None else PoolError
        raise kind(
            f"{name}={show(levels)}", f"{name} is a tuple of at least one number of windows", f"pass {name}=(1, 2, 4)"
        )
    found: list[tuple[int, int]] = []
    for level in given:
        pair = entries(level) or (level, level)
        if len(pair) != 2:
            raise PoolError(
                f"{name}={show(levels)}",
                f"an entry of {name} is an int or (rows, columns), here {show(level)}",
                f"pass {name} such as (1, 2, (4, 2))",
            )
        rows, columns = (integer(side, name, 1, given=levels) for side in pair)
        found.append((rows, columns))
    return tuple(found)

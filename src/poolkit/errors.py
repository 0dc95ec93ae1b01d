"""Errors that say what was given, which rule it breaks, and what to do; and the checks that raise them."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INT64_MAX = 2**63 - 1


class PoolError(ValueError):
    """An argument breaks a rule.

    The message has three lines: what was given (argument, value, input shape), the rule with the numbers put in, and
    what to do about it. The parts are kept as ``gave``, ``rule`` and ``do``.

    >>> import poolkit as pk
    >>> try:
    ...     pk.Sliding(kernel_size=0)
    ... except pk.PoolError as error:
    ...     print(error)
    you gave  kernel_size=0
    the rule  kernel_size >= 1, here 0
    do this   pass a kernel_size of at least 1
    """

    def __init__(self, gave: str, rule: str = "", do: str = "") -> None:
        # Keras makes an error again from its message alone, to say which layer raised it.
        super().__init__(f"you gave  {gave}\nthe rule  {rule}\ndo this   {do}" if rule else gave)
        self.gave, self.rule, self.do = gave, rule, do

    def __reduce__(self) -> tuple[type[PoolError], tuple[str, str, str]]:
        return type(self), (self.gave, self.rule, self.do)

    def on(self, shape: Sequence[int]) -> PoolError:
        """The same error with the shape of the input it was raised for."""
        if "input x of" in self.gave:
            return self
        return type(self)(f"{self.gave}, input x of shape {tuple(shape)}", self.rule, self.do)

    def renamed(self, names: Mapping[str, str]) -> PoolError:
        """The same error where arguments have other names, such as those of Keras."""
        words = re.compile(rf"\b({'|'.join(names)})\b(?! away)")  # "a stride away" is a distance, not an argument
        return type(self)(*(words.sub(lambda word: names[word[0]], text) for text in (self.gave, self.rule, self.do)))


class PoolTypeError(PoolError, TypeError):
    """An argument has a wrong type: a bool, float or string where an integer belongs, an array that is not numeric."""


def entries(value: object) -> tuple[Any, ...] | None:
    """The entries of a list or tuple, None for anything else."""
    return tuple(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else None


def show(value: object) -> str:
    """A short repr: a hostile or huge argument must not flood the message."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  a repr is user code, and the report of an error must not fail because of it
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def integer(value: object, name: str, minimum: int, *, given: object = None) -> int:
    """`value` as an int of at least `minimum` that fits int64; bools, floats and strings are type errors."""
    if type(value) is int and minimum <= value <= INT64_MAX:
        return value
    gave = f"{name}={show(value if given is None else given)}"
    kind = type(value)
    if kind is not int:
        dtype = str(getattr(value, "dtype", ""))
        try:
            if isinstance(value, bool) or "bool" in dtype:
                raise TypeError
            value = operator.index(cast(Any, value))
        except (TypeError, ValueError, RuntimeError):
            raise PoolTypeError(
                gave,
                f"{name} counts cells: an int (or one per axis), here {kind.__name__} {show(value)}",
                f"pass {name} as a plain integer of at least {minimum}",
            ) from None
    number = cast(int, value)
    if number < minimum:
        raise PoolError(gave, f"{name} >= {minimum}, here {number}", f"pass a {name} of at least {minimum}")
    if number > INT64_MAX:
        raise PoolError(
            gave, f"{name} <= 2**63 - 1 (int64), here {show(number)}", f"pass a {name} that fits the input's size"
        )
    return number


def integers(value: object, name: str, minimum: int) -> int | tuple[int, ...]:
    """One int for every axis, or a tuple with one int an axis (1 to 3)."""
    items = entries(value)
    if items is not None:
        if not 1 <= len(items) <= 3:
            raise PoolError(
                f"{name}={show(value)}",
                f"{name} holds one int, or one for each of 1 to 3 pooled axes, here {len(items)} values",
                f"pass an int or a tuple such as {name}=(2, 2)",
            )
        return tuple(integer(item, name, minimum, given=value) for item in items)
    return integer(value, name, minimum)


def number(value: object, name: str, *, low: float, open_low: bool = True, allow_inf: bool = False) -> float:
    """`value` as a float above `low` (or equal to it if not `open_low`); NaN never passes."""
    sign = ">" if open_low else ">="
    rule = f"{name} is a {'' if allow_inf else 'finite '}number {sign} {low:g}, here {show(value)}"
    if low == -math.inf:
        rule = f"{name} is a finite number, here {show(value)}"
    gave, do = f"{name}={show(value)}", f"pass a {name} that satisfies the rule, such as {name}=2.0"
    if isinstance(value, bool | str | bytes | bytearray) or "bool" in str(getattr(value, "dtype", "")):
        raise PoolTypeError(gave, rule, do)
    try:
        result = float(cast(Any, value))
    except OverflowError:
        raise PoolError(gave, rule, do) from None
    except (TypeError, ValueError, RuntimeError):
        raise PoolTypeError(gave, rule, do) from None
    above = result > low if open_low else result >= low
    if not above or (math.isinf(result) and not allow_inf):
        raise PoolError(gave, rule, do)
    return result


def flag(value: object, name: str) -> bool:
    """`value` as a bool; 0 and 1 pass, since older code spells flags so."""
    if isinstance(value, bool):
        return value
    if "bool" in str(getattr(value, "dtype", "")) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise PoolTypeError(
        f"{name}={show(value)}", f"{name} is True or False, here {type(value).__name__}", f"pass {name}=True or False"
    )

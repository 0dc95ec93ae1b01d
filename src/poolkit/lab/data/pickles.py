"""Reads pickles of NumPy arrays and plain containers, and lets them call nothing.

A pickle is a program: loading an unknown one with `pickle.load` runs whatever its author chose. This reader resolves
the few names that a pickled array needs to stand-ins of its own, so that not even NumPy's functions are called by the
file; every other name is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, cast

import numpy as np

from poolkit.errors import PoolError

_PLAIN = "?bBhHiIlLqQefd"
"""Codes of the dtypes that are admitted: bool, integers and floats."""


class PickleRefusedError(pickle.UnpicklingError):
    """The file asks for something that is neither an array nor a plain container."""


def loads(gave: str, data: bytes) -> Any:
    """The dicts, lists, tuples, bytes, texts, numbers and NumPy arrays in `data`.

    Texts of Python 2 come as bytes, as with ``pickle.load(file, encoding="bytes")``.

    Raises:
        PoolError: the pickle is broken, or holds anything else. `gave` begins the message.
    """
    reader = _reader(data)
    try:
        return _finished(reader.load())
    except PickleRefusedError as error:
        raise PoolError(
            gave,
            f"the pickle holds arrays and plain containers alone, here {error}",
            "do not load this file with anything else either; get it again from its official address",
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise PoolError(
            gave, f"a whole pickle, here it is broken ({error or type(error).__name__})", "get the file again"
        ) from None
    except (MemoryError, OverflowError, RecursionError, UnicodeDecodeError) as error:
        raise PoolError(
            gave, f"a pickle that can be read, here {error or type(error).__name__}", "get the file again"
        ) from None


def _reader(data: bytes) -> pickle.Unpickler:
    known = _stand_ins()

    class Reader(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str, /) -> Any:
            try:
                return known[module_name, global_name]
            except KeyError:
                raise PickleRefusedError(f"it asks for {module_name}.{global_name}") from None

    return Reader(io.BytesIO(data), encoding="bytes")


def _stand_ins() -> dict[tuple[str, str], Any]:
    """The names a pickled array needs. They are made anew for each file: what it does to one of them ends with it."""

    class DType:
        def __init__(self, code: Any = None, *_: Any) -> None:
            self.dtype = _plain_dtype(code)

        def __setstate__(self, state: Any) -> None:
            self.dtype = _ordered(self.dtype, state[1])

    class Array(_Pending):
        def __setstate__(self, state: Any) -> None:
            _, shape, dtype, fortran, raw = state
            self.value = _laid_out(raw, getattr(dtype, "dtype", None), shape, "F" if fortran else "C")

    def reconstruct(kind: Any, *_: Any) -> Array:
        if kind is not Array:
            raise PickleRefusedError("a subclass of an array")
        return Array()

    def from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Array:
        made = Array()
        made.value = _laid_out(raw, getattr(dtype, "dtype", None), shape, order)
        return made

    def encode(text: Any, encoding: Any = "latin1") -> bytes:
        # How Python 3 writes bytes in the protocols of Python 2.
        if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
            raise PickleRefusedError(f"a call of _codecs.encode with {encoding!r}")
        return text.encode("latin-1")

    made: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): DType,
        ("_codecs", "encode"): encode,
    }
    for core in ("numpy.core", "numpy._core"):
        made[f"{core}.multiarray", "_reconstruct"] = reconstruct
        made[f"{core}.numeric", "_frombuffer"] = from_buffer
    return made


class _Pending:
    """An array whose values the pickle has still to give."""

    value: np.ndarray[Any, Any] | None = None


def _plain_dtype(code: Any) -> np.dtype[Any]:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or len(text) > 4 or "O" in text or np.dtype(text).char not in _PLAIN:
        raise PickleRefusedError(f"an array of dtype {text!r}")
    return np.dtype(text)


def _ordered(dtype: np.dtype[Any], order: Any) -> np.dtype[Any]:
    order = order.decode("latin-1") if isinstance(order, bytes) else order
    if order not in ("<", ">", "=", "|"):
        raise PickleRefusedError(f"a byte order {order!r}")
    return dtype.newbyteorder(order)


def _laid_out(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, np.dtype) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise PickleRefusedError("an array that is not made of numbers")
    return np.frombuffer(bytes(raw), cast("np.dtype[Any]", dtype)).reshape(shape, order=cast("Any", order))


def _finished(thing: Any) -> Any:
    """`thing` with real arrays for stand-ins; whatever else is not plain is refused."""
    if isinstance(thing, _Pending):
        if thing.value is None:
            raise PickleRefusedError("an array without values")
        return thing.value
    if type(thing) is dict:
        return {_finished(key): _finished(value) for key, value in cast("dict[Any, Any]", thing).items()}
    if type(thing) in (list, tuple):
        return type(thing)(_finished(item) for item in cast("list[Any]", thing))
    if thing is None or type(thing) in (bytes, str, int, float, bool):
        return thing
    raise PickleRefusedError(f"it holds {type(thing).__name__}")

# Functions that return `str | None` give None on success, else what is wrong with the arguments. Arrays have any
# strides and the logical order N, C, spatial...; bfloat16 is passed as a uint16 view with the code of bfloat16.
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Array: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]

def forward(
    reducer: int,
    params: Sequence[float],
    spec: Sequence[int],
    starts: _Int64 | None,
    x: _Array,
    y: _Array,
    offsets: _Array | None,
    indices: _Int64 | None,
    lse: _Array | None,
    extra: _Array | None,
    dtype: int,
) -> str | None: ...
def backward(
    reducer: int,
    params: Sequence[float],
    spec: Sequence[int],
    starts: _Int64 | None,
    dy: _Array,
    dx: _Array,
    x: _Array | None,
    y: _Array | None,
    lse: _Array | None,
    offsets: _Array | None,
    extra: _Array | None,
    dextra: _Array | None,
    dtype: int,
) -> str | None: ...
def offset_box(spec: Sequence[int], starts: _Int64 | None = None) -> tuple[int, ...]: ...
def unpool(x: _Array, indices: _Int64, out: _Array, rank: int, dtype: int) -> str | None: ...
def unpool_backward(dout: _Array, indices: _Int64, dx: _Array, rank: int, dtype: int) -> str | None: ...
def elementary(f: int, p: float, x: _Array, y: _Array) -> None: ...
def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def set_isa(name: str) -> bool: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...

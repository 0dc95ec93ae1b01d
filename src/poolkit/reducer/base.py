"""What a reducer is: the row of facts that every part of the library reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from poolkit.plan import Plan

CoreName = Literal["add", "select", "softmax", "whole"]
ExtraName = Literal["none", "outputs", "kernel"]

NAN_ANY = "A NaN in a window makes its output NaN; other windows are untouched."
NO_TIES = "Does not choose between cells, so there are no ties."
NO_EMPTY = "A window without a single real cell is an error when the plan is made."
FLOAT_SUM = "float16 and bfloat16 accumulate in float32; float32 sums in blocks, within 4 ulp up to 2**24 cells."


class Params(NamedTuple):
    """The numbers the compiled core takes of a reducer, in its order."""

    p: float = 2.0
    eps: float = 0.0
    beta: float = 1.0
    divisor: float = 0.0  # 0: none
    include_pad: float = 1.0
    mean: float = 1.0
    level: float = 0.5
    mode: float = 0.0
    sample: float = 0.0


@dataclass(frozen=True)
class Reducer:
    """One row: facts in class attributes, parameters in fields."""

    code: ClassVar[int]
    core: ClassVar[CoreName]
    keeps: ClassVar[tuple[str, ...]] = ()  # what backward needs of the forward pass: "x", "y", "lse", "offsets"
    integers: ClassVar[bool] = False  # takes integer arrays
    widens: ClassVar[bool] = False  # integer results are int64
    delicate: ClassVar[bool] = False  # powers or exponentials: under torch's autocast it works in float32
    selects: ClassVar[bool] = False  # can report the index of the chosen cell
    extra: ClassVar[ExtraName] = "none"  # an array beside x: a value for each output, or for each cell of the kernel
    draws: ClassVar[bool] = False  # that array holds uniforms in [0, 1)
    formula: ClassVar[str]
    nan: ClassVar[str] = NAN_ANY
    ties: ClassVar[str] = NO_TIES
    empty: ClassVar[str] = NO_EMPTY
    precision: ClassVar[str] = FLOAT_SUM

    @property
    def name(self) -> str:
        """The class's name: "Max", "Lp"."""
        return type(self).__name__

    @property
    def params(self) -> Params:
        """What the compiled core takes."""
        return Params()

    @property
    def values(self) -> tuple[float, ...] | None:
        """What the record says the array beside x holds: one value for all outputs, or the kernel's weights."""
        return None

    def on(self, window: object) -> Reducer:  # noqa: ARG002  most reducers work the same on every window
        """The reducer as it works on `window`; every front end asks before it pools."""
        return self

    def check(self, plan: Plan) -> None:
        """Reports a window that the reducer cannot work on; every front end asks before it pools."""

"""What the reducers promise, in Chinese."""

from __future__ import annotations

PROMISES_ZH = {
    "A NaN in a window makes its output NaN; other windows are untouched.": (
        "窗口里有 NaN，输出就是 NaN；其他窗口不受影响。"
    ),
    "A NaN in a window makes its output NaN, and the reported index is that of the first NaN.": (
        "窗口里有 NaN，输出就是 NaN，返回的位置是第一个 NaN 的位置。"
    ),
    "Does not choose between cells, so there are no ties.": "不在格子之间做选择，因此没有并列。",
    "The first of equal cells in row-major order is chosen, and alone receives the gradient.": (
        "相等时取行优先顺序的第一个，梯度也只传给它。"
    ),
    "A window without a single real cell is an error when the plan is made.": (
        "一个真实格子都没有的窗口，在制定计划时就报错。"
    ),
    "Exact: the result is one of the cells. Padding is never a candidate.": (
        "精确：结果就是其中一个格子的值。补的格永远不参与比较。"
    ),
    "float16 and bfloat16 accumulate in float32; float32 sums in blocks, within 4 ulp up to 2**24 cells.": (
        "float16 与 bfloat16 以 float32 累加；float32 分块求和，2**24 个格子以内误差不超过 4 ulp。"
    ),
    "Integers accumulate in int64.": "整数以 int64 累加。",
    "An integer mean keeps its dtype, rounded to nearest, ties to even.": (
        "整数的平均保持原类型，四舍六入，逢五取偶。"
    ),
    "The maximum's share of the gradient goes to the first of equal cells.": (
        "最大值那部分梯度传给相等格子中的第一个。"
    ),
    "Likenesses are at most one, so nothing overflows; half precision accumulates in float32.": (
        "相似度不超过 1，因此不会上溢；半精度以 float32 累加。"
    ),
    "Scaled, so that no power overflows or vanishes on the way.": "计算中先缩放，任何乘方都不会上溢或消失。",
    "A NaN in a window makes its output NaN, and the reported index, where there is one, is that of the first NaN.": (
        "窗口里有 NaN，输出就是 NaN；若返回位置，则是第一个 NaN 的位置。"
    ),
    "Of equal cells the first in row-major order counts as the larger one.": "相等时，行优先顺序中靠前的格子视为较大。",
    "Exact where one cell is taken; weighted sums accumulate in float32 or wider.": (
        "取单个格子时结果精确；加权和以 float32 或更高精度累加。"
    ),
    "Equal cells are equally likely.": "相等的格子被抽中的概率相同。",
    "Equal cells share their ranks; the first of them is reported.": "相等的格子共用名次，返回其中第一个的位置。",
    "A drawn cell is exact. Probabilities and means accumulate in float32 or wider.": (
        "抽中的格子原样返回。概率与平均以 float32 或更高精度累加。"
    ),
    "The largest exponent is taken out first, so nothing overflows; half precision accumulates in float32.": (
        "先提出最大的指数，因此不会上溢；半精度以 float32 累加。"
    ),
}
"""The reducers' promises in Chinese, sentence by sentence."""


def promise_zh(promise: str) -> str:
    """A reducer's promise in Chinese; sentences without a translation stay English."""
    for english, chinese in PROMISES_ZH.items():
        promise = promise.replace(english, chinese)
    return promise.replace("。 ", "。")

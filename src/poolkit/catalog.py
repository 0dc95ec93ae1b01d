"""The catalogue: one entry for each named pooling, with its formula, its source and when to use it.

The command line, the report, the documentation and the tests read it; a pooling does not. `CATALOG` keeps the order in
which a newcomer should meet them.

>>> from poolkit.catalog import entry
>>> entry("max_pool").formula
'y = max x'
"""

from __future__ import annotations

from dataclasses import dataclass, field

from poolkit import reducer, window

_KERNEL = ("kernel_size", "cells of a window, an int or one per axis", "窗口的大小，一个整数或每轴一个")
_SLIDING = (
    _KERNEL,
    ("stride", "distance between windows; None: the kernel", "窗口的间距；None 表示与窗口同大"),
    (
        "padding",
        'cells added on both sides, or "same", "same_lower", "valid"',
        '两侧补的格数，或 "same"、"same_lower"、"valid"',
    ),
    ("dilation", "distance between the cells of a window", "窗口内采样点的间距"),
    ("ceil_mode", "keep a last window that overhangs the end", "保留末尾伸出边界的窗口"),
)
_INDICES = ("return_indices", "also give the position of the chosen cell", "同时返回被选中格子的位置")
_OUTPUT = ("output_size", "windows per axis; None keeps an axis", "每轴的窗口数；None 表示保持该轴不变")


@dataclass(frozen=True)
class Entry:
    """One named pooling. `name` gives the functions `name`1d, `name`2d and `name`3d."""

    name: str
    en: str
    zh: str
    formula: str
    latex: str
    reducer: type[reducer.Reducer]
    window: type[window.Sliding | window.Adaptive | window.Fractional]
    parameters: tuple[tuple[str, str, str], ...] = field(repr=False)  # name, meaning, 含义
    source: str
    when: str
    when_zh: str
    call: str  # a runnable line that makes y from x, float32 [1, 3, 32, 32]
    torch: str | None = None  # the module's name in torch.nn without its rank


def entry(name: str) -> Entry:
    """The entry with exactly this name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]


CATALOG: tuple[Entry, ...] = (
    Entry(
        name="max_pool",
        en="Max pooling",
        zh="最大池化",
        formula="y = max x",
        latex=r"y = \max_{i} x_i",
        reducer=reducer.Max,
        window=window.Sliding,
        parameters=(*_SLIDING, _INDICES),
        source="Riesenhuber and Poggio, 1999 (Nature Neuroscience 2)",
        when="Keeps the strongest answer of each window and forgets where it was. The usual choice inside "
        "convolutional networks, where it matters whether a feature is there and not how often.",
        when_zh="保留每个窗口里最强的响应，忘掉它的位置。卷积网络内部的常用选择：在意的是特征是否出现，"
        "而不是出现多少次。",
        call="y = pk.max_pool2d(x, 3, stride=2, padding=1)",
        torch="MaxPool",
    ),
    Entry(
        name="min_pool",
        en="Min pooling",
        zh="最小池化",
        formula="y = min x",
        latex=r"y = \min_{i} x_i",
        reducer=reducer.Min,
        window=window.Sliding,
        parameters=(*_SLIDING, _INDICES),
        source="grey-scale erosion: Serra, 1982 (Image Analysis and Mathematical Morphology)",
        when="Keeps the weakest answer: dark marks on light paper, worst cases, distances. With stride 1 it is "
        "erosion, and with max pooling it makes opening and closing.",
        when_zh="保留最弱的响应：浅色底上的深色笔画、最坏情形、距离。步长为 1 时就是形态学腐蚀，"
        "与最大池化合用可做开运算和闭运算。",
        call="y = pk.min_pool2d(x, 3, stride=1, padding=1)",
    ),
    Entry(
        name="avg_pool",
        en="Average pooling",
        zh="平均池化",
        formula="y = sum x / n",
        latex=r"y = \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Mean,
        window=window.Sliding,
        parameters=(
            *_SLIDING,
            ("count_include_pad", "padding counts in n", "n 是否计入补的格"),
            ("divisor_override", "divide by this instead of n", "用它代替 n 作除数"),
        ),
        source="LeCun et al., 1990 (Handwritten Digit Recognition with a Back-Propagation Network)",
        when="Every cell has its say: smooth maps, down-sampling without a bias to bright values, gradients that reach "
        "every input. Weak answers dilute strong ones.",
        when_zh="每个格子都有发言权：结果平滑，降采样时不偏向大值，梯度能到达所有输入。缺点是弱响应会冲淡强响应。",
        call="y = pk.avg_pool2d(x, 2)",
        torch="AvgPool",
    ),
    Entry(
        name="sum_pool",
        en="Sum pooling",
        zh="求和池化",
        formula="y = sum x",
        latex=r"y = \sum_{i} x_i",
        reducer=reducer.Sum,
        window=window.Sliding,
        parameters=_SLIDING,
        source="histogram-style pooling; SPoC descriptors: Babenko and Lempitsky, 2015 (arXiv:1510.07493)",
        when="Counts and energies: how much there is in a window, not how much on average. Integers add up exactly, in "
        "int64.",
        when_zh="用于计数和能量：窗口里总共有多少，而不是平均有多少。整数以 int64 精确累加。",
        call="y = pk.sum_pool2d(x, 4)",
    ),
    Entry(
        name="lp_pool",
        en="Lp pooling",
        zh="Lp 池化",
        formula="y = (sum |x|^p)^(1/p)",
        latex=r"y = \left( \sum_{i} |x_i|^p \right)^{1/p}",
        reducer=reducer.Lp,
        window=window.Sliding,
        parameters=(("norm_type", "p, above 0 or infinity", "p，大于 0 或无穷大"), *_SLIDING),
        source="Sermanet, Chintala and LeCun, 2012 (arXiv:1204.3968)",
        when="A dial between the sum of magnitudes (p = 1) and the largest magnitude (p = infinity); p = 2 is the "
        "energy of a window. Grows with the size of the window.",
        when_zh="在幅值之和（p = 1）与最大幅值（p 为无穷大）之间连续调节；p = 2 是窗口的能量。结果随窗口变大而变大。",
        call="y = pk.lp_pool2d(x, 2, kernel_size=3, stride=2)",
        torch="LPPool",
    ),
    Entry(
        name="power_mean_pool",
        en="Power-mean pooling (GeM)",
        zh="幂平均池化（GeM）",
        formula="y = (mean max(x, eps)^p)^(1/p)",
        latex=r"y = \left( \frac{1}{n} \sum_{i} \max(x_i, \varepsilon)^p \right)^{1/p}",
        reducer=reducer.PowerMean,
        window=window.Sliding,
        parameters=(
            _KERNEL,
            ("p", "above 0; 1 is the mean, large values approach the maximum", "大于 0;1 为平均，越大越接近最大"),
            ("eps", "cells below it count as it", "小于它的格子按它计"),
            *_SLIDING[1:],
        ),
        source="Radenovic, Tolias and Chum, 2018 (arXiv:1711.02512)",
        when="Image retrieval and fine-grained recognition, usually over the whole map: between mean and maximum, and "
        "independent of the window's size. For values that are not negative.",
        when_zh="图像检索与细粒度识别的首选，通常作用于整张特征图：介于平均与最大之间，且与窗口大小无关。"
        "适用于非负值。",
        call="y = pk.pool(x, pk.Global(), pk.PowerMean(p=3.0))",
    ),
    Entry(
        name="rms_pool",
        en="RMS pooling",
        zh="均方根池化",
        formula="y = sqrt(mean x^2)",
        latex=r"y = \sqrt{\frac{1}{n} \sum_{i} x_i^2}",
        reducer=reducer.RMS,
        window=window.Sliding,
        parameters=_SLIDING,
        source="L2 pooling: Hyvarinen and Hoyer, 2001 (Vision Research 41)",
        when="The strength of a signal with both signs: sound, vibration, filter pairs. Independent of the window's "
        "size, unlike the Lp norm.",
        when_zh="有正有负的信号的强度：声音、振动、成对的滤波器。与 Lp 范数不同，它与窗口大小无关。",
        call="y = pk.rms_pool2d(x, 4)",
    ),
    Entry(
        name="lse_pool",
        en="LogSumExp pooling",
        zh="对数指数和池化",
        formula="y = log(mean exp(beta x)) / beta",
        latex=r"y = \frac{1}{\beta} \log \frac{1}{n} \sum_{i} e^{\beta x_i}",
        reducer=reducer.LogSumExp,
        window=window.Sliding,
        parameters=(
            _KERNEL,
            ("beta", "sharpness, not 0; negative values lean to the minimum", "锐度，不为 0；负值偏向最小"),
            ("mean", "mean inside the logarithm, else the sum", "对数内取平均，否则取和"),
            *_SLIDING[1:],
        ),
        source="Pinheiro and Collobert, 2015 (arXiv:1411.6228)",
        when="A smooth maximum whose gradient reaches all cells: weakly supervised localisation and segmentation, "
        "where max trains a single pixel and the mean trains all alike.",
        when_zh="平滑的最大值，梯度能到达所有格子：适合弱监督定位与分割，那里最大池化只训练一个像素，"
        "而平均池化一视同仁。",
        call="y = pk.lse_pool2d(x, 4, beta=5.0)",
    ),
    Entry(
        name="soft_pool",
        en="Soft pooling",
        zh="软池化",
        formula="y = sum x exp(beta x) / sum exp(beta x)",
        latex=r"y = \frac{\sum_{i} x_i e^{\beta x_i}}{\sum_{i} e^{\beta x_i}}",
        reducer=reducer.Soft,
        window=window.Sliding,
        parameters=(_KERNEL, ("beta", "sharpness, not 0", "锐度，不为 0"), *_SLIDING[1:]),
        source="Stergiou, Poppe and Kalliatakis, 2021 (arXiv:2101.00440)",
        when="A mean weighted towards the strong cells: keeps more detail than max and more contrast than the mean. A "
        "drop-in for max pooling when every input should learn.",
        when_zh="偏重强响应的加权平均：比最大池化保留更多细节，比平均池化保留更多对比度。"
        "想让每个输入都参与学习时，可直接替换最大池化。",
        call="y = pk.soft_pool2d(x, 2)",
    ),
    Entry(
        name="adaptive_max_pool",
        en="Adaptive max pooling",
        zh="自适应最大池化",
        formula="y[j] = max x[floor(j I / O) : ceil((j + 1) I / O)]",
        latex=r"y_j = \max_{\lfloor j I / O \rfloor \le i < \lceil (j + 1) I / O \rceil} x_i",
        reducer=reducer.Max,
        window=window.Adaptive,
        parameters=(_OUTPUT, _INDICES),
        source="spatial pyramid pooling: He et al., 2014 (arXiv:1406.4729)",
        when="A fixed output from inputs of any size, by the strongest answer of each part: in front of a linear "
        "layer, or for regions of different sizes.",
        when_zh="无论输入多大，输出大小固定，每一部分取最强的响应：用在全连接层之前，或用于大小不一的区域。",
        call="y = pk.adaptive_max_pool2d(x, 7)",
        torch="AdaptiveMaxPool",
    ),
    Entry(
        name="adaptive_avg_pool",
        en="Adaptive average pooling",
        zh="自适应平均池化",
        formula="y[j] = mean x[floor(j I / O) : ceil((j + 1) I / O)]",
        latex=r"y_j = \frac{1}{n_j} \sum_{\lfloor j I / O \rfloor \le i < \lceil (j + 1) I / O \rceil} x_i",
        reducer=reducer.Mean,
        window=window.Adaptive,
        parameters=(_OUTPUT,),
        source="global average pooling: Lin, Chen and Yan, 2014 (arXiv:1312.4400)",
        when="The head of most classifiers: output_size=1 is global average pooling. Takes inputs of any size.",
        when_zh="大多数分类器的头部：output_size=1 就是全局平均池化。可接受任意大小的输入。",
        call="y = pk.adaptive_avg_pool2d(x, 1)",
        torch="AdaptiveAvgPool",
    ),
    Entry(
        name="fractional_max_pool",
        en="Fractional max pooling",
        zh="分数最大池化",
        formula="y[j] = max x[s : s + k], s = floor((j + u) a) - floor(u a)",
        latex=r"s_j = \lfloor (j + u) a \rfloor - \lfloor u a \rfloor, \quad a = \frac{I - k}{O - 1}, \quad "
        r"y_j = \max_{s_j \le i < s_j + k} x_i",
        reducer=reducer.Max,
        window=window.Fractional,
        parameters=(
            _KERNEL,
            _OUTPUT,
            (
                "output_ratio",
                "instead of output_size: the share of each side, in (0, 1]",
                "代替 output_size：每边保留的比例，在（0，1] 内",
            ),
            ("seed", "of the random places of the windows", "窗口随机位置的种子"),
            _INDICES,
        ),
        source="Graham, 2014 (arXiv:1412.6071)",
        when="Shrinks by a factor that is not whole, such as 1.4, so that a network can have more pooling layers; the "
        "random places regularise.",
        when_zh="按非整数倍（如 1.4 倍）缩小，网络因此可以有更多的池化层；随机的位置还有正则化作用。",
        call="y = pk.fractional_max_pool2d(x, 2, output_ratio=0.7, seed=0)",
        torch="FractionalMaxPool",
    ),
    Entry(
        name="max_unpool",
        en="Max unpooling",
        zh="最大反池化",
        formula="y[indices] = x, 0 elsewhere",
        latex=r"y_{k_j} = x_j, \quad y_i = 0 \text{ elsewhere}",
        reducer=reducer.Max,
        window=window.Sliding,
        parameters=(
            ("indices", "positions that max_pool gave with return_indices", "max_pool 以 return_indices 给出的位置"),
            *_SLIDING[:3],
            ("output_size", "the size before pooling, where it is not unique", "池化前的大小，用于不唯一的情形"),
        ),
        source="Zeiler, Taylor and Fergus, 2011 (Adaptive Deconvolutional Networks)",
        when="Puts the maxima back where they came from: decoders of segmentation networks, and pictures of what a "
        "network saw.",
        when_zh="把最大值放回原处：用于分割网络的解码器，以及显示网络看到了什么。",
        call="y = pk.max_unpool2d(*pk.max_pool2d(x, 2, return_indices=True), 2)",
        torch="MaxUnpool",
    ),
)

_BY_NAME = {row.name: row for row in CATALOG}

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
    "Scaled, so that no power overflows or vanishes on the way.": "计算中先缩放，任何乘方都不会上溢或消失。",
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

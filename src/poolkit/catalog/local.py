"""Windows with the plainest reducers: the largest, the smallest, the mean and the sum."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import INDICES, SLIDING, Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="local",
        name="max_pool",
        en="Max pooling",
        zh="最大池化",
        formula="y = max x",
        latex=r"y = \max_{i} x_i",
        reducer=reducer.Max,
        window=window.Sliding,
        modules=("MaxPool1d", "MaxPool2d", "MaxPool3d"),
        parameters=(*SLIDING, INDICES),
        source="Riesenhuber and Poggio, 1999 (Nature Neuroscience 2)",
        when="Keeps the strongest answer of each window and forgets where it was. The usual choice inside "
        "convolutional networks, where it matters whether a feature is there and not how often.",
        when_zh="保留每个窗口里最强的响应，忘掉它的位置。卷积网络内部的常用选择：在意的是特征是否出现，"
        "而不是出现多少次。",
        unless=(
            (
                "Where every cell should count or learn: noise is kept as readily as signal, and only one cell of a "
                "window receives a gradient. Where the output must not jump when the input shifts by a pixel: blur "
                "before the stride."
            ),
            (
                "每个格子都应计入或都应学习时：噪声与信号一样会被保留，而每个窗口只有一个格子得到梯度。"
                "要求输入平移一个像素而输出不突变时：应先模糊再取步长。"
            ),
        ),
        gradient=(
            (
                "The whole gradient goes to the chosen cell, the first in row-major order among equals; the other "
                "cells get 0. Where windows overlap, a cell adds up what its windows send."
            ),
            (
                "梯度全部传给被选中的格子（相等时为行优先顺序的第一个），其余格子为 0。窗口重叠时，"
                "同一格子把各窗口传来的梯度相加。"
            ),
        ),
        cost=(
            (
                "Comparisons only; windows that overlap share them, so that at stride 1 a 31x31 window takes little "
                "more than twice the time of a 3x3 one. Training keeps the place in its window for each output: one "
                "byte, two from 256 cells on."
            ),
            (
                "只有比较；重叠的窗口共用比较结果，因此步长为 1 时 31x31 的窗口只比 3x3 的两倍时间略多。"
                "训练时每个输出只保存它在窗口内的位置：一个字节，窗口达到 256 格起为两个字节。"
            ),
        ),
        traps=(
            (
                (
                    "With a stride above 1 it is not invariant to shifts: moving the input by one pixel can change "
                    "every output. Only small shifts inside a window leave a maximum where it is."
                ),
                (
                    "步长大于 1 时，它对平移并不是不变的：输入移动一个像素就可能改变所有输出。"
                    "只有窗口内部的微小移动才不改变最大值。"
                ),
            ),
            (
                (
                    "Padding must never win. Filling with 0 instead of leaving padding out is wrong for maps with "
                    "negative values."
                ),
                "补的格绝不能胜出。用 0 填充而不是把补的格排除在外，遇到负值的特征图就会出错。",
            ),
            (
                "The stride's default differs: the kernel in torch, Keras and MLX, 1 in Flax, Equinox and ONNX.",
                "步长的默认值各不相同：torch、Keras、MLX 为窗口大小，Flax、Equinox、ONNX 为 1。",
            ),
            (
                (
                    "Indices count inside one plane in torch and here, over the whole tensor in ONNX, with the "
                    "channels last in TensorFlow."
                ),
                "位置的编号方式不同：torch 与这里在单个平面内编号，ONNX 在整个张量内编号，TensorFlow 则通道在最后。",
            ),
        ),
        ships=(
            "torch",
            "Keras",
            "TensorFlow",
            "Flax",
            "Haiku",
            "Equinox",
            "MLX",
            "tinygrad",
            "ONNX",
            "OpenVINO",
            "MONAI",
        ),
        call="y = pk.max_pool2d(x, 3, stride=2, padding=1)",
        torch="MaxPool",
    ),
    Entry(
        family="local",
        name="min_pool",
        en="Min pooling",
        zh="最小池化",
        formula="y = min x",
        latex=r"y = \min_{i} x_i",
        reducer=reducer.Min,
        window=window.Sliding,
        modules=("MinPool1d", "MinPool2d", "MinPool3d"),
        parameters=(*SLIDING, INDICES),
        source="grey-scale erosion: Serra, 1982 (Image Analysis and Mathematical Morphology)",
        when="Keeps the weakest answer: dark marks on light paper, worst cases, distances. With stride 1 it is "
        "erosion, and with max pooling it makes opening and closing.",
        when_zh="保留最弱的响应：浅色底上的深色笔画、最坏情形、距离。步长为 1 时就是形态学腐蚀，"
        "与最大池化合用可做开运算和闭运算。",
        unless=(
            "After a ReLU: most windows hold a 0 then, and little else is left.",
            "在 ReLU 之后：那时多数窗口里都有 0，几乎什么也留不下。",
        ),
        gradient=(
            (
                "The whole gradient goes to the chosen cell, the first in row-major order among equals; the other "
                "cells get 0."
            ),
            "梯度全部传给被选中的格子（相等时为行优先顺序的第一个），其余格子为 0。",
        ),
        cost=(
            "As for max pooling: shared comparisons, and a small position for each output in training.",
            "与最大池化相同：比较结果共用，训练时每个输出保存一个很小的位置。",
        ),
        traps=(
            (
                (
                    "Writing it as -max(-x) breaks at the smallest integer, which has no positive counterpart, and a "
                    "padding of 0 then wins in windows of positive values."
                ),
                "写成 -max(-x) 时，最小的整数没有对应的正数，会溢出；若用 0 填充，在正值的窗口里补的格还会胜出。",
            ),
        ),
        ships=("Flax",),
        call="y = pk.min_pool2d(x, 3, stride=1, padding=1)",
    ),
    Entry(
        family="local",
        name="avg_pool",
        en="Average pooling",
        zh="平均池化",
        formula="y = sum x / n",
        latex=r"y = \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Mean,
        window=window.Sliding,
        modules=("AvgPool1d", "AvgPool2d", "AvgPool3d"),
        parameters=(
            *SLIDING,
            ("count_include_pad", "padding counts in n", "n 是否计入补的格"),
            ("divisor_override", "divide by this instead of n", "用它代替 n 作除数"),
        ),
        source="LeCun et al., 1990 (Handwritten Digit Recognition with a Back-Propagation Network)",
        when="Every cell has its say: smooth maps, down-sampling without a bias to bright values, gradients that reach "
        "every input. Weak answers dilute strong ones.",
        when_zh="每个格子都有发言权：结果平滑，降采样时不偏向大值，梯度能到达所有输入。缺点是弱响应会冲淡强响应。",
        unless=(
            (
                "Where a feature is rare and its place does not matter: one strong cell among many weak ones is lost "
                "in the mean."
            ),
            "特征稀少而位置无关紧要时：许多弱响应中的一个强响应会淹没在平均值里。",
        ),
        gradient=(
            "Each cell of a window receives the output's gradient divided by n, whatever its value.",
            "窗口内每个格子都得到输出梯度的 1/n，与自身数值无关。",
        ),
        cost=(
            (
                "Additions only; windows that overlap share partial sums, so that at stride 1 a 31x31 window takes "
                "about twice the time of a 3x3 one. Training keeps nothing."
            ),
            "只有加法；重叠的窗口共用部分和，因此步长为 1 时 31x31 的窗口约为 3x3 的两倍时间。训练时不保存任何东西。",
        ),
        traps=(
            (
                (
                    "What n counts differs. torch and Flax include padding by default, ONNX excludes it by default, "
                    "TensorFlow, Keras and Haiku always exclude it. With ceil_mode, taps beyond the padding never "
                    "count in torch and here."
                ),
                (
                    "n 的含义各不相同：torch 与 Flax 默认计入补的格，ONNX 默认不计，TensorFlow、Keras、Haiku 一律不计。"
                    "ceil_mode 时，超出补格的采样点在 torch 和这里都不计。"
                ),
            ),
            (
                "With a stride above 1 it is not invariant to shifts either; its box filter only weakens aliasing.",
                "步长大于 1 时它同样不具有平移不变性；其方框滤波只能减弱混叠。",
            ),
            (
                (
                    "Half precision that also accumulates in half precision stops growing: the mean of many ones comes "
                    "out below 1."
                ),
                "半精度若也用半精度累加，和会停止增长：许多个 1 的平均竟小于 1。",
            ),
        ),
        ships=(
            "torch",
            "Keras",
            "TensorFlow",
            "Flax",
            "Haiku",
            "Equinox",
            "MLX",
            "tinygrad",
            "ONNX",
            "OpenVINO",
            "MONAI",
        ),
        call="y = pk.avg_pool2d(x, 2)",
        torch="AvgPool",
    ),
    Entry(
        family="local",
        name="sum_pool",
        en="Sum pooling",
        zh="求和池化",
        formula="y = sum x",
        latex=r"y = \sum_{i} x_i",
        reducer=reducer.Sum,
        window=window.Sliding,
        modules=("SumPool1d", "SumPool2d", "SumPool3d"),
        parameters=SLIDING,
        source="histogram-style pooling; SPoC descriptors: Babenko and Lempitsky, 2015 (arXiv:1510.07493)",
        when="Counts and energies: how much there is in a window, not how much on average. Integers add up exactly, in "
        "int64.",
        when_zh="用于计数和能量：窗口里总共有多少，而不是平均有多少。整数以 int64 精确累加。",
        unless=(
            (
                "Where windows differ in size, at borders or in adaptive pooling, and results should be comparable: "
                "take the mean."
            ),
            "窗口大小不一（边界处或自适应池化）而结果需要可比时：应取平均。",
        ),
        gradient=(
            "Each cell of a window receives the output's gradient unchanged.",
            "窗口内每个格子都原样得到输出的梯度。",
        ),
        cost=(
            "As for average pooling: shared additions, and nothing kept in training.",
            "与平均池化相同：加法共用，训练时不保存任何东西。",
        ),
        traps=(
            (
                "The values grow with the window, which float16 (largest number 65504) soon cannot hold.",
                "数值随窗口增大，float16（最大 65504）很快就装不下。",
            ),
            (
                "torch has it only as avg_pool2d or avg_pool3d with divisor_override=1, and not in 1-D.",
                "torch 只能用 avg_pool2d 或 avg_pool3d 加 divisor_override=1 得到它，一维没有。",
            ),
        ),
        ships=("Flax (pool with lax.add)", "JAX (lax.reduce_window)"),
        call="y = pk.sum_pool2d(x, 4)",
    ),
)

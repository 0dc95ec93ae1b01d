"""Windows with smooth reducers between sum, mean and maximum: norms, power means and exponential weights."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import KERNEL, SLIDING, Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="local",
        name="lp_pool",
        en="Lp pooling",
        zh="Lp 池化",
        formula="y = (sum |x|^p)^(1/p)",
        latex=r"y = \left( \sum_{i} |x_i|^p \right)^{1/p}",
        reducer=reducer.Lp,
        window=window.Sliding,
        modules=("LPPool1d", "LPPool2d", "LPPool3d"),
        parameters=(("norm_type", "p, above 0 or infinity", "p，大于 0 或无穷大"), *SLIDING),
        source="Sermanet, Chintala and LeCun, 2012 (arXiv:1204.3968)",
        when="A dial between the sum of magnitudes (p = 1) and the largest magnitude (p = infinity); p = 2 is the "
        "energy of a window. Grows with the size of the window.",
        when_zh="在幅值之和（p = 1）与最大幅值（p 为无穷大）之间连续调节；p = 2 是窗口的能量。结果随窗口变大而变大。",
        unless=(
            (
                "Where the sign carries meaning: it is lost. Where windows differ in size: a power mean does not grow "
                "with them. With p below 1 in training: the gradient has no bound near 0."
            ),
            "符号有意义时：符号会丢失。窗口大小不一时：幂平均不随窗口增大。训练中 p 小于 1 时：梯度在 0 附近没有上界。",
        ),
        gradient=(
            (
                "sign(x_i) |x_i|^(p-1) y^(1-p): large cells receive more for p above 1, all the same for p = 1. A "
                "window of zeros gives gradient 0."
            ),
            "sign(x_i) |x_i|^(p-1) y^(1-p)：p 大于 1 时大的格子得到更多，p = 1 时各格相同。全零的窗口梯度为 0。",
        ),
        cost=(
            (
                "One power for each input and one for each output; the sums are shared by overlapping windows. "
                "Training keeps input and output."
            ),
            "每个输入和每个输出各一次乘方；求和由重叠的窗口共用。训练时保存输入与输出。",
        ),
        traps=(
            (
                (
                    "torch leaves out the absolute value: odd p on negative numbers gives signed sums or NaN, "
                    "fractional p NaN. ONNX and this library take |x|."
                ),
                "torch 漏掉了绝对值：p 为奇数时，负数会得到带符号的和或 NaN；p 为小数时得到 NaN。ONNX 与本库取 |x|。",
            ),
            (
                "With ceil_mode torch scales the windows that overhang as if they were whole, and overstates them.",
                "ceil_mode 时，torch 把伸出边界的窗口当作完整窗口来缩放，结果偏大。",
            ),
            (
                "Taken literally the power overflows or vanishes: 1e20 squared is beyond float32. Scale first.",
                "照公式直接计算会上溢或消失：1e20 的平方已超出 float32。应先缩放。",
            ),
        ),
        ships=("torch", "ONNX"),
        call="y = pk.lp_pool2d(x, 2, kernel_size=3, stride=2)",
        torch="LPPool",
    ),
    Entry(
        family="local",
        name="power_mean_pool",
        en="Power-mean pooling (GeM)",
        zh="幂平均池化（GeM）",
        formula="y = (mean max(x, eps)^p)^(1/p)",
        latex=r"y = \left( \frac{1}{n} \sum_{i} \max(x_i, \varepsilon)^p \right)^{1/p}",
        reducer=reducer.PowerMean,
        window=window.Sliding,
        modules=("PowerMeanPool1d", "PowerMeanPool2d", "PowerMeanPool3d"),
        parameters=(
            KERNEL,
            ("p", "above 0; 1 is the mean, large values approach the maximum", "大于 0；1 为平均，越大越接近最大"),
            ("eps", "cells below it count as it", "小于它的格子按它计"),
            *SLIDING[1:],
        ),
        source="Radenovic, Tolias and Chum, 2018 (arXiv:1711.02512, eq. 3)",
        when="Image retrieval and fine-grained recognition, usually over the whole map: between mean and maximum, and "
        "independent of the window's size. For values that are not negative.",
        when_zh="常用于图像检索与细粒度识别，通常作用于整张特征图：介于平均与最大之间，且与窗口大小无关。"
        "适用于非负值。",
        unless=(
            (
                "For signed values: everything below eps counts as eps and receives no gradient. Take the root mean "
                "square or LogSumExp there."
            ),
            "数值有正有负时：小于 eps 的都按 eps 计，也得不到梯度。此时可用均方根或 LogSumExp。",
        ),
        gradient=(
            "x_i^(p-1) y^(1-p) / n for cells above eps, 0 for those that were raised to it.",
            "大于 eps 的格子为 x_i^(p-1) y^(1-p) / n；被抬到 eps 的格子为 0。",
        ),
        cost=(
            (
                "One power for each input and one for each output; the sums are shared by overlapping windows. "
                "Training keeps input and output."
            ),
            "每个输入和每个输出各一次乘方；求和由重叠的窗口共用。训练时保存输入与输出。",
        ),
        traps=(
            (
                "Without the clamp at eps negative values give NaN; some implementations leave it out.",
                "若不以 eps 截断，负值会得到 NaN；有些实现就漏掉了这一步。",
            ),
            (
                "In float16 eps^p is 0 for the usual eps = 1e-6, p = 3: the powers need float32.",
                "按常用的 eps = 1e-6、p = 3，eps^p 在 float16 中为 0：乘方需用 float32。",
            ),
            (
                "PyTorch Geometric's power mean also clamps from above, at 100, without a word.",
                "PyTorch Geometric 的幂平均还会悄悄地以 100 为上限截断。",
            ),
        ),
        ships=("PyTorch Geometric (PowerMeanAggregation)", "fast-reid", "mmpretrain"),
        call="y = pk.pool(x, pk.Global(), pk.PowerMean(p=3.0))",
    ),
    Entry(
        family="local",
        name="rms_pool",
        en="RMS pooling",
        zh="均方根池化",
        formula="y = sqrt(mean x^2)",
        latex=r"y = \sqrt{\frac{1}{n} \sum_{i} x_i^2}",
        reducer=reducer.RMS,
        window=window.Sliding,
        modules=("RMSPool1d", "RMSPool2d", "RMSPool3d"),
        parameters=SLIDING,
        source="L2 pooling: Hyvarinen and Hoyer, 2001 (Vision Research 41)",
        when="The strength of a signal with both signs: sound, vibration, filter pairs. Independent of the window's "
        "size, unlike the Lp norm.",
        when_zh="有正有负的信号的强度：声音、振动、成对的滤波器。与 Lp 范数不同，它与窗口大小无关。",
        unless=(
            "Where the sign carries meaning, or where one outlier must not rule: squares weigh it heavily.",
            "符号有意义时；或不允许单个离群值主导时：平方会把它的权重放得很大。",
        ),
        gradient=(
            "x_i / (n y); 0 for a window of zeros, where the root has no slope.",
            "x_i / (n y)；全零的窗口处根号没有斜率，取 0。",
        ),
        cost=(
            (
                "One multiplication for each input and one root for each output; the sums are shared by overlapping "
                "windows. Training keeps input and output."
            ),
            "每个输入一次乘法，每个输出一次开方；求和由重叠的窗口共用。训练时保存输入与输出。",
        ),
        traps=(
            (
                (
                    "sqrt(avg_pool(x**2)) put together by hand has an infinite slope at 0, which becomes NaN in "
                    "training, and overflows from 1.8e19 on in float32."
                ),
                "手工拼成的 sqrt(avg_pool(x**2)) 在 0 处斜率无穷大，训练中变成 NaN；float32 下自 1.8e19 起上溢。",
            ),
        ),
        call="y = pk.rms_pool2d(x, 4)",
    ),
    Entry(
        family="local",
        name="lse_pool",
        en="LogSumExp pooling",
        zh="对数指数和池化",
        formula="y = log(mean exp(beta x)) / beta",
        latex=r"y = \frac{1}{\beta} \log \frac{1}{n} \sum_{i} e^{\beta x_i}",
        reducer=reducer.LogSumExp,
        window=window.Sliding,
        modules=("LogSumExpPool1d", "LogSumExpPool2d", "LogSumExpPool3d"),
        parameters=(
            KERNEL,
            ("beta", "sharpness, not 0; negative values lean to the minimum", "锐度，不为 0；负值偏向最小"),
            ("mean", "mean inside the logarithm, else the sum", "对数内取平均，否则取和"),
            *SLIDING[1:],
        ),
        source="Pinheiro and Collobert, 2015 (arXiv:1411.6228)",
        when="A smooth maximum whose gradient reaches all cells: weakly supervised localisation and segmentation, "
        "where max trains a single pixel and the mean trains all alike.",
        when_zh="平滑的最大值，梯度能到达所有格子：适合弱监督定位与分割，那里最大池化只训练一个像素，"
        "而平均池化一视同仁。",
        unless=(
            (
                "Where the scale of the values is unknown or drifts: beta is relative to it, so that the same beta is "
                "a mean for small values and a maximum for large ones."
            ),
            "数值的尺度未知或会漂移时：beta 是相对于尺度的，同一个 beta 对小数值近似平均，对大数值近似最大。",
        ),
        gradient=(
            "The softmax of beta x over the window: positive, summing to 1, largest at the largest cell.",
            "窗口内 beta x 的 softmax：均为正，和为 1，最大的格子得到最多。",
        ),
        cost=(
            (
                "One exponential for each input and one logarithm for each output; the sums are shared by overlapping "
                "windows. Training keeps the input and one number for each output."
            ),
            "每个输入一次指数，每个输出一次对数；求和由重叠的窗口共用。训练时保存输入以及每个输出一个数。",
        ),
        traps=(
            (
                (
                    "Without taking out the largest exponent first, exp overflows at 88.7 in float32 and 11.1 in "
                    "float16. With a negative beta that is the smallest x, not the largest."
                ),
                (
                    "若不先提出最大的指数，exp 在 float32 中超过 88.7、在 float16 中超过 11.1 就上溢。"
                    "beta 为负时，要提出的是最小的 x 而不是最大的。"
                ),
            ),
            (
                (
                    "Sum or mean inside the logarithm: they differ by log(n) / beta. With the sum the result lies "
                    "above the maximum and depends on the window's size."
                ),
                "对数内取和还是取平均，相差 log(n) / beta。取和时结果大于最大值，并随窗口大小变化。",
            ),
        ),
        ships=("timm (LsePlus1d, LsePlus2d)",),
        call="y = pk.lse_pool2d(x, 4, beta=5.0)",
    ),
    Entry(
        family="local",
        name="soft_pool",
        en="Soft pooling",
        zh="软池化",
        formula="y = sum x exp(beta x) / sum exp(beta x)",
        latex=r"y = \frac{\sum_{i} x_i e^{\beta x_i}}{\sum_{i} e^{\beta x_i}}",
        reducer=reducer.Soft,
        window=window.Sliding,
        modules=("SoftPool1d", "SoftPool2d", "SoftPool3d"),
        parameters=(KERNEL, ("beta", "sharpness, not 0", "锐度，不为 0"), *SLIDING[1:]),
        source="Stergiou, Poppe and Kalliatakis, 2021 (arXiv:2101.00440, eq. 1 and 2, with beta = 1)",
        when="A mean weighted towards the strong cells: keeps more detail than max and more contrast than the mean. A "
        "drop-in for max pooling when every input should learn.",
        when_zh="偏重强响应的加权平均：比最大池化保留更多细节，比平均池化保留更多对比度。"
        "想让每个输入都参与学习时，可直接替换最大池化。",
        unless=(
            (
                "Where values are small, well below 1: with beta = 1 the weights are then all but equal and it is the "
                "mean, at a higher price. Where a larger input must never lower the output: more than 1 / beta below "
                "y it does."
            ),
            (
                "数值很小（远小于 1）时：beta = 1 下各权重几乎相等，等于用更高的代价求平均。"
                "要求输入增大时输出绝不减小时：比 y 低超过 1 / beta 的格子增大，输出反而减小。"
            ),
        ),
        gradient=(
            (
                "w_i (1 + beta (x_i - y)) with the softmax weights w: every cell receives some, and cells more than "
                "1 / beta below y a negative share."
            ),
            "w_i (1 + beta (x_i - y))，w 为 softmax 权重：每个格子都得到一份；比 y 低超过 1 / beta 的格子得到负值。",
        ),
        cost=(
            (
                "One exponential for each input and two sums, shared by overlapping windows. Training keeps input, "
                "output and one number for each output."
            ),
            "每个输入一次指数，外加两个求和，由重叠的窗口共用。训练时保存输入、输出以及每个输出一个数。",
        ),
        traps=(
            (
                (
                    "The exponentials must be shifted: unshifted they overflow at 88.7 in float32 and 11.1 in "
                    "float16. The original code hides the NaN that follows by writing 0."
                ),
                (
                    "指数必须先平移：不平移时 float32 超过 88.7、float16 超过 11.1 就上溢。"
                    "原作者的代码把随之而来的 NaN 改写成 0 掩盖过去。"
                ),
            ),
        ),
        ships=("SoftPool", "PyTorch Geometric (SoftmaxAggregation)"),
        call="y = pk.soft_pool2d(x, 2)",
    ),
)

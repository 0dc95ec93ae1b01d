"""Windows whose power, sharpness, mixture or filter is learned."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import KERNEL, SLIDING, Entry

_KERNEL = (
    "kernel_size",
    "cells of a window, an int or one per axis; None (modules): one window over everything",
    "窗口的大小，一个整数或每轴一个；None（模块）：一个窗口覆盖全部",
)
_CHANNELS = (
    "channels",
    "modules: channels of the input, each with a value of its own; None shares one",
    "模块：输入的通道数，每个通道各有一个值；None 表示共用一个",
)
_LEARNED = ("learned", "modules: False keeps the value as it is", "模块：False 表示保持初值不变")
_PHASES = (
    "The same in training and evaluation; training also learns the value.",
    "训练与评估时计算相同；训练时还会学习该值。",
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="learned",
        name="gem_pool",
        en="GeM pooling (learned power)",
        zh="GeM 池化（可学习幂次）",
        formula="y = (mean max(x, eps)^p)^(1/p), p learned",
        latex=r"y = \left( \frac{1}{n} \sum_{i} \max(x_i, \varepsilon)^p \right)^{1/p}",
        reducer=reducer.GeM,
        window=window.Sliding,
        modules=("GeMPool1d", "GeMPool2d", "GeMPool3d"),
        parameters=(
            _KERNEL,
            (
                "p",
                "the power, with modules the one before training; 1 is the mean, large values approach the maximum",
                "幂次，模块中为训练前的初值；1 为平均，越大越接近最大",
            ),
            ("eps", "cells below it count as it", "小于它的格子按它计"),
            *SLIDING[1:],
            _CHANNELS,
            _LEARNED,
        ),
        source="Radenovic, Tolias and Chum, 2018 (arXiv:1711.02512, eq. 3)",
        when="The head of a retrieval or fine-grained recognition network: training finds where between mean and "
        "maximum the descriptor is best, for all maps or for each.",
        when_zh="图像检索或细粒度识别网络的头部：由训练找出描述子在平均与最大之间的最佳位置，"
        "可以所有特征图共用，也可以各有一个。",
        unless=(
            (
                "For signed values: everything below eps counts as eps and receives no gradient. Where the power is "
                "known: power-mean pooling takes a fixed one faster."
            ),
            "数值有正有负时：小于 eps 的都按 eps 计，也得不到梯度。幂次已知时：固定幂次的幂平均池化更快。",
        ),
        phases=_PHASES,
        gradient=(
            (
                "x_i^(p-1) y^(1-p) / n for cells above eps, 0 for those raised to it. The power receives (y / p) (sum "
                "x^p ln x / sum x^p - ln y)."
            ),
            (
                "大于 eps 的格子为 x_i^(p-1) y^(1-p) / n，被抬到 eps 的为 0。"
                "幂次得到 (y / p) (Σ x^p ln x / Σ x^p - ln y)。"
            ),
        ),
        cost=(
            "One logarithm and one exponential for each cell of each window. Training keeps the input.",
            "每个窗口的每个格子各一次对数和一次指数。训练时保存输入。",
        ),
        traps=(
            (
                "In float16 eps^p is 0 for eps = 1e-6 and p = 3, and the root of it has no slope: sums need float32.",
                "eps = 1e-6、p = 3 时，eps^p 在 float16 中为 0，开方处没有斜率：求和需用 float32。",
            ),
            (
                "Without the clamp at eps negative values give NaN; tensorflow-similarity leaves it out.",
                "若不以 eps 截断，负值会得到 NaN；tensorflow-similarity 就漏掉了这一步。",
            ),
            (
                (
                    "Weight decay pulls the power towards 0, where the formula ends. Leave it out of the decay; here "
                    "a learned power below 0.01 counts as 0.01."
                ),
                "权重衰减把幂次拉向 0，公式在那里失效。应把它排除在衰减之外；这里学到的幂次低于 0.01 时按 0.01 计。",
            ),
        ),
        ships=("fast-reid", "mmpretrain", "tensorflow-similarity"),
        call="y = nn.GeMPool2d(channels=3)(t)",
    ),
    Entry(
        family="learned",
        name="boltzmann_pool",
        en="Boltzmann pooling (learned sharpness)",
        zh="玻尔兹曼池化（可学习锐度）",
        formula="y = sum x exp(beta x) / sum exp(beta x), beta learned",
        latex=r"y = \frac{\sum_{i} x_i e^{\beta x_i}}{\sum_{i} e^{\beta x_i}}",
        reducer=reducer.Boltzmann,
        window=window.Sliding,
        modules=("BoltzmannPool1d", "BoltzmannPool2d", "BoltzmannPool3d"),
        parameters=(
            _KERNEL,
            (
                "beta",
                "sharpness, with modules the one before training; 0 is the mean, negative values lean to the minimum",
                "锐度，模块中为训练前的初值；0 为平均，负值偏向最小",
            ),
            *SLIDING[1:],
            _CHANNELS,
            _LEARNED,
        ),
        source="Asadi and Littman, 2017 (arXiv:1612.05628); learned: McFee, Salamon and Bello, 2018 (arXiv:1804.10070)",
        when="Soft pooling whose sharpness is not known: from minimum over mean to maximum in one parameter, for the "
        "layer or for each channel, over windows or everything.",
        when_zh="锐度事先不知道的软池化：一个参数就能从最小经平均到最大，可以整层共用，也可以每个通道一个；"
        "可用于窗口，也可用于全局。",
        unless=(
            (
                "Where a larger input must never lower the output: more than 1 / beta below y it does. Where the "
                "sharpness is fixed: soft pooling shares its sums between windows."
            ),
            (
                "要求输入增大时输出绝不减小时：比 y 低超过 1 / beta 的格子增大，输出反而减小。"
                "锐度固定时：软池化的求和由窗口共用，更快。"
            ),
        ),
        phases=_PHASES,
        gradient=(
            (
                "w_i (1 + beta (x_i - y)) with the softmax weights w. The sharpness receives the variance of the cells "
                "under these weights, which is never negative."
            ),
            "w_i (1 + beta (x_i - y))，w 为 softmax 权重。锐度得到各格在这些权重下的方差，从不为负。",
        ),
        cost=(
            "One exponential for each cell of each window. Training keeps the input.",
            "每个窗口的每个格子一次指数。训练时保存输入。",
        ),
        traps=(
            (
                (
                    "The largest exponent must come out first. It is that of the largest cell for a positive beta, of "
                    "the smallest for a negative one, and a learned beta may change its sign."
                ),
                "必须先提出最大的指数。beta 为正时它属于最大的格子，为负时属于最小的；学到的 beta 可能变号。",
            ),
            (
                "The sharpness is relative to the scale of the values, and learns slowly where they hardly differ.",
                "锐度是相对于数值尺度的；各格相差很小时，它学得很慢。",
            ),
        ),
        ships=("PyTorch Geometric (SoftmaxAggregation)",),
        call="y = nn.BoltzmannPool2d(2, beta=0.0, channels=3)(t)",
    ),
    Entry(
        family="learned",
        name="ada_pool",
        en="AdaPool (eDSCW and IDW)",
        zh="AdaPool（eDSCW 与 IDW）",
        formula="y = b sum x e^d / sum e^d + (1 - b) sum x e^x / sum e^x, d = 2 |x m| / (x^2 + m^2), m = mean x",
        latex=r"y = \beta \frac{\sum_{i} x_i e^{d_i}}{\sum_{i} e^{d_i}} + (1 - \beta) "
        r"\frac{\sum_{i} x_i e^{x_i}}{\sum_{i} e^{x_i}}, \quad d_i = \frac{2 | x_i m |}{x_i^2 + m^2}, \quad "
        r"m = \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Ada,
        window=window.Sliding,
        modules=("AdaPool1d", "AdaPool2d", "AdaPool3d"),
        parameters=(
            _KERNEL,
            (
                "beta",
                "share of the weighting by likeness, in [0, 1]; with modules the one before training",
                "按相似度加权的占比，在 [0, 1] 内；模块中为训练前的初值",
            ),
            (
                "weighting",
                '"edscw": softmax of the Dice coefficient with the mean; "idw": inverse distance to the mean',
                '"edscw"：与平均值的 Dice 系数的 softmax；"idw"：到平均值距离的倒数',
            ),
            ("eps", 'for "idw": added to distances', '用于 "idw"：加在距离上'),
            *SLIDING[1:],
            _CHANNELS,
            _LEARNED,
            ("clamp", "modules: shares count as no less than 0 and no more than 1", "模块：占比截断到 [0, 1]"),
        ),
        source="Stergiou and Poppe, 2022 (arXiv:2111.00772)",
        when="Down-sampling that should keep detail: one half weighs cells by how well they fit the window, the other "
        "by how strong they are, and the balance is learned.",
        when_zh="希望保留细节的降采样：一半按格子与窗口的相合程度加权，另一半按强度加权，两者的比例由训练决定。",
        unless=(
            (
                "Where time matters: soft or average pooling costs less than half and is often as good. Where zeros "
                "are frequent: their coefficient is 0, so that they weigh least."
            ),
            "时间要紧时：软池化或平均池化的代价不到它的一半，往往一样好。零值很多时：零的系数为 0，权重最小。",
        ),
        phases=_PHASES,
        gradient=(
            (
                "Through the weights, the mean inside them and the soft part, all in closed form. The share receives "
                "the difference of the two parts."
            ),
            "经由权重、权重里的平均值以及软池化部分，均为闭式。占比得到两部分之差。",
        ),
        cost=(
            "Two exponentials for each cell of each window. Training keeps the input.",
            "每个窗口的每个格子两次指数。训练时保存输入。",
        ),
        traps=(
            (
                (
                    "The published module has a share for each place of the output, and takes one input size only. "
                    "Here it belongs to the layer or the channel."
                ),
                "原作者的模块为输出的每个位置各设一个占比，因此只能接受一种输入大小。这里的占比属于层或通道。",
            ),
            (
                (
                    "A window of zeros is 0 / 0 in the coefficient. The published code turns the NaN into 0, and with "
                    "it every NaN of the input; here the coefficient is 0 and NaN stays NaN."
                ),
                (
                    "全零的窗口，其系数为 0/0。原作者的代码把 NaN 改写成 0，输入里真正的 NaN 也一并被掩盖；"
                    "这里系数取 0，NaN 仍是 NaN。"
                ),
            ),
            (
                "The original needs a GPU extension: without it the module does not import.",
                "原实现依赖 GPU 扩展：没有它，模块无法导入。",
            ),
        ),
        ships=("adaPool",),
        call="y = nn.AdaPool2d(2)(t)",
    ),
    Entry(
        family="learned",
        name="filter_pool",
        en="Filter pooling",
        zh="滤波池化",
        formula="y = sum_i w_i x_i",
        latex=r"y = \sum_{i} w_i x_i",
        reducer=reducer.Filter,
        window=window.Sliding,
        modules=("FilterPool1d", "FilterPool2d", "FilterPool3d"),
        parameters=(
            KERNEL,
            ("weights", "functions: one for each cell of the kernel, in row-major order", "函数：窗口每格一个，行优先"),
            *SLIDING[1:],
            (
                "channels",
                "modules: channels of the input, each with a filter of its own; None shares one",
                "模块：输入的通道数，每个通道各有一个滤波器；None 表示共用一个",
            ),
        ),
        source="the pooling filters of Lee, Gallagher and Tu, 2016 (arXiv:1509.08985, section 3.3)",
        when="Average pooling with weights by place, given or learned: binomial and Gaussian windows, learned "
        "down-sampling with few parameters.",
        when_zh="各位置权重不同的平均池化，权重可给定也可学习：二项式或高斯窗口、参数很少的可学习降采样。",
        unless=(
            (
                "Where channels should mix: use a convolution with a stride. Where windows vary in size: a filter has "
                "no weights for them."
            ),
            "需要混合通道时：用带步长的卷积。窗口大小不一时：滤波器没有对应的权重。",
        ),
        phases=(
            "The same in training and evaluation; training also learns the module's weights.",
            "训练与评估时计算相同；训练时还会学习模块的权重。",
        ),
        gradient=(
            "w_i to each cell. A weight receives the sum of its cell's values times the output's gradients.",
            "每个格子得到 w_i。权重得到它所在位置的各个值与输出梯度乘积之和。",
        ),
        cost=(
            "One multiplication for each cell of each window. Training keeps the input.",
            "每个窗口的每个格子一次乘法。训练时保存输入。",
        ),
        traps=(
            (
                "Cells outside the input count as 0: at a border the sum of the weights in use is smaller.",
                "输入之外的格子按 0 计：在边界处，实际用到的权重之和变小。",
            ),
            (
                "Learned weights need not be positive nor sum to 1: the result may leave the range of the cells.",
                "学到的权重不一定为正，和也不一定为 1：结果可能超出各格的范围。",
            ),
        ),
        ships=("every framework's depthwise convolution",),
        call="y = pk.filter_pool2d(x, 2, (0.25,) * 4)",
    ),
    Entry(
        family="learned",
        name="auto_pool",
        en="AutoPool",
        zh="AutoPool 自动池化",
        formula="y_c = sum_t x_tc exp(alpha_c x_tc) / sum_t exp(alpha_c x_tc)",
        latex=r"y_c = \sum_{t} x_{t c} \frac{e^{\alpha_c x_{t c}}}{\sum_{u} e^{\alpha_c x_{u c}}}",
        modules=("AutoPool1d",),
        parameters=(("channels", "channels of the input, one for each class", "输入的通道数，每个类别一个"),),
        source="McFee, Salamon and Bello, 2018 (arXiv:1804.10070)",
        when="Labels for whole recordings, predictions for each moment: every class learns whether its events fill the "
        "recording (mean) or are brief (maximum).",
        when_zh="标签只标到整段录音、预测却逐时刻给出时：每个类别自行学习，其事件是持续的（平均）还是短暂的（最大）。",
        unless=(
            (
                "Where many moments should learn: a large alpha is all but a maximum, which trains one. Where inputs "
                "are unbounded: a sharpness that suits probabilities is far too large there."
            ),
            (
                "需要许多时刻都参与学习时：alpha 很大就成了最大值，只有一个时刻在学。"
                "输入无界时：适合概率的锐度用在那里太大。"
            ),
        ),
        phases=_PHASES,
        gradient=(
            (
                "w_t (1 + alpha (x_t - y)) with the softmax weights w; alpha receives the variance under them. 0 for "
                "what the mask leaves out."
            ),
            "w_t (1 + alpha (x_t - y))，w 为 softmax 权重；alpha 得到这些权重下的方差。掩码排除的时刻为 0。",
        ),
        shape="(N, C, L), mask (N, L) or lengths (N,) -> (N, C)",
        cost=(
            "A softmax and a weighted sum: a few passes over the input.",
            "一次 softmax 加一次加权求和：把输入扫几遍。",
        ),
        traps=(
            (
                "Unconstrained, alpha may grow without end; the paper bounds it, or adds its square to the loss.",
                "不加约束时 alpha 可能无限增大；论文给它设上界，或把它的平方加入损失。",
            ),
            (
                "Without a mask padding takes part in the mean.",
                "没有掩码时，补的部分会参与平均。",
            ),
            (
                "alpha = 0 is the mean and 1 the softmax pooling: a start at 1 is another method.",
                "alpha = 0 是平均，1 是 softmax 池化：从 1 开始就是另一种方法。",
            ),
        ),
        ships=("autopool",),
        call="y = nn.AutoPool1d(3)(t[:, :, 0])",
    ),
)

"""Poolings that blend maximum and mean, and trees of gated filters."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import KERNEL, SLIDING, Entry

_CHANNELS = (
    "channels",
    "channels of the input, each with values of its own; None shares them",
    "输入的通道数，每个通道各有一份；None 表示共用",
)
_LEE = "Lee, Gallagher and Tu, 2016 (arXiv:1509.08985, section {})"
_ADAPTIVE = (
    "output_size",
    "of the adaptive modules: windows per axis, 1 for one over everything; None keeps an axis",
    "自适应模块的参数：每轴的窗口数，1 表示一个窗口覆盖全部；None 表示保持该轴不变",
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="mixed",
        name="mixed_pool",
        en="Mixed max-average pooling",
        zh="混合最大平均池化",
        formula="y = a max x + (1 - a) mean x",
        latex=r"y = a \max_{i} x_i + (1 - a) \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Mixed,
        window=window.Sliding,
        modules=("MixedPool1d", "MixedPool2d", "MixedPool3d"),
        parameters=(
            KERNEL,
            (
                "weight",
                'functions: share of the maximum, in [0, 1]; modules: what learns one, "layer", "channel" or "region"',
                '函数：最大值的占比 a，在 [0, 1] 内；模块：谁各学一个占比，"layer"、"channel" 或 "region"',
            ),
            *SLIDING[1:],
            (
                "channels",
                'modules: channels of the input, for "channel", and for "region" with a grid for each',
                '模块：输入的通道数，用于 "channel"，或用于每个通道各有一张网格的 "region"',
            ),
            (
                "regions",
                'modules: cells of the grid of weights along each axis, for "region"',
                "模块：权重网格每轴的格数",
            ),
            ("initial", "modules: every weight before training", "模块：训练前的权重"),
            ("clamp", "modules: weights count as no less than 0 and no more than 1", "模块：权重截断到 [0, 1]"),
        ),
        source=_LEE.format("3.1"),
        when="Where it is not clear beforehand whether max or average pooling suits: one number for each layer, "
        "channel or region is learned along with the network, and says afterwards which it was.",
        when_zh="事先说不清该用最大还是平均池化时：每层、每个通道或每个区域学一个数，随网络一起训练，"
        "训练完还能看出它偏向哪一种。",
        unless=(
            (
                "Where different inputs want different mixtures: the share is the same for all of them. Gated pooling "
                "looks into the window."
            ),
            "不同输入需要不同比例时：这里的占比对所有输入都一样。门控池化会看窗口里的内容。",
        ),
        phases=(
            "The same in training and evaluation; training also learns the weights.",
            "训练与评估时计算相同；训练时还会学习权重。",
        ),
        gradient=(
            (
                "(1 - a) / n to every cell, and a more to the first of the largest cells. The weight receives max - "
                "mean, which is never negative."
            ),
            "每个格子得到 (1 - a) / n，第一个最大的格子再加 a。权重得到 max - mean，它从不为负。",
        ),
        cost=(
            "One pass over each window for both. Training keeps the input.",
            "每个窗口只扫一遍，同时得到两者。训练时保存输入。",
        ),
        traps=(
            (
                (
                    "The weight is free, as in the paper and its code: it may leave [0, 1], and the result then lies "
                    "outside of the cells. With clamp it stays, but a weight that has left has no gradient to come "
                    "back by."
                ),
                (
                    "与论文及其代码一样，权重不受约束：它可能离开 [0, 1]，结果也就超出各格的范围。"
                    "clamp 会把它拦住，但已经越界的权重没有梯度，回不来。"
                ),
            ),
            (
                (
                    "Weights for each place of the output tie a layer to one input size. The grid here is laid over "
                    "any output."
                ),
                "若输出的每个位置各有一个权重，该层就被绑定在一种输入大小上。这里的网格可以铺在任意大小的输出上。",
            ),
            (
                "Weight decay pulls the share towards 0, which is average pooling, and not towards one half.",
                "权重衰减把占比拉向 0，也就是平均池化，而不是拉向一半。",
            ),
            (
                "Yu et al. (2014) call something else by this name: a random switch between the two in training.",
                "Yu 等人（2014）的同名方法是另一回事：训练时在两者之间随机切换。",
            ),
        ),
        call="y = pk.mixed_pool2d(x, 3, weight=0.5, stride=2, padding=1)",
    ),
    Entry(
        family="mixed",
        name="gated_pool",
        en="Gated max-average pooling",
        zh="门控最大平均池化",
        formula="y = s max x + (1 - s) mean x, s = sigmoid(sum w x)",
        latex=r"y = s \max_{i} x_i + (1 - s) \frac{1}{n} \sum_{i} x_i, \quad "
        r"s = \frac{1}{1 + e^{-\sum_{i} w_i x_i}}",
        modules=("GatedPool1d", "GatedPool2d", "GatedPool3d"),
        parameters=(*SLIDING, _CHANNELS),
        source=_LEE.format("3.2"),
        when="A mixture of max and average that depends on what the window holds: nine numbers for a 3x3 window, "
        "shared by all channels, decide where the peak counts and where the whole.",
        when_zh="最大与平均的比例由窗口内容决定：3x3 的窗口只需九个数，所有通道共用，"
        "由它们判断何处看峰值、何处看整体。",
        unless=(
            (
                "Where max pooling does well: two passes are made for one. Where values are large: the gate then "
                "stands at 0 or 1 and hardly learns."
            ),
            "最大池化已经够好时：它要多做一遍。数值很大时：门会停在 0 或 1 附近，几乎学不动。",
        ),
        phases=(
            "The same in training and evaluation; training also learns the filter.",
            "训练与评估时计算相同；训练时还会学习滤波器。",
        ),
        gradient=(
            (
                "Two ways: through the mixture, as for mixed pooling with a = s, and through the gate, s (1 - s) "
                "(max - mean) w_i."
            ),
            "两条路：经过混合（同 a = s 的混合池化），以及经过门：s (1 - s) (max - mean) w_i。",
        ),
        cost=(
            "A filter and a mixture: two passes over each window. Training keeps the input and the gate.",
            "一次滤波加一次混合：每个窗口扫两遍。训练时保存输入和门的值。",
        ),
        traps=(
            (
                "At least one port has the gate on the mean: its filter is the negative of the paper's.",
                "至少有一个移植版把门放在平均值上：它的滤波器与论文差一个负号。",
            ),
            (
                "There is no bias: a window of zeros always gives a gate of one half.",
                "没有偏置：全零的窗口，门总是一半。",
            ),
            (
                "At a border the filter sees zeros in the padding, while maximum and mean leave it out.",
                "在边界处，滤波器把补的格看作 0，而最大值与平均值都不计入它们。",
            ),
        ),
        call="y = nn.GatedPool2d(3, stride=2, padding=1)(t)",
    ),
    Entry(
        family="mixed",
        name="tree_pool",
        en="Tree pooling",
        zh="树形池化",
        formula="y = s left + (1 - s) right, s = sigmoid(sum w x); leaf = sum v x",
        latex=r"f_m = \sum_{i} v_{m i} x_i \quad \text{(leaf)}, \quad f_m = s_m f_{\operatorname{left}} + (1 - s_m) "
        r"f_{\operatorname{right}}, \quad s_m = \frac{1}{1 + e^{-\sum_{i} w_{m i} x_i}}",
        modules=("TreePool1d", "TreePool2d", "TreePool3d"),
        parameters=(
            KERNEL,
            ("depth", "levels of nodes: 2 is one gate above two leaves", "结点的层数：2 表示一个门加两片叶子"),
            *SLIDING[1:],
            _CHANNELS,
        ),
        source=_LEE.format("3.3"),
        when="Where the reduction itself should be learned and still depend on the content: small filters at the "
        "leaves, gates that choose between them. Two levels on 3x3 windows are 27 numbers.",
        when_zh="希望归约本身可以学习、又随内容而变时：叶子是小滤波器，门在它们之间选择。"
        "3x3 窗口的两层树只有 27 个数。",
        unless=(
            (
                "Where the strongest cell should win whatever its place: no filter gives a maximum. Where time is "
                "short: every node is a pass."
            ),
            "要求最强的格子无论在哪里都胜出时：滤波器给不出最大值。时间紧时：每个结点都要扫一遍。",
        ),
        phases=(
            "The same in training and evaluation; training also learns leaves and gates.",
            "训练与评估时计算相同；训练时还会学习叶子与门。",
        ),
        gradient=(
            (
                "A leaf's weight counts with the product of the shares on its way to the root; each gate adds s (1 - "
                "s) (left - right) w_i."
            ),
            "叶子的权重乘以它到根路上各占比之积；每个门再加上 s (1 - s) (left - right) w_i。",
        ),
        cost=(
            (
                "2^depth - 1 filters over each window: three passes for depth 2, seven for depth 3. Training keeps "
                "the input and each node's result."
            ),
            "每个窗口做 2^depth - 1 次滤波：深度 2 为三遍，深度 3 为七遍。训练时保存输入以及每个结点的结果。",
        ),
        traps=(
            (
                (
                    "Levels are counted in nodes or in gates: the same tree has two or one. Here as in the paper in "
                    "nodes, so that depth 1 is a single filter."
                ),
                (
                    "层数有按结点数的，也有按门数的：同一棵树可以叫两层或一层。"
                    "这里与论文一样按结点数，depth 为 1 就是单个滤波器。"
                ),
            ),
            (
                (
                    "Alike leaves under gates of zeros receive alike gradients and stay alike. So gates start at "
                    "random, and leaves as the mean."
                ),
                "叶子相同、门全为零时，各叶得到相同的梯度，永远相同。因此门以随机数开始，叶子以平均开始。",
            ),
            (
                "Filters see zeros in the padding, as an average that counts it does.",
                "滤波器把补的格看作 0，与计入补格的平均一样。",
            ),
        ),
        call="torch.manual_seed(0)\ny = nn.TreePool2d(3, stride=2, padding=1)(t)",
    ),
    Entry(
        family="mixed",
        name="avg_max_pool",
        en="Avg-max pooling",
        zh="平均最大池化",
        formula="y = (mean x + max x) / 2",
        latex=r"y = \frac{1}{2} \left( \frac{1}{n} \sum_{i} x_i + \max_{i} x_i \right)",
        modules=(
            "AvgMaxPool1d",
            "AvgMaxPool2d",
            "AvgMaxPool3d",
            "AdaptiveAvgMaxPool1d",
            "AdaptiveAvgMaxPool2d",
            "AdaptiveAvgMaxPool3d",
        ),
        parameters=(*SLIDING, _ADAPTIVE),
        source='timm (Wightman, 2019), the layer "avgmax"',
        when="The head of a classifier that should hear both of the strongest place and of the whole map, without "
        "more channels and without parameters.",
        when_zh="分类器的头部：既要听最强的位置，也要听整张特征图，又不想增加通道或参数。",
        unless=(
            "Where the network could weigh the two itself: side by side it sees both.",
            "网络可以自己权衡两者时：把两者并排放，它都看得到。",
        ),
        gradient=(
            "1 / (2 n) to every cell, and 1/2 more to the first of the largest cells.",
            "每个格子得到 1 / (2 n)，第一个最大的格子再加 1/2。",
        ),
        cost=(
            "One pass over each window for both. Training keeps the input.",
            "每个窗口只扫一遍，同时得到两者。训练时保存输入。",
        ),
        traps=(
            (
                "Half the sum in timm and here; fast-reid takes the sum without the half.",
                "timm 与这里取和的一半；fast-reid 取的是和，没有除以 2。",
            ),
            (
                "The mean leaves the padding out here; torch's AvgPool counts it unless told not to.",
                "这里的平均不计入补的格；torch 的 AvgPool 默认计入。",
            ),
        ),
        ships=("timm (AdaptiveAvgMaxPool2d)", "fast-reid"),
        call="y = nn.AdaptiveAvgMaxPool2d(1)(t)",
    ),
    Entry(
        family="mixed",
        name="cat_avg_max_pool",
        en="Concatenated avg-max pooling",
        zh="拼接平均最大池化",
        formula="y = [mean x; max x]",
        latex=r"y = \left( \frac{1}{n} \sum_{i} x_i ; \max_{i} x_i \right)",
        modules=(
            "CatAvgMaxPool1d",
            "CatAvgMaxPool2d",
            "CatAvgMaxPool3d",
            "AdaptiveCatAvgMaxPool1d",
            "AdaptiveCatAvgMaxPool2d",
            "AdaptiveCatAvgMaxPool3d",
        ),
        parameters=(
            *SLIDING,
            (
                "first",
                'the first C channels: "avg" as timm, "max" as fastai',
                '前 C 个通道："avg" 同 timm，"max" 同 fastai',
            ),
            _ADAPTIVE,
        ),
        source='fastai (Howard et al., 2017), AdaptiveConcatPool2d; timm (Wightman, 2019), the layer "catavgmax"',
        when="The head of a classifier, above all in transfer learning: the linear layer after it weighs mean and "
        "maximum of each channel for itself.",
        when_zh="分类器的头部，尤其是迁移学习：后面的线性层自行权衡每个通道的平均与最大。",
        unless=(
            "Inside a network: twice the channels are twice the work of whatever follows.",
            "在网络内部时：通道加倍，后面的计算也加倍。",
        ),
        gradient=(
            "That of average pooling plus that of max pooling, each from its own half of the channels.",
            "平均池化与最大池化的梯度之和，各自来自一半的通道。",
        ),
        shape="(N, C, *sizes) -> (N, 2 C, *pooled)",
        cost=(
            "An average and a max pooling, and a copy of both. Training keeps a small position for each maximum.",
            "一次平均池化、一次最大池化，外加一份拷贝。训练时为每个最大值保存一个很小的位置。",
        ),
        traps=(
            (
                (
                    "timm puts the average first, fastai the maximum: weights of a linear layer after it do not carry "
                    "over without swapping their halves."
                ),
                "timm 平均在前，fastai 最大在前：后面线性层的权重不能直接换用，必须先交换两半。",
            ),
            (
                "Put together by hand it is often the same pooling twice, which no shape reveals.",
                "手工拼接时常把同一种池化写了两遍，形状上看不出来。",
            ),
        ),
        ships=("timm (AdaptiveCatAvgMaxPool2d)", "fastai (AdaptiveConcatPool2d)"),
        call="y = nn.AdaptiveCatAvgMaxPool2d(1)(t)",
    ),
)

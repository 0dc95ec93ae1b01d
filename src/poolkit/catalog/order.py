"""Windows whose cells are ranked: medians, quantiles, means of the largest, weights by rank."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import INDICES, SLIDING, Entry

_BETWEEN = (
    "interpolation",
    'what lies between two ranks: "lower", "higher", "nearest", "midpoint" or "linear"',
    '落在两个名次之间时取什么："lower"、"higher"、"nearest"、"midpoint" 或 "linear"',
)
_SORTED = (
    (
        "Each window is sorted by itself, which takes ten to fifty times as long as a maximum, whose comparisons are "
        "shared. Where weights are used training keeps the input, where a cell is chosen a small position."
    ),
    (
        "每个窗口单独排序，时间是取最大值（比较结果可共用）的十到五十倍。按权重求和时训练保存输入；"
        "选中某个格子时每个输出只保存一个很小的位置。"
    ),
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="order",
        name="median_pool",
        en="Median pooling",
        zh="中值池化",
        formula="y = the middle of x sorted",
        latex=r"y = \operatorname{median}_{i} x_i",
        reducer=reducer.Median,
        window=window.Sliding,
        modules=("MedianPool1d", "MedianPool2d", "MedianPool3d"),
        parameters=(*SLIDING, _BETWEEN, INDICES),
        source="Tukey, 1977 (Exploratory Data Analysis, chapter 7)",
        when="Single wrong cells must not matter: salt-and-pepper noise, dead pixels, spikes in a signal. Edges stay "
        "sharp where a mean would smear them. With stride 1 it is the median filter.",
        when_zh="个别错误的格子不应影响结果时：椒盐噪声、坏点、信号中的尖峰。平均会抹平的边缘，它能保持清晰。"
        "步长为 1 时就是中值滤波。",
        unless=(
            (
                "Where rare strong answers are what counts: up to half of a window may be strong without a trace. "
                "Thin lines and corners vanish for the same reason."
            ),
            "少数强响应才重要时：窗口里近一半的格子都很强，结果也可能毫无痕迹。细线和角点也会因此消失。",
        ),
        gradient=(
            (
                'The whole gradient goes to the chosen cell; with "midpoint" half of it to each of the two middle '
                "cells of an even number."
            ),
            '梯度全部传给被选中的格子；"midpoint" 且格数为偶数时，中间两个格子各得一半。',
        ),
        cost=_SORTED,
        traps=(
            (
                (
                    "Of an even number of cells torch takes the lower middle one, NumPy the mean of both; the default "
                    "here is torch's."
                ),
                "格数为偶数时，torch 取中间两个里较小的一个，NumPy 取两者的平均；这里默认与 torch 相同。",
            ),
            (
                (
                    "At a border windows have fewer cells: padding takes no part here. Filters that mirror or repeat "
                    "the border, as timm's and SciPy's, differ there."
                ),
                "边界处的窗口格数较少：这里补的格不参与。timm 与 SciPy 的中值滤波会镜像或重复边界，那里的结果不同。",
            ),
        ),
        ships=("timm", "Kornia (stride 1)"),
        call="y = pk.median_pool2d(x, 3, stride=2, padding=1)",
    ),
    Entry(
        family="order",
        name="quantile_pool",
        en="Quantile pooling",
        zh="分位数池化",
        formula="y = x sorted, at rank (n - 1) q",
        latex=r"y = x_{( h )}, \quad h = (n - 1) q",
        reducer=reducer.Quantile,
        window=window.Sliding,
        modules=("QuantilePool1d", "QuantilePool2d", "QuantilePool3d"),
        parameters=(*SLIDING, ("q", "0 (minimum) to 1 (maximum)", "0（最小值）到 1（最大值）"), _BETWEEN, INDICES),
        source="Hyndman and Fan, 1996 (The American Statistician 50), definition 7",
        when="A maximum that shrugs off outliers: q = 0.9 asks for an answer that a tenth of the window reaches. "
        "Local contrast is the difference of two quantiles, a background estimate a low one.",
        when_zh="不怕离群值的最大值：q = 0.9 要求窗口里有一成的格子达到这个水平。两个分位数之差是局部对比度，"
        "低分位数可以估计背景。",
        unless=(
            (
                "In small windows: of four cells there are only four ranks, and a 0.9-quantile is all but the maximum. "
                "Where speed counts most: a maximum is many times faster."
            ),
            "窗口很小时：四个格子只有四个名次，0.9 分位数与最大值几乎没有区别。速度最重要时：最大值快得多。",
        ),
        gradient=(
            "Split between the cells of the two nearest ranks in the shares of the interpolation.",
            "按插值的比例分给最近的两个名次所在的格子。",
        ),
        cost=_SORTED,
        traps=(
            (
                (
                    "There are nine definitions of a sample quantile. This is the seventh, the default of NumPy, torch "
                    "and R; others differ most in small windows."
                ),
                "样本分位数有九种定义。这里是第七种，也是 NumPy、torch 与 R 的默认；小窗口里各种定义相差最大。",
            ),
            (
                (
                    'Only "lower", "higher" and "nearest" choose a cell: they take integers and report indices, the '
                    "others do neither."
                ),
                '只有 "lower"、"higher" 和 "nearest" 会选中一个格子：支持整数并返回位置，其余的都不行。',
            ),
        ),
        ships=("PyTorch Geometric (sets)",),
        call="y = pk.quantile_pool2d(x, 3, 0.9, stride=2, padding=1)",
    ),
    Entry(
        family="order",
        name="topk_mean_pool",
        en="Top-k mean pooling",
        zh="前 k 平均池化",
        formula="y = (x_(1) + ... + x_(k)) / k",
        latex=r"y = \frac{1}{k} \sum_{r = 1}^{k} x_{(r)}",
        reducer=reducer.TopKMean,
        window=window.Sliding,
        modules=("TopKMeanPool1d", "TopKMeanPool2d", "TopKMeanPool3d"),
        parameters=(
            *SLIDING,
            (
                "k",
                "cells that count, or their share in (0, 1] as a float",
                "计入的格数，或以小数给出的比例，在（0，1] 内",
            ),
        ),
        source="Shi, Ye and Wu, 2016 (Neural Networks 83), rank-based average pooling",
        when="Between maximum (k = 1) and mean (all cells): a few strong answers together are believed, one alone is "
        "not, and the weak rest does not dilute them.",
        when_zh="介于最大值（k = 1）与平均（所有格子）之间：几个强响应一起才算数，单独一个不够，"
        "其余弱响应也不会把它们冲淡。",
        unless=(
            (
                "Where the k-th and the next cell are close: the choice of the k flips with noise, though the value "
                "hardly moves. A softmax-weighted mean is smooth."
            ),
            "第 k 个与下一个格子相差很小时：谁入选会随噪声翻转，虽然数值几乎不变。softmax 加权平均则是光滑的。",
        ),
        gradient=("1 / k for each of the k largest cells, 0 for the others.", "最大的 k 个格子各得 1/k，其余为 0。"),
        cost=_SORTED,
        traps=(
            (
                "k = 1 is one cell, k = 1.0 the whole window: the type decides.",
                "k = 1 是一个格子，k = 1.0 是整个窗口：由类型决定。",
            ),
            (
                "Windows at a border with fewer than k cells take the mean of all they have.",
                "边界处不足 k 个格子的窗口，取现有全部格子的平均。",
            ),
        ),
        call="y = pk.topk_mean_pool2d(x, 4, 3)",
    ),
    Entry(
        family="order",
        name="rank_mean_pool",
        en="Rank-weighted pooling",
        zh="名次加权池化",
        formula="y = sum_r a (1 - a)^(r - 1) x_(r) / sum_r a (1 - a)^(r - 1)",
        latex=r"y = \frac{\sum_{r} w_r x_{(r)}}{\sum_{r} w_r}, \quad w_r = \alpha (1 - \alpha)^{r - 1}",
        reducer=reducer.RankMean,
        window=window.Sliding,
        modules=("RankPool1d", "RankPool2d", "RankPool3d"),
        parameters=(
            *SLIDING,
            (
                "alpha",
                "weight of the largest cell, in (0, 1]; 1 is the maximum",
                "最大格子的权重，在（0，1] 内；1 即最大值",
            ),
            (
                "normalize",
                "make the weights sum to one; the paper does not",
                "让权重之和为 1；论文没有这样做",
            ),
        ),
        source="Shi, Ye and Wu, 2016 (Neural Networks 83)",
        when="Large cells count most, but by their place in the order and not by their size: one huge cell cannot take "
        "over as it does in a softmax.",
        when_zh="大的格子最重要，但看的是名次而不是数值：不会像 softmax 那样被一个极大的格子独占。",
        unless=(
            (
                "Where sizes matter: cells of 10 and 9 and cells of 10 and 1 are weighted alike. In large windows: the "
                "weights fall off so fast that only the first few ranks are seen."
            ),
            "数值大小重要时：10 与 9、10 与 1 的权重完全相同。窗口很大时：权重衰减很快，只看得到最前面的几个名次。",
        ),
        gradient=("Each cell receives the weight of its rank.", "每个格子得到其名次的权重。"),
        cost=_SORTED,
        traps=(
            (
                (
                    "As the paper writes them the weights sum to 1 - (1 - alpha)^n: a map of ones comes out below one, "
                    "and lower at the border. Normalised here unless told otherwise."
                ),
                "按论文的写法，权重之和是 1 − (1 − α)^n：全 1 的特征图结果小于 1，边界处更小。这里默认归一化。",
            ),
            (
                ("The module has the paper's other pooling, too: mode='average' is the mean of the t largest cells."),
                "模块里还有论文的另一种池化：mode='average' 是最大的 t 个格子的平均。",
            ),
        ),
        call="y = pk.rank_mean_pool2d(x, 3, stride=2, padding=1, alpha=0.5)",
    ),
    Entry(
        family="order",
        name="ordinal_pool",
        en="Ordinal pooling",
        zh="次序池化",
        formula="y = sum_r w_r x_(r)",
        latex=r"y = \sum_{r} w_r x_{(r)}",
        reducer=reducer.Ordinal,
        window=window.Sliding,
        modules=("OrdinalPool1d", "OrdinalPool2d", "OrdinalPool3d"),
        parameters=(
            *SLIDING,
            ("weights", "one for each rank, the largest cell's first", "每个名次一个权重，最大格子的在前"),
        ),
        source="Yager, 1988 (IEEE Transactions on Systems, Man and Cybernetics 18); Kumar, 2018 (Ordinal Pooling "
        "Networks)",
        when="The network finds out for itself which pooling suits a layer: maximum, minimum, mean, median and all "
        "trimmed means are special weights. The module learns them, for the layer or for each channel.",
        when_zh="让网络自己找出适合这一层的池化：最大、最小、平均、中值和各种截尾平均都是特殊的权重。"
        "模块会学习这些权重，整层一组或每个通道一组。",
        unless=(
            (
                "Where places matter: the order forgets them, a learned filter does not. With large windows and little "
                "data: a weight for each rank is soon too many."
            ),
            "位置重要时：排序会忘掉位置，学到的滤波器则不会。窗口大而数据少时：每个名次一个权重很快就太多了。",
        ),
        gradient=(
            "Each cell receives the weight of its rank, each weight the cells that had its rank.",
            "每个格子得到其名次的权重；每个权重的梯度来自处于该名次的格子。",
        ),
        cost=_SORTED,
        traps=(
            (
                (
                    "Without a constraint weights may grow, turn negative and change the scale of the layer. The "
                    "module takes a softmax of them unless told otherwise, so that the result stays between the "
                    "smallest and the largest cell."
                ),
                (
                    "没有约束的权重会变大、变负，改变这一层的尺度。模块默认对它们取 softmax，"
                    "结果因此总在最小与最大的格子之间。"
                ),
            ),
            (
                ("Windows with fewer cells than weights share the weights out by quantiles; their sum stays the same."),
                "格数少于权重数的窗口按分位数分摊权重，权重之和不变。",
            ),
        ),
        call="y = pk.ordinal_pool2d(x, 2, (0.5, 0.3, 0.2, 0.0))",
    ),
)

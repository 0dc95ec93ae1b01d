"""Poolings that draw in training."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import INDICES, KERNEL, SLIDING, Entry

_SAMPLE = ("sample", "draw, or take the mean over all draws", "抽取；否则取所有抽取结果的平均")
_SEED = ("seed", "of the draws", "抽取的种子")
_PHASES = (
    (
        "Modules draw in training and give the mean over all draws in evaluation; functions go by `sample`. A seed or "
        "a generator fixes the draws, and activation checkpointing repeats those of torch's own generator."
    ),
    (
        "模块在训练时抽取，评估时给出所有抽取结果的平均；函数由 `sample` 决定。种子或生成器可固定抽取结果；"
        "激活检查点重算时，torch 自带生成器的抽取结果会重现。"
    ),
)
_DRAWN = (
    (
        "In training the drawn cell alone, with the whole gradient, as for a maximum. In evaluation that of the mean "
        "over all draws."
    ),
    "训练时梯度全部传给被抽中的格子，与最大池化一样；评估时是所有抽取结果之平均的梯度。",
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="random",
        name="stochastic_pool",
        en="Stochastic pooling",
        zh="随机池化",
        formula="y = x_i with probability x_i / sum x; in evaluation sum x^2 / sum x",
        latex=r"p_i = \frac{x_i}{\sum_{j} x_j}, \quad y = x_i \; \text{with probability} \; p_i, \quad "
        r"y = \sum_{i} p_i x_i \; \text{in evaluation}",
        reducer=reducer.Stochastic,
        window=window.Sliding,
        modules=("StochasticPool1d", "StochasticPool2d", "StochasticPool3d"),
        parameters=(
            *SLIDING,
            (
                "activation",
                '"relu": in proportion to max(x, 0); "softmax": to exp(x / temperature)',
                '"relu"：与 max(x, 0) 成正比；"softmax"：与 exp(x / temperature) 成正比',
            ),
            ("temperature", "of the softmax, above 0", "softmax 的温度，大于 0"),
            _SAMPLE,
            INDICES,
            _SEED,
        ),
        source="Zeiler and Fergus, 2013 (arXiv:1301.3557), equations 4 to 6",
        when="Regularises like a maximum with noise: strong cells win often, weak ones sometimes, so that a layer does "
        "not come to rely on one place. After a ReLU, with little data.",
        when_zh="像带噪声的最大值，有正则化作用：强的格子常被抽中，弱的偶尔被抽中，网络不会依赖单一位置。"
        "用在 ReLU 之后、数据较少时。",
        unless=(
            (
                "On values of both signs with the default activation: negative cells are never drawn and windows "
                "without a positive one give 0. Take the softmax there. Where training must be exactly repeatable "
                "without a seed."
            ),
            (
                "数值有正有负而使用默认的 activation 时：负的格子永远抽不到，没有正格子的窗口得到 0，"
                "此时应改用 softmax。训练必须完全可重复而又没有种子时。"
            ),
        ),
        phases=_PHASES,
        gradient=_DRAWN,
        cost=(
            ("One pass with a sum, and in training one random number and one small position for each output."),
            "扫一遍求和；训练时每个输出另需一个随机数，并保存一个很小的位置。",
        ),
        traps=(
            (
                "Evaluation takes the probability-weighted mean, 2.08 in the paper's example, not the plain one, 0.44.",
                "评估时不是普通平均，而是按概率加权的平均：论文的例子是 2.08，而不是 0.44。",
            ),
            (
                "Code under this name often does something else, such as keeping random rows.",
                "同名的代码做的往往是另一回事，例如随机保留若干行。",
            ),
        ),
        call="y = pk.stochastic_pool2d(np.maximum(x, 0), 2, seed=0)",
    ),
    Entry(
        family="random",
        name="rank_stochastic_pool",
        en="Rank-based stochastic pooling",
        zh="按名次的随机池化",
        formula="y = x_(r) with probability a (1 - a)^(r - 1) / sum; in evaluation the mean with these weights",
        latex=r"p_r = \frac{\alpha (1 - \alpha)^{r - 1}}{\sum_{s} \alpha (1 - \alpha)^{s - 1}}, \quad "
        r"y = x_{(r)} \; \text{with probability} \; p_r",
        reducer=reducer.RankStochastic,
        window=window.Sliding,
        modules=("RankStochasticPool1d", "RankStochasticPool2d", "RankStochasticPool3d"),
        parameters=(
            *SLIDING,
            ("alpha", "probability of the largest cell, in (0, 1]", "最大格子被抽中的概率，在（0，1] 内"),
            _SAMPLE,
            INDICES,
            _SEED,
        ),
        source="Shi, Ye and Wu, 2016 (Neural Networks 83)",
        when="Stochastic pooling whose noise does not depend on the scale of the values: after batch norm, with "
        "negative values, or where one huge cell would always be drawn.",
        when_zh="噪声与数值尺度无关的随机池化：用在批归一化之后、数值有负时，或某个极大的格子总会被抽中时。",
        unless=(
            "Where near-equal cells should be drawn alike: ranks make a step of the smallest difference.",
            "几乎相等的格子应同等对待时：名次会把最小的差别也变成台阶。",
        ),
        phases=_PHASES,
        gradient=_DRAWN,
        cost=(
            "A sort of each window, and in training one random number and one small position for each output.",
            "每个窗口排序一次；训练时每个输出另需一个随机数，并保存一个很小的位置。",
        ),
        traps=(
            (
                (
                    "The probabilities of the paper sum to less than one; its code leaves an output unset when the "
                    "draw falls beyond. Here they are divided by their sum."
                ),
                "论文里的概率之和小于 1；其代码在抽到剩余部分时不给输出赋值。这里先除以总和。",
            ),
            (
                "Of equal cells the reported index is that of the first, whichever rank was drawn.",
                "相等的格子无论抽中哪个名次，返回的都是第一个的位置。",
            ),
        ),
        call="y = pk.rank_stochastic_pool2d(x, 2, alpha=0.5, seed=0)",
    ),
    Entry(
        family="random",
        name="max_drop_pool",
        en="Max-pooling dropout",
        zh="最大池化 dropout",
        formula="y = max of the cells that survive; in evaluation sum_r (1 - q) q^(r - 1) x_(r)",
        latex=r"y = \max_{i} m_i x_i, \quad m_i \sim \text{Bernoulli} ( 1 - q ), \quad "
        r"y = \sum_{r} (1 - q) q^{r - 1} x_{(r)} \; \text{in evaluation}",
        reducer=reducer.MaxDrop,
        window=window.Sliding,
        modules=("MaxDropPool1d", "MaxDropPool2d", "MaxDropPool3d"),
        parameters=(
            *SLIDING,
            ("drop_prob", "with which a cell is dropped, in [0, 1)", "每个格子被丢弃的概率，在 [0，1）内"),
            _SAMPLE,
            INDICES,
            _SEED,
        ),
        source="Wu and Gu, 2015 (arXiv:1512.01400)",
        when="Dropout right where it bites in a convolutional network: the strongest cell is missing at random and the "
        "next one has to do.",
        when_zh="在卷积网络里真正起作用的 dropout：最强的格子随机缺席，由次强的顶上。",
        unless=(
            (
                "On values of both signs: a window whose cells are all dropped gives 0, which then is no small value. "
                "Together with a dropout layer before it, which does the same again."
            ),
            "数值有正有负时：格子全部被丢弃的窗口得到 0，而 0 那时并不算小。前面已有 dropout 层时：作用会重复。",
        ),
        phases=_PHASES,
        gradient=_DRAWN,
        cost=(
            "A sort of each window; in training one random number for each output, not one for each cell.",
            "每个窗口排序一次；训练时每个输出一个随机数，而不是每个格子一个。",
        ),
        traps=(
            (
                (
                    "Dropout before max pooling and scaling at test time is another thing: the scaled maximum is no "
                    "mean over the draws. The weights by rank are."
                ),
                "先 dropout 再最大池化、测试时再缩放是另一回事：缩放后的最大值并不是抽取结果的平均，按名次加权才是。",
            ),
            (
                "Windows that overlap drop a cell each for itself here; a mask before the pooling drops it for all.",
                "这里重叠的窗口各自决定是否丢弃同一格子；若在池化前乘掩码，则对所有窗口一起丢弃。",
            ),
        ),
        call="y = pk.max_drop_pool2d(np.maximum(x, 0), 2, drop_prob=0.4, seed=0)",
    ),
    Entry(
        family="random",
        name="random_mixed_pool",
        en="Mixed pooling at random",
        zh="随机混合池化",
        formula="y = l max x + (1 - l) mean x, l = 1 with probability p, else 0",
        latex=r"y = \lambda \max_{i} x_i + (1 - \lambda) \frac{1}{n} \sum_{i} x_i, \quad "
        r"\lambda \sim \text{Bernoulli} ( p )",
        modules=("RandomMixedPool1d", "RandomMixedPool2d", "RandomMixedPool3d"),
        parameters=(
            *SLIDING,
            ("prob", "of the maximum, in [0, 1]", "取最大值的概率，在 [0，1] 内"),
            (
                "per",
                'what draws for itself: "layer", "channel", "sample", or "plane", each channel of each sample',
                '各自抽取的单位："layer"、"channel"、"sample"，或 "plane"（每个样本的每个通道）',
            ),
        ),
        source="Yu, Wang, Chen and Wei, 2014 (Rough Sets and Knowledge Technology)",
        when="A regulariser for networks that overfit with max pooling and underfit with the mean: training sees both.",
        when_zh="用最大池化会过拟合、用平均池化又欠拟合时的正则化手段：训练时两种都会见到。",
        unless=(
            "Where the share should be learned or depend on the input: mixed and gated pooling of Lee et al. do that.",
            "比例需要学习或取决于输入时：应使用 Lee 等人的混合池化与门控池化。",
        ),
        phases=(
            (
                "Training draws maximum or mean for each layer, channel, sample or plane; evaluation takes their mean "
                "with the weights of the probabilities. The paper instead goes by what it drew more often in training."
            ),
            (
                "训练时按层、通道、样本或平面抽取最大值或平均；评估时以概率为权重取两者的平均。"
                "论文则采用训练中抽到次数较多的那一种。"
            ),
        ),
        gradient=(
            "That of the maximum or of the mean, whichever was drawn; in evaluation of their mixture.",
            "抽到最大值或平均，就是它的梯度；评估时是两者混合的梯度。",
        ),
        cost=(
            "Maximum and mean in one pass over the window, and a few random numbers a step.",
            "扫一遍窗口同时得到最大值与平均；每步只需很少的随机数。",
        ),
        traps=(
            (
                "The name is taken twice: mixed pooling of Lee et al., 2016, learns a fixed share and draws nothing.",
                "名称有两个含义：Lee 等人 2016 年的混合池化学习固定的比例，不做抽取。",
            ),
            (
                "Drawing for the whole layer makes batches differ a lot; drawing for each plane is the milder noise.",
                "整层只抽一次会让各批之间差别很大；逐平面抽取的噪声更温和。",
            ),
        ),
        call="y = nn.RandomMixedPool2d(2)(t)",
    ),
    Entry(
        family="random",
        name="s3_pool",
        en="S3 pooling (stochastic spatial sampling)",
        zh="S3 池化（随机空间采样）",
        formula="y = z[rows, columns], z = max pooling of x at stride 1; of each strip grid / stride rows stay",
        latex=r"z = \max_{k \times k} x, \quad y_{i j} = z_{r_i c_j}, \quad r_1 < r_2 < \ldots, \quad "
        r"c_1 < c_2 < \ldots",
        modules=("S3Pool1d", "S3Pool2d", "S3Pool3d"),
        parameters=(
            KERNEL,
            (
                "grid_size",
                "cells of a strip, a multiple of the stride; None: the stride",
                "条带的格数，须为步长的倍数；None 表示等于步长",
            ),
            ("stride", "how many times smaller the output is; None: the kernel", "输出缩小的倍数；None 表示与窗口同大"),
        ),
        source="Zhai et al., 2017 (arXiv:1611.05138)",
        when="Data augmentation inside the network: every training step sees the feature maps a little warped, as if "
        "the picture had been stretched and squeezed. Large strips warp more.",
        when_zh="网络内部的数据增强：每个训练步看到的特征图都略有扭曲，仿佛图片被拉伸或压缩过。条带越大，扭曲越强。",
        unless=(
            (
                "Where exact places matter, as in detection and segmentation. On small maps: a strip as long as the "
                "map leaves little of its geometry."
            ),
            "精确位置重要时，如检测与分割。特征图很小时：条带与图一样长，几何结构所剩无几。",
        ),
        phases=(
            (
                "Training draws the rows and columns that stay, the same for all samples and channels; evaluation "
                "takes the mean of each stride x stride cells, which is the mean over all draws for strips as long as "
                "the stride."
            ),
            (
                "训练时抽取保留的行与列，所有样本和通道相同；评估时对每 stride × stride 个格子取平均，"
                "条带与步长同长时这正是所有抽取结果的平均。"
            ),
        ),
        gradient=(
            "That of max pooling for the rows and columns that stay; the others receive nothing in that step.",
            "保留下来的行与列得到最大池化的梯度；其余的在这一步没有梯度。",
        ),
        shape="(N, C, *sizes) -> (N, C, *ceil(sizes / stride))",
        cost=(
            "Max pooling at stride 1, whose comparisons are shared, a copy, and a few random numbers for each axis.",
            "步长为 1 的最大池化（比较结果共用）、一次复制，以及每个轴少量的随机数。",
        ),
        traps=(
            (
                (
                    "The authors' code adds what is left over at the end of an axis to the last strip, which keeps "
                    "no more for it; here a last strip of r cells keeps ceil(r / stride)."
                ),
                "作者的代码把末尾剩余的格子并入最后一个条带，却不多保留；这里剩下 r 格的条带保留 ⌈r / stride⌉ 格。",
            ),
            (
                "For strips longer than the stride evaluation is only close to the mean over the draws.",
                "条带比步长更长时，评估只是近似于抽取结果的平均。",
            ),
        ),
        call="y = nn.S3Pool2d(2, 4)(t)",
    ),
)

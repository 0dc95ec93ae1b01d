"""Poolings whose weights are learned, made of several steps."""

from __future__ import annotations

from poolkit.catalog.entry import SLIDING, Entry

_LEARN = ("learn", "learn the exponent, or keep it", "学习该指数，或保持不变")

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="learned",
        name="lip_pool",
        en="Local importance pooling (LIP)",
        zh="局部重要性池化（LIP）",
        formula="y = sum x exp(G(x)) / sum exp(G(x))",
        latex=r"y = \frac{\sum_{i} x_i e^{G(x)_i}}{\sum_{i} e^{G(x)_i}}",
        parameters=(
            ("channels", "channels of the input and of the result", "输入与输出的通道数"),
            *SLIDING[:3],
            ("logit", "a module for G instead of the small network", "代替小网络给出 G 的模块"),
        ),
        source="Gao, Wang and Wu, 2019 (arXiv:1908.04156)",
        when="Down-sampling in detectors, where small objects vanish under max and mean: the network learns which "
        "cells to keep.",
        when_zh="检测网络中的降采样：小目标在最大与平均池化下会消失，这里由网络学习该保留哪些格子。",
        unless=(
            "Where speed counts: its convolution at full resolution costs far more than the pooling.",
            "讲求速度时不要用：它在原分辨率上的卷积远比池化本身贵。",
        ),
        gradient=(
            "To x by the weights, and through G to its network and to x again.",
            "按权重传给 x，并经 G 传给其网络，再传给 x。",
        ),
        shape="(N, C, H, W) -> (N, C, *pooled)",
        cost=("A 3x3 convolution of all channels, then two weighted sums.", "一个全通道 3x3 卷积，再加两次加权求和。"),
        traps=(
            (
                (
                    "exp(G) overflows for unbounded G; the paper bounds it by 12 sigmoid. Here the largest exponent "
                    "is taken out of each window, so that any G is safe."
                ),
                "G 无界时 exp(G) 会溢出，论文用 12 sigmoid 限制它。这里先减去每个窗口的最大指数，任何 G 都安全。",
            ),
            (
                "Instance normalisation of a map of one cell has no variance; G is its bias then.",
                "只有一个格子的图做实例归一化没有方差；此时 G 取其偏置。",
            ),
        ),
        ships=("none",),
        call="y = nn.LIPPool2d(3)(t).detach()",
        modules=("LIPPool2d",),
    ),
    Entry(
        family="learned",
        name="detail_preserving_pool",
        en="Detail-preserving pooling (DPP)",
        zh="细节保持池化（DPP）",
        formula="y = sum w x / sum w, w = alpha + ((x - b)^2 + eps^2)^(lambda / 2)",
        latex=r"y = \frac{\sum_{i} w_i x_i}{\sum_{i} w_i}, \quad w_i = \alpha + \left( (x_i - b)^2 + \varepsilon^2 "
        r"\right)^{\lambda / 2}",
        parameters=(
            ("channels", "channels of the input and of the result", "输入与输出的通道数"),
            (
                "variant",
                '"lite": b is the mean; "full": a learned filter of means',
                '"lite"：b 为平均；"full"：平均经可学习滤波',
            ),
            ("symmetric", "favour deviations of both signs, or upwards only", "两个方向的偏差都重视，或只重视向上的"),
            ("kernel_size", "cells of a window and distance between windows", "窗口大小，也是窗口间距"),
            ("eps", "above 0", "大于 0"),
        ),
        source="Saeedan, Weber, Goesele and Roth, 2018 (arXiv:1804.04076, section 3)",
        when="A learned dial for every channel from the mean (lambda small) to what stands out, at two numbers a "
        "channel.",
        when_zh="每个通道两个参数的可学习旋钮：从平均（lambda 小）到只看突出的格子。",
        unless=(
            "Where channels differ in scale and nothing normalises them: the deviation is taken as it is.",
            "各通道尺度不一又没有归一化时慎用：偏差按原值计算。",
        ),
        gradient=(
            "To all cells; eps keeps the power smooth at 0.",
            "传给所有格子；eps 使幂在 0 处保持光滑。",
        ),
        shape="(N, C, H, W) -> (N, C, H // k, W // k)",
        cost=("Three poolings and a power of every cell.", "三次池化，每个格子一次求幂。"),
        traps=(
            (
                (
                    "The authors' code divides the squared deviation by its mean over the window, the paper does "
                    "not; this is the paper's."
                ),
                "作者代码把平方偏差除以窗口内的平均，论文没有；这里按论文。",
            ),
        ),
        ships=("none",),
        call="y = nn.DetailPreservingPool2d(3)(t).detach()",
        modules=("DetailPreservingPool2d",),
    ),
    Entry(
        family="learned",
        name="gaussian_pool",
        en="Gaussian pooling (iSP and half-Gaussian)",
        zh="高斯池化",
        formula="y = mean x + w std x, w = softplus(m + s e)",
        latex=r"y = \mu + w \sigma, \quad w = \log \left( 1 + e^{m + s e} \right), \quad e \sim N(0, 1)",
        parameters=(
            ("num_features", "channels of the input and of the result", "输入与输出的通道数"),
            *SLIDING[:3],
            ("variant", '"isp" or "half"', '"isp" 或 "half"'),
            ("eps", "variances below it count as it", "小于它的方差按它计"),
            ("noise", "e, given to the call, instead of drawing it", "调用时给出的 e，代替随机抽取"),
        ),
        source="Kobayashi, 2019 (Gaussian-Based Pooling for Convolutional Neural Networks, NeurIPS)",
        when="A pooling that finds its own place between mean and maximum for every sample and channel, and "
        "regularises by noise.",
        when_zh="对每个样本与通道自行在平均与最大之间取位，并以噪声作正则化的池化。",
        unless=(
            "With windows of one or two cells: their standard deviation says little.",
            "窗口只有一两个格子时不必用：标准差没有多少信息。",
        ),
        phases=(
            (
                "Training draws e from torch's generator, one for each sample and channel; evaluation takes e = 0, "
                "or the mean of |e|, and is deterministic."
            ),
            "训练时从 torch 的随机数发生器为每个样本与通道抽取 e；评估时取 e = 0，半高斯取 |e| 的均值，结果确定。",
        ),
        gradient=(
            "To all cells, through mean and deviation, and through the map's means to the layers for m and s.",
            "经平均与标准差传给所有格子，并经全图平均传给产生 m 与 s 的层。",
        ),
        shape="(N, C, H, W) -> (N, C, *pooled)",
        cost=(
            "Two means over windows, one over the map, three small linear layers.",
            "两次窗口平均、一次全图平均、三个小线性层。",
        ),
        traps=(
            (
                (
                    "The variance as E[x^2] - E[x]^2 loses its digits under a large mean; here the map's mean is "
                    "taken out first."
                ),
                "用 E[x^2] - E[x]^2 算方差，均值大时会丢失有效位；这里先减去全图平均。",
            ),
        ),
        ships=("none",),
        call="y = nn.GaussianPool2d(3, 2).eval()(t).detach()",
        modules=("GaussianPool2d",),
    ),
    Entry(
        family="learned",
        name="alpha_pool",
        en="Alpha pooling",
        zh="Alpha 池化",
        formula="y = mean of (sign(x) |x|^(alpha - 1)) x^T",
        latex=r"y = \frac{1}{n} \sum_{i} \left( \operatorname{sign}(x_i) \, |x_i|^{\alpha - 1} \right) "
        r"x_i^{\mathrm{T}}",
        parameters=(
            ("alpha", "the exponent to begin with", "指数的初值"),
            ("eps", "magnitudes below it count as it in the power", "求幂时小于它的幅值按它计"),
            _LEARN,
            ("flatten", "a vector of C * C numbers, else the matrix", "C * C 个数的向量，否则为矩阵"),
        ),
        source="Simon et al., 2017 (arXiv:1705.00487)",
        when="Fine-grained recognition: one parameter that learns how much pairs of features should count beside "
        "single ones.",
        when_zh="细粒度识别：用一个参数学习特征两两搭配与单个特征各占多少分量。",
        unless=(
            "With many channels: the result has C * C numbers.",
            "通道很多时不宜用：结果有 C * C 个数。",
        ),
        gradient=(
            "To x from both factors, and to alpha by the logarithm of |x|; below eps the first factor gives none.",
            "两个因子都传给 x，并按 |x| 的对数传给 alpha；小于 eps 时第一个因子没有梯度。",
        ),
        shape="(N, C, *sizes) -> (N, C * C), or (N, C, C)",
        cost=("A power of every cell and one matrix product.", "每个格子一次求幂，加一次矩阵乘法。"),
        traps=(
            (
                "alpha = 1 is average pooling for positive x alone: sign(x) jumps at 0.",
                "只有 x 为正时 alpha = 1 才是平均池化：sign(x) 在 0 处跳变。",
            ),
            (
                "The signed square root and the L2 norm that follow in the paper are not part of this layer.",
                "论文随后的带符号平方根与 L2 归一化不在这一层里。",
            ),
        ),
        ships=("none",),
        call="y = nn.AlphaPool(1.5)(t).detach()",
        modules=("AlphaPool",),
    ),
    Entry(
        family="learned",
        name="power_pool",
        en="Power pooling",
        zh="幂池化",
        formula="y = sum x x^n / sum x^n",
        latex=r"y = \frac{\sum_{i} x_i \, x_i^{n}}{\sum_{i} x_i^{n}}",
        parameters=(
            ("channels", "classes, each with its own exponent", "类别数，每类一个指数"),
            ("n", "the exponents to begin with", "指数的初值"),
            ("eps", "probabilities below it count as it in the weights", "在权重中小于它的概率按它计"),
            _LEARN,
        ),
        source="Liu et al., 2020 (arXiv:2010.09985)",
        when="Sound event detection from clip labels: from the probability of each frame to that of the clip, with "
        "a sharpness learned for every class.",
        when_zh="只有整段标签的声音事件检测：由每帧的概率得到整段的概率，锐度按类别学习。",
        unless=(
            "For values outside [0, 1]; the softmax-weighted mean takes those.",
            "取值不在 [0, 1] 内时不要用；那时用 softmax 加权平均。",
        ),
        gradient=(
            "To all cells, and to n by the logarithms; cells below eps have weight but pass none to it.",
            "传给所有格子，并按对数传给 n；小于 eps 的格子有权重，但不经权重传梯度。",
        ),
        shape="(N, C, *sizes) -> (N, C)",
        cost=("A logarithm and an exponential of every cell.", "每个格子一次对数与一次指数。"),
        traps=(
            (
                (
                    "All zeros are 0/0 in the formula; here they give 0. Large n lets x^n vanish; here it is a "
                    "softmax of n log x and does not."
                ),
                "全零时公式为 0/0；这里得 0。n 大时 x^n 会下溢；这里写成 n log x 的 softmax，不会下溢。",
            ),
            (
                "n = 1 is linear softmax pooling, which is also what stochastic pooling does in evaluation.",
                "n = 1 即线性 softmax 池化，也就是随机池化在评估时的形式。",
            ),
        ),
        ships=("none",),
        call="y = nn.PowerPool(3)(t).detach()",
        modules=("PowerPool",),
    ),
)

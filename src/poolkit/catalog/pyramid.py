"""The whole map, fixed numbers of windows, and several scales at once."""

from __future__ import annotations

from poolkit.catalog.entry import INDICES, OUTPUT, Entry

_REDUCERS = (
    ("norm_type", "p of the Lp norm, above 0 or infinity", "Lp 范数的 p，大于 0 或无穷大"),
    ("p", "exponent of the power mean, above 0", "幂平均的指数，大于 0"),
    ("eps", "cells below it count as it in the power mean", "幂平均中小于它的格子按它计"),
    ("beta", "sharpness of LogSumExp and Soft, not 0", "LogSumExp 与 Soft 的锐度，不为 0"),
    ("mean", "LogSumExp of the mean, else of the sum", "LogSumExp 对数内取平均，否则取和"),
)


def _ranks(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{rank}d" for name in names for rank in (1, 2, 3))


ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="pyramid",
        name="global_pool",
        en="Global pooling, with every reducer",
        zh="全局池化",
        formula="y = reduce x over all cells of a channel",
        latex=r"y_c = \operatorname{reduce}_{i} x_{c i}",
        parameters=(("keepdims", "keep the pooled axes with size 1", "保留被池化的轴，大小为 1"), INDICES, *_REDUCERS),
        source="Lin, Chen and Yan, 2014 (arXiv:1312.4400, section 3.2); SPoC: Babenko and Lempitsky, 2015 "
        "(arXiv:1510.07493); MAC: Tolias et al., 2016 (arXiv:1511.05879)",
        when="One number per channel, whatever the size of the map: the head of classifiers and retrieval networks. "
        "Mean for evidence spread over the picture, max for small objects, LogSumExp or the power mean in between.",
        when_zh="无论特征图多大，每个通道得到一个数：分类与检索网络的头部。证据遍布全图时用平均，目标很小时用最大，"
        "LogSumExp 与幂平均介于两者之间。",
        unless=(
            (
                "Where the place of things matters for what follows; then a pyramid or adaptive pooling keeps a "
                "coarse map."
            ),
            "后续需要位置信息时不要用；改用金字塔或自适应池化保留一张粗略的图。",
        ),
        gradient=(
            (
                "Max and min: to the first of the chosen cells. Mean and sum: equally to all. The others: to all, "
                "by weight."
            ),
            "最大与最小：给第一个被选中的格子。平均与求和：平分给所有格子。其余：按权重分给所有格子。",
        ),
        shape="(N, C, *sizes) -> (N, C), or (N, C, 1, ...) with keepdims",
        cost=("One pass over the input.", "读一遍输入。"),
        traps=(
            (
                (
                    "torch.nn has no global layers: AdaptiveAvgPool2d(1) keeps the axes, Keras drops them. Here "
                    "keepdims says which, and dropping is the default, as in Keras."
                ),
                (
                    "torch.nn 没有全局层：AdaptiveAvgPool2d(1) 保留各轴，Keras 则去掉。这里由 keepdims 决定，默认与 "
                    "Keras 一样去掉。"
                ),
            ),
            (
                (
                    "In half precision the sum of 64 x 64 ones is above what float16 counts exactly; here sums are "
                    "in float32."
                ),
                "半精度下，64 x 64 个 1 之和已超出 float16 的精确范围；这里用 float32 累加。",
            ),
        ),
        ships=("Keras (max, mean)", "ONNX (max, mean, Lp)", "timm"),
        call="y = nn.GlobalLogSumExpPool2d(beta=5.0)(t)",
        modules=_ranks(
            "GlobalAvgPool",
            "GlobalLogSumExpPool",
            "GlobalLpPool",
            "GlobalMaxPool",
            "GlobalMinPool",
            "GlobalPowerMeanPool",
            "GlobalRMSPool",
            "GlobalSoftPool",
            "GlobalSumPool",
        ),
    ),
    Entry(
        family="pyramid",
        name="adaptive_pool",
        en="Adaptive pooling, with every reducer",
        zh="自适应池化",
        formula="y[j] = reduce x[floor(j I / O) : ceil((j + 1) I / O)]",
        latex=r"y_j = \operatorname{reduce}_{\lfloor j I / O \rfloor \le i < \lceil (j + 1) I / O \rceil} x_i",
        parameters=(OUTPUT, INDICES, *_REDUCERS),
        source="windows as in torch.nn.AdaptiveAvgPool2d; He et al., 2014 (arXiv:1406.4729, section 2.2)",
        when="A map of fixed size from inputs of any size where neither mean nor max is wanted: worst cases (min), "
        "counts (sum), energies (Lp, RMS), smooth maxima.",
        when_zh="输入大小任意、输出大小固定，而平均与最大都不合适时：最坏情形（最小）、计数（求和）、能量（Lp、"
        "均方根）、平滑的最大值。",
        unless=(
            "When the input's size is known: sliding windows are all of one size and do not overlap by accident.",
            "输入大小已知时不必用：滑动窗口大小一致，也不会意外重叠。",
        ),
        gradient=("As for the reducer over sliding windows.", "与该归约在滑动窗口上相同。"),
        shape="(N, C, *sizes) -> (N, C, *output_size)",
        cost=("One pass over the input; overlapping rows twice.", "读一遍输入；重叠的行读两遍。"),
        traps=(
            (
                (
                    "Where O does not divide I, neighbouring windows overlap by a cell, so that sums count it "
                    "twice; Equinox and TensorFlow Addons split without overlap and give other numbers."
                ),
                "O 不整除 I 时相邻窗口重叠一格，求和会把它算两次；Equinox 与 TensorFlow Addons 不重叠，结果不同。",
            ),
        ),
        ships=("none: torch, Keras and OpenVINO have max and mean only",),
        call="y = nn.AdaptiveLpPool2d(2.0, 7)(t)",
        modules=_ranks(
            "AdaptiveLogSumExpPool",
            "AdaptiveLpPool",
            "AdaptiveMinPool",
            "AdaptivePowerMeanPool",
            "AdaptiveRMSPool",
            "AdaptiveSoftPool",
            "AdaptiveSumPool",
        ),
    ),
    Entry(
        family="pyramid",
        name="spatial_pyramid_pool",
        en="Spatial pyramid pooling (SPP)",
        zh="空间金字塔池化（SPP）",
        formula="y = [adaptive(x, n) for n in levels]",
        latex=r"y = \left[ \max_{i \in R_{n, j}} x_i \right]_{n \in L, \, 1 \le j \le n^2}",
        parameters=(
            ("levels", "windows per side of each level", "每一层每边的窗口数"),
            ("mode", '"max" or "avg"', '"max" 或 "avg"'),
            ("flatten", "one vector per sample, else channels apart", "每个样本一个向量，否则保留通道轴"),
        ),
        source="He, Zhang, Ren and Sun, 2014 (arXiv:1406.4729, section 2.2)",
        when="A linear layer behind convolutions, with pictures of any size and shape: coarse levels say what there "
        "is, fine levels roughly where.",
        when_zh="卷积之后接全连接层、而图片大小形状不一时：粗层说明有什么，细层大致说明在哪里。",
        unless=(
            "Global pooling is enough for most classifiers, with 21 times fewer inputs for the linear layer.",
            "多数分类器用全局池化就够了，全连接层的输入少 21 倍。",
        ),
        gradient=(
            "With max to one cell of each window, the first of equal ones; a cell may win on several levels.",
            "取最大时给每个窗口的一个格子（相等时取第一个）；同一个格子可能在多层胜出。",
        ),
        shape="(N, C, H, W) -> (N, C * cells), cells = sum of the levels' windows",
        cost=("As many passes over the input as there are levels.", "有几层就读几遍输入。"),
        traps=(
            (
                (
                    "Implementations that compute kernel and stride from ceil and floor give other counts for some "
                    "sizes; adaptive windows give exactly n x n for all."
                ),
                "用取整算出核与步长的实现，在某些大小上窗口数会不对；自适应窗口总是恰好 n x n 个。",
            ),
            (
                (
                    "The order of the vector is not the same everywhere: here level after level, channels outermost "
                    "within."
                ),
                "向量的顺序各处不同：这里逐层排列，层内通道在最外。",
            ),
        ),
        ships=("TensorFlow Addons (crops what does not divide)",),
        call="y = nn.SpatialPyramidPool2d((1, 2, 4))(t)",
        modules=("SpatialPyramidPool2d",),
    ),
    Entry(
        family="pyramid",
        name="chained_max_pool",
        en="Chained max pooling",
        zh="串联最大池化",
        formula="y = [x, m(x), m(m(x)), ...]",
        latex=r"y = \left[ x, \, m(x), \, m(m(x)), \, \ldots \right], \quad m(x)_i = \max_{|j - i| \le k / 2} x_j",
        parameters=(
            ("kernel_size", "odd; cells of each pass", "奇数；每一遍的窗口大小"),
            ("repeats", "passes", "遍数"),
        ),
        source="Huang et al., 2019 (arXiv:1903.08589), with the windows 5, 9 and 13",
        when="Features of several sizes beside each other at full resolution, with nothing to learn: in front of a "
        "convolution that chooses among them.",
        when_zh="在原分辨率上并列多种尺度的特征，没有可学习的参数：放在一个会从中挑选的卷积之前。",
        unless=(
            "Where the number of channels is already the bottleneck: it multiplies by repeats + 1.",
            "通道数已是瓶颈时不宜用：通道数会变成 repeats + 1 倍。",
        ),
        gradient=(
            "To the first of the largest cells of each window, through all passes.",
            "经过各遍，传给每个窗口中第一个最大的格子。",
        ),
        shape="(N, C, H, W) -> (N, C * (repeats + 1), H, W)",
        cost=(
            "One small window a pass; windows 9 and 13 in one step would read 3 to 7 times more cells.",
            "每遍一个小窗口；若一步到位用 9 和 13，要多读 3 到 7 倍的格子。",
        ),
        traps=(
            (
                "Padding must never win: zeros instead lift maps that are all negative.",
                "填充不得胜出：若补零，会抬高全为负的图。",
            ),
        ),
        ships=("none as a layer of its own",),
        call="y = nn.ChainedMaxPool2d(5)(t)",
        modules=("ChainedMaxPool2d",),
    ),
    Entry(
        family="pyramid",
        name="sppf",
        en="Fast spatial pyramid pooling (SPPF)",
        zh="快速空间金字塔池化",
        formula="y = b([a, m(a), m(m(a)), m(m(m(a)))]), a = a(x)",
        latex=r"y = b \left( \left[ a, m(a), m(m(a)), m(m(m(a))) \right] \right), \quad a = a(x)",
        parameters=(
            ("in_channels", "channels of the input", "输入通道数"),
            ("out_channels", "channels of the result", "输出通道数"),
            ("kernel_size", "odd; cells of each pass", "奇数；每一遍的窗口大小"),
            (
                "hidden_channels",
                "channels between; None: half of in_channels",
                "中间通道数；None 表示 in_channels 的一半",
            ),
            ("norm", "makes the layer after each convolution, or None", "生成每个卷积后的归一化层，或 None"),
        ),
        source="Ultralytics YOLOv5, 2021; the pyramid: Huang et al., 2019 (arXiv:1903.08589)",
        when="The last stage of a detector's backbone, where objects of all sizes share one map.",
        when_zh="检测网络主干的最后一级：各种大小的目标共用一张特征图。",
        unless=(
            "Where all objects are of about one size, a convolution with dilation is cheaper.",
            "目标大小相近时，空洞卷积更省。",
        ),
        phases=(
            (
                "Batch normalisation uses the batch in training and running statistics in evaluation; the pooling "
                "is the same."
            ),
            "批归一化在训练时用批统计量，评估时用滑动统计量；池化部分相同。",
        ),
        gradient=("Through both convolutions and the chained maxima.", "经过两个卷积与串联的最大池化。"),
        shape="(N, in_channels, H, W) -> (N, out_channels, H, W)",
        cost=(
            "Two 1x1 convolutions; the three maxima are a small part.",
            "两个 1x1 卷积；三次最大池化只占一小部分。",
        ),
        traps=(
            (
                "Parallel windows of 5, 9 and 13 (SPP) give the same numbers, slower: 5 + 4 = 9, 9 + 4 = 13.",
                "并行的 5、9、13 窗口（SPP）结果完全相同，只是更慢：5 + 4 = 9，9 + 4 = 13。",
            ),
        ),
        ships=("ultralytics",),
        call="y = nn.SPPF(3, 8).eval()(t).detach()",
        modules=("SPPF",),
    ),
    Entry(
        family="pyramid",
        name="pyramid_pooling_module",
        en="Pyramid pooling module (PSPNet)",
        zh="金字塔池化模块",
        formula="y = [x, resize(conv(adaptive_avg(x, n))) for n in bins]",
        latex=r"y = \left[ x, \, \operatorname{up} \left( f_n \left( \operatorname{mean}_{R_n} x \right) \right) "
        r"\right]_{n \in B}",
        parameters=(
            ("in_channels", "channels of the input", "输入通道数"),
            ("bins", "windows per side of each picture", "每张粗图每边的窗口数"),
            (
                "out_channels",
                "None: the concatenation; else a 3x3 convolution to so many",
                "None 表示直接拼接；否则再用 3x3 卷积变为该通道数",
            ),
            ("norm", "makes the layer after each convolution, or None", "生成每个卷积后的归一化层，或 None"),
            ("align_corners", "of the bilinear interpolation", "双线性插值的角点对齐方式"),
        ),
        source="Zhao et al., 2017 (arXiv:1612.01105, section 3.2)",
        when="Semantic segmentation: every cell learns what kind of scene it is in, at four scales.",
        when_zh="语义分割：让每个格子在四种尺度上知道自己处在怎样的场景里。",
        unless=(
            (
                "For inputs much larger than in training the bins cover other areas; then dilated convolutions "
                "carry over better."
            ),
            "输入比训练时大很多时，各格覆盖的范围会变；此时空洞卷积更易迁移。",
        ),
        phases=(
            "Batch normalisation uses the batch in training and running statistics in evaluation.",
            "批归一化在训练时用批统计量，评估时用滑动统计量。",
        ),
        gradient=(
            "Through interpolation, convolutions and means to every cell.",
            "经过插值、卷积与平均，到达每个格子。",
        ),
        shape="(N, C, H, W) -> (N, C + len(bins) * (C // len(bins)), H, W)",
        cost=(
            "Four means, four convolutions of tiny maps, four interpolations to full size.",
            "四次平均、四次小图卷积、四次插值到原大小。",
        ),
        traps=(
            (
                (
                    "A bin of 1 with a batch of one has no variance: batch normalisation fails in training. Here it "
                    "is an error that says so, and norm can be another layer."
                ),
                "格数为 1 且批大小为 1 时没有方差，训练时批归一化会出错。这里给出明确的错误，norm 也可换成别的层。",
            ),
            (
                (
                    "align_corners is True in the authors' code and False in most others; results differ near the "
                    "border."
                ),
                "作者代码中 align_corners 为 True，其他多为 False；边界附近结果不同。",
            ),
        ),
        ships=("mmsegmentation", "segmentation models"),
        call="y = nn.PyramidPoolingModule(3, (1, 2, 4)).eval()(t).detach()",
        modules=("PyramidPoolingModule",),
    ),
    Entry(
        family="pyramid",
        name="strip_pool",
        en="Strip pooling",
        zh="条状池化",
        formula="y = x sigmoid(f(conv(row means) + conv(column means)))",
        latex=r"y_{c i j} = x_{c i j} \, \sigma \left( f \left( h_i + v_j \right)_c \right), \quad h_i = g_1 \left( "
        r"\frac{1}{W} \sum_{j} x_{i j} \right), \quad v_j = g_2 \left( \frac{1}{H} \sum_{i} x_{i j} \right)",
        parameters=(
            ("channels", "channels of the input and of the result", "输入与输出的通道数"),
            ("kernel_size", "odd; cells of the convolutions along the strips", "奇数；沿条带的卷积大小"),
        ),
        source="Hou, Zhang, Cheng and Feng, 2020 (arXiv:2003.13328, section 3.1)",
        when="Scenes with long thin things: roads, poles, rows of seats. A square window big enough for them would "
        "mix in everything beside them.",
        when_zh="场景里有细长的东西：道路、杆子、成排的座椅。足够大的方形窗口会把旁边的一切都混进来。",
        unless=(
            "For objects without a preferred direction, or pictures that may be turned.",
            "目标没有特定方向，或图片可能旋转时，不必用。",
        ),
        gradient=(
            "To every cell, directly and through its row and column.",
            "到达每个格子：直接一条路，经行与列各一条路。",
        ),
        shape="(N, C, H, W) -> (N, C, H, W)",
        cost=("Two means and a 1x1 convolution of the full map.", "两次平均，以及整图上的一个 1x1 卷积。"),
        traps=(
            (
                (
                    "The authors' code adds normalisation and ReLU after the convolutions; this is the formula of "
                    "the paper."
                ),
                "作者代码在卷积后还加了归一化与 ReLU；这里按论文的公式。",
            ),
        ),
        ships=("none",),
        call="y = nn.StripPool2d(3)(t).detach()",
        modules=("StripPool2d",),
    ),
    Entry(
        family="pyramid",
        name="rmac",
        en="Regional maximum activations (R-MAC)",
        zh="区域最大激活（R-MAC）",
        formula="y = sum over regions of m / |m|, m = max x",
        latex=r"y = \sum_{R} \frac{m_R}{\max \left( \lVert m_R \rVert, \varepsilon \right)}, \quad m_{R, c} = "
        r"\max_{i \in R} x_{c i}",
        parameters=(
            ("levels", "scales, from 1", "尺度数，从 1 起"),
            ("eps", "norms below it count as it", "小于它的范数按它计"),
            ("whole", "also add the maximum over the whole map", "再加上整张图的最大值"),
        ),
        source="Tolias, Sicre and Jegou, 2016 (arXiv:1511.05879)",
        when="Image retrieval without training: a global descriptor that small objects take part in as well.",
        when_zh="无需训练的图像检索：小目标也能在全局描述子中占有一席之地。",
        unless=(
            "When training is possible, the power mean (GeM) is simpler and usually better.",
            "可以训练时，幂平均（GeM）更简单，通常也更好。",
        ),
        gradient=(
            "To the first largest cell of each region, through its norm; regions of all zeros give none.",
            "经过范数传给每个区域的第一个最大格子；全零区域没有梯度。",
        ),
        shape="(N, C, H, W) -> (N, C)",
        cost=("About as many passes as levels, over overlapping regions.", "读输入的遍数约等于尺度数，区域有重叠。"),
        traps=(
            (
                (
                    "Widespread code also counts the whole map once, which for square maps doubles the first scale; "
                    "the paper does not. whole=True gives those numbers."
                ),
                (
                    "流传的代码还会把整张图算一次，对方形图相当于第一尺度加倍；论文没有这样做。whole=True "
                    "可得到那种结果。"
                ),
            ),
            (
                "PCA whitening of each region, which the paper does before the sum, is not part of this layer.",
                "论文在求和前对每个区域做 PCA 白化，这一层不包括。",
            ),
        ),
        ships=("cnnimageretrieval",),
        call="y = nn.RMACPool(3)(t)",
        modules=("RMACPool",),
    ),
    Entry(
        family="pyramid",
        name="wildcat",
        en="WILDCAT pooling (top and bottom cells)",
        zh="WILDCAT 池化",
        formula="y = (mean of kmax largest + alpha mean of kmin smallest) / 2",
        latex=r"y = \frac{1}{2} \left( \frac{1}{k^{+}} \sum_{r = 1}^{k^{+}} x_{(r)} + \frac{\alpha}{k^{-}} \sum_{r = "
        r"n - k^{-} + 1}^{n} x_{(r)} \right)",
        parameters=(
            ("kmax", "cells from the top, a count or a fraction in (0, 1)", "取最强的格数，整数或在（0，1）内的比例"),
            ("kmin", "cells from the bottom; None: kmax, 0: none", "取最弱的格数；None 同 kmax，0 表示不取"),
            ("alpha", "weight of the bottom", "最弱部分的权重"),
        ),
        source="Durand, Mordan, Thome and Cord, 2017 (WILDCAT, CVPR)",
        when="Weakly supervised detection: the top says that a class is there, the bottom that nothing speaks "
        "against it.",
        when_zh="弱监督检测：最强的格子说明类别存在，最弱的格子说明没有反对的证据。",
        unless=(
            "Where single cells are noisy a smooth maximum such as LogSumExp trains more steadily.",
            "单个格子噪声大时，LogSumExp 这类平滑最大值训练更稳。",
        ),
        gradient=(
            "Equally to the chosen cells, the first of equal ones.",
            "平分给被选中的格子；相等时取靠前的。",
        ),
        shape="(N, C, H, W) -> (N, C)",
        cost=("A sort of each map, two with kmin.", "每张图排序一次，有 kmin 时两次。"),
        traps=(
            (
                "kmax=1 is one cell and kmax=1.0 an error here: as a fraction it would be the whole map.",
                "kmax=1 是一个格子，而 kmax=1.0 在这里报错：作为比例它会是整张图。",
            ),
            (
                "The authors' code cuts a count above the number of cells to it; here that is an error.",
                "作者代码会把超过格数的 k 截断；这里报错。",
            ),
        ),
        ships=("none",),
        call="y = nn.WildcatPool2d(kmax=0.1, alpha=0.7)(t)",
        modules=("WildcatPool2d",),
    ),
)

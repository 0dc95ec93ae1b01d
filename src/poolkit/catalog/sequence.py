"""Poolings of sequences, ragged data and probabilities."""

from __future__ import annotations

from poolkit.catalog.entry import Entry

_LOGITS = ("from_logits", "the input holds logits, p = sigmoid(z)", "输入是 logit，p = sigmoid(z)")
_MASKED = "(N, L, D), mask (N, L) -> (N, D)"

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="sequence",
        name="masked_pool",
        en="Masked pooling",
        zh="掩码池化",
        formula="y = f(x_i : mask_i), f one of mean, max, min, sum, std, cls, last, weighted_mean, mean_sqrt_len",
        latex=r"y = f(x_1, \ldots, x_n), \quad f \in \{ \operatorname{mean}, \max, \min, \operatorname{sum}, "
        r"\operatorname{std}, x_1, x_n, \sum_{i} i x_i / \sum_{i} i, \sum_{i} x_i / \sqrt{n} \}",
        modules=("MaskedPool",),
        parameters=(
            (
                "mode",
                '"mean", "max", "min", "sum", "std", "cls" (first), "last", "weighted_mean" or "mean_sqrt_len"',
                (
                    '"mean"、"max"、"min"、"sum"、"std"、"cls"（第一个）、"last"（最后一个）、'
                    '"weighted_mean" 或 "mean_sqrt_len"'
                ),
            ),
        ),
        source="Reimers and Gurevych, 2019 (arXiv:1908.10084), section 3; Muennighoff, 2022 (arXiv:2202.08904)",
        when="One vector for each sentence from the tokens of a language model: mean for most encoders, last or "
        "weighted_mean for decoders, max for the presence of features.",
        when_zh=(
            "由语言模型的词元得到句向量：多数编码器用 mean，解码器用 last 或 weighted_mean，关心特征是否出现时用 max。"
        ),
        unless=(
            (
                "Where a few tokens matter and which ones must be learned: use attention. For ragged data "
                "without padding segment pooling takes less memory."
            ),
            "只有少数词元重要、而且要学习是哪些时：请用注意力池化。没有补齐的变长数据用分段池化更省内存。",
        ),
        gradient=(
            (
                "That of the statistic over the real elements: 1 / n for the mean, all to the first of equal "
                "maxima. 0 for what the mask leaves out, for rows without a real element and for a deviation of "
                "0."
            ),
            (
                "即真实元素上该统计量的梯度：平均为 1/n；最大值全部传给相等者中的第一个。掩码排除的元素、"
                "没有真实元素的行、标准差为 0 处，梯度都是 0。"
            ),
        ),
        shape=_MASKED,
        cost=(
            "A pass over the input, with a copy of it where there is a mask.",
            "读一遍输入；有掩码时多一份输入的副本。",
        ),
        traps=(
            (
                (
                    "Padding on the left moves the first and last token and the positions of a weighted mean. "
                    "Here all count real elements, so that both sides of padding give the same."
                ),
                "左侧补齐会移动首尾词元以及加权平均中的位置。这里一律按真实元素计数，左右补齐结果相同。",
            ),
            (
                (
                    "A row without a real element is 0 / 0 for the mean and minus infinity for the maximum. Here "
                    "it gives 0 in every mode."
                ),
                "没有真实元素的行，平均是 0/0，最大值是负无穷。这里各模式都给出 0。",
            ),
            (
                (
                    "sentence-transformers' maximum writes -1e9 into the embeddings in place; in float16 that is "
                    "minus infinity. This one never writes into its input."
                ),
                "sentence-transformers 的最大值会把 −1e9 就地写入嵌入，在 float16 中成为负无穷。这里从不改写输入。",
            ),
        ),
        ships=("sentence-transformers", "Keras"),
        call='mask = torch.arange(32) < torch.tensor([[20]])\ny = nn.MaskedPool("mean")(t[:, 0], mask)',
    ),
    Entry(
        family="sequence",
        name="segment_pool",
        en="Segment pooling",
        zh="分段池化",
        formula="y[s] = f(x_i : id_i = s), f one of sum, mean, max, min, var, std, softmax",
        latex=(
            r"y_s = f( x_i : \mathrm{id}_i = s ), \quad f \in \{ \operatorname{sum}, \operatorname{mean}, \max, "
            r"\min, \operatorname{var}, \operatorname{std}, \operatorname{softmax} \}"
        ),
        modules=("SegmentPool",),
        parameters=(
            (
                "mode",
                '"sum", "mean", "max", "min", "var", "std" or "softmax" (the softmax-weighted mean)',
                '"sum"、"mean"、"max"、"min"、"var"、"std" 或 "softmax"（softmax 加权平均）',
            ),
            ("beta", "sharpness of the softmax, not 0", "softmax 的锐度，不为 0"),
        ),
        source="Blelloch, 1990 (Vector Models for Data-Parallel Computing); Gilmer et al., 2017 (arXiv:1704.01212), "
        "equation 2",
        when="Ragged data in one long tensor: nodes of graphs, words of packed sentences, points of voxels. Nothing is "
        "padded, and the segments may come in any order.",
        when_zh="放在一个长张量里的变长数据：各图的节点、打包句子的词、体素里的点。不需要补齐，各段的次序任意。",
        unless=(
            (
                "Where all segments are equally long: reshape and reduce an axis, which is faster and keeps the "
                "order of summation."
            ),
            "各段等长时：变形后沿一轴归约更快，求和次序也固定。",
        ),
        gradient=(
            "Each row has that of its segment's statistic. Equal maxima share it equally; a deviation of 0 has none.",
            "每一行得到所在段统计量的梯度。相等的最大值平分梯度；标准差为 0 处没有梯度。",
        ),
        shape="(T, *features), ids (T,) or offsets (S + 1,) -> (S, *features)",
        cost=(
            "One scatter for sums, two more passes for deviation and softmax. Checking the ids reads them once.",
            "求和只需一次 scatter；标准差与 softmax 再多两遍。检查编号需读一遍编号。",
        ),
        traps=(
            (
                (
                    "The number of segments is no function of the ids: the last segments may be empty. So "
                    "num_segments is asked for."
                ),
                "段数不能由编号推出：末尾的段可能为空。因此必须给出 num_segments。",
            ),
            (
                (
                    "Empty segments: 0 here and in PyG, minus infinity for the maximum in JAX. Offsets have one "
                    "entry more than there are segments, unlike EmbeddingBag's default."
                ),
                "空段：这里与 PyG 为 0，JAX 的最大值为负无穷。offsets 比段数多一项，与 EmbeddingBag 的默认约定不同。",
            ),
        ),
        ships=("torch", "PyG", "TensorFlow", "JAX"),
        call='ids = torch.arange(32) % 5\ny = nn.SegmentPool("max")(t[0, 0], ids, num_segments=5)',
    ),
    Entry(
        family="sequence",
        name="k_max_pool",
        en="k-max pooling",
        zh="k 最大池化",
        formula="y = the k largest of x, in the order in which they stand",
        latex=r"y = (x_{i_1}, \ldots, x_{i_k}), \quad i_1 \le \ldots \le i_k \text{ the places of the k largest}",
        modules=("KMaxPool1d",),
        parameters=(("k", "how many values are kept", "保留的值的个数"),),
        source="Kalchbrenner, Grefenstette and Blunsom, 2014 (arXiv:1404.2188), section 3.2",
        when=(
            "Sentences of any length to k values a channel, where it matters that a feature comes up more than "
            "once and in which order, but not where."
        ),
        when_zh="把任意长度的句子变成每通道 k 个值：在意特征是否多次出现及其先后，而不在意具体位置。",
        unless=(
            "Where positions must line up across channels: each channel keeps places of its own.",
            "各通道的位置需要对齐时：每个通道保留的位置各不相同。",
        ),
        gradient=(
            "The whole gradient goes to the k chosen values; the others get 0.",
            "梯度全部传给被选中的 k 个值，其余为 0。",
        ),
        shape="(N, C, L) -> (N, C, k)",
        cost=(
            "A stable sort of each channel, L log L, so that of equal values the first ones come in.",
            "每个通道做一次稳定排序，L log L，使相等的值中靠前者入选。",
        ),
        traps=(
            (
                "topk gives the values by size. Sorting the places instead of the values is what keeps the order.",
                "topk 按大小给出结果。要保持原次序，应对位置排序而不是对值排序。",
            ),
            (
                "Padding with 0 wins over negative values: pad with a value below all others, or cut first.",
                "用 0 补齐会胜过负值：请用小于所有值的数补齐，或先截断。",
            ),
        ),
        call="y = nn.KMaxPool1d(5)(t[:, 0])",
    ),
    Entry(
        family="sequence",
        name="chunk_max_pool",
        en="Chunk max pooling",
        zh="分块最大池化",
        formula="y[j] = max(x_i : i in part j of chunks equal parts)",
        latex=r"y_j = \max_{i \in P_j} x_i, \quad P_1, \ldots, P_n \text{ equal parts in order}",
        modules=("ChunkMaxPool1d",),
        parameters=(("chunks", "number of parts", "块数"),),
        source="after Chen et al., 2015 (Event Extraction via Dynamic Multi-Pooling) and Zeng et al., 2015 (Distant "
        "Supervision for Relation Extraction via Piecewise Convolutional Neural Networks)",
        when=(
            "Texts and series of any length to a fixed size, where beginning, middle and end mean different "
            "things and a single maximum would mix them."
        ),
        when_zh="把任意长度的文本或序列变成固定大小，且开头、中间、结尾含义不同，只取一个最大值会把它们混在一起时。",
        unless=(
            "Where parts have borders of their own, such as the entities of a relation: cut there, and pool each part.",
            "各部分有自己的边界（如关系抽取中的实体）时：请在边界处切开，再对每一部分池化。",
        ),
        gradient=(
            "The whole gradient of a part goes to its maximum, the first among equals.",
            "每一块的梯度全部传给它的最大值；相等时传给第一个。",
        ),
        shape="(N, C, L) -> (N, C, chunks)",
        cost=("Comparisons only, one reduction a part.", "只有比较，每块一次归约。"),
        traps=(
            (
                (
                    "Adaptive max pooling is not the same: where chunks does not divide L its windows overlap. "
                    "These parts never do; the first ones are one longer."
                ),
                "它与自适应最大池化不同：块数不能整除 L 时，后者的窗口会重叠。这里的各块从不重叠，靠前的几块长一格。",
            ),
            (
                "torch.chunk makes all parts but the last equally long, and may make fewer than asked for.",
                "torch.chunk 除最后一块外各块等长，而且得到的块数可能比要求的少。",
            ),
        ),
        call="y = nn.ChunkMaxPool1d(3)(t[:, 0])",
    ),
    Entry(
        family="sequence",
        name="noisy_or_pool",
        en="Noisy-or pooling",
        zh="噪声或池化",
        formula="y = 1 - prod (1 - p)",
        latex=r"y = 1 - \prod_{i} (1 - p_i)",
        modules=("NoisyOrPool",),
        parameters=(_LOGITS,),
        source="Pearl, 1988 (Probabilistic Reasoning in Intelligent Systems), section 4.3.2; Zhang, Platt and Viola, "
        "2005 (Multiple Instance Boosting for Object Detection)",
        when=(
            "The probability of a bag from those of its instances, where one positive instance is enough and "
            "instances err independently."
        ),
        when_zh="由各示例的概率得到整袋的概率：只要一个示例为阳性就够，且各示例的误差相互独立。",
        unless=(
            (
                "In long bags: many small probabilities add up to 1, and the assumption of independence fails "
                "for frames that look alike. Linear softmax stays a mean."
            ),
            "袋很长时：许多小概率会累积到 1，而相似的帧也不满足独立假设。线性 softmax 池化则始终是平均。",
        ),
        gradient=(
            (
                "The product of the other 1 - p, right at p = 0 and p = 1 too: once an instance is certain, only "
                "it can still change the result."
            ),
            "等于其余各项 1 − p 的乘积，在 p = 0 与 p = 1 处也正确：一旦某个示例是确定的，就只有它还能改变结果。",
        ),
        shape=_MASKED,
        cost=("One logarithm an element, one exponential a bag.", "每个元素一次对数，每袋一次指数。"),
        traps=(
            (
                "The product of 1 - p rounds to 1 for small p, and all of them vanish. Here log1p and expm1 keep them.",
                "p 很小时 1 − p 的乘积会舍入为 1，所有小概率都消失。这里用 log1p 与 expm1 保留它们。",
            ),
            (
                (
                    "log(1 - p) at p = 1 is minus infinity with a NaN gradient. Clamping p biases the result; "
                    "keeping certain elements apart does not."
                ),
                "p = 1 时 log(1 − p) 为负无穷，梯度为 NaN。截断 p 会带来偏差；把确定的元素单独处理则不会。",
            ),
        ),
        call="y = nn.NoisyOrPool()(t[:, 0])",
    ),
    Entry(
        family="sequence",
        name="linear_softmax_pool",
        en="Linear softmax pooling",
        zh="线性 softmax 池化",
        formula="y = sum p^2 / sum p",
        latex=r"y = \frac{\sum_{i} p_i^2}{\sum_{i} p_i}",
        modules=("LinearSoftmaxPool",),
        parameters=(_LOGITS,),
        source="Wang, Li and Metze, 2019 (arXiv:1810.09050)",
        when="Sound events and other weak labels: a mean that leans to the confident frames, between mean and maximum, "
        "and that pushes frames above y / 2 up and those below down.",
        when_zh=(
            "声音事件检测等弱标签任务：偏向高置信度帧的平均，介于平均与最大之间；它把高于 y/2 的帧往上推，"
            "低于 y/2 的往下压。"
        ),
        unless=(
            "For values that can be negative: the weights are the values themselves. Soft pooling takes any sign.",
            "取值可能为负时：权重就是取值本身。软池化可处理任意符号。",
        ),
        gradient=(
            "(2 p - y) / sum p: positive for p above y / 2, negative below. 0 where all are 0.",
            "等于 (2p − y) / Σp：p 高于 y/2 时为正，低于时为负。全为 0 时梯度为 0。",
        ),
        shape=_MASKED,
        cost=("One pass over the input, no exponential.", "读一遍输入，没有指数运算。"),
        traps=(
            (
                "It is no softmax: there is no exponential, and a scale of p scales y.",
                "它并不是 softmax：没有指数，p 按比例缩放时 y 也按同样比例缩放。",
            ),
            (
                "All zeros are 0 / 0. Adding eps below shifts small results; here 0 is told apart.",
                "全为 0 时是 0/0。在分母上加 eps 会使小的结果偏移；这里单独处理 0。",
            ),
        ),
        call="y = nn.LinearSoftmaxPool()(t[:, 0])",
    ),
)

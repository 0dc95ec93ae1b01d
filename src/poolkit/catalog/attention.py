"""Poolings by attention: of maps, tokens, bags, sets and capsules."""

from __future__ import annotations

from poolkit.catalog.entry import Entry

_HEADS = ("num_heads", "attention heads; divides the width", "注意力头数，须整除宽度")
_MASKED = "(N, L, D), mask (N, L) -> (N, D)"
_CONTEXT = (
    "Reaches every real element: directly through the weighted sum, and through the weights, whose gradients sum to "
    "zero. Elements that the mask leaves out receive exactly 0."
)
_CONTEXT_ZH = "到达每个真实元素：一路经加权和，一路经权重（权重的梯度之和为零）。掩码排除的元素得到的梯度恰为 0。"
_PADDING = (
    "Padding without a mask takes part: a softmax gives zeros a weight like any other element.",
    "没有掩码时，补的元素也会参与：softmax 会像对待其他元素一样给零向量分配权重。",
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="attention",
        name="attention_pool",
        en="Attention pooling of a map (CLIP)",
        zh="注意力池化",
        formula="y = W_c MultiHead(q = mean(x) + p_0, k = v = [mean(x) + p_0; x_i + p_i])",
        latex=r"t_0 = \frac{1}{n} \sum_{i} x_i + p_0, \quad t_i = x_i + p_i, \quad "
        r"y = W_c \sum_{i} \operatorname{softmax}_i \left( \frac{(W_q t_0) \cdot (W_k t_i)}{\sqrt{d}} \right) W_v t_i",
        modules=("AttentionPool2d",),
        parameters=(
            ("embed_dim", "channels of the input", "输入的通道数"),
            _HEADS,
            (
                "feat_size",
                "the grid on which positions are learned, an int or (height, width)",
                "学习位置嵌入的网格，一个整数或（高，宽）",
            ),
            ("output_dim", "channels of the output; None: as the input", "输出的通道数；None 表示与输入相同"),
            (
                "interpolation",
                'how positions are resized, "bicubic" or "bilinear"',
                '位置嵌入的缩放方式，"bicubic" 或 "bilinear"',
            ),
        ),
        source="Radford et al., 2021 (arXiv:2103.00020), section 2.4",
        when=(
            "The head of a convolutional network whose one vector must pick out what matters, as for matching "
            "pictures with text. Loads the weights of CLIP's ResNets under their own names, and takes maps of "
            "every size."
        ),
        when_zh="卷积网络的头部：用一个向量概括全图，并挑出重要的内容，例如图文匹配。可直接载入 CLIP 各 ResNet 的权重，"
        "参数名一致；接受任意大小的特征图。",
        unless=(
            (
                "With few data or where position must not matter: global average or power-mean pooling has "
                "nothing to learn and is hard to beat."
            ),
            "数据很少，或结果不应依赖位置时：全局平均或幂平均池化没有参数需要学习，而且很难被超过。",
        ),
        gradient=(
            (
                "Reaches every cell three ways: as key, as value and through the mean that is the query. All "
                "projections and the position embedding learn, at other sizes through the interpolation."
            ),
            (
                "经三条路到达每个格子：作为键、作为值，以及经由作为查询的平均值。各投影与位置嵌入都参与学习；"
                "尺寸不同时，位置嵌入的梯度经过插值。"
            ),
        ),
        shape="(N, C, H, W) -> (N, output_dim)",
        cost=(
            (
                "Keys and values take 2 H W C^2 multiplications a sample; the attention itself has a single "
                "query and costs next to nothing."
            ),
            "键与值每个样本需 2HWC² 次乘法；注意力只有一个查询，几乎不花时间。",
        ),
        traps=(
            (
                (
                    "The position embedding belongs to one grid. Ports that keep it fixed fail at another "
                    "resolution; here it is resized, without the mean's entry, and far from the learned size the "
                    "result degrades."
                ),
                (
                    "位置嵌入属于某一个网格。固定不变的移植版本换个分辨率就会报错；"
                    "这里会缩放它（平均值的那一项除外），但离学习时的尺寸越远，结果越差。"
                ),
            ),
            (
                (
                    "CLIP gives (spacial_dim, embed_dim, ...), timm (in_features, out_features, ...): pass "
                    "names, not places."
                ),
                (
                    "CLIP 的参数顺序是 (spacial_dim, embed_dim, ...)，timm 是 (in_features, out_features, ...)："
                    "请按名称而不是按位置传参。"
                ),
            ),
        ),
        ships=("timm",),
        call="y = nn.AttentionPool2d(3, num_heads=3, feat_size=16, output_dim=10)(t)",
    ),
    Entry(
        family="attention",
        name="attention_pool_latent",
        en="Latent attention pooling (MAP head)",
        zh="潜变量注意力池化",
        formula="z = MultiHead(l, x, x), y = z + MLP(LN(z)), l learned",
        latex=(
            r"z = W_o \sum_{i} \operatorname{softmax}_i \left( \frac{(W_q \ell) \cdot (W_k x_i)}{\sqrt{d}} "
            r"\right) W_v x_i, \quad y = z + \operatorname{MLP}(\operatorname{LN}(z))"
        ),
        modules=("AttentionPoolLatent",),
        parameters=(
            ("in_features", "features of a token", "一个词元的特征数"),
            ("out_features", "features of the output; None: as the input", "输出的特征数；None 表示与输入相同"),
            ("embed_dim", "width of the attention; None: as the input", "注意力的宽度；None 表示与输入相同"),
            _HEADS,
            ("mlp_ratio", "hidden width of the MLP in units of its output", "MLP 隐层宽度与输出宽度之比"),
            ("qkv_bias", "queries, keys and values have a bias", "查询、键、值的投影带偏置"),
            ("latent_len", "number of learned latents", "可学习潜变量的个数"),
            (
                "pool_type",
                'of several latents: "token" (the first), "avg" or "none" (all)',
                '多个潜变量时："token"（第一个）、"avg" 或 "none"（全部）',
            ),
            ("eps", "of the layer norm", "层归一化的 eps"),
        ),
        source="Zhai et al., 2022 (arXiv:2106.04560), section 3.2; Lee et al., 2019 (arXiv:1810.00825)",
        when="The head of vision transformers without a class token, such as SigLIP: a learned query collects what it "
        "needs from all tokens, and padding is left out by the mask.",
        when_zh="没有类别词元的视觉 Transformer（如 SigLIP）的头部：一个可学习的查询从全部词元中收集所需信息，"
        "补的词元由掩码排除。",
        unless=(
            (
                "As a fixed baseline or with little data: it adds about 12 D^2 parameters. The mean of the "
                "tokens needs none."
            ),
            "用作固定基线，或数据很少时：它增加约 12D² 个参数，而词元的平均不需要参数。",
        ),
        gradient=(_CONTEXT, _CONTEXT_ZH),
        shape="(N, L, in_features), mask (N, L) -> (N, out_features)",
        cost=(
            (
                "2 L D^2 multiplications for keys and values; attention and MLP see only the latents. Attention "
                "is torch's scaled_dot_product_attention."
            ),
            "键与值需 2LD² 次乘法；注意力与 MLP 只处理潜变量。注意力用的是 torch 的 scaled_dot_product_attention。",
        ),
        traps=(
            _PADDING,
            (
                (
                    "A row without a real token attends to nothing, but y is not 0: the projection's bias and "
                    "the MLP remain."
                ),
                "没有真实词元的行不关注任何东西，但 y 并不为 0：投影的偏置与 MLP 仍然起作用。",
            ),
        ),
        ships=("timm",),
        call="y = nn.AttentionPoolLatent(32, num_heads=4)(t[:, 0])",
    ),
    Entry(
        family="attention",
        name="sim_pool",
        en="SimPool",
        zh="简单注意力池化",
        formula="y = (sum a_i (v_i - min v)^gamma)^(1/gamma), a = softmax(W_q mean(x) . W_k v / sqrt(d)), v = LN(x)",
        latex=(
            r"v = \operatorname{LN}(x), \quad a_i = \operatorname{softmax}_i \left( \frac{(W_q m) \cdot (W_k "
            r"v_i)}{\sqrt{d}} \right), \quad m = \frac{1}{n} \sum_{i} x_i, \quad y = \left( \sum_{i} a_i (v_i - "
            r"\min v)^\gamma \right)^{1/\gamma}"
        ),
        modules=("SimPool",),
        parameters=(
            ("embed_dim", "features of a token, or channels of a map", "词元的特征数，或特征图的通道数"),
            _HEADS,
            (
                "gamma",
                "exponent of the power mean; None: the plain weighted mean",
                "幂平均的指数；None 表示普通加权平均",
            ),
            ("qkv_bias", "the projections have a bias", "投影带偏置"),
            (
                "eps",
                "of the layer norm, and of the smallest value under the power",
                "层归一化的 eps，也是幂运算下最小值所取的值",
            ),
        ),
        source="Psomas et al., 2023 (arXiv:2309.06891), section 3",
        when="A replacement for average pooling at the end of convolutional networks and transformers alike that gives "
        "clean attention maps for free. The values are not projected, so the features keep their meaning.",
        when_zh=(
            "在卷积网络与 Transformer 末端都可替代平均池化，并附带清晰的注意力图。值不经过投影，"
            "因此特征保持原来的含义。"
        ),
        unless=(
            (
                "In front of layers that expect the raw scale of the features: the output is layer-normed, and "
                "with gamma lies above each sample's minimum."
            ),
            "后面的层要求特征保持原始尺度时：输出经过层归一化，设了 gamma 时还以每个样本的最小值为零点。",
        ),
        gradient=(
            (
                "Reaches every real element through value, key and the mean; with gamma also the smallest value, "
                "which all others are measured from."
            ),
            "经由值、键与平均值到达每个真实元素；设了 gamma 时还到达最小值，因为其余各值都以它为起点。",
        ),
        shape="(N, C, H, W) or (N, L, C), mask (N, L) -> (N, C)",
        cost=(
            "L C^2 multiplications for the keys; no projection of values and none of the output.",
            "键需 LC² 次乘法；值与输出都没有投影。",
        ),
        traps=(
            (
                (
                    "The published code takes the minimum over the whole batch, so that a sample's output "
                    "depends on its neighbours and on the batch size. Here each sample has its own minimum."
                ),
                (
                    "论文公开的代码在整个批次上取最小值，于是一个样本的输出取决于同批的其他样本和批大小。"
                    "这里每个样本取自己的最小值。"
                ),
            ),
            (
                "timm's layer takes the minimum of each channel: its numbers differ from the paper's and from these.",
                "timm 的实现按通道取最小值：其结果与论文不同，也与这里不同。",
            ),
        ),
        ships=("timm",),
        call="y, attention = nn.SimPool(3, gamma=1.25)(t, return_attention=True)",
    ),
    Entry(
        family="attention",
        name="abmil_pool",
        en="Attention-based multiple-instance pooling (ABMIL)",
        zh="多示例注意力池化",
        formula="y = sum a_k h_k, a = softmax(w tanh(V h_k))",
        latex=r"a_k = \operatorname{softmax}_k ( w^{T} \operatorname{tanh}(V h_k) ), \quad y = \sum_{k} a_k h_k",
        modules=("ABMILPool",),
        parameters=(
            ("in_features", "features of an instance", "一个示例的特征数"),
            ("hidden_features", "width of the hidden layer", "隐层宽度"),
            ("bias", "the layers have a bias", "各层带偏置"),
        ),
        source="Ilse, Tomczak and Welling, 2018 (arXiv:1802.04712), equations 7 and 8",
        when="One label for a bag of instances, such as the tiles of a slide: the weights say which instances decided. "
        "Bags of different sizes share a batch through the mask.",
        when_zh="一袋示例只有一个标签时，例如一张病理切片的许多图块：权重说明是哪些示例起了决定作用。"
        "大小不同的袋可借助掩码放在同一批里。",
        unless=(
            (
                "Where instances bear on each other, such as neighbouring tiles: every score looks at its own "
                "instance alone."
            ),
            "示例之间相互有关（如相邻图块）时：每个分数只看它自己的示例。",
        ),
        gradient=(_CONTEXT, _CONTEXT_ZH),
        shape=_MASKED,
        cost=(
            "L D H multiplications for H hidden features, and L H values kept for the backward pass.",
            "隐层宽度为 H 时需 LDH 次乘法；反向传播需保存 LH 个值。",
        ),
        traps=(
            (
                (
                    "The published code takes one bag at a time. Batched without a mask, padding takes part in "
                    "the softmax."
                ),
                "论文公开的代码一次只处理一袋。成批而不用掩码时，补的示例会参与 softmax。",
            ),
            (
                (
                    "Weights are relative: with one positive instance in a large bag they can be flat and still "
                    "be right in order. They are no probabilities."
                ),
                "权重是相对的：大袋里只有一个阳性示例时，权重可能很平，而次序仍然正确。它们不是概率。",
            ),
        ),
        call="y, attention = nn.ABMILPool(32)(t[:, 0], return_attention=True)",
    ),
    Entry(
        family="attention",
        name="gated_abmil_pool",
        en="Gated multiple-instance pooling",
        zh="门控多示例池化",
        formula="y = sum a_k h_k, a = softmax(w (tanh(V h_k) * sigmoid(U h_k)))",
        latex=r"a_k = \operatorname{softmax}_k ( w^{T} ( \operatorname{tanh}(V h_k) \cdot \sigma(U h_k) ) ), "
        r"\quad y = \sum_{k} a_k h_k",
        modules=("GatedABMILPool",),
        parameters=(
            ("in_features", "features of an instance", "一个示例的特征数"),
            ("hidden_features", "width of both hidden layers", "两个隐层的宽度"),
            ("bias", "the layers have a bias", "各层带偏置"),
        ),
        source="Ilse, Tomczak and Welling, 2018 (arXiv:1802.04712), equations 7 and 9",
        when=(
            "As ABMIL, where its scores are too simple: tanh is nearly linear for small values, and the gate "
            "adds what it cannot say. The usual choice in pathology."
        ),
        when_zh="与 ABMIL 用途相同，而其打分过于简单时使用：tanh 在小值处近似线性，门控补上了它表达不了的部分。"
        "病理图像中的常用选择。",
        unless=(
            (
                "Where ABMIL already does: it has twice the parameters of the hidden layer, and the paper finds "
                "little difference on small data."
            ),
            "ABMIL 已经够用时：它的隐层参数多一倍，而论文在小数据上没有看到多大差别。",
        ),
        gradient=(_CONTEXT, _CONTEXT_ZH),
        shape=_MASKED,
        cost=(
            "2 L D H multiplications for H hidden features, and 2 L H values kept for the backward pass.",
            "隐层宽度为 H 时需 2LDH 次乘法；反向传播需保存 2LH 个值。",
        ),
        traps=(
            _PADDING,
            (
                "The gate is a product of features, not of the score: a sigmoid after w is another operator.",
                "门控乘在特征上，而不是乘在分数上：在 w 之后再加 sigmoid 是另一种算子。",
            ),
        ),
        call="y, attention = nn.GatedABMILPool(32)(t[:, 0], return_attention=True)",
    ),
    Entry(
        family="attention",
        name="self_attentive_pool",
        en="Structured self-attentive pooling",
        zh="结构化自注意力池化",
        formula="M = A H, A = softmax(W_2 tanh(W_1 H^T)), penalty ||A A^T - I||_F^2",
        latex=r"A = \operatorname{softmax} ( W_2 \operatorname{tanh}(W_1 H^{T}) ), \quad M = A H, \quad "
        r"P = \lVert A A^{T} - I \rVert_F^2",
        modules=("SelfAttentivePool",),
        parameters=(
            ("in_features", "features of an element", "一个元素的特征数"),
            ("hidden_features", "width of the hidden layer; 350 in the paper", "隐层宽度；论文取 350"),
            ("num_hops", "number of weighted means; 30 in the paper", "加权平均的个数；论文取 30"),
        ),
        source="Lin et al., 2017 (arXiv:1703.03130), equations 6 to 8",
        when=(
            "A sentence or series with several things to say: each hop is a weighted mean with a focus of its "
            "own, and the penalty keeps the hops apart."
        ),
        when_zh="一句话或一段序列包含多方面内容时：每一跳是一个各有侧重的加权平均，惩罚项使各跳彼此不同。",
        unless=(
            (
                "Where one vector is enough: the output is num_hops times as large, and hops without the penalty "
                "tend to be copies of each other."
            ),
            "一个向量就够用时：输出是原来的 num_hops 倍，而不加惩罚项时各跳容易彼此雷同。",
        ),
        gradient=(_CONTEXT, _CONTEXT_ZH),
        shape="(N, L, D), mask (N, L) -> (N, num_hops, D)",
        cost=(
            (
                "L D H multiplications for H hidden features, and L D for each hop; the penalty adds L for each "
                "pair of hops."
            ),
            "隐层宽度为 H 时需 LDH 次乘法，每一跳再加 LD 次；惩罚项对每一对跳再加 L 次。",
        ),
        traps=(
            (
                "The penalty must be added to the loss by hand: ask for it with return_penalty=True.",
                "惩罚项要自己加到损失里：用 return_penalty=True 取得。",
            ),
            (
                (
                    "Its diagonal asks each hop to put all weight on one element, so that it sharpens as well as "
                    "separates."
                ),
                "惩罚项的对角线要求每一跳把全部权重放在一个元素上，因此它既使各跳分开，也使各跳变尖锐。",
            ),
        ),
        call="y, penalty = nn.SelfAttentivePool(32, 16, num_hops=4)(t[:, 0], return_penalty=True)",
    ),
    Entry(
        family="attention",
        name="pma",
        en="Pooling by multihead attention (Set Transformer)",
        zh="多头注意力池化",
        formula="y = MAB(S, rFF(Z)), MAB(S, Y) = H + rFF(H), H = S + MultiHead(S, Y, Y)",
        latex=r"Y = \operatorname{rFF}(Z), \quad H = \operatorname{LN}(S + \operatorname{MultiHead}(S, Y, Y)), \quad "
        r"y = \operatorname{LN}(H + \operatorname{rFF}(H))",
        modules=("PMA",),
        parameters=(
            ("embed_dim", "features of an element", "一个元素的特征数"),
            _HEADS,
            ("num_seeds", "number of outputs", "输出的个数"),
            ("layer_norm", "with the two layer norms", "是否带两个层归一化"),
            ("scale", "factor of the scores; None: 1 / sqrt(embed_dim)", "分数的系数；None 表示 1/√embed_dim"),
        ),
        source="Lee et al., 2019 (arXiv:1810.00825), equations 6, 7 and 11",
        when=(
            "Sets of any size to a fixed number of vectors, in whatever order the elements come: point clouds, "
            "graphs, records of a patient. Several seeds give several views, as for clustering."
        ),
        when_zh=(
            "把任意大小、任意次序的集合变成固定数目的向量：点云、图、病人的各项记录。多个种子给出多个侧面，"
            "例如用于聚类。"
        ),
        unless=(
            "Where a count matters: a softmax weighs shares, so a set and the same set twice give the same. Add a sum.",
            "数量本身重要时：softmax 只看比例，一个集合与把它重复一遍的结果相同。请另加求和。",
        ),
        gradient=(_CONTEXT, _CONTEXT_ZH),
        shape="(N, L, D), mask (N, L) -> (N, num_seeds, D)",
        cost=(
            "3 L D^2 multiplications for the feed-forward layer, keys and values, and L D for each seed.",
            "前馈层、键与值共需 3LD² 次乘法，每个种子再加 LD 次。",
        ),
        traps=(
            (
                (
                    "The paper and its code divide the scores by the root of the whole width, not of a head's: "
                    "with 4 heads they are half as sharp as usual attention. scale=(embed_dim / num_heads) ** "
                    "-0.5 gives the usual one."
                ),
                (
                    "论文及其代码用整个宽度（而不是单头宽度）的平方根去除分数：4 个头时，"
                    "注意力的锐度只有通常的一半。scale=(embed_dim / num_heads) ** -0.5 给出通常的做法。"
                ),
            ),
            (
                (
                    "The published code differs from the paper: no first feed-forward layer, no output "
                    "projection, projected seeds in the sum, no mask. This is the paper's formula; weights of "
                    "that code do not fit."
                ),
                (
                    "公开的代码与论文不同：没有第一个前馈层，没有输出投影，相加的是投影后的种子，也没有掩码。"
                    "这里按论文公式实现；那份代码的权重不能载入。"
                ),
            ),
        ),
        ships=("PyG",),
        call="y = nn.PMA(32, num_heads=4, num_seeds=2)(t[:, 0])",
    ),
    Entry(
        family="attention",
        name="capsule_routing",
        en="Capsules with dynamic routing",
        zh="胶囊的动态路由",
        formula="v_j = squash(sum_i c_ij W_ij u_i), c_i = softmax_j(b_ij), b_ij += W_ij u_i . v_j",
        latex=r"c_{ij} = \operatorname{softmax}_j(b_{ij}), \quad s_j = \sum_{i} c_{ij} W_{ij} u_i, \quad "
        r"v_j = \frac{\lVert s_j \rVert^2}{1 + \lVert s_j \rVert^2} \frac{s_j}{\lVert s_j \rVert}, \quad "
        r"b_{ij} \to b_{ij} + (W_{ij} u_i) \cdot v_j",
        modules=("CapsuleRouting",),
        parameters=(
            ("in_capsules", "number of input capsules", "输入胶囊的个数"),
            ("in_features", "length of an input capsule", "输入胶囊的维数"),
            ("out_capsules", "number of output capsules", "输出胶囊的个数"),
            ("out_features", "length of an output capsule", "输出胶囊的维数"),
            ("num_iterations", "iterations of the routing", "路由的迭代次数"),
            ("detach_routing", "gradients only through the last weighted sum", "梯度只经过最后一次加权和"),
        ),
        source="Sabour, Frosst and Hinton, 2017 (arXiv:1710.09829), equations 1 to 3",
        when="Parts that vote for wholes: the length of an output says whether the whole is there, its direction how. "
        "Small pictures with overlapping objects are its home.",
        when_zh="由部分对整体投票：输出的长度表示整体是否存在，方向表示它的姿态。适用于物体相互重叠的小图片。",
        unless=(
            (
                "On large maps: a transformation for each pair of capsules and a vote for each in every sample "
                "do not scale."
            ),
            "特征图很大时：每一对胶囊各有一个变换，每个样本的每一对各有一票，规模难以承受。",
        ),
        gradient=(
            (
                "Flows through all iterations, the derivative of what is computed. With detach_routing only "
                "through the last weighted sum, its weights taken as constants. 0 where s is 0, not NaN."
            ),
            (
                "经过全部迭代，即所计算函数的真实导数。设 detach_routing 时只经过最后一次加权和，其权重视为常数。"
                "s 为 0 处梯度为 0，而不是 NaN。"
            ),
        ),
        shape="(N, in_capsules, in_features), mask (N, in_capsules) -> (N, out_capsules, out_features)",
        cost=(
            (
                "A vote of out_features values for every pair of capsules and sample, kept once for the backward pass; "
                "with detach_routing not at all."
            ),
            ("每个样本的每一对胶囊有一张 out_features 维的票，反向传播只需保存一份；设 detach_routing 时完全不保存。"),
        ),
        traps=(
            (
                "s / |s| at 0 is 0 / 0. Many ports give NaN there, or a NaN gradient; here value and gradient are 0.",
                "s 为 0 时 s/|s| 是 0/0。许多移植版本在此得到 NaN 或 NaN 梯度；这里数值与梯度都是 0。",
            ),
            (
                "The softmax runs over the output capsules, not over the input capsules.",
                "softmax 沿输出胶囊计算，而不是沿输入胶囊。",
            ),
        ),
        call="y = nn.CapsuleRouting(32, 32, out_capsules=10, out_features=16)(t[:, 0])",
    ),
)

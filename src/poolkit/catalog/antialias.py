"""Subsampling that follows shifts of the input."""

from __future__ import annotations

from poolkit.catalog.entry import Entry

_STRIDE = ("stride", "distance between the outputs", "输出之间的间距")
_PADDING = (
    ("padding", '"reflect", "replicate", "zeros" or "circular"', '"reflect"、"replicate"、"zeros" 或 "circular"'),
    ("convention", '"timm", "adobe" or "kornia": sizes and defaults', '"timm"、"adobe" 或 "kornia"：决定大小与默认值'),
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="antialias",
        name="blur_pool",
        en="Blur pooling",
        zh="模糊池化",
        formula="y[j] = sum b[i] x[s j + i - p], b = [1, 2, 1] / 4 and the like",
        latex=r"y_j = \sum_{i = 0}^{k - 1} b_i \, x_{s j + i - p}, \quad b_i = 2^{1 - k} \frac{(k - 1)!}{i! \, (k - "
        r"1 - i)!}",
        parameters=(
            ("kernel_size", "numbers of the binomial filter", "二项式滤波器的长度"),
            _STRIDE,
            *_PADDING,
        ),
        source="Zhang, 2019 (arXiv:1904.11486, section 3)",
        when="In place of a stride in a network whose answers should not jump when the picture moves by a pixel: "
        "after a convolution with stride 1, or after max pooling with stride 1.",
        when_zh="希望图片移动一个像素时结果不跳变的网络，用它代替步长：放在步长为 1 的卷积之后，或步长为 1 "
        "的最大池化之后。",
        unless=(
            "Where fine texture at the limit of resolution is the signal itself: the blur takes it away.",
            "分辨率极限处的细纹理本身就是信号时不要用：模糊会抹掉它。",
        ),
        gradient=("Linear: the transposed filter, to every cell.", "线性：经转置滤波器到达每个格子。"),
        shape='(N, C, *sizes) -> (N, C, *pooled); ceil(size / stride) for "adobe" and filters of 3',
        cost=("A depthwise convolution with k numbers per axis.", "每轴 k 个数的逐通道卷积。"),
        traps=(
            (
                (
                    "Three libraries, three results for even filters: adobe pads (k - 1) // 2 before and k // 2 "
                    "after, timm ((s - 1) + (k - 1)) // 2 on both sides, kornia (k - 1) // 2 and zeros. Say which "
                    "by convention."
                ),
                (
                    "偶数长度的滤波器在三个库中有三种结果：adobe 前补 (k - 1) // 2、后补 k // 2；timm 两侧补 ((s - "
                    "1) + (k - 1)) // 2；kornia 两侧补 (k - 1) // 2 个零。用 convention 指明。"
                ),
            ),
            (
                "Zeros outside darken the border; reflection needs an axis longer than the padding.",
                "补零会使边界变暗；反射要求该轴比填充更长。",
            ),
        ),
        ships=("timm", "kornia", "antialiased-cnns"),
        call="y = nn.BlurPool2d()(t)",
        modules=("BlurPool1d", "BlurPool2d", "BlurPool3d"),
    ),
    Entry(
        family="antialias",
        name="max_blur_pool",
        en="Anti-aliased max pooling",
        zh="抗混叠最大池化",
        formula="y = blur_pool(max_pool(x, stride 1))",
        latex=r"y_j = \sum_{i} b_i \, m_{s j + i - p}, \quad m_i = \max_{i \le l < i + k} x_l",
        parameters=(
            ("kernel_size", "cells of the maximum", "取最大值的窗口大小"),
            _STRIDE,
            ("filter_size", "numbers of the binomial filter", "二项式滤波器的长度"),
            *_PADDING,
            ("max_padding", "cells added on both sides for the maximum", "取最大值前两侧补的格数"),
        ),
        source="Zhang, 2019 (arXiv:1904.11486, section 3.2)",
        when="A drop-in for max pooling that keeps what the maximum is good at and loses its jumps under small shifts.",
        when_zh="可直接替换最大池化：保留取最大值的长处，去掉它在微小平移下的跳变。",
        unless=(
            (
                "On the CPU in the first layers: the maximum at full resolution costs several times a pooling with "
                "stride."
            ),
            "CPU 上的前几层慎用：在原分辨率上取最大值，比带步长的池化贵好几倍。",
        ),
        gradient=(
            "Through the blur to the first largest cell of each window.",
            "经过模糊，传给每个窗口中第一个最大的格子。",
        ),
        shape="(N, C, *sizes) -> (N, C, *pooled); MaxBlurPool2d(3, max_padding=1) has the sizes of MaxPool2d(3, 2, 1)",
        cost=("The maximum at every cell, then the blur.", "在每个格子上取最大值，再做模糊。"),
        traps=(
            (
                (
                    "Even filters change the size under timm's and kornia's padding; with filters of 3, or the "
                    "adobe convention, it is always one output per stride, rounded up."
                ),
                (
                    "偶数长度的滤波器在 timm 与 kornia 的填充下会改变大小；长度为 3 或用 adobe 约定时，"
                    "总是每个步长一个输出，向上取整。"
                ),
            ),
        ),
        ships=("kornia", "antialiased-cnns"),
        call="y = nn.MaxBlurPool2d(2)(t)",
        modules=("MaxBlurPool1d", "MaxBlurPool2d", "MaxBlurPool3d"),
    ),
    Entry(
        family="antialias",
        name="adaptive_polyphase_pool",
        en="Adaptive polyphase sampling (APS)",
        zh="自适应多相采样（APS）",
        formula="y = x[i::s, j::s] with the largest norm over i, j",
        latex=r"y = x^{(q)}, \quad q = \operatorname{argmax}_{i, j} \lVert x^{(i, j)} \rVert_p, \quad x^{(i, j)}_{a "
        r"b} = x_{s a + i, \, s b + j}",
        parameters=(
            ("stride", "distance between the cells kept", "所保留格子的间距"),
            ("p", "of the norm", "范数的 p"),
            ("return_phase", "also give the phase of each sample", "同时返回每个样本的相位"),
        ),
        source="Chaman and Dokmanic, 2021 (arXiv:2011.14214)",
        when="Networks whose answer must not change at all under circular shifts: exact, with nothing learned and "
        "nothing blurred.",
        when_zh="要求结果在循环平移下完全不变的网络：严格成立，无需学习，也不模糊。",
        unless=(
            (
                "Under shifts that bring in new cells at the border the law holds only nearly; blur pooling is then "
                "as good."
            ),
            "平移会带入新的边界内容时，该性质只近似成立；此时模糊池化同样好。",
        ),
        gradient=("To the chosen phase; the choice itself has none.", "传给被选中的相位；选择本身没有梯度。"),
        shape="(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))",
        cost=("A norm of the whole input, then a copy of one phase.", "对整个输入求一次范数，再复制一个相位。"),
        traps=(
            (
                (
                    "Two branches that are added later have to take the same phase: return it from one, give it to "
                    "the other."
                ),
                "之后要相加的两条支路必须取同一个相位：一条返回相位，另一条接收它。",
            ),
            (
                "Ties go to the first phase, so inputs with equal norms, such as constants, fall outside the law.",
                "范数相等时取第一个相位，因此各相位范数相等的输入（如常数图）不在该性质之内。",
            ),
        ),
        ships=("none",),
        call="y = nn.AdaptivePolyphasePool2d()(t)",
        modules=("AdaptivePolyphasePool2d",),
    ),
)

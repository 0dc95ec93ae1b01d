"""Back to the size before pooling."""

from __future__ import annotations

from poolkit.catalog.entry import SLIDING, Entry

_OUTPUT_SIZE = ("output_size", "the size before pooling, given to the call", "池化前的大小，调用时给出")

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="inverse",
        name="avg_unpool",
        en="Average unpooling",
        zh="平均反池化",
        formula="x[i] = sum over windows j with i of y[j] / n[j]",
        latex=r"x_i = \sum_{j : \, i \in R_j} \frac{y_j}{n_j}",
        parameters=(
            *SLIDING,
            ("count_include_pad", "padding counts in n", "n 是否计入补的格"),
            (
                "divisor_override",
                "divide by this instead of n; 1 repeats the values",
                "用它代替 n 作除数；1 表示原样重复",
            ),
            _OUTPUT_SIZE,
        ),
        source="the backward pass of average pooling: LeCun et al., 1990 (Handwritten Digit Recognition with a "
        "Back-Propagation Network)",
        when="The decoder of an encoder that pools by means; sums of the map are kept, and with the same arguments "
        "it is exactly the transpose.",
        when_zh="编码器用平均池化时的解码器；全图之和不变，参数相同时恰为转置。",
        unless=(
            "Where places matter: it smears each mean evenly over its window. Use max unpooling with indices then.",
            "位置重要时不要用：它把每个平均值均匀抹在窗口里。此时用带索引的最大反池化。",
        ),
        gradient=("Linear: average pooling itself.", "线性：就是平均池化本身。"),
        shape="(N, C, *sizes) -> (N, C, *output_size)",
        cost=("One pass over the output.", "写一遍输出。"),
        traps=(
            (
                (
                    "The transpose is not the inverse: AvgPool(AvgUnpool(y)) is y / n. With divisor_override=1 it "
                    "is y, where windows do not overlap."
                ),
                "转置不是逆：AvgPool(AvgUnpool(y)) 等于 y / n。窗口不重叠时，divisor_override=1 使它等于 y。",
            ),
            (
                (
                    "Several sizes pool to the same one; without output_size the one that the windows just cover is "
                    "taken."
                ),
                "多种大小池化后相同；不给 output_size 时取窗口恰好覆盖的大小。",
            ),
        ),
        ships=("none; upsampling layers repeat values",),
        call="y = nn.AvgUnpool2d(2)(t)",
        modules=("AvgUnpool1d", "AvgUnpool2d", "AvgUnpool3d"),
    ),
    Entry(
        family="inverse",
        name="soft_unpool",
        en="Soft unpooling",
        zh="软反池化",
        formula="z[i] = sum over windows j with i of w[j, i] y[j], w = softmax(beta x)",
        latex=r"z_i = \sum_{j : \, i \in R_j} y_j \frac{e^{\beta x_i}}{\sum_{l \in R_j} e^{\beta x_l}}",
        parameters=(
            *SLIDING,
            ("beta", "sharpness, not 0", "锐度，不为 0"),
            ("pooled", "the tensor that was pooled, given to the call", "被池化的张量，调用时给出"),
        ),
        source="weighted unpooling: Stergiou and Poppe, 2022 (arXiv:2111.00772)",
        when="The partner of soft pooling in a decoder: each pooled value goes back mostly to the cells it came "
        "from, and every cell gets a gradient.",
        when_zh="解码器中与软池化配对：每个池化值主要回到它所来自的格子，而每个格子都有梯度。",
        unless=(
            "When the encoder's input is not kept: it needs that tensor for its weights.",
            "没有保留编码器输入时无法使用：权重要由它算出。",
        ),
        gradient=(
            "To y by the weights, and to x through the weights; both can be differentiated again.",
            "按权重传给 y，并经权重传给 x；两者都可再次求导。",
        ),
        shape="(N, C, *sizes), (N, C, *pooled sizes) -> the latter",
        cost=("A LogSumExp pooling and its backward pass.", "一次 LogSumExp 池化及其反向。"),
        traps=(
            (
                "It does not give the input back: the window's total is y, not the sum of its cells.",
                "它不会还原输入：窗口总和等于 y，而不是原来各格之和。",
            ),
        ),
        ships=("none",),
        call="y = nn.SoftUnpool2d(2)(nn.SoftPool2d(2)(t), t)",
        modules=("SoftUnpool1d", "SoftUnpool2d", "SoftUnpool3d"),
    ),
    Entry(
        family="inverse",
        name="index_unpool",
        en="Unpooling by indices",
        zh="按索引反池化",
        formula="z[indices] = y, 0 elsewhere",
        latex=r"z_{k_j} = y_j, \quad z_i = 0 \text{ elsewhere}",
        parameters=(
            ("indices", "flat positions in the plane before pooling", "池化前平面中的展平位置"),
            _OUTPUT_SIZE,
        ),
        source="switches: Zeiler, Taylor and Fergus, 2011 (Adaptive Deconvolutional Networks)",
        when="The way back from fractional, adaptive or global max pooling: their windows have no single stride, so "
        "that max unpooling cannot ask for one.",
        when_zh="分数、自适应或全局最大池化的还原：它们的窗口没有统一的步长，最大反池化无从检查。",
        unless=(
            "After sliding windows max_unpool checks the sizes as well.",
            "滑动窗口之后用 max_unpool，它还会检查大小。",
        ),
        gradient=(
            "Each value takes that of its position; of equal indices the last alone.",
            "每个值取其位置上的梯度；索引相同时只有最后一个取得。",
        ),
        shape="(N, C, *sizes) -> (N, C, *output_size)",
        cost=("One pass over the output.", "写一遍输出。"),
        traps=(
            (
                "Fractional pooling only shrinks; it is this step, with its indices, that restores the size.",
                "分数池化只会缩小；恢复大小的是这一步，靠的是它的索引。",
            ),
            (
                (
                    "Overlapping windows choose one cell twice: torch's gradient then counts it twice, here it "
                    "counts once."
                ),
                "重叠的窗口会两次选中同一格：torch 的梯度会算两次，这里只算一次。",
            ),
        ),
        ships=("torch (MaxUnpool, for sliding windows)",),
        call="y = nn.IndexUnpool2d()(*nn.FractionalMaxPool2d(2, output_ratio=0.7, return_indices=True)(t), t.shape)",
        modules=("IndexUnpool1d", "IndexUnpool2d", "IndexUnpool3d"),
    ),
)

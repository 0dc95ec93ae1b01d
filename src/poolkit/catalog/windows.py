"""The usual reducers over windows that no kernel and stride describe: adaptive and fractional ones."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import INDICES, KERNEL, OUTPUT, Entry

_ANY_SIZE = "(N, C, *sizes) -> (N, C, *output_size)"

_LAYOUT = (
    (
        "output_ratio",
        "instead of output_size: the share of each side, in (0, 1]",
        "代替 output_size：每边保留的比例，在（0，1] 内",
    ),
    ("style", '"torch": windows of one size; "tensorflow": they tile', '"torch"：窗口大小相同；"tensorflow"：铺满输入'),
    (
        "pooling_ratio",
        "TensorFlow's style, instead of output_size: how many times smaller the output is",
        "TensorFlow 方式，代替 output_size：输出缩小的倍数",
    ),
    ("pseudo_random", "TensorFlow's style: evenly spread widths", "TensorFlow 方式：宽度均匀分布"),
    (
        "overlapping",
        "TensorFlow's style: each window also has the first cell of the next one",
        "TensorFlow 方式：每个窗口还包含下一个窗口的第一格",
    ),
    ("seed", "of the random places of the windows", "窗口随机位置的种子"),
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="local",
        name="adaptive_max_pool",
        en="Adaptive max pooling",
        zh="自适应最大池化",
        formula="y[j] = max x[floor(j I / O) : ceil((j + 1) I / O)]",
        latex=r"y_j = \max_{\lfloor j I / O \rfloor \le i < \lceil (j + 1) I / O \rceil} x_i",
        reducer=reducer.Max,
        window=window.Adaptive,
        modules=("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"),
        parameters=(OUTPUT, INDICES),
        source="spatial pyramid pooling: He et al., 2014 (arXiv:1406.4729)",
        when="A fixed output from inputs of any size, by the strongest answer of each part: in front of a linear "
        "layer, or for regions of different sizes.",
        when_zh="无论输入多大，输出大小固定，每一部分取最强的响应：用在全连接层之前，或用于大小不一的区域。",
        unless=(
            (
                "Where the input's size is fixed and known: sliding windows say the same and export anywhere. Where "
                "the output would be larger than the input: the windows then hold one or two cells, and nothing is "
                "pooled."
            ),
            "输入大小固定且已知时：滑动窗口效果相同，而且到处都能导出。输出大于输入时：窗口里只有一两个格子，谈不上池化。",
        ),
        gradient=(
            (
                "The whole gradient goes to the chosen cell; neighbouring windows can overlap by a cell, which then "
                "adds up both."
            ),
            "梯度全部传给被选中的格子；相邻窗口可能重叠一格，该格把两份梯度相加。",
        ),
        shape=_ANY_SIZE,
        cost=(
            "About one comparison a cell. Training keeps a small position for each output.",
            "大约每个格子一次比较。训练时每个输出保存一个很小的位置。",
        ),
        traps=(
            (
                (
                    "Where O does not divide I the windows differ in size and overlap. Equinox cuts the axis into "
                    "disjoint parts instead, and gives other numbers."
                ),
                "O 不能整除 I 时，窗口大小不一且相互重叠。Equinox 则把轴切成互不重叠的部分，得到的数不同。",
            ),
            (
                "ONNX has no such operator: torch's exporter turns it into others only where O divides I or is 1.",
                "ONNX 没有这个算子：torch 的导出器只在 O 整除 I 或 O 为 1 时才能把它换成别的算子。",
            ),
        ),
        ships=("torch", "Keras", "OpenVINO", "Equinox"),
        call="y = pk.adaptive_max_pool2d(x, 7)",
        torch="AdaptiveMaxPool",
    ),
    Entry(
        family="local",
        name="adaptive_avg_pool",
        en="Adaptive average pooling",
        zh="自适应平均池化",
        formula="y[j] = mean x[floor(j I / O) : ceil((j + 1) I / O)]",
        latex=r"y_j = \frac{1}{n_j} \sum_{\lfloor j I / O \rfloor \le i < \lceil (j + 1) I / O \rceil} x_i",
        reducer=reducer.Mean,
        window=window.Adaptive,
        modules=("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
        parameters=(OUTPUT,),
        source="global average pooling: Lin, Chen and Yan, 2014 (arXiv:1312.4400, section 3.2)",
        when="The head of most classifiers: output_size=1 is global average pooling. Takes inputs of any size.",
        when_zh="大多数分类器的头部：output_size=1 就是全局平均池化。可接受任意大小的输入。",
        unless=(
            (
                "Where inputs are padded to a common size: the padding is averaged in. Take a masked mean instead. "
                "Where a small object decides: a power mean or attention dilutes it less."
            ),
            (
                "输入被补到同样大小时：补的部分也会计入平均，应改用带掩码的平均。由小物体决定结果时："
                "幂平均或注意力池化对它的冲淡较轻。"
            ),
        ),
        gradient=(
            "Each cell receives the gradient of its windows divided by their numbers of cells.",
            "每个格子得到所属各窗口的梯度除以该窗口的格数。",
        ),
        shape=_ANY_SIZE,
        cost=(
            "About one addition a cell, as fast as memory is read for output_size=1. Training keeps nothing.",
            "大约每个格子一次加法；output_size=1 时与读内存一样快。训练时不保存任何东西。",
        ),
        traps=(
            (
                (
                    "Where O does not divide I the windows overlap and some cells count twice; Equinox cuts into "
                    "disjoint parts instead."
                ),
                "O 不能整除 I 时，窗口相互重叠，有些格子计入两次；Equinox 则切成互不重叠的部分。",
            ),
            (
                (
                    "Windows that overlap make torch's backward pass on CUDA add in an order that changes from run to "
                    "run. Here the bits are the same whatever the number of threads."
                ),
                "窗口重叠时，torch 在 CUDA 上反向传播的相加顺序每次运行都可能不同。这里无论线程数多少，结果逐位相同。",
            ),
            (
                "torch's 3-D version adds float16 and bfloat16 in that precision: the mean of 65,536 ones is not 1.",
                "torch 的三维版本直接用 float16 和 bfloat16 累加：65536 个 1 的平均竟不是 1。",
            ),
        ),
        ships=("torch", "Keras", "OpenVINO", "Equinox"),
        call="y = pk.adaptive_avg_pool2d(x, 1)",
        torch="AdaptiveAvgPool",
    ),
    Entry(
        family="local",
        name="fractional_max_pool",
        en="Fractional max pooling",
        zh="分数最大池化",
        formula="y[j] = max x[s : s + k], s = floor((j + u) a) - floor(u a)",
        latex=r"s_j = \lfloor (j + u) a \rfloor - \lfloor u a \rfloor, \quad a = \frac{I - k}{O - 1}, \quad "
        r"y_j = \max_{s_j \le i < s_j + k} x_i",
        reducer=reducer.Max,
        window=window.Fractional,
        modules=("FractionalMaxPool1d", "FractionalMaxPool2d", "FractionalMaxPool3d"),
        parameters=(
            KERNEL,
            OUTPUT,
            *_LAYOUT,
            INDICES,
        ),
        source="Graham, 2014 (arXiv:1412.6071)",
        when="Shrinks by a factor that is not whole, such as 1.4, so that a network can have more pooling layers; the "
        "random places regularise.",
        when_zh="按非整数倍（如 1.4 倍）缩小，网络因此可以有更多的池化层；随机的位置还有正则化作用。",
        unless=(
            (
                "Where two runs must agree and no seed is fixed, and where a model has to be exported: few runtimes "
                "know it. It does not bring a size back either; that is unpooling."
            ),
            (
                "两次运行必须一致而又没有固定种子时；以及模型需要导出时：很少有运行时支持它。"
                "它也不能恢复尺寸，恢复尺寸是反池化的事。"
            ),
        ),
        phases=(
            (
                "The windows are drawn anew at every call, in training and in evaluation, as in torch; a seed (or "
                "samples) fixes them. Graham averages several evaluations."
            ),
            (
                "每次调用都重新抽取窗口位置，训练与评估时都是如此，与 torch 一致；给定种子（或样本）则固定下来。"
                "Graham 的做法是对多次评估取平均。"
            ),
        ),
        gradient=(
            "The whole gradient goes to the chosen cell of each window; cells that no window sees receive 0.",
            "梯度全部传给每个窗口中被选中的格子；没有任何窗口看到的格子得到 0。",
        ),
        shape=_ANY_SIZE,
        cost=(
            (
                "kernel_size^d comparisons an output, and one random number for each axis of each plane. Training "
                "keeps a small position for each output."
            ),
            "每个输出做 kernel_size^d 次比较；每个平面的每个轴取一个随机数。训练时每个输出保存一个很小的位置。",
        ),
        traps=(
            (
                (
                    "torch's windows all have k cells and may leave cells out; TensorFlow's are k or k + 1 wide, "
                    "tile the input and are the same for all channels. `style` chooses; their numbers cannot agree."
                ),
                (
                    "torch 的窗口都是 k 格，可能漏掉格子；TensorFlow 的窗口宽 k 或 k + 1，铺满输入，所有通道相同。"
                    "由 `style` 选择；两者的数不会一致。"
                ),
            ),
            (
                "model.eval() does not make it deterministic, neither in torch nor in TensorFlow.",
                "无论 torch 还是 TensorFlow，model.eval() 都不会让它变成确定性的。",
            ),
            (
                (
                    "In torch's style each channel has windows of its own, so the channels of one place no longer "
                    "belong to exactly the same region."
                ),
                "torch 方式下，每个通道各有自己的窗口，因此同一位置的各通道不再对应完全相同的区域。",
            ),
        ),
        ships=("torch", "TensorFlow"),
        call="y = pk.fractional_max_pool2d(x, 2, output_ratio=0.7, seed=0)",
        torch="FractionalMaxPool",
    ),
    Entry(
        family="local",
        name="fractional_avg_pool",
        en="Fractional average pooling",
        zh="分数平均池化",
        formula="y[j] = mean x[s_j : s_j + k]",
        latex=r"y_j = \frac{1}{k} \sum_{s_j \le i < s_j + k} x_i",
        reducer=reducer.Mean,
        window=window.Fractional,
        modules=("FractionalAvgPool1d", "FractionalAvgPool2d", "FractionalAvgPool3d"),
        parameters=(KERNEL, OUTPUT, *_LAYOUT),
        source="the windows: Graham, 2014 (arXiv:1412.6071); the mean over them: TensorFlow",
        when="As fractional max pooling, where every cell should count: shrinking by 1.4 or 1.7 a layer with a little "
        "noise in the geometry.",
        when_zh="与分数最大池化相同，但每个格子都应计入时：每层缩小 1.4 或 1.7 倍，并在几何上带一点噪声。",
        unless=(
            "Where the same factor without noise will do: adaptive average pooling gives any size and draws nothing.",
            "只需要同样的倍数而不需要噪声时：自适应平均池化能得到任意大小，不做抽取。",
        ),
        phases=(
            "The windows are drawn anew at every call, in training and in evaluation; a seed (or samples) fixes them.",
            "每次调用都重新抽取窗口位置，训练与评估时都是如此；给定种子（或样本）则固定下来。",
        ),
        gradient=(
            "Each cell of a window receives the output's gradient divided by the window's cells.",
            "窗口内每个格子都得到输出梯度除以窗口格数。",
        ),
        shape=_ANY_SIZE,
        cost=(
            "kernel_size^d additions an output, and one random number for each axis of each plane, or for each window.",
            "每个输出做 kernel_size^d 次加法；每个平面的每个轴取一个随机数，或每个窗口取一个。",
        ),
        traps=(
            (
                (
                    "In torch's style windows overlap and leave cells out: the result times the cells is not the sum "
                    "of the input. TensorFlow's windows tile."
                ),
                "torch 方式的窗口会重叠，也会漏掉格子：结果乘以格数并不等于输入之和。TensorFlow 方式的窗口正好铺满。",
            ),
        ),
        ships=("TensorFlow",),
        call="y = pk.fractional_avg_pool2d(x, 2, output_ratio=0.7, seed=0)",
    ),
)

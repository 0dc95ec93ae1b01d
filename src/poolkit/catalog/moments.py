"""Poolings by statistical moments: the spread of windows, and statistics over time."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import SLIDING, Entry

_TIME = "(N, C, L), mask (N, L) or lengths (N,) -> (N, 2 C)"
_EPS = ("eps", "the smallest variance", "方差的下限")

_UNBIASED = ("unbiased", "divide the squares by n - 1 instead of n", "平方和除以 n − 1 而不是 n")
_PASSES = (
    "Two passes over each window, one for the mean and one for the squares. Training keeps the input.",
    "每个窗口扫两遍，一遍求平均，一遍求平方。训练时保存输入。",
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="moments",
        name="var_pool",
        en="Variance pooling",
        zh="方差池化",
        formula="y = mean (x - mean x)^2",
        latex=r"y = \frac{1}{n} \sum_{i} (x_i - \mu)^2, \quad \mu = \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Var,
        window=window.Sliding,
        modules=("VarPool1d", "VarPool2d", "VarPool3d"),
        parameters=(*SLIDING, _UNBIASED),
        source="Fisher, 1918 (Transactions of the Royal Society of Edinburgh 52), for the name",
        when="How rough a place is, whatever its brightness: texture, focus, noise, activity of a signal. Its windows "
        "are the local statistics of contrast normalisation.",
        when_zh="描述某处有多粗糙，与亮度无关：纹理、对焦、噪声、信号的活跃程度。对比度归一化用的就是这样的局部统计量。",
        unless=(
            (
                "Where the unit should stay that of the input: the deviation has it. Where heavy tails are usual: one "
                "outlier, squared, is all that is seen."
            ),
            "希望单位与输入一致时：应使用标准差。常有极端值时：一个离群值平方之后就盖过一切。",
        ),
        gradient=(
            "2 (x_i - mean) / n: cells are pushed from or to the mean of their window, in total not at all.",
            "2 (x_i − 均值) / n：格子被推离或拉向窗口的均值，总和为 0。",
        ),
        cost=_PASSES,
        traps=(
            (
                (
                    "mean x^2 - (mean x)^2 cancels where the mean is large, and may turn negative. Here the "
                    "differences are squared."
                ),
                "mean x² − (mean x)² 在均值很大时会相互抵消，甚至变负。这里对差值取平方。",
            ),
            (
                "torch.var divides by n - 1 by default, NumPy and this by n.",
                "torch.var 默认除以 n − 1，NumPy 与这里除以 n。",
            ),
        ),
        ships=("PyTorch Geometric (sets)",),
        call="y = pk.var_pool2d(x, 3, stride=2, padding=1)",
    ),
    Entry(
        family="moments",
        name="std_pool",
        en="Standard-deviation pooling",
        zh="标准差池化",
        formula="y = sqrt(mean (x - mean x)^2)",
        latex=r"y = \sqrt{\frac{1}{n} \sum_{i} (x_i - \mu)^2}, \quad \mu = \frac{1}{n} \sum_{i} x_i",
        reducer=reducer.Std,
        window=window.Sliding,
        modules=("StdPool1d", "StdPool2d", "StdPool3d"),
        parameters=(*SLIDING, _UNBIASED),
        source="named by Pearson, 1894; pooled beside the mean: Snyder et al., 2018 (X-Vectors)",
        when="Roughness in the unit of the input: next to the mean of the same window it tells texture from flat "
        "colour, as style losses and speaker embeddings do over whole maps.",
        when_zh="以输入的单位表示粗糙程度：与同一窗口的平均放在一起，可以区分纹理与纯色；"
        "风格损失和说话人嵌入在整幅特征图上也是这样做的。",
        unless=(
            "Where windows are often constant and gradients should pull them apart: at 0 it has none.",
            "窗口常为常数而又希望梯度把格子拉开时：在 0 处没有梯度。",
        ),
        gradient=(
            "(x_i - mean) / (n y), of length 1 / sqrt(n) whatever the values; 0 where y is 0.",
            "(x_i − 均值) / (n y)，无论数值如何，长度总是 1/√n；y 为 0 时是 0。",
        ),
        cost=_PASSES,
        traps=(
            (
                "The derivative of a root at 0 is infinite: written by hand, one flat window makes NaN of a network.",
                "平方根在 0 处的导数无穷大：自己写时，一个平坦的窗口就会让整个网络变成 NaN。",
            ),
            (
                "torch.std divides by n - 1 by default, NumPy and this by n.",
                "torch.std 默认除以 n − 1，NumPy 与这里除以 n。",
            ),
        ),
        ships=("PyTorch Geometric (sets)",),
        call="y = pk.std_pool2d(x, 3, stride=2, padding=1)",
    ),
    Entry(
        family="moments",
        name="statistics_pool",
        en="Statistics pooling",
        zh="统计池化",
        formula="y = [mean x; sqrt(mean (x - mean x)^2)]",
        latex=r"\mu = \frac{1}{n} \sum_{t} x_t, \quad \sigma = \sqrt{\frac{1}{n} \sum_{t} (x_t - \mu)^2}, \quad "
        r"y = ( \mu ; \sigma )",
        modules=("StatisticsPool1d",),
        parameters=(
            ("unbiased", "divide the squares by n - 1 instead of n", "平方和除以 n − 1 而不是 n"),
            _EPS,
        ),
        source="Snyder et al., 2018 (X-Vectors: Robust DNN Embeddings for Speaker Recognition)",
        when="Signals of any length to one vector where the spread tells as much as the mean: speakers, languages, "
        "textures of sound.",
        when_zh="把任意长度的信号变成一个向量，且离散程度与平均值同样重要时：说话人、语种、声音的质感。",
        unless=(
            (
                "Where a short event decides: mean and deviation over a long recording drown it. Use attentive "
                "statistics or a maximum."
            ),
            "由短暂事件决定结果时：长录音的均值与标准差会淹没它。请用注意力统计池化或最大池化。",
        ),
        gradient=(
            (
                "1 / n for the mean, (x - mean) / (n std) for the deviation, which never exceeds 1 / sqrt(n). "
                "Below eps the deviation has none, so that a constant signal gives 0 and not NaN."
            ),
            (
                "均值为 1/n；标准差为 (x − 均值) / (n · 标准差)，不超过 1/√n。方差低于 eps 时标准差没有梯度，"
                "因此恒定信号得到 0 而不是 NaN。"
            ),
        ),
        shape=_TIME,
        cost=(
            "Two passes over the input; nothing to learn.",
            "读两遍输入；没有需要学习的参数。",
        ),
        traps=(
            (
                "Padding shifts both statistics: pass a mask or lengths.",
                "补的部分会改变两个统计量：请传入掩码或长度。",
            ),
            (
                "SpeechBrain's layer adds noise to the mean, in evaluation too, and divides by n - 1.",
                "SpeechBrain 的实现会给均值加噪声（评估时也加），并且除以 n − 1。",
            ),
        ),
        ships=("SpeechBrain",),
        call="y = nn.StatisticsPool1d()(t[:, 0])",
    ),
    Entry(
        family="moments",
        name="attentive_statistics_pool",
        en="Attentive statistics pooling (ECAPA)",
        zh="注意力统计池化",
        formula="y = [sum a x; sqrt(sum a (x - sum a x)^2)], a = softmax_t(V tanh(W h_t + b) + k)",
        latex=r"a_t = \operatorname{softmax}_t ( V \operatorname{tanh}(W h_t + b) + k ), \quad "
        r"\mu = \sum_{t} a_t x_t, \quad \sigma = \sqrt{\sum_{t} a_t (x_t - \mu)^2}, \quad y = ( \mu ; \sigma )",
        modules=("AttentiveStatisticsPool1d",),
        parameters=(
            ("channels", "channels of the input", "输入的通道数"),
            ("attention_channels", "width of the hidden layer", "隐层宽度"),
            (
                "global_context",
                "the attention also sees mean and deviation of the whole signal",
                "注意力还能看到整段信号的均值与标准差",
            ),
            _EPS,
        ),
        source="Okabe, Koshinaka and Shinoda, 2018 (arXiv:1803.10963); Desplanques, Thienpondt and Demuynck, 2020 "
        "(arXiv:2005.07143), equations 1 to 4",
        when=(
            "Speaker verification and other recordings in which frames differ in worth: each channel weighs the "
            "frames for itself, and silence counts little."
        ),
        when_zh="说话人确认等各帧价值不等的录音：每个通道自行给各帧加权，静音几乎不计。",
        unless=(
            "With little data or where all frames are alike: plain statistics pooling has nothing to learn.",
            "数据很少，或各帧相差不大时：普通统计池化没有参数需要学习。",
        ),
        gradient=(
            "Reaches every real frame through the statistics and through the weights. A variance below eps has none.",
            "经由统计量与权重到达每个真实帧。低于 eps 的方差没有梯度。",
        ),
        shape=_TIME,
        cost=(
            "2 C A multiplications a frame for A attention channels; the context adds them once a sample, not a frame.",
            "注意力通道为 A 时，每帧需 2CA 次乘法；上下文每个样本只算一次，不是每帧一次。",
        ),
        traps=(
            (
                "Without a mask padding takes part in the softmax and in the context.",
                "没有掩码时，补的帧会参与 softmax 和上下文。",
            ),
            (
                (
                    "sum a x^2 - mean^2 cancels where the mean is large, and its root is NaN or noise. Here the "
                    "squares are taken around the mean."
                ),
                "均值很大时，Σax² − μ² 会相互抵消，开方得到 NaN 或噪声。这里围绕均值取平方。",
            ),
            (
                (
                    "SpeechBrain's layer has a batch norm inside the attention, in which padding and neighbours "
                    "have a say; this one has none, so its weights do not fit."
                ),
                (
                    "SpeechBrain 的实现在注意力里有批归一化，补的帧和同批样本都会影响它；这里没有，"
                    "因此那里的权重不能载入。"
                ),
            ),
        ),
        ships=("SpeechBrain",),
        call="y = nn.AttentiveStatisticsPool1d(32)(t[:, 0])",
    ),
)

"""The way back from max pooling."""

from __future__ import annotations

from poolkit import reducer, window
from poolkit.catalog.entry import SLIDING, Entry

ENTRIES: tuple[Entry, ...] = (
    Entry(
        family="inverse",
        name="max_unpool",
        en="Max unpooling",
        zh="最大反池化",
        formula="y[indices] = x, 0 elsewhere",
        latex=r"y_{k_j} = x_j, \quad y_i = 0 \text{ elsewhere}",
        reducer=reducer.Max,
        window=window.Sliding,
        modules=("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),
        parameters=(
            ("indices", "positions that max_pool gave with return_indices", "max_pool 以 return_indices 给出的位置"),
            *SLIDING[:2],
            ("padding", "what max_pool was given, an int or one per axis", "池化时补的格数，一个整数或每轴一个"),
            ("output_size", "the size before pooling, where it is not unique", "池化前的大小，用于不唯一的情形"),
        ),
        source="Zeiler, Taylor and Fergus, 2011 (Adaptive Deconvolutional Networks)",
        when="Puts the maxima back where they came from: decoders of segmentation networks, and pictures of what a "
        "network saw.",
        when_zh="把最大值放回原处：用于分割网络的解码器，以及显示网络看到了什么。",
        unless=(
            (
                "Where what lay between the maxima should come back: it is lost, and zeros stand there. Interpolation "
                "or a transposed convolution gives a full map."
            ),
            "希望恢复最大值之间的内容时：它们已经丢失，那里只有零。插值或转置卷积才给出完整的图。",
        ),
        gradient=(
            (
                "Each input receives the gradient at its position; of inputs with equal indices only the last, which "
                "is the one that stayed."
            ),
            "每个输入得到其位置上的梯度；位置相同的输入中只有最后一个得到，因为留下的是它。",
        ),
        shape="(N, C, *pooled), indices of the same shape -> (N, C, *output_size)",
        cost=(
            "One write for each input and one for each zero. Training keeps the indices.",
            "每个输入写一次，每个零写一次。训练时保存位置。",
        ),
        traps=(
            (
                (
                    "Overlapping windows give equal indices. torch's forward pass keeps the last, yet its backward "
                    "pass sends gradient to all of them; TensorFlow Addons adds them up."
                ),
                (
                    "窗口重叠会产生相同的位置。torch 前向保留最后一个，反向却给所有这些输入都传梯度；"
                    "TensorFlow Addons 则把它们相加。"
                ),
            ),
            (
                (
                    "Several input sizes pool to the same output size: without output_size it is "
                    "(n - 1) * stride - 2 * padding + kernel_size."
                ),
                (
                    "不同的输入大小可能池化成同样的输出大小：不给 output_size 时取 "
                    "(n - 1) * stride - 2 * padding + kernel_size。"
                ),
            ),
            (
                "Indices of ONNX and TensorFlow count differently and do not fit here unchanged.",
                "ONNX 与 TensorFlow 的位置编号方式不同，不能原样用在这里。",
            ),
        ),
        ships=("torch", "ONNX", "tinygrad"),
        call="y = pk.max_unpool2d(*pk.max_pool2d(x, 2, return_indices=True), 2)",
        torch="MaxUnpool",
    ),
)

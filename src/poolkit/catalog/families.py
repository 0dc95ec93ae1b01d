"""The families of poolings: their names and what their members have in common, in English and Chinese."""

from __future__ import annotations

from typing import NamedTuple

from poolkit.catalog.entry import FAMILIES, Family


class Kin(NamedTuple):
    """What is said of a family. Pairs are English, then Chinese."""

    title: tuple[str, str]
    idea: tuple[str, str]


KIN: dict[Family, Kin] = {
    "local": Kin(
        ("Local pooling", "局部池化"),
        (
            "A window moves over the input and a fixed formula makes one number of the cells it sees.",
            "窗口在输入上移动，用固定的公式把看到的格子变成一个数。",
        ),
    ),
    "order": Kin(
        ("Order statistics", "次序统计池化"),
        (
            "The cells are ranked, and ranks decide what counts: medians, quantiles, the largest few.",
            "先给格子排序，由名次决定取舍：中位数、分位数、最大的几个。",
        ),
    ),
    "random": Kin(
        ("Random pooling", "随机池化"),
        (
            "Chance decides in training which cell or which region counts; evaluation uses a fixed rule instead.",
            "训练时由随机性决定哪个格子或哪块区域算数；评估时改用固定的规则。",
        ),
    ),
    "mixed": Kin(
        ("Mixed pooling", "混合池化"),
        (
            "Two poolings at once, blended by a fixed, random or learned share.",
            "同时做两种池化，按固定、随机或学到的比例混合。",
        ),
    ),
    "learned": Kin(
        ("Learned pooling", "可学习池化"),
        (
            "Weights, powers or temperatures of the reduction are parameters that training fits.",
            "归约的权重、幂次或温度是参数，由训练确定。",
        ),
    ),
    "moments": Kin(
        ("Moments", "矩池化"),
        (
            "How the cells are spread and how channels vary together: variance, covariance, bilinear forms.",
            "描述格子如何分布、通道如何共同变化：方差、协方差、双线性形式。",
        ),
    ),
    "pyramid": Kin(
        ("Pyramids and strips", "金字塔与条带池化"),
        (
            "Several windows of different sizes or shapes over the same input, put together.",
            "对同一输入用多种大小或形状的窗口，再把结果合在一起。",
        ),
    ),
    "antialias": Kin(
        ("Anti-aliased and frequency pooling", "抗混叠与频域池化"),
        (
            "Shrinking without aliasing: blur before striding, keep low frequencies, or choose the sampling grid.",
            "缩小而不混叠：先模糊再取步长、只保留低频，或选择采样网格。",
        ),
    ),
    "inverse": Kin(
        ("Unpooling", "反池化"),
        (
            "The way back: values return to a grid of the size before pooling.",
            "反方向：把数值放回池化之前大小的网格。",
        ),
    ),
    "attention": Kin(
        ("Attention, sets and tokens", "注意力、集合与词元池化"),
        (
            "Weights that depend on the content decide how elements of a set, an image or a bag are summed up.",
            "由内容决定的权重，汇总一个集合、一幅图像或一个包中的元素。",
        ),
    ),
    "sequence": Kin(
        ("Sequences and segments", "序列与分段池化"),
        (
            "Sequences of different lengths, with masks or segment numbers that say what belongs together.",
            "长度不一的序列，用掩码或分段编号说明哪些元素属于一起。",
        ),
    ),
}
"""In the order of `FAMILIES`."""

assert tuple(KIN) == FAMILIES

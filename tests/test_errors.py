"""Errors: the argument, its value and the rule, in three lines; for every bad value; before any memory is taken."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest

import poolkit as pk
from poolkit import _core

X = np.zeros((1, 1, 8, 8), np.float32)


def message(function, *args, **kwargs):
    with pytest.raises(pk.PoolError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: pk.Sliding(0),
            "you gave  kernel_size=0\nthe rule  kernel_size >= 1, here 0\ndo this   pass a kernel_size of at least 1",
        ),
        (
            lambda: pk.max_pool2d(np.zeros((2, 3, 4, 4)), 9),
            (
                "you gave  kernel_size=9 on an axis of size 4 (pooled axis 0), input x of shape (2, 3, 4, 4)\n"
                "the rule  a window fits the padded input: dilation * (kernel_size - 1) + 1 <= size + padding, "
                "here 9 <= 4\n"
                "do this   use a kernel_size of at most 4, more padding, or Adaptive(1) to take whatever is there"
            ),
        ),
        (
            lambda: pk.max_pool2d(X, 2, padding=2),
            (
                "you gave  padding=2 with kernel_size=2 on an axis of size 8 (pooled axis 0), "
                "input x of shape (1, 1, 8, 8)\n"
                "the rule  padding is at most half the effective kernel (a window must see the input), "
                "here 2 <= 2 // 2\n"
                "do this   use a padding of at most 1, or a larger kernel_size"
            ),
        ),
        (
            lambda: pk.max_pool2d(X, 2.5),
            (
                "you gave  kernel_size=2.5\n"
                "the rule  kernel_size counts cells: an int (or one per axis), here float 2.5\n"
                "do this   pass kernel_size as a plain integer of at least 1"
            ),
        ),
        (
            lambda: pk.lp_pool2d(X, 0, 2),
            (
                "you gave  norm_type=0\n"
                "the rule  norm_type is a number > 0, here 0\n"
                "do this   pass a norm_type that satisfies the rule, such as norm_type=2.0"
            ),
        ),
        (
            lambda: pk.max_pool2d(np.zeros((1, 0, 8, 8)), 2),
            (
                "you gave  input x of shape (1, 0, 8, 8)\n"
                "the rule  every axis except the batch has at least one cell, here there are 0 channels\n"
                "do this   drop the empty input before pooling"
            ),
        ),
        (
            lambda: pk.pool(X.astype(np.int32), pk.Sliding(2), pk.Soft()),
            (
                "you gave  Soft(beta=1.0) on an input x of dtype int32\n"
                "the rule  Soft takes floating-point arrays, here int32\n"
                "do this   convert the input first: x.astype('float32')"
            ),
        ),
        (
            lambda: pk.fractional_max_pool2d(X, 2, output_ratio=1.5),
            (
                "you gave  output_ratio=1.5\n"
                "the rule  0 < output_ratio <= 1, here 1.5\n"
                "do this   pooling never makes more windows than there are cells: use a ratio of at most 1"
            ),
        ),
        (
            lambda: pk.Sliding((2, 2), stride=(1, 1, 1)),
            (
                "you gave  kernel_size=(2, 2), stride=(1, 1, 1)\n"
                "the rule  arguments given per axis have one value for each pooled axis, here 2 for kernel_size, 3 for "
                "stride\n"
                "do this   give every tuple the same length, or an int for all axes"
            ),
        ),
    ],
)
def test_messages_word_by_word(call, text):
    assert message(call) == text


INTEGER_ARGUMENTS = {
    "kernel_size": lambda v: pk.max_pool2d(X, v),
    "stride": lambda v: pk.max_pool2d(X, 2, v),
    "padding": lambda v: pk.max_pool2d(X, 2, 1, v),
    "dilation": lambda v: pk.max_pool2d(X, 2, 1, 0, v),
    "output_size": lambda v: pk.adaptive_max_pool2d(X, v),
    "divisor_override": lambda v: pk.avg_pool2d(X, 2, divisor_override=v),
    "divisor": lambda v: pk.Mean(divisor=v),
    "seed": lambda v: pk.fractional_max_pool2d(X, 2, 3, seed=v),
}
OWN_NONE = {"stride", "output_size", "divisor_override", "divisor", "seed"}


@pytest.mark.parametrize("name", INTEGER_ARGUMENTS)
@pytest.mark.parametrize(
    "value", [True, False, 2.0, 2.5, np.float32(2), np.True_, "2", b"2", {}, Ellipsis, 2j], ids=repr
)
def test_wrong_types(name, value):
    # padding may be a word, so a word that it does not know is a wrong value
    kind = pk.PoolError if (name, value) == ("padding", "2") else pk.PoolTypeError
    with pytest.raises(kind, match=rf"^you gave  {name}=") as caught:
        INTEGER_ARGUMENTS[name](value)
    assert isinstance(caught.value, TypeError) == (kind is pk.PoolTypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", [n for n in INTEGER_ARGUMENTS if n not in {"divisor_override", "divisor", "seed"}])
@pytest.mark.parametrize("value", [True, 2.0, "2", None], ids=repr)
def test_wrong_types_inside_tuples(name, value):
    if value is None and name == "output_size":
        return
    with pytest.raises(pk.PoolTypeError, match=rf"^you gave  {name}="):
        INTEGER_ARGUMENTS[name]((2, value))


@pytest.mark.parametrize("name", [n for n in INTEGER_ARGUMENTS if n not in OWN_NONE])
def test_none_where_it_means_nothing(name):
    with pytest.raises(pk.PoolTypeError, match=rf"^you gave  {name}=None"):
        INTEGER_ARGUMENTS[name](None)


@pytest.mark.parametrize("name", INTEGER_ARGUMENTS)
@pytest.mark.parametrize("value", [-1, -(2**31), -(2**63), -(2**70)])
def test_negative_integers(name, value):
    assert message(INTEGER_ARGUMENTS[name], value).startswith(f"you gave  {name}={value}\n")


@pytest.mark.parametrize("name", ["kernel_size", "padding", "dilation", "output_size"])
@pytest.mark.parametrize("value", [2**31 - 1, 2**31, 2**32, 2**47, 2**62, 2**63 - 1, 2**63, 2**64, 2**70, 10**400])
def test_huge_integers_allocate_nothing(name, value):
    tracemalloc.start()
    text = message(INTEGER_ARGUMENTS[name], value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert name in text
    assert peak < 2**20
    assert len(text) < 1000
    if value >= 2**63:
        message(INTEGER_ARGUMENTS[name], (1, value))


@pytest.mark.parametrize("value", [2**31 - 1, 2**31, 2**32, 2**62])
def test_huge_strides_take_the_first_window(value):
    assert pk.max_pool2d(X, 2, value).shape == (1, 1, 1, 1)
    assert pk.max_pool2d(X, 2, value, 1, ceil_mode=True).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**70])
def test_strides_beyond_64_bits(value):
    assert "stride" in message(pk.max_pool2d, X, 2, value)


@pytest.mark.parametrize("value", [0, 9, 10])
def test_kernels_around_the_size(value):
    assert "kernel_size" in message(pk.max_pool2d, X, value)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation", "output_size"])
@pytest.mark.parametrize("value", [(1, 1, 1), (1, 1, 1, 1)], ids=repr)
def test_wrong_lengths(name, value):
    assert message(INTEGER_ARGUMENTS[name], value).startswith(f"you gave  {name}=")


@pytest.mark.parametrize("name", ["kernel_size", "padding", "dilation", "output_size"])
@pytest.mark.parametrize("value", [[], ()], ids=repr)
def test_no_values(name, value):
    assert message(INTEGER_ARGUMENTS[name], value).startswith(f"you gave  {name}=")


@pytest.mark.parametrize("value", [[], ()], ids=repr)
def test_an_empty_stride_is_the_kernels_size(value):
    """As torch has it."""
    np.testing.assert_array_equal(pk.max_pool2d(X, 2, value), pk.max_pool2d(X, 2))


@pytest.mark.parametrize("value", [np.int8(2), np.uint64(2), np.array(2), (2,), [2], [2, 2], np.int64(2)], ids=repr)
def test_integers_of_every_kind(value):
    np.testing.assert_array_equal(pk.max_pool2d(X, value), pk.max_pool2d(X, 2))


@pytest.mark.parametrize(
    "value", ["SAME", "full", ((1, 2, 3),) * 2, ((1,),) * 2, ((1, -1), (0, 0)), ((0, 9), (0, 0))], ids=repr
)
def test_wrong_paddings(value):
    assert "padding" in message(pk.max_pool2d, X, 3, 1, value)


@pytest.mark.parametrize("word", ["same", "same_lower", "valid"])
def test_words_exclude_ceil_mode(word):
    assert message(pk.Sliding, 3, 2, word, 1, True).startswith("you gave  ceil_mode=True")


@pytest.mark.parametrize("value", ["no", 2, 0.0, None, []], ids=repr)
def test_flags(value):
    with pytest.raises(pk.PoolTypeError, match="ceil_mode"):
        pk.max_pool2d(X, 2, ceil_mode=value)
    with pytest.raises(pk.PoolTypeError, match="count_include_pad"):
        pk.avg_pool2d(X, 2, count_include_pad=value)
    with pytest.raises(pk.PoolTypeError, match="keepdims"):
        pk.Global(value)


@pytest.mark.parametrize(
    ("name", "call", "bad"),
    [
        ("norm_type", lambda v: pk.lp_pool2d(X, v, 2), [0, -1, -2.5, np.nan, -np.inf, "2", None, True, 1j, [2]]),
        ("p", pk.Lp, [0, -1, np.nan, "2", None, True]),
        ("p", pk.PowerMean, [0, -1, np.nan, np.inf, "2", None, True, 10**400]),
        ("eps", lambda v: pk.PowerMean(3, v), [-1e-9, np.nan, np.inf, "2", None, True]),
        ("beta", pk.Soft, [0, -0.0, np.nan, np.inf, -np.inf, "2", None, True]),
        ("beta", pk.LogSumExp, [0, np.nan, np.inf, "2", None, True]),
        ("beta", lambda v: pk.soft_pool2d(X, 2, beta=v), [0, np.nan]),
        (
            "output_ratio",
            lambda v: pk.fractional_max_pool2d(X, 2, output_ratio=v),
            [0, -0.5, 1.0001, 2, np.nan, np.inf, "0.5", True, 0.1, (0.5, 0.5, 0.5), (), (0.5, 2.0), (1, 2.0, 2.0, 1)],
        ),
    ],
)
def test_numbers(name, call, bad):
    for value in bad:
        assert message(call, value).startswith(f"you gave  {name}="), value


def test_divisors_below_one():
    for value in (0, -2):
        assert f"divisor_override={value}" in message(pk.avg_pool2d, X, 2, divisor_override=value)


@pytest.mark.parametrize("samples", [np.nan, 7.5, -3.5, 1.0, np.inf])
def test_random_samples_outside_the_unit_interval(samples):
    given = np.full((1, 1, 2), samples, np.float32)
    assert "_random_samples" in message(pk.fractional_max_pool2d, X, 2, 3, _random_samples=given)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (2,), (1, 2, 2), (3, 2), (1, 1, 1, 2)])
def test_random_samples_of_the_wrong_shape(shape):
    assert "random_samples" in message(pk.fractional_max_pool2d, X, 2, 3, _random_samples=np.zeros(shape, np.float32))


def test_fractional_sizes():
    assert "output_size" in message(pk.fractional_max_pool2d, X, 2)
    assert "output_ratio" in message(pk.fractional_max_pool2d, X, 2, 3, 0.5)
    assert "kernel_size" in message(pk.fractional_max_pool2d, X, 3, 7)
    assert "output_size" in message(pk.fractional_max_pool2d, X, 2, (0, 1))
    assert "kernel_size" in message(pk.fractional_max_pool2d, X, [], 1)
    assert "kernel_size" in message(pk.Fractional, (2, 2), (1, 1, 1))
    assert "random_samples" in message(pk.fractional_max_pool2d, X, 2, 3, _random_samples=np.zeros((1, 1, 2), np.int64))


@pytest.mark.parametrize(
    "shape", [(), (5,), (2, 3), (1, 1, 1, 1, 1), (0, 1, 0, 8), (1, 1, 0, 8), (1, 1, 8, 0), (1, 0, 8, 8)]
)
def test_shapes(shape):
    text = message(pk.max_pool2d, np.zeros(shape, np.float32), 1)
    assert "input x" in text
    assert "shape" in text or "axes" in text
    for window in (pk.Sliding(1), pk.Adaptive(1), pk.Global()):
        if len(shape) < 2 or 0 in shape:
            assert "input x" in message(pk.pool, np.zeros(shape, np.float32), window, pk.Max())


def test_arguments_are_checked_even_for_an_empty_batch():
    for kwargs in ({"padding": -1}, {"padding": 4}, {"dilation": 0}, {"stride": 0}):
        assert next(iter(kwargs)) in message(pk.max_pool1d, np.zeros((0, 1, 49), np.float32), 2, **kwargs)


@pytest.mark.parametrize(
    "dtype", ["bool", "complex64", "uint16", "uint32", "uint64", "object", "U3", "datetime64[s]", "longdouble"]
)
def test_dtypes(dtype):
    with pytest.raises(pk.PoolTypeError, match=r"input x of dtype"):
        pk.max_pool2d(np.zeros((1, 1, 4, 4), dtype), 2)


@pytest.mark.parametrize("x", [[[[1.0]]], 3, None, "x", (1, 2), {}], ids=repr)
def test_inputs_that_are_no_array(x):
    with pytest.raises(pk.PoolTypeError, match="input x"):
        pk.max_pool2d(x, 1)


def test_masks_are_not_ignored():
    with pytest.raises(pk.PoolTypeError, match="MaskedArray"):
        pk.max_pool2d(np.ma.masked_array(X, X > 1), 2)


def test_subclasses_without_a_mask_are_arrays(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(1, 1, 4, 4))
    assert pk.max_pool2d(x, 2).shape == (1, 1, 2, 2)


def test_windows_reducers_and_options():
    assert "window=" in message(pk.pool, X, 3, pk.Max())
    assert "reducer=" in message(pk.pool, X, pk.Sliding(2), "max")
    assert "reducer=" in message(pk.pool, X, pk.Sliding(2), pk.Max)
    assert "return_indices" in message(pk.pool, X, pk.Sliding(2), pk.Mean(), return_indices=True)
    assert "data_format" in message(pk.max_pool2d, X, 2, data_format="NHWC")
    assert "(2, 2, 2)" in message(pk.pool, X[0], pk.Sliding((2, 2, 2)), pk.Max())


def test_pool_vjp():
    assert "gradient" in message(pk.pool_vjp, X.astype(np.int32), pk.Sliding(2), pk.Max())
    y, back = pk.pool_vjp(X, pk.Sliding(2), pk.Max())
    for shape in ((1, 1, 4), (1, 1, 4, 5), (0, 1, 4, 4), (2, 1, 4, 4)):
        assert message(back, np.zeros(shape, np.float32)).startswith(f"you gave  grad of shape {shape}")
    assert "grad" in message(back, y.astype(np.float64))
    assert "grad" in message(back, y.tolist())


class TestUnpool:
    Y = np.zeros((1, 1, 2, 2), np.float32)
    INDICES = np.zeros((1, 1, 2, 2), np.int64)

    def test_indices(self):
        assert "indices" in message(pk.max_unpool2d, self.Y, self.INDICES.astype(np.int32), 2)
        assert "indices" in message(pk.max_unpool2d, self.Y, self.INDICES.astype(np.float32), 2)
        assert "indices" in message(pk.max_unpool2d, self.Y, self.INDICES.tolist(), 2)
        assert "indices" in message(pk.max_unpool2d, self.Y, self.INDICES[0], 2)
        assert "indices" in message(pk.max_unpool2d, self.Y, np.zeros((0, 1, 2, 2), np.int64), 2)

    def test_windows(self):
        for name, kwargs in (
            ("kernel_size", {"kernel_size": 0}),
            ("stride", {"kernel_size": 2, "stride": 0}),
            ("padding", {"kernel_size": 2, "padding": -1}),
            ("output_size", {"kernel_size": 2, "output_size": (0, 4)}),
            ("output_size", {"kernel_size": 2, "output_size": (True, 4)}),
            ("output_size", {"kernel_size": 2, "padding": 4}),
            ("output_size", {"kernel_size": 2**40}),
            ("kernel_size", {"kernel_size": 2**70}),
        ):
            assert f"{name}=" in message(pk.max_unpool2d, self.Y, self.INDICES, **kwargs)


SPEC = (0, 4, 2, 2, 2, 0, 0, 1) * 2
PARAMS = pk.Max().params


class TestCompiledCore:
    """The low-level functions are checked like the public ones: wrong arguments are errors, never memory errors."""

    def forward(self, **changes):
        given = {
            "reducer": 0,
            "params": PARAMS,
            "spec": SPEC,
            "starts": None,
            "x": np.zeros((1, 1, 4, 4), np.float32),
            "y": np.zeros((1, 1, 2, 2), np.float32),
            "offsets": None,
            "indices": None,
            "lse": None,
            "extra": None,
            "dtype": 0,
        } | changes
        return _core.forward(**given)

    def backward(self, **changes):
        given = {
            "reducer": 0,
            "params": PARAMS,
            "spec": SPEC,
            "starts": None,
            "dy": np.ones((1, 1, 2, 2), np.float32),
            "dx": np.zeros((1, 1, 4, 4), np.float32),
            "x": None,
            "y": None,
            "lse": None,
            "offsets": np.zeros((1, 1, 2, 2), np.uint8),
            "extra": None,
            "dextra": None,
            "dtype": 0,
        } | changes
        return _core.backward(**given)

    def test_right_arguments(self):
        assert self.forward() is None
        assert self.backward() is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"reducer": 99},
            {"reducer": -1},
            {"params": (1.0,)},
            {"params": PARAMS._replace(divisor=np.nan)},
            {"params": PARAMS._replace(divisor=-5.0)},
            {"params": PARAMS._replace(divisor=1e300)},
            {"spec": ()},
            {"spec": SPEC[:9]},
            {"spec": SPEC * 2},
            {"spec": (3, *SPEC[1:])},
            {"spec": (2, *SPEC[1:])},
            {"dtype": 77},
            {"dtype": 1},
            {"dtype": 2},
            {"x": np.zeros((1, 1, 4), np.float32)},
            {"x": np.zeros((1, 1, 4, 4), np.float64)},
            {"x": np.zeros((1, 1, 5, 4), np.float32)},
            {"x": np.zeros((2, 1, 4, 4), np.float32)},
            {"x": np.zeros((1, 3, 4, 4), np.float32)},
            {"x": "no array"},
            {"y": np.zeros((1, 1, 2, 3), np.float32)},
            {"y": np.zeros((1, 1, 3, 2), np.float32)},
            {"y": np.zeros((0, 1, 2, 2), np.float32)},
            {"y": np.broadcast_to(np.float32(0), (1, 1, 2, 2))},
            {"y": np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (1, 1, 2, 2), (16, 16, 0, 4))},
            {"offsets": np.zeros((1, 1, 2, 2), np.int64)},
            {"offsets": np.zeros((1, 1, 2, 1), np.uint8)},
            {"indices": np.zeros((1, 1, 2, 2), np.int32)},
            {"indices": np.zeros((1, 1, 1, 2), np.int64)},
            {"lse": np.zeros((1, 1, 2, 2), np.float64)},
            {"reducer": 3, "indices": np.zeros((1, 1, 2, 2), np.int64)},
            {"starts": np.zeros((1, 4), np.int32)},
        ]
        + [
            {"spec": (*SPEC[:i], bad, *SPEC[i + 1 :])}
            for i, bads in {
                1: (0, -1, 5, 2**62),
                2: (0, -1, 3, 2**62),
                3: (0, -1, 2**63 - 1),
                4: (0, -1, 4, 2**63 - 1),
                5: (-1, 2, 2**62),
                6: (-1,),
                7: (0, -1),
            }.items()
            for bad in bads
        ],
        ids=repr,
    )
    def test_forward(self, changes):
        try:
            wrong = self.forward(**changes)
        except (ValueError, TypeError, BufferError):
            return
        assert wrong, changes

    @pytest.mark.parametrize(
        "changes",
        [
            {"dy": np.ones((0, 1, 2, 2), np.float32)},
            {"dy": np.ones((1, 1, 2, 1), np.float32)},
            {"dy": np.ones((1, 1, 2, 2), np.float64)},
            {"dx": np.zeros((1, 2, 4, 4), np.float32)},
            {"dx": np.zeros((1, 1, 4, 3), np.float32)},
            {"offsets": None},
            {"offsets": np.zeros((0, 1, 2, 2), np.uint8)},
            {"offsets": np.zeros((1, 1, 2, 1), np.uint8)},
            {"offsets": np.full((1, 1, 2, 2), 4, np.uint8)},
            {"offsets": np.full((1, 1, 2, 2), 255, np.uint8)},
            {"offsets": np.full((1, 1, 2, 2), 65535, np.uint16)},
            {"offsets": np.full((1, 1, 2, 2), -1, np.int32)},
            {"offsets": np.full((1, 1, 2, 2), 10**6, np.int32)},
            {"offsets": np.full((1, 1, 2, 2), -(2**31), np.int32)},
            {"reducer": 4},
            {"reducer": 7},
            {
                "reducer": 8,
                "x": np.zeros((1, 1, 4, 4), np.float32),
                "y": np.ones((1, 1, 2, 2), np.float32),
                "lse": np.ones((1, 1, 2, 3), np.float32),
            },
            {"reducer": 5, "x": np.zeros((1, 1, 4, 5), np.float32), "y": np.ones((1, 1, 2, 2), np.float32)},
            {"reducer": 5, "x": np.zeros((1, 1, 4, 4), np.float32), "y": np.ones((1, 1, 3, 2), np.float32)},
        ],
        ids=repr,
    )
    def test_backward(self, changes):
        try:
            wrong = self.backward(**changes)
        except (ValueError, TypeError, BufferError):
            return
        assert wrong, changes

    def test_starts(self):
        spec = (2, 4, 2, 2, 1, 0, 0, 1)
        x, y = np.zeros((1, 2, 4), np.float32), np.zeros((1, 2, 2), np.float32)
        for rows in ([[0, 2]], [[0, 1], [1, 2]]):
            assert self.forward(spec=spec, starts=np.array(rows), x=x, y=y) is None
        for rows in ([[-1, 2]], [[0, 3]], [[0, 2**62]], [[0, 1], [-5, 2]]):
            assert self.forward(spec=spec, starts=np.array(rows), x=x, y=y), rows
        for rows in ([[0]], [[0, 1, 2]], [0, 1], [[0, 1]] * 3):
            with pytest.raises(ValueError, match="starts"):
                self.forward(spec=spec, starts=np.array(rows), x=x, y=y)
        assert self.forward(spec=spec, starts=None, x=x, y=y)

    def test_starts_of_windows_that_reach_to_the_next(self):
        spec = (2, 4, 2, 3, 1, 0, 1, 1)
        x, y = np.zeros((1, 2, 4), np.float32), np.zeros((1, 2, 2), np.float32)
        for rows in ([[0, 3]], [[1, 2]], [[0, 1], [2, 3]]):
            assert self.forward(spec=spec, starts=np.array(rows), x=x, y=y) is None, rows
        for rows in ([[2, 1]], [[1, 1]], [[-1, 2]], [[0, 4]], [[0, 2**62]], [[-(2**63), 2]], [[0, 1], [3, 2]]):
            assert self.forward(spec=spec, starts=np.array(rows), x=x, y=y), rows
        for narrow in ([[0, 3]], [[0, 1]]):
            assert self.forward(spec=(2, 4, 2, 2, 1, 0, 1, 1), starts=np.array(narrow), x=x, y=y), narrow
        for after in (-1, 5, 2**62):
            assert self.forward(spec=(*spec[:6], after, 1), starts=np.array([[0, 2]]), x=x, y=y), after

    def test_isas(self):
        assert not _core.set_isa("sse9")
        assert _core.set_isa(_core.available_isas()[0])
        assert _core.isa() in _core.available_isas()

    def test_offset_box(self):
        assert _core.offset_box((0, 4, 2, 2, 2, 0, 0, 1, 1, 10, 3, 1, 1, 0, 0, 1)) == (2, 4)
        for bad in ((), (0,) * 8, (0, 4, 2), (9, 4, 2, 2, 2, 0, 0, 1)):
            with pytest.raises(ValueError, match="spec"):
                _core.offset_box(bad)

    def test_unpool(self):
        x, out, index = np.ones((1, 1, 2), np.float32), np.zeros((1, 1, 4), np.float32), np.array([[[0, 3]]])
        assert _core.unpool(x, index, out, 1, 0) is None
        assert out.tolist() == [[[1, 0, 0, 1]]]
        assert _core.unpool(x, np.array([[[0, 4]]]), out, 1, 0)
        assert _core.unpool_backward(out, np.array([[[-1, 0]]]), x, 1, 0)
        for rank in (0, 4, -1, 2):
            with pytest.raises(ValueError, match=r"rank|axes"):
                _core.unpool(x, index, out, rank, 0)


def test_a_hostile_repr_does_not_hide_the_error():
    class Hostile:
        def __repr__(self):
            raise RuntimeError

    assert re.match(r"you gave  kernel_size=<Hostile>", message(pk.Sliding, Hostile()))
    assert len(message(pk.Sliding, "x" * 10**6)) < 500

"""Windows: shapes, records, and the forms their arguments take."""

from __future__ import annotations

import numpy as np
import pytest

import poolkit as pk


@pytest.mark.parametrize(
    ("window", "sizes", "out"),
    [
        (pk.Sliding(3, 2, 1), (7, 8), (4, 4)),
        (pk.Sliding(2), (5, 5), (2, 2)),
        (pk.Sliding(2, ceil_mode=True), (5, 5), (3, 3)),
        (pk.Sliding(3, 3, ceil_mode=True), (2, 4), (1, 2)),
        (pk.Sliding(4, 4, 2, ceil_mode=True), (9, 9), (3, 3)),
        (pk.Sliding(8, 4, ceil_mode=True), (32, 32), (7, 7)),
        (pk.Sliding(1, 2, ceil_mode=True), (6, 7), (3, 4)),
        (pk.Sliding(3, 4, ceil_mode=True), (8,), (2,)),
        (pk.Sliding(3, 2, "same"), (5, 8), (3, 4)),
        (pk.Sliding(3, 2, "same_lower"), (5, 8), (3, 4)),
        (pk.Sliding(3, 2, "valid"), (5, 8), (2, 3)),
        (pk.Sliding((1, 2, 3), (3, 2, 1)), (7, 8, 9), (3, 4, 7)),
        (pk.Adaptive(3), (10, 2), (3, 3)),
        (pk.Adaptive((None, 3)), (4, 4), (4, 3)),
        (pk.Adaptive(None), (4, 5), (4, 5)),
        (pk.Global(), (4, 5, 6), (1, 1, 1)),
        (pk.Fractional(2, 4), (9, 9), (4, 4)),
        (pk.Fractional(2, output_ratio=(0.5, 0.25)), (9, 9), (4, 2)),
        (pk.Fractional(1, output_ratio=1.0), (9,), (9,)),
    ],
    ids=str,
)
def test_output_shapes(window, sizes, out):
    assert window.plan(sizes).out_shape == out
    assert window.plan(list(sizes)).sizes == sizes


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [(5, 2, 1, 0, 1), (5, 3, 2, 1, 1), (6, 3, 2, 0, 1), (7, 4, 3, 1, 2), (4, 2, 3, 0, 1), (10, 1, 4, 0, 0)],
)
def test_same_puts_the_odd_cell_at_the_end_or_the_beginning(size, kernel, stride, before, after):
    upper = pk.Sliding(kernel, stride, "same").plan((size,)).axes[0]
    lower = pk.Sliding(kernel, stride, "same_lower").plan((size,)).axes[0]
    assert upper.out == lower.out == -(-size // stride)
    assert (upper.before, upper.after) == (before, after)
    assert (lower.before, lower.after) == (after, before)


def test_same_with_dilation():
    axis = pk.Sliding(3, 1, "same", 3).plan((10,)).axes[0]
    assert (axis.before, axis.after, axis.out) == (3, 3, 10)


def test_padding_that_the_word_same_asked_for_never_counts():
    x = np.array([[[10.0, 20.0]]])
    assert pk.pool(x, pk.Sliding(3, 2, "same"), pk.Mean()).tolist() == [[[15.0]]]
    assert pk.avg_pool1d(x, 3, 2, "same_lower").tolist() == [[[15.0]]]
    assert pk.avg_pool1d(x, 3, 2, ((0, 1),)).tolist() == [[[10.0]]]


@pytest.mark.parametrize(
    "padding", [0, 1, (1, 0), ((1, 0), (0, 1)), [[1, 0], [0, 1]], [1, (0, 1)], "same", "same_lower", "valid"]
)
def test_forms_of_padding(padding):
    assert len(pk.Sliding(2, 1, padding).plan((5, 6)).out_shape) == 2


def test_equal_sides_are_limited_to_half_the_kernel_and_unequal_ones_to_a_kernel_together():
    assert pk.Sliding(3, 1, ((0, 2),)).plan((4,)).out_shape == (4,)
    assert pk.Sliding(3, 1, 2, 2).plan((8,)).out_shape == (8,)  # half of the effective kernel, 5
    for window in (pk.Sliding(2, 1, 2), pk.Sliding(3, 1, 2), pk.Sliding(2, 1, ((0, 2),)), pk.Sliding(3, 1, ((2, 2),))):
        with pytest.raises(pk.PoolError, match="padding"):
            window.plan((8,))


def test_lists_tuples_and_numpy_integers_are_alike():
    window = pk.Sliding([np.int64(3), 2], np.int32(2), np.array(1), [1, np.uint8(1)])
    assert window == pk.Sliding((3, 2), 2, 1, (1, 1))
    assert hash(window) == hash(pk.Sliding((3, 2), 2, 1, (1, 1)))


def test_ranks():
    assert pk.Sliding(3).rank is None
    assert pk.Sliding(3, dilation=(1, 2)).rank == 2
    assert pk.Sliding(3, padding=((1, 0),)).rank == 1
    assert pk.Adaptive(3).rank is None
    assert pk.Adaptive((3, None, 2)).rank == 3
    assert pk.Fractional(2, output_ratio=(0.5, 0.5)).rank == 2
    assert pk.Global().rank is None


def test_scalar_windows_pool_every_spatial_axis():
    for ndim, out in ((2, (3, 2)), (3, (1, 3, 2)), (4, (1, 3, 2, 2)), (5, (1, 3, 2, 2, 2))):
        shape = (3, 4) if ndim == 2 else (1, 3, *(4,) * (ndim - 2))
        assert pk.pool(np.zeros(shape), pk.Sliding(2), pk.Max()).shape == out


def test_unbatched_equals_batched_squeezed():
    x = np.random.default_rng(0).standard_normal((3, 7, 8))
    for window in (pk.Sliding((3, 2), 2, (1, 0)), pk.Adaptive((2, 3)), pk.Fractional((2, 2), (3, 4))):
        y, indices = pk.pool(x, window, pk.Max(), return_indices=True, seed=1)
        z, jndices = pk.pool(x[None], window, pk.Max(), return_indices=True, seed=1)
        np.testing.assert_array_equal(y, z[0])
        np.testing.assert_array_equal(indices, jndices[0])


def test_global_drops_its_axes_on_request():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    assert pk.pool(x, pk.Global(), pk.Max()).shape == (2, 3, 1, 1)
    assert pk.pool(x, pk.Global(keepdims=False), pk.Max()).tolist() == x.max((2, 3)).tolist()
    last = pk.pool(np.moveaxis(x, 1, -1), pk.Global(keepdims=False), pk.Max(), data_format="channels_last")
    np.testing.assert_array_equal(last, x.max((2, 3)))
    y, back = pk.pool_vjp(x, pk.Global(keepdims=False), pk.Mean())
    np.testing.assert_array_equal(back(np.ones_like(y)), np.full_like(x, 0.25))


def test_channels_last_results_are_contiguous_and_equal():
    x = np.random.default_rng(0).standard_normal((2, 6, 7, 5))
    y, indices = pk.max_pool2d(x, 3, 2, 1, return_indices=True, data_format="channels_last")
    z, jndices = pk.max_pool2d(np.moveaxis(x, -1, 1), 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(y, np.moveaxis(z, 1, -1))
    np.testing.assert_array_equal(indices, np.moveaxis(jndices, 1, -1))
    assert y.flags.c_contiguous
    for data_format, shape in (("channels_first", (5, 6, 7)), ("channels_last", (6, 7, 5))):
        assert pk.max_pool2d(np.zeros(shape), 1, data_format=data_format).shape == shape


class TestFractional:
    def test_torch_sequence_for_given_samples(self):
        """The starts torch 2.13 uses for these samples, read off its indices."""
        plan = pk.Fractional(2, 4).plan((12, 12, 12), samples=np.float32([[0.1, 0.5, 0.95]]))
        assert [axis.start[0].tolist() for axis in plan.axes] == [[0, 3, 6, 10], [0, 4, 7, 10], [0, 3, 6, 10]]
        plan = pk.Fractional(2, 4).plan((10, 10), samples=np.float32([[0.1, 0.9]]))
        assert [axis.start[0].tolist() for axis in plan.axes] == [[0, 3, 5, 8], [0, 2, 5, 8]]

    def test_windows_stay_inside_and_end_the_input(self):
        rng = np.random.default_rng(0)
        for _ in range(200):
            size, kernel = int(rng.integers(1, 60)), int(rng.integers(1, 6))
            if kernel > size:
                continue
            out = int(rng.integers(1, size - kernel + 2))
            samples = np.concatenate(
                [rng.random((5, 1), np.float32), np.float32([[0], [np.nextafter(1, 0, dtype="f4")]])]
            )
            start = pk.Fractional(kernel, out).plan((size,), samples=samples).axes[0].start
            assert start.min() >= 0
            assert (start[:, -1] == size - kernel).all()
            assert (np.diff(start, axis=1) >= 0).all()

    def test_seeds(self):
        x = np.random.default_rng(0).standard_normal((4, 5, 20, 20))
        window = pk.Fractional(2, output_ratio=0.55)
        one = pk.pool(x, window, pk.Max(), seed=1)
        np.testing.assert_array_equal(one, pk.pool(x, window, pk.Max(), seed=1))
        assert (one != pk.pool(x, window, pk.Max(), seed=2)).any()
        assert (pk.pool(x, window, pk.Max()) != pk.pool(x, window, pk.Max())).any()
        samples = window.draw(20, (20, 20), 1, np.float64).reshape(4, 5, 2)
        given = pk.fractional_max_pool2d(x, 2, output_ratio=0.55, _random_samples=samples)
        np.testing.assert_array_equal(one, given)

    def test_half_samples_never_leave_the_input(self):
        samples = np.full((1, 1), 0.999, np.float16)
        start = pk.Fractional(3, 1000).plan((100000,), samples=samples).axes[0].start
        assert start.min() >= 0
        assert start.max() == 99997


class TestTiles:
    """Fractional windows in TensorFlow's style."""

    @staticmethod
    def window(**settings):
        return pk.Fractional(style="tensorflow", **settings)

    def test_the_example_of_tensorflows_documentation(self):
        """Windows from 0 and 2 of five cells, of which the one at 2 is shared."""
        x = np.array([[[20.0, 5.0, 16.0, 3.0, 7.0]]])
        window = self.window(output_size=2, overlapping=True, random_samples=[0.9, 0.1])
        assert pk.pool(x, window, pk.Max()).tolist() == [[[20, 16]]]
        np.testing.assert_allclose(pk.pool(x, window, pk.Mean()), [[[41 / 3, 26 / 3]]])
        alone = self.window(output_size=2, random_samples=[0.9, 0.1])
        np.testing.assert_allclose(pk.pool(x, alone, pk.Mean()), [[[25 / 2, 26 / 3]]])

    def test_pseudo_random_windows_by_hand(self):
        # a = 5/3, u = 0.5 * 0.8: ceil(a (1 + u)) - 1 = 2, ceil(a (2 + u)) - 1 = 3
        axis = self.window(output_size=3, pseudo_random=True, random_samples=[0.5]).plan((5,)).axes[0]
        assert axis.start.tolist() == [[0, 2, 3]]
        assert axis.count.tolist() == [[2, 1, 2]]

    @pytest.mark.parametrize("pseudo_random", [False, True])
    @pytest.mark.parametrize("overlapping", [False, True])
    def test_widths_are_k_or_one_more_and_tile_the_input(self, pseudo_random, overlapping):
        rng = np.random.default_rng(0)
        for _ in range(500):
            size = int(rng.integers(1, 300))
            out = int(rng.integers(1, size + 1))
            window = self.window(output_size=out, pseudo_random=pseudo_random, overlapping=overlapping)
            one = (0.0, 1 - 2**-53, rng.random())[int(rng.integers(3))]
            lots = np.full(1, one) if pseudo_random else rng.random(out)
            axis = window.plan((size,), samples=lots).axes[0]
            starts, k = axis.start[0], size // out
            widths = np.diff([*starts, size])
            assert starts[0] == 0
            assert set(widths.tolist()) <= {k, k + (size % out > 0)}
            assert (axis.stop[0] == np.minimum(starts + widths + overlapping, size)).all()
            assert axis.count.max() <= axis.kernel

    def test_every_order_of_widths_is_equally_likely(self):
        orders = {}
        for seed in range(1200):
            window = self.window(output_size=4)
            samples = window.draw(1, (6,), seed)
            widths = tuple(window.plan((6,), samples=samples).axes[0].count[0].tolist())
            orders[widths] = orders.get(widths, 0) + 1
        assert len(orders) == 6
        assert sum((count - 200) ** 2 / 200 for count in orders.values()) < 20.52  # chi-squared, probability 0.001

    def test_all_samples_and_channels_share_the_windows(self):
        x = np.broadcast_to(np.arange(40.0).reshape(5, 8), (2, 3, 5, 8))
        y = pk.pool(x, self.window(pooling_ratio=1.6), pk.Max(), seed=3)
        assert y.shape == (2, 3, 3, 5)
        assert (y == y[:1, :1]).all()

    def test_ratios_and_seeds(self):
        x = np.random.default_rng(0).standard_normal((2, 2, 20, 30))
        window = self.window(pooling_ratio=(1.44, 1.73))
        assert window.plan((20, 30)).out_shape == (13, 17)
        one = pk.pool(x, window, pk.Mean(), seed=1)
        np.testing.assert_array_equal(one, pk.pool(x, window, pk.Mean(), seed=1))
        assert (one != pk.pool(x, window, pk.Mean(), seed=2)).any()
        given = pk.fractional_avg_pool2d(
            x, None, style="tensorflow", pooling_ratio=(1.44, 1.73), _random_samples=window.draw(4, (20, 30), 1)
        )
        np.testing.assert_array_equal(one, given)

    def test_a_whole_ratio_is_plain_tiles(self):
        x = np.random.default_rng(0).standard_normal((2, 2, 12, 9))
        for pseudo_random in (False, True):
            window = self.window(pooling_ratio=3, pseudo_random=pseudo_random)
            for seed in range(5):
                np.testing.assert_array_equal(pk.pool(x, window, pk.Max(), seed=seed), pk.max_pool2d(x, 3))

    def test_a_filter_needs_windows_of_one_size(self):
        with pytest.raises(pk.PoolError, match="filter"):
            pk.pool(np.zeros((1, 1, 5)), self.window(output_size=2), pk.Filter((1.0, 1.0, 1.0)), seed=0)

    @pytest.mark.parametrize(
        ("settings", "blamed"),
        [
            ({"style": "caffe", "output_size": 2}, "style"),
            ({"style": None, "output_size": 2}, "style"),
            ({"style": "tensorflow", "kernel_size": 2, "output_size": 2}, "kernel_size"),
            ({"style": "tensorflow"}, "pooling_ratio"),
            ({"style": "tensorflow", "output_size": 2, "pooling_ratio": 2.0}, "pooling_ratio"),
            ({"style": "tensorflow", "pooling_ratio": 0.5}, "pooling_ratio"),
            ({"style": "tensorflow", "pooling_ratio": "2"}, "pooling_ratio"),
            ({"style": "tensorflow", "output_size": 2, "overlapping": "no"}, "overlapping"),
            ({"style": "tensorflow", "output_size": 2, "pseudo_random": None}, "pseudo_random"),
            ({"kernel_size": 2, "output_size": 2, "pooling_ratio": 2.0}, "pooling_ratio"),
            ({"kernel_size": 2, "output_size": 2, "overlapping": True}, "overlapping"),
            ({"output_size": 2}, "kernel_size"),
        ],
    )
    def test_bad_settings(self, settings, blamed):
        with pytest.raises(pk.PoolError) as caught:
            pk.Fractional(**settings)
        assert f"{blamed}=" in caught.value.gave

    @pytest.mark.parametrize("samples", [[0.5], [0.1, 1.0], [[0.1, 0.2]], np.zeros(2, np.int64)])
    def test_bad_samples(self, samples):
        with pytest.raises(pk.PoolError, match="random_samples"):
            self.window(output_size=2, random_samples=samples).plan((5,))

    def test_sizes_that_do_not_fit(self):
        with pytest.raises(pk.PoolError, match="output_size=6"):
            self.window(output_size=6).plan((5,))
        with pytest.raises(pk.PoolError, match=r"pooling_ratio=7\.5"):
            self.window(pooling_ratio=7.5).plan((5,))


class TestUnpool:
    def test_keeps_the_maxima(self):
        x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
        y, indices = pk.max_pool2d(x, 2, return_indices=True)
        z = pk.max_unpool2d(y, indices, 2, output_size=(7, 8))
        assert z.shape == x.shape
        np.testing.assert_array_equal(z[z != 0], x[z != 0])
        assert (z != 0).sum() == y.size
        np.testing.assert_array_equal(pk.max_unpool2d(y, indices, 2, output_size=x.shape), z)
        np.testing.assert_array_equal(pk.max_unpool2d(y[0], indices[0], 2, output_size=(7, 8)), z[0])

    @pytest.mark.parametrize("rank", [1, 2, 3])
    def test_ranks_and_layouts(self, rank):
        pool = getattr(pk, f"max_pool{rank}d")
        unpool = getattr(pk, f"max_unpool{rank}d")
        x = np.random.default_rng(0).standard_normal((2, 3, *(4, 6, 8)[:rank])).astype(np.float32)
        z = unpool(*pool(x, 2, return_indices=True), 2)
        last = np.moveaxis(x, 1, -1)
        y, indices = pool(last, 2, return_indices=True, data_format="channels_last")
        np.testing.assert_array_equal(unpool(y, indices, 2, data_format="channels_last"), np.moveaxis(z, 1, -1))

    def test_the_last_of_equal_indices_wins(self):
        x = np.array([[[[0.8725, 0.3154], [0.7132, 0.8304]]]])
        y = pk.max_unpool2d(x, np.array([[[[1, 6], [1, 5]]]]), 2)
        assert y[0, 0].tolist() == [[0, 0.7132, 0, 0], [0, 0.8304, 0.3154, 0], [0] * 4, [0] * 4]

    def test_empty_batch(self):
        assert pk.max_unpool2d(np.zeros((0, 2, 3, 3)), np.zeros((0, 2, 3, 3), np.int64), 2).shape == (0, 2, 6, 6)

    def test_the_error_tells_the_legal_sizes(self):
        x, indices = np.zeros((1, 1, 3, 3)), np.zeros((1, 1, 3, 3), np.int64)
        for wrong in ((4, 6), (8, 6), (6, 6, 6, 6, 6), (6,), (2, 1, 6, 6)):
            with pytest.raises(pk.PoolError, match=r"(?s)output_size.*5\.\.7 x 5\.\.7"):
                pk.max_unpool2d(x, indices, 2, output_size=wrong)
        assert pk.max_unpool2d(x, indices, 2, output_size=(5, 7)).shape == (1, 1, 5, 7)

    @pytest.mark.parametrize("bad", [-1, -5, 36, 10**6, 10**9, -(2**63), 2**63 - 1])
    def test_indices_outside_the_plane(self, bad):
        x, indices = np.ones((2, 1, 3, 3)), np.zeros((2, 1, 3, 3), np.int64)
        indices[1, 0, 2, 1] = bad
        with pytest.raises(pk.PoolError, match=rf"indices.*{bad}"):
            pk.max_unpool2d(x, indices, 2)

"""Carries out one row of data/edge_cases.json on NumPy arrays; for the tests and for the crash rows' processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np

import poolkit as pk
from poolkit import _core, arrays, reference
from poolkit.window import plan_for

ROWS = {row["id"]: row for row in json.loads((Path(__file__).parent / "data" / "edge_cases.json").read_text())}

_SEQUENCES = "takes TensorFlow's explicit row and column sequences, which no entry of this library takes"
_SHAPES = "hands the gradient an input shape; here the plan of the forward pass knows it, and no caller can give one"
NOT_APPLICABLE = {
    "TF07": _SEQUENCES,
    "TF09": _SEQUENCES,
    "TF11": _SEQUENCES,
    "TF16": _SEQUENCES,
    "TF19": _SHAPES,
    "TF21": _SHAPES,
    "TF20": "quantized arrays with a scale: there is no such operator",
    "PR13": "quantized arrays with a zero point: there is no such operator",
    "EM08": "masked pooling: there is no such operator",
    "EM35": "masked pooling: there is no such operator",
    "EM10": "footprints: there is no such operator",
    "CM63": "base dilation (holes in the input): there is no such operator",
    "CM77": "export to ONNX: NumPy functions are not exported",
    "DT06": "RoI pooling: there is no such operator",
    "DT07": "RoI pooling: there is no such operator",
}

# Rows that leave the answer to a policy, or ask for what another promise forbids.
POLICY = {
    "PR10": {"expected": [[3]]},  # 2.75: an integer mean keeps its dtype, rounded to nearest
    "DT08": {"expect": "error", "error_mentions": "padding"},  # its windows would see padding alone
}

DTYPES = {"qint8": "int8", "quint8": "uint8", "qint32": "int32", "quint2x4": "uint8"}
RANKS = {"L": 1, "HW": 2}
CRASH = re.compile(
    r"crash|segv|segfault|fpe|floating point exception|hang|no answer|no result|abort|overflow|oob|free\(\)",
    re.IGNORECASE,
)


def crashed(row: dict) -> bool:
    """Whether the row once took a process down, or never came back."""
    return bool(CRASH.search(row["seen"]))


def check(row_id: str) -> None:
    """Asserts what the row expects."""
    row = ROWS[row_id] | POLICY.get(row_id, {})
    special = SPECIAL.get(row_id)
    kind = row["window"]["kind"]
    action = special or {"unpool": _unpool, "backward": None}.get(kind, _pool)
    assert action is not None, f"{row_id} needs its own entry"
    if row["expect"] == "error":
        try:
            result = action(row)
        except pk.PoolError as error:
            text = str(error)
        except ValueError as error:  # the low-level entry refuses without a pool's three lines
            text = str(error)
            assert special
        else:
            assert isinstance(result, str), f"no error, but {result!r:.300}"
            text = result
        mention = "input x" if row["error_mentions"] == "x" else row["error_mentions"]
        assert mention in text, f"{mention!r} is not named in: {text}"
    else:
        action(row)


def rank_of(row: dict) -> int:
    """The number of pooled axes, from the operator's name, the layout or the window."""
    named = re.search(r"([123])d", row["op"])
    if named:
        return int(named[1])
    layout = row["layout"].split()[0].upper()
    letters = [c for c in layout if c in "DHWL"]
    if letters and set(layout) <= set("NCDHWL"):
        return len(letters)
    for name in ("kernel", "output_size", "stride"):
        value = row["window"].get(name)
        if isinstance(value, list) and value:
            return len(value)
    return min(max(len(row["shape"]) - 2, 1), 3)


def channels_last(row: dict) -> bool:
    layout = row["layout"].split()[0].upper()
    return set(layout) <= set("NCDHWL") and layout.endswith("C") and len(layout) > 1


def array_of(row: dict) -> np.ndarray:
    """The row's input: what it says, else distinct values; broadcast from one cell where only an error is asked for."""
    shape = tuple(row["shape"])
    name = DTYPES.get(row["dtype"], row["dtype"])
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    given = row.get("input")
    if row["expect"] == "error":
        return np.broadcast_to(np.zeros((), dtype), shape)
    if given is None:
        count = int(np.prod(shape))
        if count > 2**21 or shape[0] == 0:
            return np.broadcast_to(np.ones((), dtype), shape) if "heavy" not in row else np.ones(shape, dtype)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            return np.random.default_rng(0).integers(info.min, info.max, shape, dtype, endpoint=True)
        return ((np.random.default_rng(0).permutation(count) - count // 2) / 16).reshape(shape).astype(dtype)
    words = {"ones": 1, "all NaN": np.nan}
    if isinstance(given, str):
        return np.full(shape, float(words.get(given, given)), np.float64).astype(dtype)
    values = np.array([float(v) for v in _flatten(given)]).astype(dtype)
    count = int(np.prod(shape))
    if values.size == count:
        return values.reshape(shape)
    # one plane, the same for every channel
    return np.repeat(values, count // values.size).reshape(shape) if channels_last(row) else np.resize(values, shape)


def _flatten(values):
    for value in values:
        if isinstance(value, list):
            yield from _flatten(value)
        else:
            yield value


def calls(row: dict) -> list:
    """One function of the array for every reducer that the row means, with and without indices."""
    window, rank = row["window"], rank_of(row)
    layout = {"data_format": "channels_last"} if channels_last(row) else {}
    reducers = {"any": ["max", "avg", "lp"], "max": ["max"], "avg": ["avg"], "lp": ["lp"]}[row["reducer"]]
    if window["kind"] == "adaptive":
        family = {"max": f"adaptive_max_pool{rank}d", "avg": f"adaptive_avg_pool{rank}d"}
        pools = [getattr(pk, family[reducer]) for reducer in reducers]
        return [lambda x, pool=pool: pool(x, window["output_size"], **layout) for pool in pools]
    if window["kind"] == "fractional":
        samples = window.get("random_samples")
        if samples is not None:
            batch = row["shape"][0] if len(row["shape"]) == rank + 2 else 1
            samples = np.full((batch, row["shape"][-rank - 1], rank), float(samples), np.float32)
        kernel = 2 if window["kernel"] is None else window["kernel"]
        pool = getattr(pk, f"fractional_max_pool{rank}d")
        return [
            lambda x: pool(
                x,
                kernel,
                window["output_size"],
                window["output_ratio"],
                _random_samples=samples,
                seed=None if samples is not None else 0,
                **layout,
            )
        ]
    sliding = {name: window[key] for name, key in (("stride", "stride"), ("padding", "padding"))}
    sliding |= {"dilation": window["dilation"], "ceil_mode": window["ceil_mode"]} | layout
    made = []
    for reducer in reducers:
        pool, extra, lead = getattr(pk, f"{reducer}_pool{rank}d"), {}, ()
        if reducer == "avg":
            extra = {k: window[k] for k in ("count_include_pad", "divisor_override") if k in window}
        if reducer == "lp":
            lead = (window.get("norm_type", 2),)
        made.append(lambda x, p=pool, e=extra, h=lead: p(x, *h, window["kernel"], **sliding, **e))
        if reducer == "max":
            made.append(lambda x, p=pool: p(x, window["kernel"], return_indices=True, **sliding)[0])
    return made


def _pool(row: dict):
    rank = rank_of(row)
    try:
        x = array_of(row)
    except ValueError:  # no such array can exist: the shape alone must be refused
        return plan_for(pk.Sliding(row["window"]["kernel"]), row["shape"], rank)
    if row["layout"] in RANKS:
        x = x[np.newaxis]
    if row["layout"].startswith("channels_last"):
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if row["expect"] == "error":
        for call in calls(row)[:-1]:
            try:
                call(x)
            except pk.PoolError:
                continue
            raise AssertionError("no error")
        return calls(row)[-1](x)
    results = [call(x) for call in calls(row)]
    for y in results:
        if "expected_shape" in row:
            assert list(y.shape) == row["expected_shape"], y.shape
        if row.get("expected") == "identity":
            np.testing.assert_array_equal(y, x)
        elif row.get("expected") == "ones":
            assert (y == 1).all()
        elif "expected" in row:
            wanted = np.array([float(v) for v in _flatten(row["expected"])])
            got = np.asarray(y, np.float64).ravel()[: wanted.size]
            np.testing.assert_allclose(got, wanted, rtol=row.get("tol", 1e-6), equal_nan=True)
            np.testing.assert_array_equal(np.signbit(got[wanted == 0]), np.signbit(wanted[wanted == 0]))
        elif x.strides.count(0) == x.ndim or "heavy" in row:
            _all_ones(y, row)
    if "expected_grad" in row:
        _gradient(row)
    elif "expected" not in row and x.size and x.size <= 2**21:
        against_oracle(row, x)
    return results[0]


def _all_ones(y, row):
    """Of ones, without padding, every window gives the same; maxima and means give one."""
    if row["window"].get("padding") and row["reducer"] != "max":
        return
    planes = y.reshape(-1)
    wanted = planes[:1] if row["reducer"] in ("lp", "any") else 1
    for low in range(0, planes.size, 2**24):
        assert (planes[low : low + 2**24] == wanted).all()


def records(row: dict) -> list[tuple]:
    """The row as windows and reducers."""
    window, rank = row["window"], rank_of(row)
    if window["kind"] == "adaptive":
        record = pk.functional._adaptive(rank, window["output_size"])
    elif window["kind"] == "fractional":
        record = pk.Fractional(window["kernel"], window["output_size"], window["output_ratio"])
    else:
        record = pk.functional.sliding_of(
            rank, window["kernel"], window["stride"], window["padding"], window["dilation"], window["ceil_mode"]
        )
    lp = pk.Lp(window.get("norm_type", 2))
    mean = pk.Mean(window.get("count_include_pad", True), window.get("divisor_override"))
    chosen = {"max": [pk.Max()], "avg": [mean], "lp": [lp], "any": [pk.Max(), mean, lp]}[row["reducer"]]
    return [(record, reducer.on(record)) for reducer in chosen]


def logical(row: dict, x: np.ndarray) -> np.ndarray:
    """(N, C, spatial...), at most four planes: the oracle is slow."""
    rank = rank_of(row)
    x = np.moveaxis(x, -1, -rank - 1) if channels_last(row) else x
    x = x if x.ndim == rank + 2 else x[np.newaxis]
    return x[:2, :2]


def against_oracle(row: dict, x: np.ndarray) -> None:
    """Forward, indices and (for floats) gradient on every instruction set."""
    for window, reducer in records(row):
        few = logical(row, x)
        plan = plan_for(window, few.shape, few.ndim - 2)
        if np.prod(plan.out_shape) > 20000:
            continue
        pooled = reference.forward(few, plan, reducer)
        for isa in _core.available_isas():
            _core.set_isa(isa)
            floats = few.dtype.kind not in "iu"
            y, indices, saved = arrays.forward(few, plan, reducer, return_indices=reducer.selects, save=floats)
            np.testing.assert_allclose(
                y.astype(np.float64), pooled.values, rtol=1e-2 if few.itemsize == 2 else 1e-5, atol=1e-5
            )
            if indices is not None:
                np.testing.assert_array_equal(indices, pooled.indices)
                assert indices.shape == y.shape
            if floats and np.prod(plan.out_shape) <= 5000 and not np.isnan(pooled.values).any():
                grad = np.random.default_rng(0).integers(-2, 3, y.shape).astype(few.dtype)
                dx = arrays.backward(grad, saved)
                wanted = reference.backward(few, grad, plan, reducer)
                np.testing.assert_allclose(
                    dx.astype(np.float64), wanted, rtol=2e-2 if few.itemsize == 2 else 1e-5, atol=1e-5
                )


def _gradient(row: dict) -> None:
    x = logical(row, array_of(row))
    for window, reducer in records(row):
        y, back = pk.pool_vjp(x, window, reducer)
        assert back(np.ones_like(y)).ravel().tolist() == row["expected_grad"]


def _unpool(row: dict):
    window, rank = row["window"], rank_of(row) if re.search(r"[123]d", row["op"]) else 2
    x = array_of(row)
    indices = window.get("indices")
    if indices is None:
        indices = np.zeros((1,) * 8 if row["id"] == "PT26" else x.shape, np.int64)
    if window.get("indices_shape"):
        indices = np.zeros((1, 2, 3, 4, 5), np.float32)
    unpool = getattr(pk, f"max_unpool{rank}d")
    given = np.asarray(indices).reshape(x.shape) if isinstance(indices, list) else indices
    y = unpool(x, given, window["kernel"], window["stride"], window["padding"])
    if "expected" in row:
        np.testing.assert_array_equal(y.reshape(np.shape(row["expected"])), np.array(row["expected"], y.dtype))
    return y


def _core_backward(offsets, sizes, outs, reducer=0, y=None):
    """The low-level gradient of sliding 2 / 2 windows (or 1 / 1 where nothing is pooled), with these offsets."""
    spec = [
        v for s, o in zip(sizes, outs, strict=True) for v in (0, s, o, 2 if s > o else 1, 2 if s > o else 1, 0, 0, 1)
    ]
    dy, dx = np.ones((1, 1, *outs), np.float32), np.zeros((1, 1, *sizes), np.float32)
    x = np.ones_like(dx) if y is not None else None
    return _core.backward(reducer, pk.Max().params, spec, None, dy, dx, x, y, None, offsets, None, None, 0)


def _vjp(shape, grad_shape, window, reducer, data_format="channels_first"):
    _, back = pk.pool_vjp(np.zeros(shape, np.float32), window, reducer, data_format=data_format)
    return back(np.zeros(grad_shape, np.float32))


def _corner_offset(row):
    plan = pk.Sliding(3, 2, 1).plan((8, 8))
    dy, dx = np.ones((1, 1, 4, 4), np.float32), np.zeros((1, 1, 8, 8), np.float32)
    # the corner window holds 2 x 2 cells: the ninth place of its 3 x 3 box is none of them
    offsets = np.full(dy.shape, 8, np.uint8)
    return _core.backward(0, pk.Max().params, plan.spec, None, dy, dx, None, None, None, offsets, None, None, 0)


def _every_nan_place(row):
    x = np.zeros((2, 2, 30, 30), np.float32)
    x[0, 0, 3, 4] = np.nan
    x[1] = -np.inf
    y = pk.fractional_max_pool2d(x, 3, 4, seed=0)
    z = np.where(np.isnan(x), np.float32(9), x)
    hit = pk.fractional_max_pool2d(z, 3, 4, seed=0) == 9
    np.testing.assert_array_equal(np.isnan(y), hit)
    assert (y[1] == -np.inf).all()


def _nan_then_inf(row):
    for value in (np.nan, -np.inf):
        for rank in (1, 2, 3):
            x = np.full((1, 1, *(3,) * rank), value, np.float32)
            for window in (pk.Sliding(3), pk.Adaptive(1), pk.Fractional(2, 2)):
                y, back = pk.pool_vjp(x, window, pk.Max(), seed=0)
                np.testing.assert_array_equal(y, np.full_like(y, value))
                assert back(np.ones_like(y)).sum() == y.size


def _deterministic(row):
    x = logical(row, np.random.default_rng(0).standard_normal(row["shape"]).astype(np.float32))
    for window, reducer in records(row) + [(w, pk.Mean()) for w, _ in records(row)]:
        seen = set()
        for threads in (1, 2, 4):
            pk.set_num_threads(threads)
            y, back = pk.pool_vjp(x, window, reducer)
            grad = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
            seen |= {back(grad).tobytes() for _ in range(20)}
        assert len(seen) == 1


def _same_seed_same_windows(row):
    x = array_of(row)
    one, two = (calls(row)[0](x) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (1, 1, 5, 5)


def _odd_strides(row):
    x = np.arange(7 * 30, dtype=np.float32).reshape(7, 1, 5, 3, 2)
    odd = np.lib.stride_tricks.as_strided(x, x.shape, [4 * s for s in (30, 1234, 6, 2, 1)])
    np.testing.assert_array_equal(calls(row)[0](odd), calls(row)[0](x))


def _permuted(row):
    x = np.arange(2500 * 400, dtype=np.float32).reshape(2500, 100, 4).transpose(0, 2, 1)
    assert x.shape == tuple(row["shape"])
    for call in calls(row):
        np.testing.assert_array_equal(call(x), x)


def _all_nan(row):
    for value in (np.nan, -np.inf):
        y, indices = pk.max_pool2d(np.full(row["shape"], value, np.float32), 2, return_indices=True)
        np.testing.assert_array_equal(y, np.full_like(y, value))
        assert indices.ravel().tolist() == [0, 2, 8, 10]
        _, back = pk.pool_vjp(np.full(row["shape"], value, np.float32), pk.Sliding(2), pk.Max())
        assert back(np.ones_like(y)).sum() == 4


def _empty_with_gradient(row):
    y, back = pk.pool_vjp(np.zeros(row["shape"], np.float32), pk.Sliding(3, 2), pk.Max())
    assert list(y.shape) == row["expected_shape"]
    assert list(back(y).shape) == row["shape"]


def _adaptive_empty(row):
    assert pk.adaptive_avg_pool3d(np.zeros((0, 2, 10, 10, 10), np.float32), 5).shape == (0, 2, 5, 5, 5)


def _identical_channels(row):
    x = np.repeat(np.array([1, np.nan, 3]).reshape(1, 1, 3, 1), 3, -1)
    assert np.isnan(pk.max_pool2d(x, (1, 3), 1, data_format="channels_last")).all()


SPECIAL = {
    "TF02": lambda row: _core_backward(np.zeros((1, 1, 2, 1), np.uint8), (1, 1), (1, 1)),
    "TF03": lambda row: _vjp((0, 0, 0, 0), (0, 0, 0, 0), pk.Sliding(1), pk.Max(), "channels_last"),
    "TF04": lambda row: _vjp((1, 1, 1, 1, 1), (0, 0, 0, 0, 0), pk.Sliding(1, 1, "same"), pk.Max(), "channels_last"),
    "TF12": lambda row: _core_backward(None, (1, 1), (1, 1), 4, np.zeros((0, 1, 1, 1), np.float32)),
    "TF29": lambda row: _core_backward(np.full((1, 1, 1, 1), -200, np.int32), (2, 2), (1, 1)),
    "TF31": lambda row: pk.avg_pool2d(
        np.zeros(row["shape"]), (40, 128), row["window"]["stride"], "same", data_format="channels_last"
    ),
    "PT32": lambda row: _core_backward(np.full((1, 1, 2, 2), 10**6, np.int32), (4, 4), (2, 2)),
    "PT34": lambda row: _core_backward(np.full((1, 1, 2, 2), 10**7, np.int32), (4, 4), (2, 2)),
    "PT35": lambda row: _core_backward(np.zeros((0, 1, 1, 1, 1), np.uint8), (2, 2, 2), (1, 1, 1)),
    "PT36": lambda row: _vjp(row["shape"], (0, 1, 1, 1, 1), pk.Sliding(2), pk.Mean()),
    "PT40": lambda row: _core_backward(np.zeros((1, 1, 1, 1), np.uint8), (2, 2, 2), (1, 1, 1)),
    "DT05": _corner_offset,
    "NF03": _identical_channels,
    "NF05": _every_nan_place,
    "NF06": _nan_then_inf,
    "DT01": _deterministic,
    "DT02": _deterministic,
    "DT03": _deterministic,
    "DT04": _same_seed_same_windows,
    "PT46": _permuted,
    "PT47": _all_nan,
    "PT49": _odd_strides,
    "EM01": _empty_with_gradient,
    "EM07": _adaptive_empty,
}

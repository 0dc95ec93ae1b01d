"""The vector functions behind the kernels, over their whole range, against NumPy's extended precision."""

import numpy as np
import pytest

from poolkit import _core

EXP, LOG, POW, CBRT, EXP_SAME = range(5)
RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True, params=_core.available_isas())
def _each_instruction_set(request):
    before = _core.isa()
    assert _core.set_isa(request.param)
    yield
    assert _core.set_isa(before)


def run(f, x, p=0.0):
    y = np.empty_like(x)
    _core.elementary(f, p, x, y)
    return y


def ulps(got, want):
    """Distance in units of the last place of the exact value, where that is a normal number."""
    want = np.asarray(want)
    with np.errstate(over="ignore", under="ignore"):
        one = np.spacing(np.abs(want).astype(got.dtype)).astype(np.longdouble)
    return np.abs(got.astype(np.longdouble) - want) / one


def positives(dtype):
    """Every exponent, random mantissas, the neighbours of 1 and of powers of two, odd lengths on purpose."""
    info = np.finfo(dtype)
    exponents = np.repeat(np.arange(info.minexp, info.maxexp), 301)
    spread = np.ldexp(RNG.uniform(1, 2, exponents.size).astype(dtype), exponents)
    near = np.array([1], dtype) + np.arange(-200, 200).astype(dtype) * info.eps
    edges = np.ldexp(dtype(1), np.arange(info.minexp, info.maxexp))
    around = np.concatenate([edges, np.nextafter(edges, dtype(0))[1:], np.nextafter(edges, dtype(np.inf))])
    return np.concatenate([spread, near, around, [info.max]]).astype(dtype)


@pytest.mark.parametrize("f", [EXP, EXP_SAME])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_within_two_ulp(dtype, f):
    low, high = (-86.5, 88.7) if dtype == np.float32 else (-707.5, 709.7)
    x = np.concatenate([RNG.uniform(low, high, 200_001), RNG.normal(0, 1e-3, 10_001), [0, low, high]]).astype(dtype)
    assert ulps(run(f, x), np.exp(x.astype(np.longdouble))).max() <= 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_of_draws_has_the_same_bits_on_every_instruction_set(dtype):
    x = np.concatenate([RNG.uniform(-90, 90, 100_001), -RNG.exponential(1, 100_001)]).astype(dtype)
    got = run(EXP_SAME, x)
    assert _core.set_isa(_core.available_isas()[-1])
    np.testing.assert_array_equal(got, run(EXP_SAME, x))


@pytest.mark.parametrize("f", [EXP, EXP_SAME])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_at_its_ends(dtype, f):
    x = np.array([-np.inf, -1e30, -800, 800, np.inf, np.nan, 0, -0.0], dtype)
    np.testing.assert_array_equal(run(f, x), np.array([0, 0, 0, np.inf, np.inf, np.nan, 1, 1], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm_within_two_ulp(dtype):
    x = positives(dtype)
    want = np.log(x.astype(np.longdouble))
    got = run(LOG, x)
    some = want != 0
    assert ulps(got[some], want[some]).max() <= 2
    assert (got[~some] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithm_at_its_ends(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0, -0.0, -1, -np.inf, np.inf, np.nan, tiny, 3 * tiny], dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        want = np.log(x.astype(np.longdouble)).astype(dtype)
    np.testing.assert_allclose(run(LOG, x), want, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("p", [0.5, 2.5, 1 / 3, -1.5, 7.0, 0.01])
def test_power_in_single_precision_within_two_ulp(p):
    x = positives(np.float32)
    want = x.astype(np.longdouble) ** np.longdouble(p)
    info = np.finfo(np.float32)
    inside = (want >= info.smallest_normal) & (want <= info.max)
    assert inside.sum() > x.size / 10
    assert ulps(run(POW, x, p)[inside], want[inside]).max() <= 2


def test_power_at_its_ends():
    x = np.array([0, np.inf, np.nan, 1, -1], np.float32)
    np.testing.assert_array_equal(run(POW, x, 2.5), np.array([0, np.inf, np.nan, 1, np.nan], np.float32))
    np.testing.assert_array_equal(run(POW, x, -2.5), np.array([np.inf, 0, np.nan, 1, np.nan], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cube_root_within_two_ulp(dtype):
    x = positives(dtype)
    assert ulps(run(CBRT, x), np.cbrt(x.astype(np.longdouble))).max() <= 2
    ends = np.array([0, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(run(CBRT, ends), ends)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length"):
        _core.elementary(EXP, 0.0, np.zeros(3, np.float32), np.zeros(4, np.float32))

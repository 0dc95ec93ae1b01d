"""``python tools/fit_polynomials.py``: the polynomials of csrc/vmath.hpp, fitted anew in 40 digits.

Chebyshev interpolation of (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, and of (2 atanh(s) - 2 s) / s^3 by z = s^2 for
s = (m - 1) / (m + 1), m between the square root of a half and that of two. Prints the coefficients, the constant one
first, and the largest error of each fit.
"""

from mpmath import mp, mpf


def exp_rest(r: mpf) -> mpf:
    """(exp(r) - 1 - r) / r^2, near 0 by its series."""
    if abs(r) < mpf(10) ** -10:
        return mpf(1) / 2 + r / 6 + r * r / 24
    return (mp.exp(r) - 1 - r) / r**2


def log_rest(z: mpf) -> mpf:
    """(2 atanh(s) - 2 s) / s^3 of z = s^2, near 0 by its series."""
    if z < mpf(10) ** -12:
        return mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def main() -> None:
    """Print every fit."""
    mp.dps = 40
    reach = mp.log(2) / 2
    farthest = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2
    fits = {
        "exp_short": (exp_rest, [-reach, reach], 6),
        "exp_long": (exp_rest, [-reach, reach], 10),
        "log_short": (log_rest, [0, farthest], 4),
        "log_long": (log_rest, [0, farthest], 7),
    }
    for name, (function, interval, terms) in fits.items():
        coefficients, error = mp.chebyfit(function, interval, terms, error=True)
        print(f"{name}: {', '.join(mp.nstr(c, 20) for c in reversed(coefficients))} (error {mp.nstr(error, 3)})")


if __name__ == "__main__":
    main()

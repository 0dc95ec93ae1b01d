"""``python tools/fit_polynomials.py``: the polynomials of csrc/vmath.hpp and tables.hpp, fitted anew in 40 digits.

Chebyshev interpolation of (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, and of (2 atanh(s) - 2 s) / s^3 by z = s^2 for
s = (m - 1) / (m + 1), m between the square root of a half and that of two. For tables of sixteen numbers: the first on
|r| <= ln 2 / 32, (log(1 + r) - r) / r^2 on what the inverses leave of r, and those tables themselves. Prints the
coefficients, the constant one first, and the largest error of each fit.
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


def log1p_rest(r: mpf) -> mpf:
    """(log(1 + r) - r) / r^2, near 0 by its series."""
    if abs(r) < mpf(10) ** -10:
        return -mpf(1) / 2 + r / 3 - r * r / 4
    return (mp.log(1 + r) - r) / r**2


def inverses() -> list[mpf]:
    """About 1 / m by the leading four bits of a mantissa m from 3/4 to 3/2, in single; on both sides of 1 it is 1."""
    middles = [mpf(1) + (mpf(j) + 0.5) / 16 for j in range(8)] + [mpf(3) / 4 + (mpf(j) + 0.5) / 32 for j in range(8)]
    middles[0] = middles[15] = mpf(1)
    return [mp.nint(mp.ldexp(1 / m, 23)) / mpf(2) ** 23 for m in middles]


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
        "exp_table": (exp_rest, [-reach / 16, reach / 16], 2),
        "log_table": (log1p_rest, [-mpf(1) / 32, mpf(1) / 16], 4),
    }
    for name, (function, interval, terms) in fits.items():
        coefficients, error = mp.chebyfit(function, interval, terms, error=True)
        print(f"{name}: {', '.join(mp.nstr(c, 20) for c in reversed(coefficients))} (error {mp.nstr(error, 3)})")
    print("powers:", ", ".join(mp.nstr(mpf(2) ** (mpf(j) / 16), 12) for j in range(16)))
    print("inverses:", ", ".join(mp.nstr(c, 12) for c in inverses()))
    print("logarithms:", ", ".join(mp.nstr(-mp.log(c), 12) for c in inverses()))


if __name__ == "__main__":
    main()

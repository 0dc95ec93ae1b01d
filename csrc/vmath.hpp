// Exponentials, logarithms, powers and roots on vectors. The polynomials are minimax fits of this project's own
// (tools/fit_polynomials.py); what each function promises is checked over its whole range by tests/test_vmath.py.
#pragma once

#include <math.h>

#include <limits>

#include "tables.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class V>
using scalar_of = std::remove_cvref_t<decltype(std::declval<V&>()[0])>;

// The layout of a floating-point type, and the arithmetic on bits that exp and log need.
template <class A>
struct Bits;
template <>
struct Bits<float> {
  using Int = std::int32_t;
  using Unsigned = std::uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Int bias = 127, sqrt_half = 0x3f3504f3, one = 0x3f800000;
  static constexpr float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  // ln 2 in two parts, the first short enough for its multiples to be exact.
  static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.428606765330187e-6f;
  static constexpr float lowest = -86.6f, highest = 88.72f;
  static constexpr float denormal_scale = 0x1p25f;
  static constexpr int denormal_bits = 25;
};
template <>
struct Bits<double> {
  using Int = std::int64_t;
  using Unsigned = std::uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Int bias = 1023, sqrt_half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000;
  static constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 0x1.62e42fefap-1, ln2_low = 0x1.cf79abc9e3b398p-40;
  static constexpr double lowest = -707.7, highest = 709.78;
  static constexpr double denormal_scale = 0x1p54;
  static constexpr int denormal_bits = 54;
};

// a * b + c: as quick as the processor does it, or with the same two roundings on all of them.
struct Quick {
  template <class V>
  static V add(V a, V b, V c) {
    return fused(a, b, c);
  }
};
struct Same {
  template <class V>
  static V add(V a, V b, V c) {
    return a * b + c;
  }
};

template <class Way = Quick, int N, class V>
static inline V polynomial(V x, const double (&c)[N]) {
  using A = scalar_of<V>;
  V p = V{} + A(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) p = Way::add(p, x, V{} + A(c[i]));
  return p;
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 2, and (2 atanh(s) - 2 s) / s^3 by s^2 for s of (m - 1) / (m + 1), m between
// the square root of a half and that of 2.
inline constexpr double exp_short[] = {0.5000000013457727153,    0.16666666681614255706,  0.041666465006040048761,
                                       0.0083333109344488684687, 0.001393364103198670115, 0.00019890980869750325563};
inline constexpr double exp_long[] = {0.50000000000000010211,    0.16666666666666667452,    0.041666666666624161903,
                                      0.0083333333333300644495,  0.0013888888917196719077,  0.00019841269863040545271,
                                      2.4801521322368693266e-05, 2.7557268480310025526e-06, 2.7620075879983366586e-07,
                                      2.5100375832561233664e-08};
inline constexpr double log_short[] = {0.66666666554497091551, 0.40000121839806126714, 0.28550820815960663296,
                                       0.23330467216303836299};
inline constexpr double log_long[] = {0.66666666666666696862, 0.3999999999989950449, 0.28571428625975484921,
                                      0.22222211134795079855, 0.1818288912526172208, 0.15331721600556041269,
                                      0.1461644968504340586};

// exp(x), with the polynomial given. Below Bits::lowest the result is 0, above Bits::highest infinity. NaN stays.
template <class Way = Quick, class V, int N, class A = scalar_of<V>>
static inline V exp_by(V x, const double (&c)[N]) {
  using B = Bits<A>;
  using I = decltype(x < x);
  const auto small = x<B::lowest, large = x> B::highest;
  const V t = pick<true>(V{} + B::highest, pick<false>(V{} + B::lowest, x));
  V n = Way::add(t, V{} + A(1.44269504088896340736), V{} + B::shifter);
  const I k = I(n) - I(V{} + B::shifter);
  n = n - B::shifter;
  const V r = Way::add(n, V{} - B::ln2_low, Way::add(n, V{} - B::ln2_high, t));
  const V p = Way::add(polynomial<Way>(r, c), r * r, r) + A(1);
  // 2^k in two factors: k may be one more than the largest exponent.
  const V half = V((k + (B::bias - 1)) << B::mantissa);
  const V e = p * half * A(2);
  return small ? V{} : large ? V{} + std::numeric_limits<A>::infinity() : e;
}

// Small whole numbers as floating point, without the conversion that AVX2 lacks for 64 bits.
template <class V, class I>
static inline V to_real(I k) {
  using A = scalar_of<V>;
  using B = Bits<A>;
  return V(k + I(V{} + B::shifter)) - B::shifter;
}

// log(x), with the polynomial given: -inf of 0, NaN below. Normal: of positive, finite, not denormal numbers only.
template <bool Normal = false, class V, int N, class A = scalar_of<V>>
static inline V log_by(V x, const double (&c)[N]) {
  using B = Bits<A>;
  using I = decltype(x < x);
  using U = vec<typename B::Unsigned, sizeof(V) / sizeof(A)>;  // AVX2 has no shift of signed 64-bit numbers
  const auto tiny = x < std::numeric_limits<A>::min();
  I bits = I(x);
  if constexpr (!Normal) bits = I(tiny ? x * B::denormal_scale : x);
  bits = I(U(bits) + typename B::Unsigned(B::one - B::sqrt_half));
  I k = I(U(bits) >> B::mantissa) - B::bias;
  if constexpr (!Normal) k = tiny ? k - B::denormal_bits : k;
  bits = (bits & ((typename B::Int(1) << B::mantissa) - 1)) + B::sqrt_half;
  const V f = V(bits) - A(1), s = quotient(f, f + A(2)), n = to_real<V>(k);
  const V z = s * s, half = f * f * A(0.5);
  const V low = fused(s, fused(polynomial(z, c), z, half), n * B::ln2_low);
  const V y = fused(n, V{} + B::ln2_high, f - (half - low));
  if constexpr (Normal) return y;
  const V inf = V{} + std::numeric_limits<A>::infinity();
  const V odd = x == V{} ? -inf : x == inf ? inf : V{} + std::numeric_limits<A>::quiet_NaN();
  return (x > V{}) & (x < inf) ? y : odd;
}

static inline vec<float> exp_v(vec<float> x) {
#if defined(__AVX512F__)
  return exp_by_table(x, Bits<float>::lowest);
#else
  return exp_by(x, exp_short);
#endif
}
static inline vec<double> exp_v(vec<double> x) { return exp_by(x, exp_long); }

// The exponential of draws: the same bits on every instruction set and, by the same operations in the same order, in
// src/poolkit/torch/composite/exponential.py and src/poolkit/torch/triton/atoms.py.
static inline vec<float> exp_same(vec<float> x) { return exp_by<Same>(x, exp_short); }
static inline vec<double> exp_same(vec<double> x) { return exp_by<Same>(x, exp_long); }

template <bool Normal = false>
static inline vec<float> log_v(vec<float> x) {
#if defined(__AVX512F__)
  return log_by_table(x);
#else
  return log_by<Normal>(x, log_short);
#endif
}
template <bool Normal = false>
static inline vec<double> log_v(vec<double> x) {
  return log_by<Normal>(x, log_long);
}

// x^p for x >= 0 (NaN below). In single precision by way of double, so that it is right to the last place or beside it.
static inline vec<float> pow_v(vec<float> x, double p) {
  constexpr int n = lanes<float> / 2;
  using Half = vec<float, n>;
  using Wide = vec<double, n>;
  const auto one = [&](Half h) {
    const Wide l = log_by(__builtin_convertvector(h, Wide), log_short);
    return __builtin_convertvector(exp_by(l * p, exp_short), Half);
  };
  return [&]<std::size_t... K, std::size_t... J>(std::index_sequence<K...>, std::index_sequence<J...>) {
    const Half a = one(__builtin_shufflevector(x, x, int(K)...)), b = one(__builtin_shufflevector(x, x, int(K + n)...));
    return __builtin_shufflevector(a, b, int(J)...);
  }(std::make_index_sequence<n>{}, std::make_index_sequence<2 * n>{});
}
static inline vec<double> pow_v(vec<double> x, double p) {
  for (int l = 0; l < lanes<double>; ++l) x[l] = ::pow(x[l], p);
  return x;
}

// The cube root of x >= 0, not denormal: from x^(-1/3), which needs no division, by the first terms of the series of
// (1 - h)^(-1/3), then a step of Newton's.
static inline vec<float> cbrt_v(vec<float> x) {
  using V = vec<float>;
  using I = vec<std::int32_t>;
  const V third = __builtin_convertvector((I)x, V) * (1.0f / 3);
  V y = (V)(0x54a2fa8c - __builtin_convertvector(third, I));
  const V h = fused(x * y * y, -y, V{} + 1);
  y = fused(y * h, fused(h, fused(h, V{} + 14.0f / 81, V{} + 2.0f / 9), V{} + 1.0f / 3), y);
  const V yy = y * y;
  V z = x * yy;
  z = fused(fused(z * z, -z, x), yy * (1.0f / 3), z);
  return x <= std::numeric_limits<float>::max() ? z : x;
}
static inline vec<double> cbrt_v(vec<double> x) {
  using V = vec<double>;
  V z = x;
  for (int l = 0; l < lanes<double>; ++l) z[l] = ::cbrt(x[l]);
  // The C library's may be three units of the last place away; one step of Newton's leaves less than one.
  return (x > V{}) & (x <= std::numeric_limits<double>::max()) ? z - (z - x / (z * z)) * (1.0 / 3) : z;
}

template <class V>
static inline V power_v(V x, double p) {
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (p == 3) return x * x * x;
  if (p == 0) return V{} + 1;
  if (p == -1) return 1 / x;
  if (p == -2) return 1 / (x * x);
  if (p == 0.5) return sqrt_v(x);
  return pow_v(x, p);
}
template <class V>
static inline V root_v(V x, double p) {
  if (p == 1) return x;
  if (p == 2) return sqrt_v(x);
  if (p == 3) return cbrt_v(x);
  return pow_v(x, 1 / p);
}

// fn(vector) for all of x[0 .. n), in place or to another row. Idle lanes of the last vector hold 0.
template <class A, class Fn>
static inline void map_row(const A* x, A* to, i64 n, Fn&& fn) {
  using V = vec<A>;
  constexpr int L = lanes<A>;
  i64 i = 0;
  for (; i + L <= n; i += L) store(to + i, fn(load<V>(x + i)));
  if (i < n) store_first<A>(to + i, fn(load_first(x + i, n - i)), n - i);
}

// fn(vector, vector) of two rows, to a third or one of them. Idle lanes of the last vectors repeat an element that is
// there: no value arises that no element has.
template <class A, class Fn>
static inline void map_rows(const A* x, const A* y, A* to, i64 n, Fn&& fn) {
  using V = vec<A>;
  constexpr int L = lanes<A>;
  i64 i = 0;
  for (; i + L <= n; i += L) store(to + i, fn(load<V>(x + i), load<V>(y + i)));
  if (i == n) return;
  const auto live = first_lanes<A>(n - i);
  const V a = live ? load_first(x + i, n - i) : V{} + x[i], b = live ? load_first(y + i, n - i) : V{} + y[i];
  store_first<A>(to + i, fn(a, b), n - i);
}

}  // namespace poolkit::POOLKIT_ISA_NS

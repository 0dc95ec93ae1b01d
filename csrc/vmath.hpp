// exp on vectors, and powers with the cases that need no call.
#pragma once

#include <math.h>

#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// exp(x) for x <= 88, within 2 ulp; below -87 the result is 0 (callers treat such sums as out of range). NaN stays.
static inline vec<float> exp_v(vec<float> x) {
  using V = vec<float>;
  using I = vec<std::int32_t>;
  const V low = splat<V, float>(-87.0f);
  const auto small = x < low;
  const V t = small ? low : x;
  const V shifter = splat<V, float>(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  V n = t * splat<V, float>(1.44269504088896341f) + shifter;
  const I k = (I)n - (splat<I, std::int32_t>(0x4b400000));
  n = n - shifter;
  // ln 2 in two parts, so that the remainder is exact.
  V r = t - n * splat<V, float>(0.693145751953125f);
  r = r - n * splat<V, float>(1.428606765330187e-6f);
  V p = splat<V, float>(1.9875691500e-4f);
  p = p * r + splat<V, float>(1.3981999507e-3f);
  p = p * r + splat<V, float>(8.3334519073e-3f);
  p = p * r + splat<V, float>(4.1665795894e-2f);
  p = p * r + splat<V, float>(1.6666665459e-1f);
  p = p * r + splat<V, float>(5.0000001201e-1f);
  p = p * r * r + r + splat<V, float>(1.0f);
  const I scale = (k + splat<I, std::int32_t>(127)) << 23;
  const V e = p * (V)scale;
  return small ? V{} : e;
}

static inline void exp_row(float* x, i64 n) {
  constexpr int L = lanes<float>;
  i64 i = 0;
  for (; i + L <= n; i += L) store(x + i, exp_v(load<vec<float>>(x + i)));
  if (i < n) {
    float rest[L] = {};
    std::memcpy(rest, x + i, (n - i) * sizeof(float));
    store(rest, exp_v(load<vec<float>>(rest)));
    std::memcpy(x + i, rest, (n - i) * sizeof(float));
  }
}
static inline void exp_row(double* x, i64 n) {
  for (i64 i = 0; i < n; ++i) x[i] = ::exp(x[i]);
}

template <class A>
static inline A power(A x, double p) {
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (p == 3) return x * x * x;
  if (p == 0) return A(1);
  if (p == -1) return 1 / x;
  if (p == 0.5) return A(::sqrt(double(x)));
  return A(::pow(double(x), p));
}
template <class A>
static inline A root(A x, double p) {
  if (p == 1) return x;
  if (p == 2) {
    if constexpr (sizeof(A) == 4)
      return ::sqrtf(x);
    else
      return ::sqrt(x);
  }
  if (p == 3) return A(::cbrt(double(x)));
  return A(::pow(double(x), 1 / p));
}

}  // namespace poolkit::POOLKIT_ISA_NS

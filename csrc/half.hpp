// Scalar storage types and the accumulator each one is reduced in.
#pragma once

#include <cstring>
#include <type_traits>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "core.hpp"

namespace poolkit::POOLKIT_ISA_NS {

struct bf16 {
  std::uint16_t bits;
};

static inline float to_float(bf16 h) {
  const std::uint32_t bits = std::uint32_t(h.bits) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Round to nearest, ties to even; a NaN keeps its sign and stays a NaN.
static inline bf16 to_bf16(float f) {
  std::uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) return {std::uint16_t((bits >> 16) | 0x40)};
  return {std::uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

using f16 = _Float16;

template <class T>
struct Accumulator {
  using type = T;
};
template <>
struct Accumulator<f16> {
  using type = float;
};
template <>
struct Accumulator<bf16> {
  using type = float;
};
template <class T>
using acc_t = typename Accumulator<T>::type;

template <class T>
static inline acc_t<T> widen(T x) {
  if constexpr (std::is_same_v<T, bf16>)
    return to_float(x);
  else
    return acc_t<T>(x);
}
template <class T>
static inline T narrow(acc_t<T> x) {
  if constexpr (std::is_same_v<T, bf16>)
    return to_bf16(x);
  else
    return T(x);
}

// Values side by side. Compilers convert f16 one by one where they have no arithmetic for it.
template <class A, class T>
static inline void widen_all(const T* src, A* dst, std::int64_t n) {
  std::int64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, f16> && std::is_same_v<A, float>)
    for (; i + 8 <= n; i += 8)
      _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i))));
#endif
  for (; i < n; ++i) dst[i] = A(widen(src[i]));
}
template <class T, class A>
static inline void narrow_all(const A* src, T* dst, std::int64_t n) {
  std::int64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<T, f16> && std::is_same_v<A, float>)
    for (; i + 8 <= n; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_CUR_DIRECTION));
#endif
  for (; i < n; ++i) {
    if constexpr (std::is_integral_v<T>)
      dst[i] = T(src[i]);
    else
      dst[i] = narrow<T>(acc_t<T>(src[i]));
  }
}

// Calls fn with a value of the C++ type behind a DType.
template <class Fn>
static inline auto with_type(DType t, Fn&& fn) {
  switch (t) {
    case DType::f32:
      return fn(float{});
    case DType::f64:
      return fn(double{});
    case DType::f16:
      return fn(f16{});
    case DType::bf16:
      return fn(bf16{});
    case DType::i8:
      return fn(std::int8_t{});
    case DType::u8:
      return fn(std::uint8_t{});
    case DType::i16:
      return fn(std::int16_t{});
    case DType::i32:
      return fn(std::int32_t{});
    case DType::i64:
      break;
  }
  return fn(std::int64_t{});
}
template <class Fn>
static inline auto with_float_type(DType t, Fn&& fn) {
  switch (t) {
    case DType::f64:
      return fn(double{});
    case DType::f16:
      return fn(f16{});
    case DType::bf16:
      return fn(bf16{});
    default:
      break;
  }
  return fn(float{});
}

}  // namespace poolkit::POOLKIT_ISA_NS

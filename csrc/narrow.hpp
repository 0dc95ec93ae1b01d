// Vectors of numbers narrower than what they are reduced in, from and to memory in registers.
#pragma once

#include "half.hpp"
#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// A vector's worth of T as float.
template <class T>
static inline vec<float> cells_at(const T* p) {
  constexpr int L = lanes<float>;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 2) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    if constexpr (std::is_same_v<T, f16>) return vec<float>(_mm512_maskz_cvtph_ps(0xffff, x));
    if constexpr (std::is_same_v<T, bf16>)
      return vec<float>(_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, x), 16));
  } else if constexpr (sizeof(T) == 1) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m512i wide =
        std::is_signed_v<T> ? _mm512_maskz_cvtepi8_epi32(0xffff, x) : _mm512_maskz_cvtepu8_epi32(0xffff, x);
    return vec<float>(_mm512_maskz_cvtepi32_ps(0xffff, wide));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 2) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    if constexpr (std::is_same_v<T, f16>) return vec<float>(_mm256_cvtph_ps(x));
    if constexpr (std::is_same_v<T, bf16>) return vec<float>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  } else if constexpr (sizeof(T) == 1) {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return vec<float>(_mm256_cvtepi32_ps(std::is_signed_v<T> ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x)));
  }
#endif
  if constexpr (std::is_same_v<T, float>) return load<vec<float>>(p);
  vec<float> v;
  for (int l = 0; l < L; ++l) v[l] = float(widen(p[l]));
  return v;
}

// v as T, rounded to nearest, ties to even: all of it, or its first n.
template <class T>
static inline void put_cells(T* p, vec<float> v, i64 n) {
  constexpr int L = lanes<float>;
  alignas(64) T to[L];
#if defined(__AVX512F__)
  using I = vec<std::int32_t>;
  if constexpr (std::is_same_v<T, f16>) {
    const __m256i h = _mm512_maskz_cvtps_ph(0xffff, __m512(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_mask_storeu_epi16(p, __mmask16((1u << n) - 1), h);
  } else if constexpr (std::is_same_v<T, bf16>) {
    using U = vec<std::uint32_t>;
    const U bits = U(v), high = bits >> 16, rounded = (bits + (high & 1) + 0x7fff) >> 16;
    const I h = v == v ? I(rounded) : I(high | 0x40);
    return _mm256_mask_storeu_epi16(p, __mmask16((1u << n) - 1), _mm512_maskz_cvtepi32_epi16(0xffff, __m512i(h)));
  } else if constexpr (sizeof(T) == 1) {
    const __m512i h = _mm512_maskz_cvtps_epi32(0xffff, __m512(v));
    return _mm_mask_storeu_epi8(p, __mmask16((1u << n) - 1), _mm512_maskz_cvtepi32_epi8(0xffff, h));
  }
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, f16>) {
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(__m256(v), _MM_FROUND_TO_NEAREST_INT));
  } else if constexpr (std::is_same_v<T, bf16>) {
    using U = vec<std::uint32_t>;
    const U bits = U(v), high = bits >> 16, rounded = (bits + (high & 1) + 0x7fff) >> 16;
    const __m256i h = __m256i(v == v ? rounded : high | 0x40);
    const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(pairs));
  } else if constexpr (sizeof(T) == 1) {
    const __m256i h = _mm256_cvtps_epi32(__m256(v));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    const __m128i bytes = std::is_signed_v<T> ? _mm_packs_epi16(words, words) : _mm_packus_epi16(words, words);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
  }
#else
  for (int l = 0; l < L; ++l) {
    if constexpr (std::is_integral_v<T>)
      to[l] = T(__builtin_rintf(v[l]));
    else
      to[l] = narrow<T>(v[l]);
  }
#endif
  if (n == L)
    std::memcpy(p, to, sizeof to);
  else
    std::memcpy(p, to, n * sizeof(T));
}

}  // namespace poolkit::POOLKIT_ISA_NS

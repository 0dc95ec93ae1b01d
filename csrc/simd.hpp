// The only file that knows a lane: vectors over GNU vector extensions, one register wide for each instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "core.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace poolkit::POOLKIT_ISA_NS {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

// An x86 without AVX2 is served by the plain loops: right, and not worth the time to compile every form of the others.
#if defined(__x86_64__) && !defined(__AVX2__)
inline constexpr bool tuned = false;
#else
inline constexpr bool tuned = true;
#endif

template <class A>
inline constexpr int lanes = vector_bytes / int(sizeof(A));

template <class A, int N = lanes<A>>
struct VectorOf {
  using type [[gnu::vector_size(N * sizeof(A))]] = A;
};
template <class A, int N = lanes<A>>
using vec = typename VectorOf<A, N>::type;

template <class V, class A>
static inline V load(const A* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class A, class V>
static inline void store(A* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

template <class V, class A>
static inline V splat(A x) {
  return x - V{};
}
template <>
inline vec<float> splat<vec<float>, float>(float x) {
  return vec<float>{} + x;
}
template <>
inline vec<double> splat<vec<double>, double>(double x) {
  return vec<double>{} + x;
}

// lane < n, as a mask of V's shape.
template <class A>
static inline auto first_lanes(i64 n) {
  using I = std::conditional_t<
      sizeof(A) == 8, std::int64_t,
      std::conditional_t<sizeof(A) == 4, std::int32_t, std::conditional_t<sizeof(A) == 2, std::int16_t, std::int8_t>>>;
  using M = vec<I, lanes<A>>;
  constexpr auto iota = []<std::size_t... K>(std::index_sequence<K...>) { return M{I(K)...}; };
  return iota(std::make_index_sequence<lanes<A>>{}) < splat<M, I>(I(n));
}

template <class A>
using index_t =
    std::conditional_t<sizeof(A) == 8, std::int64_t, std::conditional_t<sizeof(A) == 4, std::int32_t, std::int16_t>>;

// |x|, of -0 as well.
template <class A>
static inline vec<A> absolute(vec<A> x) {
  using I = vec<index_t<A>>;
  return vec<A>(I(x) & (I{} + std::numeric_limits<index_t<A>>::max()));
}

// Whether any lane of a comparison holds.
template <class M>
static inline bool any_lane(M mask) {
#if defined(__AVX512F__)
  if constexpr (sizeof mask == 64) return _mm512_test_epi64_mask(__m512i(mask), __m512i(mask)) != 0;
#elif defined(__AVX2__)
  if constexpr (sizeof mask == 32) return !_mm256_testz_si256(__m256i(mask), __m256i(mask));
#endif
  std::int64_t words[sizeof mask / 8], found = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (const std::int64_t word : words) found |= word;
  return found != 0;
}

// The first lane in which a comparison holds; the number of lanes where none does.
template <class M>
static inline int first_lane(M mask) {
  constexpr int n = sizeof mask / sizeof(mask[0]);
#if defined(__AVX512F__)
  if constexpr (n == 16 && sizeof mask == 64)
    return __builtin_ctz(_mm512_test_epi32_mask(__m512i(mask), __m512i(mask)) | 0x10000);
  if constexpr (n == 8 && sizeof mask == 64)
    return __builtin_ctz(_mm512_test_epi64_mask(__m512i(mask), __m512i(mask)) | 0x100);
#elif defined(__AVX2__)
  if constexpr (n == 8 && sizeof mask == 32) return __builtin_ctz(_mm256_movemask_ps(__m256(mask)) | 0x100);
  if constexpr (n == 4 && sizeof mask == 32) return __builtin_ctz(_mm256_movemask_pd(__m256d(mask)) | 0x10);
#endif
  for (int l = 0; l < n; ++l)
    if (mask[l]) return l;
  return n;
}

// n elements, 0 <= n <= lanes, in the first lanes; the others are 0, and nothing beyond the n is read.
template <class A>
static inline vec<A> load_first(const A* p, i64 n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<A, float>) return vec<A>(_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p));
  if constexpr (std::is_same_v<A, double>) return vec<A>(_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<A, float>) return vec<A>(_mm256_maskload_ps(p, __m256i(first_lanes<A>(n))));
  if constexpr (std::is_same_v<A, double>) return vec<A>(_mm256_maskload_pd(p, __m256i(first_lanes<A>(n))));
#endif
  vec<A> v{};
  std::memcpy(&v, p, n * sizeof(A));
  return v;
}

// The first n lanes of v, 0 <= n <= lanes; nothing beyond them is touched.
template <class A>
static inline void store_first(A* p, vec<A> v, i64 n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<A, float>) return _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), __m512(v));
  if constexpr (std::is_same_v<A, double>) return _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), __m512d(v));
#endif
  // Two overlapping pieces: AVX2's own masked store takes a dozen cycles on AMD's cores.
  const char* const from = reinterpret_cast<const char*>(&v);
  char* const to = reinterpret_cast<char*>(p);
  const i64 bytes = n * i64(sizeof(A));
  const auto pieces = [&]<i64 Size>(std::integral_constant<i64, Size>) {
    std::memcpy(to, from, Size), std::memcpy(to + bytes - Size, from + bytes - Size, Size);
  };
  if (n >= lanes<A>) return store(p, v);
  if constexpr (vector_bytes > 32)
    if (bytes >= 32) return pieces(std::integral_constant<i64, 32>{});
  if (bytes >= 16) return pieces(std::integral_constant<i64, 16>{});
  if (bytes >= 8) return pieces(std::integral_constant<i64, 8>{});
  std::memcpy(to, from, std::size_t(bytes) & 7);
}

// Elements 0, 2, 4 ... and 1, 3, 5 ... of the pair a, b.
template <class V>
static inline V evens(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, b, int(2 * K)...);
  }(std::make_index_sequence<n>{});
}
template <class V>
static inline V odds(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, b, int(2 * K + 1)...);
  }(std::make_index_sequence<n>{});
}

// b where b < a (Min) or b > a, else a: of equal or unordered operands the second one, as x86 does it in one step.
template <bool Min, class V>
static inline V pick(V b, V a) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>)
    return V(Min ? _mm512_maskz_min_ps(0xffff, __m512(b), __m512(a))
                 : _mm512_maskz_max_ps(0xffff, __m512(b), __m512(a)));
  else if constexpr (std::is_same_v<V, vec<double>>)
    return V(Min ? _mm512_maskz_min_pd(0xff, __m512d(b), __m512d(a))
                 : _mm512_maskz_max_pd(0xff, __m512d(b), __m512d(a)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<V, vec<float>>)
    return V(Min ? _mm256_min_ps(__m256(b), __m256(a)) : _mm256_max_ps(__m256(b), __m256(a)));
  else if constexpr (std::is_same_v<V, vec<double>>)
    return V(Min ? _mm256_min_pd(__m256d(b), __m256d(a)) : _mm256_max_pd(__m256d(b), __m256d(a)));
#elif defined(__x86_64__)
  if constexpr (std::is_same_v<V, vec<float>>)
    return V(Min ? _mm_min_ps(__m128(b), __m128(a)) : _mm_max_ps(__m128(b), __m128(a)));
  else if constexpr (std::is_same_v<V, vec<double>>)
    return V(Min ? _mm_min_pd(__m128d(b), __m128d(a)) : _mm_max_pd(__m128d(b), __m128d(a)));
#endif
  return (Min ? b < a : b > a) ? b : a;
}

// a * b + c, rounded once where the processor does that in one step.
template <class V>
static inline V fused(V a, V b, V c) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
  if constexpr (std::is_same_v<V, vec<double>>) return V(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#elif defined(__FMA__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
  if constexpr (std::is_same_v<V, vec<double>>) return V(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#endif
  return a * b + c;
}

// a / b of normal numbers: what it is short of a division's is a fraction of a unit, its time a third.
template <class V>
static inline V quotient(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>) {
    const V inverse = V(_mm512_maskz_rcp14_ps(0xffff, __m512(b))), q = a * inverse;
    return fused(fused(-q, b, a), inverse, q);
  }
#endif
  return a / b;
}

// Square roots.
template <class V>
static inline V sqrt_v(V x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm512_maskz_sqrt_ps(0xffff, __m512(x)));
  if constexpr (std::is_same_v<V, vec<double>>) return V(_mm512_maskz_sqrt_pd(0xff, __m512d(x)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm256_sqrt_ps(__m256(x)));
  if constexpr (std::is_same_v<V, vec<double>>) return V(_mm256_sqrt_pd(__m256d(x)));
#endif
  for (unsigned l = 0; l < sizeof(V) / sizeof(x[0]); ++l)
    if constexpr (sizeof(x[0]) == 4)
      x[l] = __builtin_sqrtf(x[l]);
    else
      x[l] = __builtin_sqrt(x[l]);
  return x;
}

// A vector that has been loaded once: gcc reads memory again for every instruction that takes the value, and where
// rows are not aligned each of these reads is two.
template <class V>
[[gnu::always_inline]] static inline void settle([[maybe_unused]] V& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#endif
}

// a, but NaN in every lane in which one of the n vectors v has a NaN. x86 looks for two of them in one step.
template <class V>
[[gnu::always_inline]] static inline V with_nans(V a, const V* v, i64 n) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>) {
    __mmask16 ordered = 0xffff;
    for (i64 i = 0; i < n; i += 2)
      ordered = _mm512_mask_cmp_ps_mask(ordered, __m512(v[i]), __m512(v[i + 1 < n ? i + 1 : i]), _CMP_ORD_Q);
    return V(_mm512_mask_blend_ps(ordered, _mm512_set1_ps(__builtin_nanf("")), __m512(a)));
  } else {
    __mmask8 ordered = 0xff;
    for (i64 i = 0; i < n; i += 2)
      ordered = _mm512_mask_cmp_pd_mask(ordered, __m512d(v[i]), __m512d(v[i + 1 < n ? i + 1 : i]), _CMP_ORD_Q);
    return V(_mm512_mask_blend_pd(ordered, _mm512_set1_pd(__builtin_nan("")), __m512d(a)));
  }
#else
  // All bits set are a NaN.
  using I = vec<std::conditional_t<sizeof(a[0]) == 8, std::int64_t, std::int32_t>>;
  I nan{};
  for (i64 i = 0; i < n; i += 2) {
    const V b = v[i], c = v[i + 1 < n ? i + 1 : i];
#if defined(__AVX2__)
    if constexpr (std::is_same_v<V, vec<float>>)
      nan |= I(_mm256_cmp_ps(__m256(b), __m256(c), _CMP_UNORD_Q));
    else
      nan |= I(_mm256_cmp_pd(__m256d(b), __m256d(c), _CMP_UNORD_Q));
#elif defined(__x86_64__)
    if constexpr (std::is_same_v<V, vec<float>>)
      nan |= I(_mm_cmpunord_ps(__m128(b), __m128(c)));
    else
      nan |= I(_mm_cmpunord_pd(__m128d(b), __m128d(c)));
#else
    nan |= I(b != b) | I(c != c);
#endif
  }
  return V(I(a) | nan);
#endif
}
template <int N, class V>
[[gnu::always_inline]] static inline V with_nans(V a, const V* v) {
  return with_nans(a, v, N);
}

// Lane i of the result is lane index[i], 0 <= index[i] < lanes.
template <class V, class I>
static inline V permuted(V a, I index) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm512_maskz_permutexvar_ps(0xffff, __m512i(index), __m512(a)));
  if constexpr (std::is_same_v<V, vec<double>>) return V(_mm512_maskz_permutexvar_pd(0xff, __m512i(index), __m512d(a)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<V, vec<float>>) return V(_mm256_permutevar8x32_ps(__m256(a), __m256i(index)));
#endif
  V to;
  for (unsigned i = 0; i < sizeof(V) / sizeof(a[0]); ++i) to[i] = a[index[i]];
  return to;
}

// Lane i of the result is element place[i] of the pair a, b.
template <class A, class V = vec<A>>
static inline V elements(V a, V b, vec<index_t<A>> place) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<A, float>) return V(_mm512_permutex2var_ps(__m512(a), __m512i(place), __m512(b)));
  if constexpr (std::is_same_v<A, double>) return V(_mm512_permutex2var_pd(__m512d(a), __m512i(place), __m512d(b)));
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<A, float>) {
    const V low = V(_mm256_permutevar8x32_ps(__m256(a), __m256i(place)));
    const V high = V(_mm256_permutevar8x32_ps(__m256(b), __m256i(place)));
    return place < lanes<A> ? low : high;
  }
#endif
  A pair[2 * lanes<A>];
  std::memcpy(pair, &a, sizeof a), std::memcpy(pair + lanes<A>, &b, sizeof b);
  for (int l = 0; l < lanes<A>; ++l) a[l] = pair[place[l]];
  return a;
}

// Lane i of the result is lane i + W (modulo the lanes).
template <int W, class V>
static inline V from_lane(V a) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, a, int((K + W) % n)...);
  }(std::make_index_sequence<n>{});
}

// The lower half of v's lanes to low, the upper half to high.
template <class A, class V>
static inline void store_halves(A* low, A* high, V v) {
  constexpr int half = sizeof(V) / sizeof(A) / 2;
  [&]<std::size_t... K>(std::index_sequence<K...>) {
    const vec<A, half> first = __builtin_shufflevector(v, v, int(K)...);
    const vec<A, half> second = __builtin_shufflevector(v, v, int(K + half)...);
    store(low, first), store(high, second);
  }(std::make_index_sequence<half>{});
}

// Elements T, T + 3, T + 6 ... of a, b and c one after the other.
template <int T, class V>
static inline V third(V a, V b, V c) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    const V ab = __builtin_shufflevector(a, b, int(3 * K + T < 2 * n ? 3 * K + T : 0)...);
    return __builtin_shufflevector(ab, c, int(3 * K + T < 2 * n ? K : 3 * K + T - n)...);
  }(std::make_index_sequence<n>{});
}

// Lanes whose number has bit W clear: of a, then of b in their places with bit W set. And the same for the others.
template <int W, class V>
static inline V clear_bit(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, b, int((K & W) == 0 ? K : K - W + n)...);
  }(std::make_index_sequence<n>{});
}
template <int W, class V>
static inline V set_bit(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, b, int((K & W) == 0 ? K + W : K + n)...);
  }(std::make_index_sequence<n>{});
}

// Lanes W, W + 1, ... of a followed by the first W lanes of b.
template <int W, class V>
static inline V shifted(V a, V b) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, b, int(K + W)...);
  }(std::make_index_sequence<n>{});
}

// M elements of one row, of the M-th after it, and so on, until the vector is full.
template <int M, int N, class A>
static inline vec<A, N> load_pieces(const A* p, i64 pitch) {
  if constexpr (N == M) {
    return load<vec<A, M>>(p);
  } else {
    const auto low = load_pieces<M, N / 2>(p, pitch), high = load_pieces<M, N / 2>(p + N / 2 * pitch, pitch);
    return [&]<std::size_t... K>(std::index_sequence<K...>) {
      return __builtin_shufflevector(low, high, int(K)...);
    }(std::make_index_sequence<N>{});
  }
}
template <int M, int I = 0, class A>
static inline void store_pieces(A* p, i64 pitch, vec<A> v) {
  [&]<std::size_t... K>(std::index_sequence<K...>) {
    store(p, __builtin_shufflevector(v, v, int(I + K)...));
  }(std::make_index_sequence<M>{});
  if constexpr (I + M < lanes<A>) store_pieces<M, I + M>(p + M * pitch, pitch, v);
}
// M vectors whose pieces of M lanes are the rows of matrices, one matrix for each piece: turned. First the lanes
// without bit 1 of two neighbours make one vector and those with it the other, then the same for bit 2 and neighbours
// but one.
template <int M, int W = 1, class V>
[[gnu::always_inline]] static inline void turn(V* v) {
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
    if ((i & W) == 0) {
      const V low = clear_bit<W>(v[i], v[i + W]), high = set_bit<W>(v[i], v[i + W]);
      v[i] = low, v[i + W] = high;
    }
  if constexpr (2 * W < M) turn<M, 2 * W>(v);
}

}  // namespace poolkit::POOLKIT_ISA_NS

// The only file that knows a lane: vectors over GNU vector extensions, one register wide for each instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core.hpp"

namespace poolkit::POOLKIT_ISA_NS {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
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
  constexpr auto iota = []<std::size_t... K>(std::index_sequence<K...>) {
    return M{I(K)...};
  };
  return iota(std::make_index_sequence<lanes<A>>{}) < splat<M, I>(I(n));
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

// Lane i of the result is lane i + W (modulo the lanes).
template <int W, class V>
static inline V from_lane(V a) {
  constexpr int n = sizeof(V) / sizeof(a[0]);
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    return __builtin_shufflevector(a, a, int((K + W) % n)...);
  }(std::make_index_sequence<n>{});
}

}  // namespace poolkit::POOLKIT_ISA_NS

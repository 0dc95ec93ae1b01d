// Joining rows element by element: the one loop every fold is made of.
#pragma once

#include <algorithm>

#include "cores.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What may be done beyond the last of len elements when they do not fill a vector.
enum class Tail {
  exact,   // touch nothing beyond
  spill,   // reading and writing one vector beyond is harmless
  blank,   // the same, and the identity is to be written there
};

template <class C, int N>
[[gnu::always_inline]] static inline typename C::Value join_at(const typename C::Row* src, i64 i) {
  typename C::Value s = C::get(src[0], i);
#pragma GCC unroll 8
  for (int r = 1; r < N; ++r) s = C::join(s, C::get(src[r], i));
  return s;
}

template <class C, int N>
static void merge_n(typename C::Row dst, const typename C::Row* from, i64 len, Tail tail) {
  constexpr int L = lanes<typename C::A>;
  typename C::Row src[N];
  for (int r = 0; r < N; ++r) src[r] = from[r];
  // The last whole vector overlaps the one before it; taken first, because dst may be a source.
  const bool overlap = tail == Tail::exact && len >= L && len % L != 0;
  typename C::Value last;
  if (overlap) last = join_at<C, N>(src, len - L);
  i64 i = 0;
  for (; i + 2 * L <= len; i += 2 * L) {
    const auto a = join_at<C, N>(src, i), b = join_at<C, N>(src, i + L);
    C::put(dst, i, a);
    C::put(dst, i + L, b);
  }
  if (i + L <= len) {
    C::put(dst, i, join_at<C, N>(src, i));
    i += L;
  }
  if (i == len) return;
  if (tail == Tail::blank) {
    C::put(dst, i, C::keep(len - i, join_at<C, N>(src, i)));
  } else if (tail == Tail::spill) {
    C::put(dst, i, join_at<C, N>(src, i));
  } else if (overlap) {
    C::put(dst, len - L, last);
  } else {
    typename C::Cell cell;
    for (; i < len; ++i) {
      C::copy1(cell.row(), 0, src[0], i);
      for (int r = 1; r < N; ++r) C::join1(cell.row(), 0, src[r], i);
      C::copy1(dst, i, cell.row(), 0);
    }
  }
}

// dst[i] = src[0][i] joined with src[1][i] ... ; dst is one of the sources or overlaps none.
template <class C>
static void merge(typename C::Row dst, const typename C::Row* src, int n, i64 len, Tail tail) {
  switch (n) {
    case 1: return merge_n<C, 1>(dst, src, len, tail);
    case 2: return merge_n<C, 2>(dst, src, len, tail);
    case 3: return merge_n<C, 3>(dst, src, len, tail);
    case 4: return merge_n<C, 4>(dst, src, len, tail);
    case 5: return merge_n<C, 5>(dst, src, len, tail);
    case 6: return merge_n<C, 6>(dst, src, len, tail);
    case 7: return merge_n<C, 7>(dst, src, len, tail);
    default: return merge_n<C, 8>(dst, src, len, tail);
  }
}

// dst = base joined with base + pitch, ... n rows. Sums of many rows are added in a tree of short chains, so that the
// error grows with the logarithm of n. spare: room for 2 + log2(n) rows of spare_pitch elements.
template <class C>
static void merge_many(typename C::Row dst, typename C::Row base, i64 pitch, i64 n, i64 len, Tail tail,
                       typename C::Row spare, i64 spare_pitch) {
  constexpr i64 chain = 64;
  typename C::Row src[8];
  if (n > chain && !C::idempotent) {
    const i64 half = n / 2;
    merge_many<C>(spare, base, pitch, half, len, Tail::spill, spare + spare_pitch, spare_pitch);
    merge_many<C>(dst, base + half * pitch, pitch, n - half, len, tail, spare + spare_pitch, spare_pitch);
    src[0] = spare, src[1] = dst;
    return merge<C>(dst, src, 2, len, tail);
  }
  i64 done = std::min<i64>(n, 8);
  for (i64 r = 0; r < done; ++r) src[r] = base + r * pitch;
  merge<C>(dst, src, int(done), len, tail);
  while (done < n) {
    const i64 more = std::min<i64>(n - done, 7);
    src[0] = dst;
    for (i64 r = 0; r < more; ++r) src[1 + r] = base + (done + r) * pitch;
    merge<C>(dst, src, int(1 + more), len, tail);
    done += more;
  }
}

// One state of n consecutive elements, written to dst[at].
template <class C>
static void reduce_run(typename C::Row dst, i64 at, typename C::Row src, i64 n) {
  using A = typename C::A;
  constexpr int L = lanes<A>;
  constexpr i64 block = 64 * L;
  if (n < 2 * L) {
    C::copy1(dst, at, src, 0);
    for (i64 i = 1; i < n; ++i) C::join1(dst, at, src, i);
    return;
  }
  if (n > block && !C::idempotent) {
    const i64 half = (n / 2 + L - 1) / L * L;
    typename C::Cell left;
    reduce_run<C>(left.row(), 0, src, half);
    reduce_run<C>(dst, at, src + half, n - half);
    C::join1(dst, at, left.row(), 0);
    return;
  }
  auto a = C::get(src, 0), b = C::get(src, L);
  i64 i = 2 * L;
  if (n >= 8 * L) {
    auto c = C::get(src, 2 * L), d = C::get(src, 3 * L);
    for (i = 4 * L; i + 4 * L <= n; i += 4 * L) {
      a = C::join(a, C::get(src, i)), b = C::join(b, C::get(src, i + L));
      c = C::join(c, C::get(src, i + 2 * L)), d = C::join(d, C::get(src, i + 3 * L));
    }
    a = C::join(a, c), b = C::join(b, d);
  }
  for (; i + L <= n; i += L) a = C::join(a, C::get(src, i));
  a = C::join(a, b);
  if (i < n) {
    if constexpr (C::idempotent) a = C::join(a, C::get(src, n - L));
  }
  alignas(64) A values[L];
  typename C::Row lane;
  alignas(64) std::int32_t tags[C::tagged ? L : 1];
  lane.v = values;
  if constexpr (C::tagged) lane.t = tags;
  C::put(lane, 0, C::fold_lanes(a));
  C::copy1(dst, at, lane, 0);
  if constexpr (!C::idempotent)
    for (; i < n; ++i) C::join1(dst, at, src, i);
}

// dst[j] = state of the k taps row[2j], row[2j + 1] (, row[2j + 2]): stride 2 by taking the even and the odd elements
// of two vectors. Reads up to 2 * lanes elements beyond the last tap.
template <class C>
static void halve(typename C::Row dst, typename C::Row row, i64 k, i64 out, Tail tail) {
  constexpr int L = lanes<typename C::A>;
  const auto one = [&](i64 j) {
    const auto a = C::get(row, 2 * j), b = C::get(row, 2 * j + L);
    auto s = C::join(C::even(a, b), C::odd(a, b));
    if (k == 3) s = C::join(s, C::even(C::get(row, 2 * j + 2), C::get(row, 2 * j + 2 + L)));
    return s;
  };
  i64 j = 0;
  for (; j + L <= out; j += L) C::put(dst, j, one(j));
  if (j == out) return;
  if (tail != Tail::exact) {
    C::put(dst, j, one(j));
  } else if (out >= L) {
    C::put(dst, out - L, one(out - L));
  } else {
    for (; j < out; ++j) {
      C::copy1(dst, j, row, 2 * j);
      for (i64 t = 1; t < k; ++t) C::join1(dst, j, row, 2 * j + t);
    }
  }
}

}  // namespace poolkit::POOLKIT_ISA_NS

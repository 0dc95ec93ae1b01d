// Joining rows element by element: the one loop every fold is made of.
#pragma once

#include <algorithm>

#include "cores.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What may be done beyond the end of a row shorter than a vector.
enum class Tail {
  exact,  // touch nothing beyond
  spill,  // reading and writing the rest of a vector is harmless
  blank,  // the same, and the identity is to be written there
};

template <class C, int N>
[[gnu::always_inline]] static inline typename C::Value join_at(const typename C::Row* src, i64 i) {
  typename C::Value s[N];
#pragma GCC unroll 9
  for (int r = 0; r < N; ++r) s[r] = C::get(src[r], i);
  return C::template join_all<N>(s);
}

template <class C, int N>
static void merge_n(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 src_pitch, i64 rows, i64 len,
                    Tail tail) {
  constexpr int L = lanes<typename C::A>;
  typename C::Row src[N];
  for (int r = 0; r < N; ++r) src[r] = from[r];
  i64 s = 0;
  if (len <= L && (tail != Tail::exact || len == L)) {
    // Short rows: one vector each.
    for (i64 k = 0; k < rows; ++k, s += src_pitch, dst = dst + dst_pitch) {
      const auto v = join_at<C, N>(src, s);
      C::put(dst, 0, tail == Tail::blank ? C::keep(len, v) : v);
    }
    return;
  }
  if (len > L && len <= 2 * L) {
    for (i64 k = 0; k < rows; ++k, s += src_pitch, dst = dst + dst_pitch) {
      const auto a = join_at<C, N>(src, s), b = join_at<C, N>(src, s + len - L);
      C::put(dst, 0, a);
      C::put(dst, len - L, b);
    }
    return;
  }
  for (i64 k = 0; k < rows; ++k, s += src_pitch, dst = dst + dst_pitch) {
    if (len < L) {
      typename C::Cell cell;
      for (i64 i = 0; i < len; ++i) {
        C::copy1(cell.row(), 0, src[0], s + i);
        for (int r = 1; r < N; ++r) C::join1(cell.row(), 0, src[r], s + i);
        C::copy1(dst, i, cell.row(), 0);
      }
      continue;
    }
    // A part of a vector is the end of one that overlaps the one before; taken first, because dst may be a source.
    const bool part = len % L != 0;
    const auto last = part ? join_at<C, N>(src, s + len - L) : C::identity();
    i64 i = 0;
    for (; i + 2 * L <= len; i += 2 * L) {
      const auto a = join_at<C, N>(src, s + i), b = join_at<C, N>(src, s + i + L);
      C::put(dst, i, a);
      C::put(dst, i + L, b);
    }
    if (i + L <= len) C::put(dst, i, join_at<C, N>(src, s + i));
    if (part) C::put(dst, len - L, last);
  }
}

// As many rows as a window of 3x3 has.
inline constexpr int most_rows = 9;

// dst[i] = src[0][i] joined with src[1][i] ... for one row of len elements, or for several, pitches apart. dst is one
// of the sources or overlaps none; rows longer than a vector are touched nowhere beyond their end.
template <class C>
static void merge_rows(typename C::Row dst, i64 dst_pitch, const typename C::Row* src, i64 src_pitch, int n, i64 rows,
                       i64 len, Tail tail) {
  switch (n) {
    case 1:
      return merge_n<C, 1>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 2:
      return merge_n<C, 2>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 3:
      return merge_n<C, 3>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 4:
      return merge_n<C, 4>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 5:
      return merge_n<C, 5>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 6:
      return merge_n<C, 6>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 7:
      return merge_n<C, 7>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 8:
      return merge_n<C, 8>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    default:
      return merge_n<C, 9>(dst, dst_pitch, src, src_pitch, rows, len, tail);
  }
}
template <class C>
static void merge(typename C::Row dst, const typename C::Row* src, int n, i64 len, Tail tail) {
  merge_rows<C>(dst, 0, src, 0, n, 1, len, tail);
}

// More taps than this are summed in a tree of chains, so that the error grows with the logarithm of their number.
inline constexpr i64 chain = 64;

// dst = from + taps[0] joined with from + taps[1], ... n rows. spare: room for 2 + log2(n) rows of spare_pitch elements.
template <class C>
static void merge_many(typename C::Row dst, typename C::Row from, const i64* taps, i64 n, i64 len, Tail tail,
                       typename C::Row spare, i64 spare_pitch) {
  typename C::Row src[most_rows];
  if (n > chain && !C::idempotent) {
    const i64 half = n / 2;
    merge_many<C>(spare, from, taps, half, len, Tail::spill, spare + spare_pitch, spare_pitch);
    merge_many<C>(dst, from, taps + half, n - half, len, tail, spare + spare_pitch, spare_pitch);
    src[0] = spare, src[1] = dst;
    return merge<C>(dst, src, 2, len, tail);
  }
  i64 done = std::min<i64>(n, most_rows);
  for (i64 r = 0; r < done; ++r) src[r] = from + taps[r];
  merge<C>(dst, src, int(done), len, tail);
  while (done < n) {
    const i64 more = std::min<i64>(n - done, most_rows - 1);
    src[0] = dst;
    for (i64 r = 0; r < more; ++r) src[1 + r] = from + taps[done + r];
    merge<C>(dst, src, int(1 + more), len, tail);
    done += more;
  }
}

// The same for U vectors that stay in registers from the first tap to the last.
template <class C, int U>
static void merge_vectors(typename C::Value* dst, typename C::Row from, const i64* taps, i64 n) {
  constexpr int L = lanes<typename C::A>;
  typename C::Value s[U];
  if (n > chain && !C::idempotent) {
    const i64 half = n / 2;
    merge_vectors<C, U>(s, from, taps, half);
    merge_vectors<C, U>(dst, from, taps + half, n - half);
    for (int u = 0; u < U; ++u) dst[u] = C::join(s[u], dst[u]);
    return;
  }
  for (int u = 0; u < U; ++u) s[u] = C::get(from + taps[0], u * L);
  i64 t = 1;
  for (; t + 4 <= n; t += 4)
    for (int u = 0; u < U; ++u) {
      const typename C::Value v[5] = {s[u], C::get(from + taps[t], u * L), C::get(from + taps[t + 1], u * L),
                                      C::get(from + taps[t + 2], u * L), C::get(from + taps[t + 3], u * L)};
      s[u] = C::template join_all<5>(v);
    }
  for (; t < n; ++t)
    for (int u = 0; u < U; ++u) s[u] = C::join(s[u], C::get(from + taps[t], u * L));
  for (int u = 0; u < U; ++u) dst[u] = s[u];
}

// dst = from + taps[0] joined with from + taps[1], ... n rows of len >= lanes elements, none of which is dst.
template <class C>
static void merge_strips(typename C::Row dst, typename C::Row from, const i64* taps, i64 n, i64 len) {
  constexpr int L = lanes<typename C::A>, V = C::tagged ? 4 : 8;
  const auto strip = [&]<int U>(i64 i, std::integral_constant<int, U>) {
    typename C::Value s[U];
    merge_vectors<C, U>(s, from + i, taps, n);
    for (int u = 0; u < U; ++u) C::put(dst, i + u * L, s[u]);
  };
  i64 i = 0;
  for (; i + V * L <= len; i += V * L) strip(i, std::integral_constant<int, V>{});
  for (; i + 2 * L <= len; i += 2 * L) strip(i, std::integral_constant<int, 2>{});
  for (; i + L <= len; i += L) strip(i, std::integral_constant<int, 1>{});
  if (i < len) strip(len - L, std::integral_constant<int, 1>{});
}

// dst[q] = state of the n consecutive elements at src + q * pitch, lanes <= n <= 64 * lanes, `rows` of them: as many
// rows as there are lanes at once, so that their last joins share vectors.
template <class C>
static i64 reduce_rows(typename C::Row dst, typename C::Row src, i64 pitch, i64 n, i64 rows) {
  constexpr int L = lanes<typename C::A>;
  i64 q = 0;
  for (; q + L <= rows; q += L) {
    typename C::Value s[L];
    for (int r = 0; r < L; ++r) {
      const typename C::Row row = src + (q + r) * pitch;
      auto a = C::get(row, 0);
      i64 i = L;
      for (; i + L <= n; i += L) a = C::join(a, C::get(row, i));
      if (i < n) {
        const auto rest = C::get(row, n - L);
        a = C::join(a, C::idempotent ? rest : C::drop(L - (n - i), rest));
      }
      s[r] = a;
    }
    C::put(dst, q, C::fold_each(s));
  }
  return q;
}

// The lanes of n consecutive elements, n a multiple of the lanes, each lane for itself.
template <class C>
static typename C::Value reduce_lanes(typename C::Row src, i64 n) {
  constexpr int L = lanes<typename C::A>;
  if (n > chain * L && !C::idempotent) {
    const i64 half = n / 2 / L * L;
    const auto left = reduce_lanes<C>(src, half);
    return C::join(left, reduce_lanes<C>(src + half, n - half));
  }
  i64 i = L;
  auto a = C::get(src, 0);
  if (n >= 4 * L) {
    auto b = C::get(src, L), c = C::get(src, 2 * L), d = C::get(src, 3 * L);
    for (i = 4 * L; i + 4 * L <= n; i += 4 * L) {
      a = C::join(a, C::get(src, i)), b = C::join(b, C::get(src, i + L));
      c = C::join(c, C::get(src, i + 2 * L)), d = C::join(d, C::get(src, i + 3 * L));
    }
    a = C::join(C::join(a, b), C::join(c, d));
  }
  for (; i < n; i += L) a = C::join(a, C::get(src, i));
  return a;
}

// One state of n consecutive elements, written to dst[at].
template <class C>
static void reduce_run(typename C::Row dst, i64 at, typename C::Row src, i64 n) {
  using A = typename C::A;
  constexpr int L = lanes<A>;
  if (n < L) {
    typename C::Cell cell;
    C::copy1(cell.row(), 0, src, 0);
    for (i64 i = 1; i < n; ++i) C::join1(cell.row(), 0, src, i);
    C::copy1(dst, at, cell.row(), 0);
    return;
  }
  const i64 whole = n / L * L;
  auto a = reduce_lanes<C>(src, whole);
  if (whole < n) {
    const auto rest = C::get(src, n - L);
    a = C::join(a, C::idempotent ? rest : C::drop(L - (n - whole), rest));
  }
  alignas(64) A values[L];
  typename C::Row lane;
  alignas(64) std::int32_t tags[C::tagged ? L : 1];
  lane.v = values;
  if constexpr (C::tagged) lane.t = tags;
  C::put(lane, 0, C::fold_lanes(a));
  C::copy1(dst, at, lane, 0);
}

// dst = join of n groups of `run` consecutive states, run shorter than a vector: halves joined until one is left.
// spare: n * run elements.
template <class C>
static void reduce_groups(typename C::Row dst, typename C::Row src, i64 n, i64 run, typename C::Row spare) {
  typename C::Row from[2] = {src, src};
  while (n > 1) {
    const i64 low = n / 2, high = n - low;
    from[1] = from[0] + high * run;
    merge<C>(spare, from, 2, low * run, Tail::exact);
    if (high > low && from[0].v != spare.v) {
      const typename C::Row middle = from[0] + low * run;
      merge<C>(spare + low * run, &middle, 1, run, Tail::exact);
    }
    from[0] = spare;
    n = high;
  }
  merge<C>(dst, from, 1, run, Tail::exact);
}

}  // namespace poolkit::POOLKIT_ISA_NS

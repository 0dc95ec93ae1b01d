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

// dst = from + taps[0] joined with from + taps[1], ... n rows. spare: room for 2 + log2(n) rows of spare_pitch
// elements.
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

// Asks the level-2 cache for n elements that lie `bytes` beyond row: hardware does so neither across pages nor for rows
// that are read in turns. Into level 1 it would cost more than it brings where rows do not begin on a line.
// Inlined, because gcc leaves out a call of a function that only asks.
template <class C>
[[gnu::always_inline]] static inline void fetch_ahead(typename C::Row row, i64 n, i64 bytes) {
  const char* const at = reinterpret_cast<const char*>(row.v) + bytes;
  for (i64 k = 0; k < n * i64(sizeof(typename C::A)); k += 64) __builtin_prefetch(at + k, 0, 2);
}

inline constexpr int strip_vectors = 8;

// The same for U vectors that stay in registers from the first tap to the last; the last one of them begins at `end`.
// ahead: rows lie in memory one after the other, and what follows them is asked for.
template <class C, int U>
static void merge_vectors(typename C::Value* dst, typename C::Row from, i64 end, const i64* taps, i64 n, bool ahead) {
  constexpr int L = lanes<typename C::A>;
  typename C::Value s[U];
  if (n > chain && !C::idempotent) {
    const i64 half = n / 2;
    merge_vectors<C, U>(s, from, end, taps, half, ahead);
    merge_vectors<C, U>(dst, from, end, taps + half, n - half, ahead);
    for (int u = 0; u < U; ++u) dst[u] = C::join(s[u], dst[u]);
    return;
  }
  const auto get = [&](i64 t, int u) { return C::get(from + taps[t], u + 1 < U ? u * L : end); };
  // Each row: what is left out is not found by the hardware either, once others were asked for.
  const auto ask = [&](i64 first, i64 last) __attribute__((always_inline)) {
    for (i64 t = first; ahead && t < last; ++t) fetch_ahead<C>(from + taps[t], U * L, 8192);
  };
  ask(0, 1 + (n - 1) % 4);
  for (int u = 0; u < U; ++u) s[u] = get(0, u);
  i64 t = 1;
  for (; (C::idempotent || ahead) && t + 4 <= n; t += 4) {
    ask(t + (n - 1) % 4, t + (n - 1) % 4 + 4);
    for (int u = 0; u < U; ++u) {
      typename C::Value v[5] = {s[u], get(t, u), get(t + 1, u), get(t + 2, u), get(t + 3, u)};
      s[u] = C::template join_all<5>(v);
    }
  }
  for (; t < n; ++t)
    for (int u = 0; u < U; ++u) s[u] = C::join(s[u], get(t, u));
  for (int u = 0; u < U; ++u) dst[u] = s[u];
}

// dst = from + taps[0] joined with from + taps[1], ... n rows of len >= lanes elements, none of which is dst. Strips
// of a few vectors from the first row to the last: for rows not much longer than one.
template <class C>
static void merge_strips(typename C::Row dst, typename C::Row from, const i64* taps, i64 n, i64 len, bool ahead) {
  constexpr int L = lanes<typename C::A>;
  const auto strip = [&]<int U>(std::integral_constant<int, U>, i64 end) {
    typename C::Value s[U];
    merge_vectors<C, U>(s, from, end, taps, n, ahead);
    for (int u = 0; u < U; ++u) C::put(dst, u + 1 < U ? u * L : end, s[u]);
  };
  constexpr i64 most = strip_vectors * L;
  // Row after row the hardware follows by itself. Maxima take four rows at a time, which saves joins.
  if (!C::idempotent && len <= most) ahead = false;
  for (; len > most; len -= most, from = from + most, dst = dst + most)
    strip(std::integral_constant<int, strip_vectors>{}, most - L);
  // The rest ends where the row does: a part of a vector overlaps the one before, maybe of the strip before.
  const auto rest = [&]<std::size_t... K>(std::index_sequence<K...>) {
    (void)((len <= i64(K + 1) * L && (strip(std::integral_constant<int, int(K) + 1>{}, len - L), true)) || ...);
  };
  rest(std::make_index_sequence<strip_vectors>{});
}

// Consecutive elements whose states make one.
template <class C>
struct Segment {
  typename C::Row first;
  i64 n;
};

// dst[q] = state of the segment next() gives at its q-th call, each of 1 to 64 * lanes elements; as many at once as
// there are lanes, so that their last joins share vectors. Of a shorter segment a whole vector is read.
template <class C, class Next>
static void reduce_segments(typename C::Row dst, i64 segments, Next&& next) {
  using A = typename C::A;
  constexpr int L = lanes<A>;
  typename C::Value s[L];
  const auto one = [&]() -> typename C::Value {
    const Segment<C> g = next();
    auto a = C::get(g.first, 0);
    if (g.n < L) return C::keep(g.n, a);
    i64 i = L;
    for (; i + L <= g.n; i += L) a = C::join(a, C::get(g.first, i));
    if (i == g.n) return a;
    const auto rest = C::get(g.first, g.n - L);
    return C::join(a, C::idempotent ? rest : C::drop(L - (g.n - i), rest));
  };
  i64 q = 0;
  for (; q + L <= segments; q += L) {
    for (int r = 0; r < L; ++r) s[r] = one();
    C::put(dst, q, C::fold_each(s));
  }
  if (q == segments) return;
  for (int r = 0; r < L; ++r) s[r] = q + r < segments ? one() : C::identity();
  alignas(64) A values[L];
  typename C::Row rest{values};
  C::put(rest, 0, C::fold_each(s));
  for (int r = 0; q + r < segments; ++r) C::copy1(dst, q + r, rest, r);
}

// The same for rows of n elements, pitch apart.
template <class C>
static void reduce_rows(typename C::Row dst, typename C::Row row, i64 pitch, i64 n, i64 rows) {
  reduce_segments<C>(dst, rows, [&] {
    const Segment<C> segment{row, n};
    row = row + pitch;
    return segment;
  });
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
      fetch_ahead<C>(src + i, 4 * L, 2048);
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
  lane.v = values;
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

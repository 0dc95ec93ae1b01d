// Joining rows element by element: the one loop every fold is made of.
#pragma once

#include <algorithm>

#include "cores.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What may be done beyond the end of a row shorter than a vector.
enum class Tail {
  exact,   // touch nothing beyond
  spill,   // reading and writing the rest of a vector is harmless
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
    // The last whole vector overlaps the one before it; taken first, because dst may be a source.
    const auto last = join_at<C, N>(src, s + len - L);
    i64 i = 0;
    for (; i + 2 * L <= len; i += 2 * L) {
      const auto a = join_at<C, N>(src, s + i), b = join_at<C, N>(src, s + i + L);
      C::put(dst, i, a);
      C::put(dst, i + L, b);
    }
    if (i + L <= len) C::put(dst, i, join_at<C, N>(src, s + i));
    C::put(dst, len - L, last);
  }
}

// dst[i] = src[0][i] joined with src[1][i] ... for one row of len elements, or for several, pitches apart. dst is one
// of the sources or overlaps none; rows longer than a vector are touched nowhere beyond their end.
template <class C>
static void merge_rows(typename C::Row dst, i64 dst_pitch, const typename C::Row* src, i64 src_pitch, int n, i64 rows,
                       i64 len, Tail tail) {
  switch (n) {
    case 1: return merge_n<C, 1>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 2: return merge_n<C, 2>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 3: return merge_n<C, 3>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 4: return merge_n<C, 4>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 5: return merge_n<C, 5>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 6: return merge_n<C, 6>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    case 7: return merge_n<C, 7>(dst, dst_pitch, src, src_pitch, rows, len, tail);
    default: return merge_n<C, 8>(dst, dst_pitch, src, src_pitch, rows, len, tail);
  }
}
template <class C>
static void merge(typename C::Row dst, const typename C::Row* src, int n, i64 len, Tail tail) {
  merge_rows<C>(dst, 0, src, 0, n, 1, len, tail);
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
  if (n < L) {
    typename C::Cell cell;
    C::copy1(cell.row(), 0, src, 0);
    for (i64 i = 1; i < n; ++i) C::join1(cell.row(), 0, src, i);
    C::copy1(dst, at, cell.row(), 0);
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
  auto a = C::get(src, 0);
  i64 i = L;
  if (n >= 4 * L) {
    auto b = C::get(src, L), c = C::get(src, 2 * L), d = C::get(src, 3 * L);
    for (i = 4 * L; i + 4 * L <= n; i += 4 * L) {
      a = C::join(a, C::get(src, i)), b = C::join(b, C::get(src, i + L));
      c = C::join(c, C::get(src, i + 2 * L)), d = C::join(d, C::get(src, i + 3 * L));
    }
    a = C::join(C::join(a, b), C::join(c, d));
  }
  for (; i + L <= n; i += L) a = C::join(a, C::get(src, i));
  if (i < n) {
    const auto rest = C::get(src, n - L);
    a = C::join(a, C::idempotent ? rest : C::drop(L - (n - i), rest));
  }
  alignas(64) A values[L];
  typename C::Row lane;
  alignas(64) std::int32_t tags[C::tagged ? L : 1];
  lane.v = values;
  if constexpr (C::tagged) lane.t = tags;
  C::put(lane, 0, C::fold_lanes(a));
  C::copy1(dst, at, lane, 0);
}

// Windows of 2, 4, ... lanes consecutive elements at every position of src[0 .. n), each level to its own row (those
// with a null row are not kept). Right to left, so that what lies beyond a vector is still in registers; what lies
// beyond n counts as the identity.
template <class C>
static void double_lanes(typename C::Row src, i64 n, const typename C::Row* levels) {
  constexpr int L = lanes<typename C::A>;
  using Value = typename C::Value;
  const Value none = C::identity();
  Value one = none, two = none, four = none, eight = none, sixteen = none, more = none;
  for (i64 i = (n + L - 1) / L * L - L; i >= 0; i -= L) {
    Value x = C::get(src, i);
    if (i + L > n) x = C::keep(n - i, x);
    Value d = C::join(x, C::template shift<1>(x, one));
    one = x;
    if (levels[0].v != nullptr) C::put(levels[0], i, d);
    const auto next = [&]<int W>(Value& right, typename C::Row row, std::integral_constant<int, W>) {
      if constexpr (W < L) {
        const Value wide = C::join(d, C::template shift<W>(d, right));
        right = d;
        d = wide;
        if (row.v != nullptr) C::put(row, i, d);
      }
    };
    next(two, levels[1], std::integral_constant<int, 2>{});
    next(four, levels[2], std::integral_constant<int, 4>{});
    next(eight, levels[3], std::integral_constant<int, 8>{});
    next(sixteen, levels[4], std::integral_constant<int, 16>{});
    next(more, levels[5], std::integral_constant<int, 32>{});
  }
}

// Rows above every other: out row j joins lines [j * stride, j * stride + k) of the padded lines, of which only
// [from, to) exist, line_pitch apart, the first one at `lines`. Van Herk's blocks down strips of columns: three joins a
// line whatever k is. spare: k * strip elements.
template <class C>
static void tall_windows(typename C::Row dst, i64 dst_pitch, typename C::Row lines, i64 line_pitch, i64 from, i64 to,
                         i64 k, i64 stride, i64 rows, i64 width, typename C::Row spare) {
  constexpr int L = lanes<typename C::A>;
  constexpr int V = 4;
  constexpr i64 strip = V * L;
  using Value = typename C::Value;
  const i64 last_start = (rows - 1) * stride;
  const auto sweep = [&]<int U>(i64 c, std::integral_constant<int, U>) {
    const auto line = [&](i64 p, int u) { return C::get(lines + (p - from) * line_pitch, c + u * L); };
    for (i64 block = 0; block <= last_start; block += k) {
      Value acc[U];
      for (int u = 0; u < U; ++u) acc[u] = C::identity();
      for (i64 t = k - 1; t >= 0; --t) {
        const i64 p = block + t;
        if (p >= from && p < to)
          for (int u = 0; u < U; ++u) acc[u] = C::join(line(p, u), acc[u]);
        for (int u = 0; u < U; ++u) C::put(spare + t * strip, u * L, acc[u]);
      }
      for (int u = 0; u < U; ++u) acc[u] = C::identity();
      const i64 end = std::min(k, last_start - block + 1);
      for (i64 t = 0; t < end; ++t) {
        if (const i64 p = block + k + t - 1; t > 0 && p >= from && p < to)
          for (int u = 0; u < U; ++u) acc[u] = C::join(acc[u], line(p, u));
        if ((block + t) % stride != 0) continue;
        const typename C::Row out = dst + (block + t) / stride * dst_pitch;
        for (int u = 0; u < U; ++u) C::put(out, c + u * L, C::join(C::get(spare + t * strip, u * L), acc[u]));
      }
    }
  };
  i64 c = 0;
  for (; c + strip <= width; c += strip) sweep(c, std::integral_constant<int, V>{});
  for (; c + L <= width; c += L) sweep(c, std::integral_constant<int, 1>{});
  if (c < width) sweep(width - L, std::integral_constant<int, 1>{});
}

// dst[j] = state of the k (2 or 3) taps row[2j], row[2j + 1] ...: stride 2 by taking the even and the odd elements of
// two vectors. Reads up to 2 * lanes elements beyond the last tap.
template <class C, int K>
static void halve_k(typename C::Row dst, i64 dst_pitch, typename C::Row row, i64 pitch, i64 rows, i64 out, Tail tail) {
  constexpr int L = lanes<typename C::A>;
  const auto one = [&](i64 j) {
    const auto a = C::get(row, 2 * j), b = C::get(row, 2 * j + L);
    auto s = C::join(C::even(a, b), C::odd(a, b));
    if constexpr (K == 3) s = C::join(s, C::even(C::get(row, 2 * j + 2), C::get(row, 2 * j + 2 + L)));
    return s;
  };
  for (i64 r = 0; r < rows; ++r, row = row + pitch, dst = dst + dst_pitch) {
    if (out < L && tail == Tail::exact) {
      for (i64 j = 0; j < out; ++j) {
        typename C::Cell cell;
        C::copy1(cell.row(), 0, row, 2 * j);
        for (i64 t = 1; t < K; ++t) C::join1(cell.row(), 0, row, 2 * j + t);
        C::copy1(dst, j, cell.row(), 0);
      }
      continue;
    }
    i64 j = 0;
    for (; j + L <= out; j += L) C::put(dst, j, one(j));
    if (j < out) C::put(dst, out < L ? 0 : out - L, one(out < L ? 0 : out - L));
  }
}
template <class C>
static void halve(typename C::Row dst, i64 dst_pitch, typename C::Row row, i64 pitch, i64 k, i64 rows, i64 out,
                  Tail tail) {
  if (k == 2) halve_k<C, 2>(dst, dst_pitch, row, pitch, rows, out, tail);
  else halve_k<C, 3>(dst, dst_pitch, row, pitch, rows, out, tail);
}

}  // namespace poolkit::POOLKIT_ISA_NS

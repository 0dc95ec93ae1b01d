// Windows at even distances along contiguous elements (or rows): what many outputs share is joined once.
#pragma once

#include "merge.hpp"
#include "rows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// dst[j] = state of the k (2 or 3) taps row[2j], row[2j + 1] ...: stride 2 by taking the even and the odd elements of
// two vectors. Reads up to 2 * lanes elements beyond the last tap.
template <class C, int K>
static void halve_k(typename C::Row dst, i64 dst_pitch, typename C::Row row, i64 pitch, i64 rows, i64 out, Tail tail) {
  constexpr int L = lanes<typename C::A>;
  const auto one = [&](i64 j) {
    const auto a = C::get(row, 2 * j), b = C::get(row, 2 * j + L);
    typename C::Value s[K] = {C::even(a, b), C::odd(a, b)};
    if constexpr (K == 3) s[2] = C::even(C::get(row, 2 * j + 2), C::get(row, 2 * j + 2 + L));
    return C::template join_all<K>(s);
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
  if (k == 2)
    halve_k<C, 2>(dst, dst_pitch, row, pitch, rows, out, tail);
  else
    halve_k<C, 3>(dst, dst_pitch, row, pitch, rows, out, tail);
}

// A vector of windows of K elements side by side, K a power of two: the even and the odd ones of vectors joined, then
// those of what comes of that.
template <class C, int K>
[[gnu::always_inline]] static inline typename C::Value tiles_at(typename C::Row row) {
  if constexpr (K == 1) {
    return C::get(row, 0);
  } else {
    const auto a = tiles_at<C, K / 2>(row), b = tiles_at<C, K / 2>(row + K / 2 * lanes<typename C::A>);
    return C::join(C::even(a, b), C::odd(a, b));
  }
}
// A row of them, a vector or more.
template <class C, int K>
static void tiles(typename C::Row dst, typename C::Row row, i64 out) {
  constexpr int L = lanes<typename C::A>;
  for (i64 j = 0; j < out; j += L) {
    const i64 k = std::min(j, out - L);
    C::put(dst, k, tiles_at<C, K>(row + k * K));
  }
}

// dst[j] = state of up to 3 taps row[3j], row[3j + 1] ...: every third element out of three vectors. Touches nothing
// beyond the `size` elements of row.
template <class C>
static void thirds(typename C::Row dst, typename C::Row row, i64 k, i64 out, i64 size) {
  constexpr int L = lanes<typename C::A>;
  i64 j = 0;
  for (; j + L <= out && 3 * j + 3 * L <= size; j += L) {
    const auto a = C::get(row, 3 * j), b = C::get(row, 3 * j + L), c = C::get(row, 3 * j + 2 * L);
    typename C::Value s[3] = {C::template third<0>(a, b, c)};
    if (k > 1) s[1] = C::template third<1>(a, b, c);
    if (k > 2) s[2] = C::template third<2>(a, b, c);
    C::put(dst, j, k == 1 ? s[0] : k == 2 ? C::join(s[0], s[1]) : C::template join_all<3>(s));
  }
  for (; j < out; ++j) {
    C::copy1(dst, j, row, 3 * j);
    for (i64 t = 1; t < k; ++t) C::join1(dst, j, row, 3 * j + t);
  }
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
  // What is kept of a block, and the lines of two, are to stay in the first cache.
  constexpr i64 near = (i64(8) << 10) / i64(sizeof(typename C::A));
  using Value = typename C::Value;
  const i64 last_start = (rows - 1) * stride;
  const auto sweep = [&]<int U>(i64 c, std::integral_constant<int, U>) {
    // What comes next in this order no hardware foresees: the strip beside this one, or the first of the lines below.
    const i64 next = (c + U * L < width ? c + U * L : (to - from) * line_pitch) * i64(sizeof(typename C::A));
    const auto line = [&](i64 p, int u) { return C::get(lines + (p - from) * line_pitch, c + u * L); };
    for (i64 block = 0; block <= last_start; block += k) {
      Value acc[U];
      for (int u = 0; u < U; ++u) acc[u] = C::identity();
      for (i64 t = k - 1; t >= 0; --t) {
        const i64 p = block + t;
        if (p >= from && p < to) {
          fetch_ahead<C>(lines + (p - from) * line_pitch, U * L, next);
          for (int u = 0; u < U; ++u) acc[u] = C::join(line(p, u), acc[u]);
        }
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
  if (k * strip <= near)
    for (; c + strip <= width; c += strip) sweep(c, std::integral_constant<int, V>{});
  for (; c + 2 * L <= width; c += 2 * L) sweep(c, std::integral_constant<int, 2>{});
  for (; c + L <= width; c += L) sweep(c, std::integral_constant<int, 1>{});
  if (c < width) sweep(width - L, std::integral_constant<int, 1>{});
}

// Windows of k taps, `unit` elements apart, at every position of a row: from windows of fewer taps, each step joining
// at most eight shifted copies. The cost grows with the logarithm of k.
template <class C>
class Doubling {
 public:
  using A = typename C::A;
  using Row = typename C::Row;

  // Position i of the result is the window that begins at i; total elements in x, and the last windows are not whole.
  Row windows(Row x, i64 unit, i64 k, i64 total) {
    Step s[36];
    return climb(x, unit, s, steps(k, s), total);
  }

  // At most eight rows whose join is windows(...): for callers that write the last join where it belongs.
  int shifted(Row x, i64 unit, i64 k, i64 total, Row* src) {
    if (unit == 1 && k >= 6 && k < 5 * L) return in_lanes(x, k, total, src);
    Step s[36];
    const int n = steps(k, s);
    return step_sources(s[n - 1], climb(x, unit, s, n - 1, total), x, unit, src);
  }

 private:
  static constexpr i64 L = lanes<A>;
  static_assert(C::idempotent || L <= 16, "in_lanes would join more than eight rows");

  // Steps from windows of one tap to windows of k taps, each joining at most eight shifted copies.
  struct Step {
    int from_last = 0, from_first = 0;  // shifted copies of the step before, and of the input
    i64 last[8], first[8];              // shifts, in taps
    i64 taps;                           // window length reached
  };
  static int steps(i64 k, Step* s) {
    int n = 0;
    if constexpr (C::idempotent) {
      i64 m = 1;
      while (k > 5 * m) {
        Step& t = s[n++];
        t.from_first = 0, t.from_last = 4, t.taps = 4 * m;
        for (int i = 0; i < 4; ++i) t.last[i] = i * m;
        m *= 4;
      }
      Step& t = s[n++];
      t.from_last = 0, t.from_first = 0, t.taps = k;
      for (i64 at = 0; at + m < k; at += m) t.last[t.from_last++] = at;
      t.last[t.from_last++] = k - m;
    } else {
      i64 lengths[34];
      int levels = 0;
      i64 m = k;
      while (m > 7) lengths[levels++] = m, m /= 4;
      Step& base = s[n++];
      base.from_last = int(m), base.from_first = 0, base.taps = m;
      for (i64 i = 0; i < m; ++i) base.last[i] = i;
      while (levels-- > 0) {
        Step& t = s[n++];
        const i64 goal = lengths[levels];
        t.taps = goal, t.from_last = 0, t.from_first = 0;
        i64 at = 0;
        for (; at + m <= goal && t.from_last < 4; at += m) t.last[t.from_last++] = at;
        for (; at < goal; ++at) t.first[t.from_first++] = at;
        m = goal;
      }
    }
    return n;
  }
  static int step_sources(const Step& s, Row last, Row first, i64 unit, Row* src) {
    int n = 0;
    for (int i = 0; i < s.from_last; ++i) src[n++] = last + s.last[i] * unit;
    for (int i = 0; i < s.from_first; ++i) src[n++] = first + s.first[i] * unit;
    return n;
  }
  // The first n steps; what they reach.
  Row climb(Row x, i64 unit, const Step* s, int n, i64 total) {
    Row last = x;
    for (int i = 0; i < n; ++i) {
      const i64 len = total - (s[i].taps - 1) * unit;
      Row src[8];
      const int count = step_sources(s[i], last, x, unit, src);
      const Row dst = reached_[i & 1].take(total);
      merge<C>(dst, src, count, len, len < L ? Tail::spill : Tail::exact);
      last = dst;
    }
    return last;
  }
  // Windows of k < 5 * lanes elements as shifted copies of windows of 1, 2, 4 ... lanes.
  int in_lanes(Row x, i64 k, i64 total, Row* src) {
    Row levels[6];
    int n = 0;
    i64 top = 1;
    while (2 * top <= std::min(k, L)) top *= 2;
    const auto keep = [&](i64 m) {
      int level = 0;
      while ((i64(2) << level) < m) ++level;
      if (levels[level].v == nullptr) levels[level] = levels_[level].take(total + L);
      return levels[level];
    };
    i64 at = 0;
    for (; at + top <= k; at += top) src[n++] = keep(top) + at;
    if constexpr (C::idempotent) {
      if (at < k) src[n++] = keep(top) + (k - top);
    } else {
      for (i64 m = top / 2; m >= 1; m /= 2)
        if (at + m <= k) src[n++] = (m == 1 ? x : keep(m)) + at, at += m;
    }
    double_lanes<C>(x, total, levels);
    return n;
  }

  Rows<C> reached_[2], levels_[6];
};

}  // namespace poolkit::POOLKIT_ISA_NS

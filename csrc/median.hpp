// Medians of windows of 3x3 along rows: a column of three cells is sorted once for all the windows that hold it.
#pragma once

#include <limits>

#include "order.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class V>
static inline V median_of(V a, V b, V c) {
  return pick<false>(pick<true>(pick<false>(a, b), c), pick<true>(a, b));
}

// Columns of three cells, one a lane.
template <class V>
struct Columns {
  V low, mid, high;
  Columns() = default;
  Columns(V a, V b, V c) {
    const V less = pick<true>(a, b), more = pick<false>(a, b), rest = pick<false>(less, c);
    low = pick<true>(less, c), mid = pick<true>(rest, more), high = pick<false>(rest, more);
  }
  // Lanes W, W + 1, ... of these followed by the first W of the others.
  template <int W>
  Columns before(const Columns& o) const {
    Columns s;
    s.low = shifted<W>(low, o.low), s.mid = shifted<W>(mid, o.mid), s.high = shifted<W>(high, o.high);
    return s;
  }
};

// The middle of nine: of the largest of the three lows, the middle of the mids and the smallest of the highs.
template <class V>
static inline V median_of(const Columns<V>& a, const Columns<V>& b, const Columns<V>& c) {
  return median_of(pick<false>(pick<false>(a.low, b.low), c.low), median_of(a.mid, b.mid, c.mid),
                   pick<true>(pick<true>(a.high, b.high), c.high));
}

// Windows cut off by an edge are filled up with values beyond all others, one more at one end than at the other for
// every three cells: the median of the nine is then the lower (or higher) one of the six that are there. Of the three
// beyond an edge the odd one has its turn along it, never with its fellow of the other edge's in a corner of four.
template <class T>
class Medians {
 public:
  using A = whole_t<T>;
  using V = vec<A>;
  static constexpr i64 L = lanes<A>;

  static constexpr i64 most_widened = i64(1) << 17;  // cells of a plane that is copied

  // Whether the problem is one for these loops; offsets are not found here.
  static bool takes(const Problem& pr, const View& x, const View& y) {
    if ((pr.reducer != Reducer::Median && pr.reducer != Reducer::Quantile) || pr.params.level != 0.5 || pr.rank != 2 ||
        x.stride[3] != 1 || y.stride[3] != 1)
      return false;
    bool inside = true;
    for (int i = 0; i < 2; ++i) {
      const Axis& a = pr.axes[i];
      if (a.kind != AxisKind::sliding || a.kernel != 3 || a.dilation != 1 || a.before > 1 || a.size < 2) return false;
      const i64 end = window_origin(a, a.out - 1) + 3;
      if (end > a.size + 1) return false;
      inside &= a.before == 0 && end <= a.size;
    }
    if (!std::is_same_v<A, T> && x.shape[2] * x.shape[3] > most_widened) return false;
    const auto between = Interpolation(pr.params.mode);
    return pr.axes[1].stride <= 2 && (inside || between == Interpolation::lower || between == Interpolation::higher);
  }

  Medians(const Problem& pr, const View& in, const View& out) : rows_(pr.axes[0]), columns_(pr.axes[1]), x(in), y(out) {
    constexpr A low = std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                           : std::numeric_limits<A>::lowest(),
                high = std::numeric_limits<A>::has_infinity ? std::numeric_limits<A>::infinity()
                                                            : std::numeric_limits<A>::max();
    const bool upper = Interpolation(pr.params.mode) == Interpolation::higher;
    fill_[0] = low, fill_[1] = upper ? high : low, fill_[2] = high;
    // The odd one is among the two cells of either corner's window.
    const i64 W = columns_.size;
    const i64 turn = W % 3 == 0 ? 1 : 0;
    A* const edge = edge_.take(W);
    for (i64 c = 0; c < W; ++c) edge[c] = (c % 3 == turn) != upper ? high : low;
  }

  void plane(i64 n, i64 c) {
    const i64 H = rows_.size, W = columns_.size;
    const T* const from = static_cast<const T*>(x.data) + n * x.stride[0] + c * x.stride[1];
    T* const to = static_cast<T*>(y.data) + n * y.stride[0] + c * y.stride[1];
    const A* cells;
    i64 pitch;
    if constexpr (std::is_same_v<A, T>) {
      cells = from, pitch = x.stride[2];
    } else {
      A* const copy = copy_.take(H * W);
      for (i64 r = 0; r < H; ++r) widen_all(from + r * x.stride[2], copy + r * W, W);
      cells = copy, pitch = W;
    }
    V seen{};
    for (i64 o = 0; o < rows_.out; ++o) {
      const i64 top = window_origin(rows_, o);
      const A* lines[3];
      for (i64 t = 0; t < 3; ++t) lines[t] = top + t < 0 || top + t >= H ? edge_.take(0) : cells + (top + t) * pitch;
      T* const out = to + o * y.stride[2];
      if constexpr (std::is_same_v<A, T>) {
        columns_.stride == 1 ? row<1>(lines, out, seen) : row<2>(lines, out, seen);
      } else {
        A* const wide = wide_.take(columns_.out);
        columns_.stride == 1 ? row<1>(lines, wide, seen) : row<2>(lines, wide, seen);
        narrow_all(wide, out, columns_.out);
      }
    }
    if constexpr (std::is_floating_point_v<A>)
      if (any_lane(seen != seen)) spread_nans(cells, pitch, to);
  }

 private:
  // One row of outputs; seen becomes NaN where a cell is.
  template <int S>
  void row(const A* const (&lines)[3], A* out, V& seen) const {
    const i64 first = 1 - columns_.before, cells = columns_.size - first, n = columns_.out;
    const A* const at[3] = {lines[0] + first, lines[1] + first, lines[2] + first};
    const auto note = [&](V a, V b, V c) {
      const V v[3] = {a, b, c};
      if constexpr (std::is_floating_point_v<A>) seen = with_nans<3>(seen, v);
    };
    const auto get = [&](int t, i64 i) {
      if (i + L <= cells) return load<V>(at[t] + i);
      const V fill = splat<V, A>(fill_[t]);
      return i >= cells ? fill : first_lanes<A>(cells - i) ? load_first(at[t] + i, cells - i) : fill;
    };
    V edge[3];
    for (int t = 0; t < 3; ++t) edge[t] = splat<V, A>(first == 0 ? fill_[t] : lines[t][0]);
    if (first != 0) note(edge[0], edge[1], edge[2]);
    Columns<V> left(edge[0], edge[1], edge[2]);
    const auto put = [&](i64 j, V v) {
      if (j + L <= n)
        store(out + j, v);
      else
        store_first<A>(out + j, v, n - j);
    };
    if constexpr (S == 1) {
      const auto columns = [&](i64 i) {
        const V a = get(0, i), b = get(1, i), c = get(2, i);
        note(a, b, c);
        return Columns<V>(a, b, c);
      };
      Columns<V> here = columns(0);
      for (i64 j = 0; j < n; j += L) {
        const Columns<V> right = columns(j + L);
        put(j, median_of(left.template before<L - 1>(here), here, here.template before<1>(right)));
        left = here, here = right;
      }
    } else {
      for (i64 j = 0; j < n; j += L) {
        V even[3], odd[3];
        for (int t = 0; t < 3; ++t) {
          const V a = get(t, 2 * j), b = get(t, 2 * j + L);
          even[t] = evens(a, b), odd[t] = odds(a, b);
        }
        note(even[0], even[1], even[2]), note(odd[0], odd[1], odd[2]);
        const Columns<V> here(even[0], even[1], even[2]), right(odd[0], odd[1], odd[2]);
        put(j, median_of(left.template before<L - 1>(right), here, right));
        left = right;
      }
    }
  }

  // NaN in every window that holds one.
  void spread_nans(const A* cells, i64 pitch, T* to) const {
    for (i64 o = 0; o < rows_.out; ++o) {
      const Interval lines = interval(rows_, o, 0);
      for (i64 j = 0; j < columns_.out; ++j) {
        const Interval columns = interval(columns_, j, 0);
        for (i64 r = lines.start; r < lines.start + lines.n; ++r)
          for (i64 c = columns.start; c < columns.start + columns.n; ++c)
            if (const A v = cells[r * pitch + c]; v != v) to[o * y.stride[2] + j] = narrow<T>(v);
      }
    }
  }

  const Axis &rows_, &columns_;
  const View &x, &y;
  A fill_[3];  // of a column beyond an edge
  Scratch<A> edge_, copy_, wide_;
};

template <class T>
static void medians(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  const i64 channels = y.shape[1];
  const i64 cost = std::max<i64>(1, y.shape[2] * y.shape[3]);
  parallel(exec, y.shape[0] * channels, std::max<i64>(1, whole_grain / cost), [&](i64 begin, i64 end) {
    Medians<T> medians(pr, x, y);
    for (i64 p = begin; p < end; ++p) medians.plane(p / channels, p % channels);
  });
}

}  // namespace poolkit::POOLKIT_ISA_NS

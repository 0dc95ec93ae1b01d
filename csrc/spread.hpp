// Gradients of sums and means: every output's share goes to all cells of its window. Shares are summed where they are
// few, along the axes before the last one, and then spread along rows; rows that got the same shares are copies.
#pragma once

#include "back.hpp"
#include "find.hpp"
#include "run.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What an output gives each of its taps: rows of dy divided by the taps behind them. The grid is that of the forward
// pass, from dx to dy.
template <class T>
class Shares {
 public:
  using A = acc_t<T>;
  using V = vec<A>;

  Shares(const Problem& problem, const Grid& grid) : g(grid) {
    if (problem.reducer != Reducer::Mean) return;
    const Counts counts{&problem, problem.params.include_pad, problem.params.divisor};
    if (counts.divisor > 0) {
      outer_ = A(counts.divisor);
      return;
    }
    if (g.nothing_pooled) return;
    outer_ = A(counts.padded ? g.joined_padded : g.joined_taps);
    for (int i = 0; i < g.rank; ++i) {
      if (g.origin[i] < 0) continue;
      const i64 out = g.axes[i].out;
      A* const taps = memory_[i].take(out);
      bool even = true;
      for (i64 j = 0; j < out; ++j) taps[j] = A(counts.of(g, i, j, 0)), even &= taps[j] == taps[0];
      if (even)
        outer_ *= taps[0];
      else
        taps_[i] = taps;
    }
  }

  // Whether all outputs are divided by one number.
  bool even() const { return taps_[0] == nullptr && taps_[1] == nullptr && taps_[2] == nullptr; }
  A outer() const { return outer_; }

  // Outputs [first, first + n) of the row at o, the positions on the axes before the last one.
  void operator()(const T* dy, const i64* o, i64 first, i64 n, A* to) const {
    const int w = g.rank - 1;
    A by = outer_;
    for (int i = 0; i < w; ++i)
      if (taps_[i] != nullptr) by *= taps_[i][o[i]];
    const i64 stride = g.dst[w], run = g.run;
    const A* from = widened(dy + first * stride, stride, n, run, to);
    const A* const taps = taps_[w];
    if (taps == nullptr) return divide(from, to, n * run, by);
    if (run == 1) return map_rows(from, taps + first, to, n, [&](V v, V t) { return v / (t * by); });
    for (i64 j = 0; j < n; ++j) divide(from + j * run, to + j * run, run, by * taps[first + j]);
  }

  static void divide(const A* from, A* to, i64 n, A by) {
    if (by == A(1)) {
      if (from != to) std::memcpy(static_cast<void*>(to), from, n * sizeof(A));
      return;
    }
    map_row(from, to, n, [&](V v) { return v / by; });
  }

 private:
  const Grid& g;
  A outer_ = A(1);
  const A* taps_[3] = {};
  Scratch<A> memory_[3];
};

// How a row of outputs becomes a row of cells.
template <class A>
class Columns {
 public:
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;
  static constexpr i64 most_terms = 4;

  explicit Columns(const Axis& a) : axis_(a), size_(a.size) {
    vectors_ = ceil_div(size_, L);
    if (a.kind == AxisKind::sliding)
      good_ = a.dilation == 1 && (a.stride > 1 || a.kernel == 1 || a.out == 1) && slide();
    else
      good_ = walk();
  }
  bool good() const { return good_; }
  // Elements that have to be readable, and zero, around a row of outputs.
  i64 front() const { return most_terms; }
  i64 back() const { return back_; }
  // Cells after which the pattern repeats, outputs further on; a row can be cut there.
  i64 period() const { return long_windows_ ? axis_.stride : period_ * L; }
  i64 advance() const { return long_windows_ ? 1 : advance_; }
  bool repeats() const { return long_windows_ ? axis_.kind == AxisKind::sliding && axis_.before == 0 : advance_ > 0; }

  // Cells [0, n) of a row from the outputs at `from`.
  void operator()(const A* from, A* to, i64 n) const {
    if (long_windows_) return windows(from, to, n);
    if (terms_ == 1 && full_) return spread([&](const A* p, i64 r) { return one(p, r); }, from, to, n);
    spread(
        [&](const A* p, i64 r) {
          const I count = load<I>(counts_.take(0) + r * L);
          V sum = count > I{} ? one(p, r) : V{};
          for (i64 j = 1; j < terms_; ++j) sum += count > I{} + index_t<A>(j) ? one(p - j, r) : V{};
          return sum;
        },
        from, to, n);
  }

 private:
  const Axis axis_;
  i64 size_, vectors_, period_ = 1, advance_ = 0, back_ = 0, terms_ = 1;
  bool good_ = false, long_windows_ = false, full_ = true;
  mutable Scratch<i64> base_;
  mutable Scratch<index_t<A>> index_, counts_;

  V one(const A* p, i64 r) const { return permuted(load<V>(p), load<I>(index_.take(0) + r * L)); }

  template <class Vector>
  void spread(Vector&& vector, const A* from, A* to, i64 n) const {
    const i64* const base = base_.take(0);
    i64 i = 0, r = 0;
    for (; i + L <= n; i += L) {
      store(to + i, vector(from + base[r], r));
      if (++r == period_) r = 0, from += advance_;
    }
    if (i < n) store_first<A>(to + i, vector(from + base[r], r), n - i);
  }

  // Windows of at least a few vectors, none of which overlap.
  void windows(const A* from, A* to, i64 n) const {
    i64 at = 0;
    for (i64 j = 0; j < axis_.out && at < n; ++j) {
      const Interval k = interval(axis_, j, 0);
      const i64 start = std::min(k.start, n), stop = std::min(k.start + k.n, n);
      fill(to + at, start - at, A(0));
      fill(to + start, stop - start, from[j]);
      at = stop;
    }
    fill(to + at, n - at, A(0));
  }
  static void fill(A* to, i64 n, A value) {
    const V v = V{} + value;
    i64 i = 0;
    for (; i + L <= n; i += L) store(to + i, v);
    if (i < n) store_first<A>(to + i, v, n - i);
  }

  // hi(w): the last output that begins at or before cell w; count(w): how many see it.
  template <class Hi, class Count>
  bool tabulate(Hi&& hi, Count&& count) {
    i64* const base = base_.take(period_);
    index_t<A>*const index = index_.take(period_ * L), *const counts = counts_.take(period_ * L);
    i64 furthest = 0;
    for (i64 r = 0; r < period_; ++r) {
      base[r] = std::max<i64>(0, hi(r * L));
      for (i64 l = 0; l < L; ++l) {
        const i64 w = r * L + l, n = w < size_ || advance_ > 0 ? count(w) : 0;
        const i64 at = n > 0 ? hi(w) - base[r] : 0;
        if (at >= L || n > most_terms) return false;
        index[w] = index_t<A>(at), counts[w] = index_t<A>(n);
        terms_ = std::max(terms_, n), full_ &= n == 1 || w >= size_;
      }
      const i64 last = advance_ > 0 ? (vectors_ - 1) / period_ * advance_ : 0;
      furthest = std::max(furthest, base[r] + last + L);
    }
    back_ = std::max<i64>(0, furthest - axis_.out);
    return true;
  }
  bool slide() {
    const i64 s = axis_.stride, k = axis_.kernel, before = axis_.before;
    if (long_run(k <= s)) return true;
    period_ = std::min(s, vectors_), advance_ = L * period_ / s;
    if (period_ < s) advance_ = 0;
    return tabulate([&](i64 w) { return (w + before) / s; },
                    [&](i64 w) {
                      const i64 in = (w + before) % s;
                      return in < k ? (k - 1 - in) / s + 1 : 0;
                    });
  }
  bool walk() {
    bool apart = true, sorted = true;
    Interval last{0, 0};
    for (i64 j = 0; j < axis_.out; ++j) {
      const Interval k = interval(axis_, j, 0);
      sorted &= k.n > 0 && k.start >= last.start && k.start + k.n >= last.start + last.n;
      apart &= k.start >= last.start + last.n;
      last = k;
    }
    if (!sorted) return false;
    if (long_run(apart)) return true;
    period_ = vectors_;
    i64 lo = 0, high = -1, at = -1;
    const auto to = [&](i64 w) {
      for (; at < w; ++at) {
        while (high + 1 < axis_.out && interval(axis_, high + 1, 0).start <= at + 1) ++high;
        for (; lo < axis_.out; ++lo) {
          const Interval k = interval(axis_, lo, 0);
          if (k.start + k.n > at + 1) break;
        }
      }
    };
    return tabulate([&](i64 w) { return to(w), high; }, [&](i64 w) { return to(w), std::max<i64>(0, high - lo + 1); });
  }
  bool long_run(bool apart) {
    i64 shortest = axis_.kernel;  // windows cut by an edge do not count
    if (axis_.kind != AxisKind::sliding) {
      shortest = size_;
      for (i64 j = 0; j < axis_.out && apart && shortest >= 2 * L; ++j)
        shortest = std::min(shortest, interval(axis_, j, 0).n);
    }
    return long_windows_ = apart && shortest >= 2 * L;
  }
};

template <class T>
class Spread {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  static constexpr i64 L = lanes<A>;

  // Where the pattern of the columns allows it, a plane is cut into blocks: of columns, or of rows of the last axis but
  // one.
  static i64 block_length(const Grid& g, const Columns<A>& columns) {
    constexpr i64 cells = i64(1) << 13;
    if (g.rank == 3) return g.axes[1].size;
    if (g.rank == 1)
      return columns.repeats() ? std::max<i64>(1, cells / columns.period()) * columns.period() : g.axes[0].size;
    const i64 step = g.axes[0].kind == AxisKind::sliding ? g.axes[0].stride : 1;
    return std::min(g.axes[0].size, std::max<i64>(1, cells / (step * g.axes[1].size)) * step);
  }
  static i64 blocks(const Grid& g, const Columns<A>& columns) {
    if (g.rank == 3) return g.axes[0].size;
    return ceil_div(g.axes[0].size, block_length(g, columns));
  }

  Spread(const Grid& grid, const Columns<A>& to_columns, const Shares<T>& to_shares, const View& dy, const View& dx)
      : g(grid),
        columns(to_columns),
        shares(to_shares),
        from_(static_cast<const T*>(dy.data)),
        to_(static_cast<T*>(dx.data)) {
    for (int i = 0; i + 1 < g.rank; ++i) turned_[i] = transpose(g.axes[i], false);
    if (g.rank > 1 && g.axes[g.rank - 2].size <= tabulated) {
      const Axis& rows = turned_[g.rank - 2];
      table_ = table_memory_.take(rows.out);
      for (i64 h = 0; h < rows.out; ++h) table_[h] = interval(rows, h, 0);
    }
  }

  void unit(i64 index) {
    const i64 per_plane = blocks(g, columns), length = block_length(g, columns), block = index % per_plane;
    const Place plane = place(g, index / per_plane);
    const T* const from = from_ + plane.dst;
    T* const to = to_ + plane.src;
    if (g.rank == 1) return line(from, to, block * length, std::min(length, g.axes[0].size - block * length));
    if (g.rank == 2) return rows(from, to, {0, 1}, 1, block * length, std::min(g.axes[0].size, (block + 1) * length));
    rows(from, to + block * g.src[0], interval(turned_[0], block, 0), step_of(turned_[0]), 0, g.axes[1].size);
  }

 private:
  static constexpr i64 tabulated = 4096;
  const Grid& g;
  const Columns<A>& columns;
  const Shares<T>& shares;
  const T* from_;
  T* to_;
  Axis turned_[3];
  Scratch<Interval> table_memory_;
  Interval* table_ = nullptr;
  Scratch<A> shares_memory_, sum_memory_, row_memory_;
  i64 clear_ = 0;  // elements of the shares' memory that hold zeros but for the outputs

  i64 pitch(i64 out) const { return (columns.front() + out + columns.back() + L - 1) / L * L; }
  A* room(i64 rows, i64 row_pitch) {
    A* const memory = shares_memory_.take(rows * row_pitch);
    if (rows * row_pitch > clear_) {
      clear_ = rows * row_pitch;
      std::memset(static_cast<void*>(memory), 0, clear_ * sizeof(A));
    }
    return memory + columns.front();
  }

  // A single row, from cell `at` on.
  void line(const T* from, T* to, i64 at, i64 n) {
    const Axis& a = g.axes[0];
    const i64 first = columns.repeats() ? at / columns.period() * columns.advance() : 0;
    const i64 needed =
        columns.repeats() ? ceil_div(n, columns.period()) * columns.advance() + columns.back() + L : a.out;
    // The terms of the first cells begin before the block's own outputs.
    const i64 begin = std::max<i64>(0, first - columns.front()), end = std::min(a.out, first + needed);
    const i64 row_pitch = pitch(std::max<i64>(needed, end - begin) + columns.front());
    if (clear_ != row_pitch) clear_ = 0;
    A* const row = room(1, row_pitch);
    if (begin < end) shares(from, nullptr, begin, end - begin, row + (begin - first));
    A* const rest = row + std::max<i64>(0, end - first);
    std::memset(static_cast<void*>(rest), 0, (row - columns.front() + row_pitch - rest) * sizeof(A));
    if (first == 0) std::memset(static_cast<void*>(row - columns.front()), 0, columns.front() * sizeof(A));
    spread(row, to + at, n, 1, 0);
  }

  Interval taps(i64 h) const { return table_ != nullptr ? table_[h] : interval(turned_[g.rank - 2], h, 0); }

  // Cells of rows [begin, end), of one slice that `slices` of the outputs saw.
  void rows(const T* from, T* to, Interval slices, i64 slice_step, i64 begin, i64 end) {
    const int h = g.rank - 2;
    const Axis& a = g.axes[h];
    const i64 out = g.last().out, step = step_of(turned_[h]), row_pitch = pitch(out);
    // Outputs that any of the rows has seen. Dilated windows see a row's neighbour from an earlier output than itself.
    i64 low = a.out, high = 0;
    for (i64 r = begin; r < end; ++r) {
      const Interval k = taps(r);
      if (k.n > 0) low = std::min(low, k.start), high = std::max(high, k.start + (k.n - 1) * step + 1);
    }
    low = std::min(low, high);
    const i64 lines = high - low;
    A* const block = room(std::max<i64>(1, slices.n * lines), row_pitch);
    for (i64 d = 0; d < slices.n; ++d)
      for (i64 k = 0; k < lines; ++k) {
        i64 o[3] = {low + k, 0, 0};
        const T* row = from + (low + k) * g.dst[h];
        if (h == 1) o[0] = slices.start + d * slice_step, o[1] = low + k, row += o[0] * g.dst[0];
        shares(row, o, 0, out, block + (d * lines + k) * row_pitch);
      }
    const bool tiled = a.kind == AxisKind::sliding && a.before == 0 && a.kernel == a.stride && a.dilation == 1;
    for (i64 r = begin; r < end;) {
      const Interval k = taps(r);
      i64 alike = 1;
      if (tiled)
        alike = std::min(end - r, a.stride - r % a.stride);
      else
        for (; r + alike < end; ++alike) {
          const Interval next = taps(r + alike);
          if (next.n != k.n || next.start != k.start) break;
        }
      spread(sum(block, row_pitch, lines, slices.n, k.start - low, step, k.n), to + r * g.src[h], g.last().size, alike,
             g.src[h]);
      r += alike;
    }
  }

  // The sum of a lattice of rows of shares; nullptr for none.
  const A* sum(const A* block, i64 row_pitch, i64 lines, i64 slices, i64 first, i64 step, i64 n) {
    if (slices * n == 0) return nullptr;
    const A* const top = block + first * row_pitch;
    if (slices * n == 1) return top;
    A* const to = sum_memory_.take(row_pitch);
    const A* const from = top - columns.front();
    for (i64 i = 0; i < row_pitch; i += L) {
      V all{};
      for (i64 d = 0; d < slices; ++d)
        for (i64 k = 0; k < n; ++k) all += load<V>(from + (d * lines + k * step) * row_pitch + i);
      store(to + i, all);
    }
    return to + columns.front();
  }

  // One row of cells, and copies of it.
  void spread(const A* from, T* to, i64 n, i64 alike, i64 to_pitch) {
    if (from == nullptr) {
      for (i64 k = 0; k < alike; ++k) std::memset(static_cast<void*>(to + k * to_pitch), 0, n * sizeof(T));
      return;
    }
    if constexpr (std::is_same_v<A, T>) {
      columns(from, to, n);
    } else {
      A* const row = row_memory_.take(n);
      columns(from, row, n);
      narrow_all(row, to, n);
    }
    for (i64 k = 1; k < alike; ++k) copy(to, to + k * to_pitch, n);
  }
  static void copy(const T* from, T* to, i64 n) {
    if constexpr (std::is_same_v<A, T>)
      map_row(from, to, n, [](V v) { return v; });
    else
      std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
  }
};

// Neighbouring planes whose cells one window takes whole are one long row.
static inline void join_rows(Grid& g) {
  Axis& a = g.axes[0];
  if (g.rank != 1 || g.run != 1 || g.planes_rank != 1 || !whole(a) || g.plane_src[0] != a.size || g.plane_dst[0] != 1)
    return;
  const i64 planes = g.plane_size[0];
  a = {AxisKind::sliding, a.size * planes, planes, a.size, a.size, 0, 0, 1, nullptr, 0};
  g.dst[0] = 1, g.plane_size[0] = 1, g.origin[0] = -1;
}

// Whether both grids' outputs lie in one piece, in the same order.
static inline bool dense_planes(const Grid& a, const Grid& b) {
  i64 next = a.run;
  for (int i = a.rank - 1; i >= 0; --i) {
    if (a.axes[i].out > 1 && (a.dst[i] != next || b.dst[i] != next)) return false;
    next *= a.axes[i].out;
  }
  for (int i = a.planes_rank - 1; i >= 0; --i) {
    if (a.plane_size[i] > 1 && (a.plane_dst[i] != next || b.plane_dst[i] != next)) return false;
    next *= a.plane_size[i];
  }
  return a.planes_rank == b.planes_rank && a.rank == b.rank;
}

// The shares of a part of dy, all of them, as it lies in memory: a view over `memory`.
template <class T>
static View shares_of(const Problem& pr, const View& dy, const View& dx, Scratch<acc_t<T>>& memory) {
  using A = acc_t<T>;
  const View to =
      dense_like(dy, pr.rank, dx.stride[1] == 1 && dx.shape[1] > 1, sizeof(A) == 8 ? DType::f64 : DType::f32, memory);
  const Grid g = make_grid(pr, dx, dy, Merge::none), dense = make_grid(pr, dx, to, Merge::none);
  const Shares<T> shares(pr, g);
  i64 rows = 1;
  const int w = g.rank - 1;
  for (int i = 0; i < w; ++i) rows *= g.axes[i].out;
  const bool flat = shares.even() && dense_planes(g, dense);
  for (i64 plane = 0; plane < (flat ? 1 : g.planes()); ++plane) {
    const T* const from = static_cast<const T*>(dy.data) + place(g, plane).dst;
    A* const at = static_cast<A*>(to.data) + place(dense, plane).dst;
    if (flat) {
      const i64 n = g.planes() * rows * g.last().out * g.run;
      shares.divide(widened(from, 1, n, 1, at), at, n, shares.outer());
      break;
    }
    i64 o[3] = {};
    for (i64 row = 0; row < rows; ++row) {
      i64 source = 0, target = 0;
      for (int i = 0; i < w; ++i) source += o[i] * g.dst[i], target += o[i] * dense.dst[i];
      shares(from + source, o, 0, g.last().out, at + target);
      for (int i = w - 1; i >= 0 && ++o[i] == g.axes[i].out; --i) o[i] = 0;
    }
  }
  return to;
}

// dx of a sum or a mean; false for windows that it does not know.
template <class T>
static bool spread(const Problem& pr, const View& dy, const View& dx, const Exec& exec) {
  using A = acc_t<T>;
  if (pr.reducer != Reducer::Sum && pr.reducer != Reducer::Mean) return false;
  for (int i = 0; i < pr.rank; ++i)
    if (pr.axes[i].plane_stride != 0) return false;
  Grid g = make_grid(pr, dx, dy, Merge::all);
  if (g.run == 1 && g.src[g.rank - 1] == 1) {
    const Shares<T> shares(pr, g);
    if (shares.even()) join_rows(g);
    const Columns<A> columns(g.last());
    if (columns.good()) {
      const i64 units = g.planes() * Spread<T>::blocks(g, columns);
      i64 cells = g.planes();
      for (int i = 0; i < g.rank; ++i) cells *= g.axes[i].size;
      parallel(exec, units, std::max<i64>(1, (i64(1) << 15) * units / std::max<i64>(1, cells)),
               [&](i64 begin, i64 end) {
                 Spread<T> rows(g, columns, shares, dy, dx);
                 for (i64 u = begin; u < end; ++u) rows.unit(u);
               });
      return true;
    }
  }
  // Else a part's shares are folded over the transposed windows while they are in cache.
  i64 outs = 1;
  for (int i = 0; i < pr.rank; ++i) outs *= dy.shape[2 + i];
  constexpr i64 most = i64(1) << 17;
  const bool last = dx.stride[1] == 1 && dx.shape[1] > 1;
  if (outs > most || (last && dy.stride[1] != 1)) return false;
  each_part(
      pr, dx, dy, nullptr, nullptr, exec,
      [&](const Problem& problem, const View& cells, const View& grad, const View*, const View*, const Exec& threads) {
        Scratch<A> memory;
        const View shares = shares_of<T>(problem, grad, cells, memory);
        Problem turned = problem;
        for (int i = 0; i < pr.rank; ++i) turned.axes[i] = transpose(problem.axes[i], false);
        fold_simple<Plain<A, Sum>, A, T>(turned, shares, cells, nullptr, threads);
      });
  return true;
}

}  // namespace poolkit::POOLKIT_ISA_NS

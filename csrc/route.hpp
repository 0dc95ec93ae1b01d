// The gradient of chosen taps, output by output: dx[chosen tap] += dy. Work and order are those of the outputs alone.
// One thread owns a plane (or a block of contiguous channels of a sample), so the result never depends on how many
// there are.
#pragma once

#include <algorithm>
#include <atomic>

#include "exec.hpp"
#include "half.hpp"
#include "intervals.hpp"
#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// The taps of a window's box, as far as they fit a table: where each lies, seen from the first one, and its slice, row
// and column in the box.
struct TapTable {
  static constexpr i64 most = 256;
  i64 at[most];
  std::uint8_t slice[most], row[most], column[most];
};

// The loops that matter, by themselves: with all that surrounds them they run out of registers. False: an offset is no
// tap.

// Windows with all their taps that follow each other `step` elements apart.
template <class A, class T, class O>
[[gnu::noinline]] static bool route_even(const O* tags, const T* grads, i64 step, i64 n, const i64* table, i64 taps,
                                         A* to) {
  O most = 0;
  for (i64 j = 0; j < n; ++j) most = std::max(most, tags[j]);
  if (i64(most) >= taps) return false;
  i64 j = 0;
  // One load for eight tags: what limits this loop is loads.
  if constexpr (sizeof(O) == 1)
    for (; j + 8 <= n; j += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, tags + j, sizeof eight);
      for (int k = 0; k < 8; ++k, to += step) to[table[eight >> 8 * k & 255]] += widen(grads[j + k]);
    }
  for (; j < n; ++j, to += step) to[table[tags[j]]] += widen(grads[j]);
  return true;
}
// Windows that may lack taps: only the first of each axis are there.
template <class A, class T, class O>
[[gnu::noinline]] static bool route_clipped(const O* tags, i64 next_tag, const T* grads, i64 next_grad,
                                            const i64* column, const Interval* columns, i64 slices, i64 rows, i64 n,
                                            const TapTable& table, i64 taps, A* to) {
  bool good = true;
  for (i64 j = 0; j < n; ++j) {
    const i64 t = i64(tags[j * next_tag]);
    if (t < taps && table.column[t] < columns[j].n && table.row[t] < rows && table.slice[t] < slices)
      to[column[j] + table.at[t]] += widen(grads[j * next_grad]);
    else
      good = false;
  }
  return good;
}
template <class A, class T, class O>
[[gnu::noinline]] static bool route_side_by_side(const O* tags, const T* grads, i64 n, const i64* table, i64 taps,
                                                 A* to) {
  bool good = true;
  for (i64 e = 0; e < n; ++e) {
    const i64 t = i64(tags[e]);
    if (t < taps)
      to[table[t] + e] += widen(grads[e]);
    else
      good = false;
  }
  return good;
}

// The gradients of one call. O is the unsigned type that offsets are stored in.
template <class T, class O>
class Route {
 public:
  using A = acc_t<T>;

  Route(const Problem& problem, const View& grads, const View& cells, const View* input, const View& chosen)
      : pr(problem), dy(grads), dx(cells), x(input), offsets(chosen), windows_(problem) {
    const int R = pr.rank;
    bool starts = false, dense = true;
    for (int i = 0; i < R; ++i) {
      const int k = 3 - R + i;
      box_[k] = longest(pr.axes[i]), step_[k] = step_of(pr.axes[i]), size_[k] = dx.shape[2 + i];
      dy_[k] = dy.stride[2 + i], dx_[k] = dx.stride[2 + i], tags_[k] = offsets.stride[2 + i];
      if (x != nullptr) x_[k] = x->stride[2 + i];
      starts |= pr.axes[i].plane_stride != 0;
    }
    taps_ = box_[0] * box_[1] * box_[2], cells_ = size_[0] * size_[1] * size_[2];
    const i64 channels = dx.shape[1];
    const bool together = !starts && channels > 1 && dx.stride[1] == 1 && dy.stride[1] == 1 && offsets.stride[1] == 1;
    group_ = together ? std::min<i64>(channels, 64) : 1, groups_ = (channels + group_ - 1) / group_;
    for (i64 k = 2, next = group_; k >= 0; next *= size_[k--]) {
      line_[k] = next;
      dense &= size_[k] == 1 || dx_[k] == next;
    }
    dense_ = dense, in_place_ = std::is_same_v<A, T> && (together || dense);
    if (in_place_) std::copy(dx_, dx_ + 3, line_);
    if (!in_place_) beside_.take(cells_ * group_);
    // Not windows that are longer than the axis: all of them have all of its cells.
    even_ = pr.axes[R - 1].kind == AxisKind::sliding && box_[2] == pr.axes[R - 1].kernel;
    magnitude_ = pr.reducer == Reducer::Lp, plain_ = !pr.params.sample && !magnitude_ && taps_ <= TapTable::most;
    for (i64 t = 0; t < std::min(taps_, TapTable::most); ++t) {
      table_.at[t] = displacement(t);
      table_.slice[t] = std::uint8_t(t / (box_[1] * box_[2]));
      table_.row[t] = std::uint8_t(t / box_[2] % box_[1]), table_.column[t] = std::uint8_t(t % box_[2]);
    }
    column_ = column_memory_.take(windows_.out(2));
    find_columns();
  }
  i64 units() const { return dx.shape[0] * groups_; }
  i64 work() const { return (cells_ + windows_.out(0) * windows_.out(1) * windows_.out(2)) * group_; }

  // A plane, or the planes of a group. False: an offset is no tap.
  bool unit(i64 number) {
    const i64 n = number / groups_, c = number % groups_ * group_, plane = n * dx.shape[1] + c;
    const i64 width = std::min(group_, dx.shape[1] - c);
    if (windows_.turn_to(plane)) find_columns();
    T* const to = static_cast<T*>(dx.data) + n * dx.stride[0] + c * dx.stride[1];
    A* sum = nullptr;
    if constexpr (std::is_same_v<A, T>)
      if (in_place_) sum = to;
    if (sum == nullptr) sum = beside_.take(cells_ * group_);
    clear(sum, width);
    bool good = true;
    for (i64 a = 0; a < windows_.out(0); ++a)
      for (i64 b = 0; b < windows_.out(1); ++b) {
        const i64 from = n * dy.stride[0] + c * dy.stride[1] + a * dy_[0] + b * dy_[1];
        const i64 tag = n * offsets.stride[0] + c * offsets.stride[1] + a * tags_[0] + b * tags_[1];
        const T* const grads = static_cast<const T*>(dy.data) + from;
        const O* const tags = static_cast<const O*>(offsets.data) + tag;
        A* const target = sum + windows_[0][a].start * line_[0] + windows_[1][b].start * line_[1];
        good &= row(grads, tags, a, b, n, c, width, target);
      }
    if (!in_place_) put(sum, to, width);
    return good;
  }

 private:
  const Problem& pr;
  const View &dy, &dx;
  const View* x;
  const View& offsets;
  Intervals windows_;
  // line_: where sums lie, in dx or dense beside it.
  i64 box_[3] = {1, 1, 1}, step_[3] = {1, 1, 1}, size_[3] = {1, 1, 1};
  i64 dy_[3] = {}, dx_[3] = {}, x_[3] = {}, tags_[3] = {}, line_[3];
  i64 taps_, cells_, group_, groups_, full_[2];
  bool dense_, in_place_, even_, plain_, magnitude_;
  TapTable table_;
  Scratch<A> beside_;
  Scratch<i64> column_memory_;
  i64* column_;

  i64 displacement(i64 t) const {
    return t / (box_[1] * box_[2]) * step_[0] * line_[0] + t / box_[2] % box_[1] * step_[1] * line_[1] +
           t % box_[2] * step_[2] * line_[2];
  }
  void find_columns() {
    const Interval* const columns = windows_[2];
    const i64 n = windows_.out(2);
    for (i64 j = 0; j < n; ++j) column_[j] = columns[j].start * line_[2];
    // Windows with all their taps, if they stand together.
    full_[0] = 0;
    while (full_[0] < n && columns[full_[0]].n != box_[2]) ++full_[0];
    full_[1] = full_[0];
    while (full_[1] < n && columns[full_[1]].n == box_[2]) ++full_[1];
  }

  void clear(A* sum, i64 width) const {
    if (!in_place_ || dense_) return std::memset(static_cast<void*>(sum), 0, cells_ * group_ * sizeof(A)), void();
    for (i64 a = 0; a < size_[0]; ++a)
      for (i64 b = 0; b < size_[1]; ++b)
        for (i64 j = 0; j < size_[2]; ++j)
          std::memset(static_cast<void*>(sum + a * line_[0] + b * line_[1] + j * line_[2]), 0, width * sizeof(A));
  }
  void put(const A* sum, T* to, i64 width) const {
    for (i64 a = 0; a < size_[0]; ++a)
      for (i64 b = 0; b < size_[1]; ++b)
        for (i64 j = 0; j < size_[2]; ++j, sum += group_)
          for (i64 e = 0; e < width; ++e)
            to[a * dx_[0] + b * dx_[1] + j * dx_[2] + e * dx.stride[1]] = narrow<T>(sum[e]);
  }

  bool row(const T* grads, const O* tags, i64 a, i64 b, i64 n, i64 c, i64 width, A* target) const {
    const i64 columns = windows_.out(2), slices = windows_[0][a].n, rows = windows_[1][b].n;
    const bool whole = slices == box_[0] && rows == box_[1];
    bool good = true;
    if (plain_ && width == 1) {
      const auto clipped = [&](i64 from, i64 to) {
        if (from < to)
          good &= route_clipped(tags + from * tags_[2], tags_[2], grads + from * dy_[2], dy_[2], column_ + from,
                                windows_[2] + from, slices, rows, to - from, table_, taps_, target);
      };
      const bool even = whole && even_ && tags_[2] == 1 && dy_[2] == 1;
      const i64 from = even ? full_[0] : columns, to = even ? full_[1] : columns;
      clipped(0, from);
      if (from < to)
        good &= route_even(tags + from, grads + from, pr.axes[pr.rank - 1].stride * line_[2], to - from, table_.at,
                           taps_, target + column_[from]);
      clipped(to, columns);
      return good;
    }
    for (i64 j = 0; j < columns; ++j) {
      const O* const tag = tags + j * tags_[2];
      const T* const grad = grads + j * dy_[2];
      if (plain_ && whole && windows_[2][j].n == box_[2])
        good &= route_side_by_side(tag, grad, width, table_.at, taps_, target + column_[j]);
      else
        good &= window(grad, tag, a, b, j, n, c, width, target + column_[j]);
    }
    return good;
  }

  // Any window of any reducer, side by side.
  bool window(const T* grads, const O* tags, i64 a, i64 b, i64 j, i64 n, i64 c, i64 width, A* target) const {
    constexpr i64 none = sizeof(O) == 4 ? 0x7fffffff : i64(O(-1));
    bool good = true;
    for (i64 e = 0; e < width; ++e) {
      const i64 t = i64(tags[e]);
      if (pr.params.sample && t == none) continue;
      const i64 tap[3] = {t / (box_[1] * box_[2]), t / box_[2] % box_[1], t % box_[2]};
      if (t >= taps_ || tap[0] >= windows_[0][a].n || tap[1] >= windows_[1][b].n || tap[2] >= windows_[2][j].n) {
        good = false;
        continue;
      }
      A grad = widen(grads[e]);
      if (magnitude_) {
        i64 q = n * x->stride[0] + (c + e) * x->stride[1];
        const i64 place[3] = {a, b, j};
        for (int k = 0; k < 3; ++k) q += (windows_[k][place[k]].start + tap[k] * step_[k]) * x_[k];
        const A v = widen(static_cast<const T*>(x->data)[q]);
        grad = v > 0 ? grad : v < 0 ? -grad : A(0);
      }
      target[(t < TapTable::most ? table_.at[t] : displacement(t)) + e] += grad;
    }
    return good;
  }
};

template <class T, class O>
static void route_offsets(const Problem& pr, const View& dy, const View& dx, const View* x, const View& offsets,
                          std::atomic<bool>& outside, const Exec& exec) {
  Route<T, O> first(pr, dy, dx, x, offsets);
  const i64 units = first.units();
  const auto run = [&](Route<T, O>& gradients, i64 begin, i64 end) {
    for (i64 unit = begin; unit < end; ++unit)
      if (!gradients.unit(unit)) outside.store(true, std::memory_order_relaxed);
  };
  parallel(exec, units, std::max<i64>(1, (i64(1) << 15) / first.work()), [&](i64 begin, i64 end) {
    if (end - begin == units) return run(first, begin, end);
    Route<T, O> own(pr, dy, dx, x, offsets);
    run(own, begin, end);
  });
}

// outside: set when an offset is no tap.
template <class T>
static void route(const Problem& pr, const View& dy, const View& dx, const View* x, const View& offsets,
                  std::atomic<bool>& outside, const Exec& exec) {
  switch (offsets.dtype) {
    case DType::u8:
      return route_offsets<T, std::uint8_t>(pr, dy, dx, x, offsets, outside, exec);
    case DType::i16:
      return route_offsets<T, std::uint16_t>(pr, dy, dx, x, offsets, outside, exec);
    default:
      return route_offsets<T, std::uint32_t>(pr, dy, dx, x, offsets, outside, exec);
  }
}

}  // namespace poolkit::POOLKIT_ISA_NS

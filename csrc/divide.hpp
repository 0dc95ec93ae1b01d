// Division by the taps behind each output: tables made once, rows and whole planes at a time.
#pragma once

#include <bit>
#include <cmath>

#include "rows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class C>
class Divider {
 public:
  using A = typename C::A;

  Divider(const Grid& grid, const Counts& taps) : g(grid), counts(taps) {}

  // Output rows r .. r + n (of one plane, or of several that follow each other) divided by their taps.
  void operator()(A* rows, i64 row_pitch, const Place& plane, i64 slice, i64 r, i64 n, i64 c0, i64 c1) {
    const int R = g.rank;
    const i64 cols = c1 - c0, len = cols * g.run;
    if (counts.divisor > 0) return scale_rows(rows, row_pitch, n, len, A(counts.divisor));
    tabulate(plane, c0, c1);
    i64 outer = counts.padded ? g.joined_padded : g.joined_taps;
    if (R == 3) outer *= counts.of(g, 0, slice, plane.window);
    const A* line = line_counts_.take(0).v;
    const A* col = column_counts_.take(0).v;
    if (even_lines_ && even_columns_) return scale_rows(rows, row_pitch, n, len, A(outer) * line[0] * col[0]);
    const i64 lines = even_lines_ ? 1 : g.axes[R - 2].out;  // after which they repeat
    if (g.run == 1 && row_pitch == cols && r % lines == 0 && n % lines == 0 && lines * cols <= 4096)
      return divide_planes(rows, n / lines, lines, cols, A(outer));
    for (i64 i = 0; i < n; ++i) {
      A* row = rows + i * row_pitch;
      const A times = A(outer) * line[(r + i) % lines];
      if (even_columns_) {
        scale(row, len, times * col[0]);
      } else if (g.run == 1) {
        A* const table = divisors_.take(cols).v;
        for (i64 j = 0; j < cols; ++j) table[j] = col[j] * times;
        divide_by(row, table, cols);
      } else {
        for (i64 j = 0; j < cols; ++j) scale(row + j * g.run, g.run, col[j] * times);
      }
    }
  }

  // A quotient that is infinite or NaN: its sum may have overflowed on the way.
  void report() const {
    if constexpr (std::is_floating_point_v<A>) {
      if (counts.not_finite == nullptr) return;
      for (int k = 0; k < L; ++k)
        if (not_finite_[k] != 0) counts.not_finite->store(true, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr i64 L = lanes<A>;
  const Grid& g;
  const Counts& counts;

  // Whole planes without a gap: one table of divisors, wrapped round so that vectors may cross from plane to plane.
  void divide_planes(A* rows, i64 planes, i64 lines, i64 cols, A outer) {
    const i64 period = lines * cols, total = planes * period;
    A* const table = divisors_.take(period + L).v;
    const A *line = line_counts_.take(0).v, *col = column_counts_.take(0).v;
    for (i64 i = 0; i < lines; ++i)
      for (i64 j = 0; j < cols; ++j) table[i * cols + j] = outer * line[i] * col[j];
    for (i64 i = 0; i < L; ++i) table[period + i] = table[i % period];
    if (period < L) return divide_wrapped(rows, table, period, total);
    i64 at = 0;
    for (i64 i = 0; i + L <= total; i += L) {
      divide_by(rows + i, table + at, L);
      at += L;
      if (at >= period) at -= period;
    }
    divide_by(rows + total / L * L, table + at, total % L);
  }
  void divide_wrapped(A* rows, const A* table, i64 period, i64 total) {
    for (i64 i = 0; i < total; i += period) divide_by(rows + i, table, period);
  }
  void divide_by(A* row, const A* table, i64 n) {
    if constexpr (std::is_integral_v<A>) {
      divide_whole(row, n, [=](i64 i) { return table[i]; });
    } else {
      using V = vec<A>;
      V odd = not_finite_;
      i64 i = 0;
      for (; i + L <= n; i += L) {
        const V q = load<V>(row + i) / load<V>(table + i);
        odd += q - q;
        store(row + i, q);
      }
      for (; i < n; ++i) {
        row[i] /= table[i];
        odd[0] += row[i] - row[i];
      }
      not_finite_ = odd;
    }
  }
  // Taps of every line and of columns [c0, c1), kept for the planes that follow.
  void tabulate(const Place& plane, i64 c0, i64 c1) {
    const int R = g.rank;
    const bool same_windows = g.last().plane_stride == 0 && (R < 2 || g.axes[R - 2].plane_stride == 0);
    if (counted_[0] == c0 && counted_[1] == c1 && (same_windows || counted_[2] == plane.window)) return;
    const bool lines_known = counted_[0] >= 0 && (same_windows || counted_[2] == plane.window);
    counted_[0] = c0, counted_[1] = c1, counted_[2] = plane.window;
    const auto fill = [&](A* table, int axis, i64 from, i64 to) {
      bool even = true;
      if (g.origin[axis] < 0) to = from + 1;  // all alike
      for (i64 j = from; j < to; ++j) {
        table[j - from] = A(counts.of(g, axis, j, plane.window));
        even &= table[j - from] == table[0];
      }
      return even;
    };
    if (!lines_known) {
      const i64 lines = R >= 2 ? g.axes[R - 2].out : 1;
      A* table = line_counts_.take(lines).v;
      table[0] = 1;
      even_lines_ = R < 2 || fill(table, R - 2, 0, lines);
    }
    even_columns_ = fill(column_counts_.take(c1 - c0).v, R - 1, c0, c1);
  }
  void scale_rows(A* rows, i64 row_pitch, i64 n, i64 len, A by) {
    if (row_pitch == len) return scale(rows, n * len, by);
    for (i64 i = 0; i < n; ++i) scale(rows + i * row_pitch, len, by);
  }
  // Below 2^50 a quotient of doubles rounds to what the exact one rounds to: unless that is a tie, it is farther from
  // one than the error. Adding 1.5 * 2^52 leaves the integer in the lowest bits.
  template <class By>
  static void divide_whole(A* row, i64 n, By by) {
    constexpr double shift = 0x1.8p52;
    constexpr i64 bits = std::bit_cast<i64>(shift);
    if constexpr (sizeof(A) == 8) {
      std::uint64_t high = 0;
      for (i64 i = 0; i < n; ++i) high |= (std::uint64_t(row[i]) + (1ull << 50)) | std::uint64_t(by(i));
      if (high >> 51 != 0) {
        for (i64 i = 0; i < n; ++i) row[i] = rounded(row[i], by(i));
        return;
      }
    }
    const auto real = [](A v) {
      if constexpr (sizeof(A) == 8)
        return std::bit_cast<double>(v + bits) - shift;  // no instruction of AVX2 converts these
      else
        return double(v);
    };
    for (i64 i = 0; i < n; ++i) row[i] = A(std::bit_cast<i64>(real(row[i]) / real(by(i)) + shift) - bits);
  }
  // Integers round to the nearest, ties to even.
  static A rounded(A v, A by) {
    A q = v / by, r = v % by;
    if (r < 0) r += by, --q;
    return q + (2 * r > by || (2 * r == by && (q & 1)));
  }
  void scale(A* row, i64 n, A by) {
    if constexpr (std::is_integral_v<A>) {
      divide_whole(row, n, [=](i64) { return by; });
    } else {
      // By a power of two the product is the same number, and sooner there.
      int exponent;
      if (std::frexp(by, &exponent) == A(0.5)) return each_quotient(row, n, [=, m = 1 / by](auto v) { return v * m; });
      each_quotient(row, n, [=](auto v) { return v / by; });
    }
  }

  template <class Quotient>
  void each_quotient(A* row, i64 n, Quotient&& quotient) {
    using V = vec<A>;
    V odd = not_finite_;
    i64 i = 0;
    for (; i + L <= n; i += L) {
      const V q = quotient(load<V>(row + i));
      odd += q - q;
      store(row + i, q);
    }
    for (; i < n; ++i) {
      row[i] = quotient(row[i]);
      odd[0] += row[i] - row[i];
    }
    not_finite_ = odd;
  }

  Rows<C> line_counts_, column_counts_, divisors_;
  i64 counted_[3] = {-1, -1, -1};
  bool even_lines_ = true, even_columns_ = true;
  vec<A> not_finite_{};
};

}  // namespace poolkit::POOLKIT_ISA_NS

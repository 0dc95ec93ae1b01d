// What stands before and after a fold: conversions, the powers and exponentials taken of each input (pre), and what
// turns a folded state into the output (post). Each reducer's scale is chosen per block so that nothing overflows;
// the few windows that fall out of the scaled range go to direct.hpp.
#pragma once

#include "direct.hpp"
#include "fold.hpp"
#include "vmath.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Rows of a view as the grid sees it.
template <class T>
static inline T* row_of(void* data, const Spot& s, const i64* stride, i64 plane, int rank) {
  i64 at = plane;
  for (int i = 0; i < rank; ++i) at += s.pos[i] * stride[i];
  return static_cast<T*>(data) + at;
}

template <class A, class T>
static inline void widen_row(const T* src, i64 stride, i64 n, i64 run, A* dst) {
  if (stride == run) {
    n *= run;
    for (i64 i = 0; i < n; ++i) dst[i] = A(widen(src[i]));
  } else {
    for (i64 i = 0; i < n; ++i)
      for (i64 e = 0; e < run; ++e) dst[i * run + e] = A(widen(src[i * stride + e]));
  }
}
template <class T, class A>
static inline void narrow_row(const A* src, i64 stride, i64 n, i64 run, T* dst) {
  const auto one = [](A v) {
    if constexpr (std::is_integral_v<T>)
      return T(v);
    else
      return narrow<T>(acc_t<T>(v));
  };
  if (stride == run) {
    n *= run;
    for (i64 i = 0; i < n; ++i) dst[i] = one(src[i]);
  } else {
    for (i64 i = 0; i < n; ++i)
      for (i64 e = 0; e < run; ++e) dst[i * stride + e] = one(src[i * run + e]);
  }
}

// Reads T, folds in C::A, writes U. Magnitude: |x| in place of x.
template <class C, class T, class U, bool Magnitude = false>
struct Convert final : Io<C> {
  using A = typename C::A;
  using Row = typename C::Row;
  const Grid& g;
  const View &x, &y;
  Convert(const Grid& grid, const View& in, const View& out) : g(grid), x(in), y(out) {}

  bool takes_blocks() const override { return true; }
  void load(int, const Spot& s, i64 n, Row dst) override {
    const int last = g.rank - 1;
    widen_row(row_of<T>(x.data, s, g.src, s.plane.src, g.rank), g.src[last], n, g.run, dst.v);
    if constexpr (Magnitude)
      for (i64 i = 0; i < n * g.run; ++i) dst.v[i] = dst.v[i] < 0 ? -dst.v[i] : dst.v[i];
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    const int last = g.rank - 1;
    narrow_row(rows[0].v, g.dst[last], n, g.run, row_of<U>(y.data, s, g.dst, s.plane.dst, g.rank));
  }
};

// A second look at means that came out infinite or NaN: the same fold of inputs a power of two smaller.
template <class T>
struct Rescale final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using Row = typename Plain<A, Sum>::Row;
  static constexpr A factor = A(sizeof(A) == 4 ? 0x1p32 : 0x1p64);
  const Grid& g;
  const View &x, &y;
  Rescale(const Grid& grid, const View& in, const View& out) : g(grid), x(in), y(out) {}

  void load(int, const Spot& s, i64 n, Row dst) override {
    widen_row(row_of<T>(x.data, s, g.src, s.plane.src, g.rank), g.src[g.rank - 1], n, g.run, dst.v);
    for (i64 i = 0; i < n * g.run; ++i) dst.v[i] *= 1 / factor;
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    T* const out = row_of<T>(y.data, s, g.dst, s.plane.dst, g.rank);
    for (i64 j = 0; j < n; ++j)
      for (i64 e = 0; e < g.run; ++e) {
        T& v = out[j * g.dst[g.rank - 1] + e];
        const A old = widen(v);
        if (old - old != 0) v = narrow<T>(rows[0].v[j * g.run + e] * factor);
      }
  }
};

// Output coordinates in the problem's own terms, for direct.hpp.
struct Origin {
  i64 n, c, o[3];
};
static inline Origin origin_of(const Grid& g, const View& x, const Spot& s, i64 j, i64 e) {
  Origin k{0, 0, {0, 0, 0}};
  const i64 down = j / s.columns;
  const i64 window = s.plane.window + (g.rank == 1 ? down : 0);
  if (g.channels_last) {
    k.n = window, k.c = e % x.shape[1];
  } else {
    k.n = window / x.shape[1], k.c = window % x.shape[1];
  }
  for (int i = 0; i < g.rank; ++i) k.o[g.origin[i]] = s.pos[i];
  k.o[g.origin[g.rank - 1]] += j % s.columns;
  if (g.rank > 1) k.o[g.origin[g.rank - 2]] += down;
  return k;
}

// A row of any view of the outputs (or, in a backward fold, of the inputs): element e of position j is
// at[j * per_position + e * per_element]. For grids without single-tap merges.
template <class T>
struct Line {
  T* at;
  i64 per_position, per_element;

  Line(const View& v, const Grid& g, const Spot& s) {
    const Origin k = origin_of(g, v, s, 0, 0);
    i64 offset = k.n * v.stride[0] + k.c * v.stride[1];
    for (int i = 0; i < g.rank; ++i) offset += s.pos[i] * v.stride[2 + g.origin[i]];
    at = static_cast<T*>(v.data) + offset;
    per_position = v.stride[2 + g.origin[g.rank - 1]];
    per_element = v.stride[1];
  }
  T& operator()(i64 j, i64 e) const { return at[j * per_position + e * per_element]; }
};

// Largest and smallest magnitude of the finite, nonzero elements of a block.
template <class T>
struct Magnitudes {
  double top = 0, least = HUGE_VAL;

  void scan(const Grid& g, const View& x, const Spot& from, const i64* to, bool clamp, double floor) {
    using A = acc_t<T>;
    constexpr int L = 16;
    const int R = g.rank;
    A most[L] = {}, few[L];
    const A huge = std::numeric_limits<A>::max();
    for (A& v : few) v = huge;
    const auto one = [&](A v, int lane) {
      v = clamp ? (v > A(floor) ? v : A(floor)) : (v < 0 ? -v : v);
      const A finite = v <= huge ? v : A(0);
      most[lane] = finite > most[lane] ? finite : most[lane];
      const A nonzero = v > 0 ? v : huge;
      few[lane] = nonzero < few[lane] ? nonzero : few[lane];
    };
    Spot s = from;
    const i64 n = to[R - 1] - from.pos[R - 1];
    each_line(g, from, to, s, [&] {
      const T* row = row_of<T>(x.data, s, g.src, s.plane.src, R);
      const i64 stride = g.src[R - 1];
      if (stride == g.run) {
        const i64 len = n * g.run;
        i64 i = 0;
        for (; i + L <= len; i += L)
          for (int k = 0; k < L; ++k) one(widen(row[i + k]), k);
        for (; i < len; ++i) one(widen(row[i]), 0);
      } else {
        for (i64 i = 0; i < n; ++i)
          for (i64 e = 0; e < g.run; ++e) one(widen(row[i * stride + e]), 0);
      }
    });
    for (int k = 0; k < L; ++k) {
      top = std::max(top, double(most[k]));
      least = std::min(least, double(few[k]));
    }
  }

  template <class Fn>
  static void each_line(const Grid& g, const Spot& from, const i64* to, Spot& s, Fn&& fn) {
    const int R = g.rank;
    const i64 d1 = R == 3 ? to[0] : from.pos[0] + 1;
    const int h = R == 3 ? 1 : 0;
    for (i64 d = from.pos[0]; d < d1; ++d) {
      s.pos[0] = d;
      if (R == 1) {
        fn();
        continue;
      }
      for (i64 k = from.pos[h]; k < to[h]; ++k) {
        s.pos[h] = k;
        fn();
      }
    }
  }
};

// 2^-e such that top * 2^-e lies in [1, 2), as far as A and its reciprocals hold it.
template <class A>
static inline double unit_scale(double top) {
  constexpr int most = sizeof(A) == 4 ? 120 : 1000;
  if (!(top > 0)) return 1;
  int e;
  ::frexp(top, &e);
  return ::ldexp(1.0, std::clamp(1 - e, -most, most));
}

// (sum |x|^p)^(1/p), or with clamp the mean of max(x, eps)^p: the fold divides by the taps.
template <class T>
struct Power final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using C = Plain<A, Sum>;
  using Row = typename C::Row;
  const Problem& pr;
  const Grid& g;
  const View &x, &y;
  double p, floor = 0;
  bool clamp = false, mean = false;
  double scale_ = 1;
  bool small_ = false;

  Power(const Problem& problem, const Grid& grid, const View& in, const View& out)
      : pr(problem), g(grid), x(in), y(out), p(problem.params.p) {
    if (pr.reducer == Reducer::RMS) p = 2, mean = true;
    if (pr.reducer == Reducer::PowerMean) clamp = mean = true, floor = pr.params.eps;
  }

  bool takes_blocks() const override { return true; }
  void begin(const Spot& from, const i64* to) override {
    Magnitudes<T> m;
    m.scan(g, x, from, to, clamp, floor);
    scale_ = unit_scale<A>(m.top);
    // Powers this small are lost beside the largest, but a window may hold nothing else.
    small_ = m.top > 0 && ::pow(m.least * scale_, p) < least_sum();
  }
  void load(int, const Spot& s, i64 n, Row dst) override {
    widen_row(row_of<T>(x.data, s, g.src, s.plane.src, g.rank), g.src[g.rank - 1], n, g.run, dst.v);
    const i64 len = n * g.run;
    const A by = A(scale_);
    if (clamp) {
      const A low = A(floor);
      for (i64 i = 0; i < len; ++i) dst.v[i] = (dst.v[i] < low ? low : dst.v[i]) * by;
    } else if (p != 2) {
      for (i64 i = 0; i < len; ++i) dst.v[i] = (dst.v[i] < 0 ? -dst.v[i] : dst.v[i]) * by;
    } else {
      for (i64 i = 0; i < len; ++i) dst.v[i] = dst.v[i] * by;
    }
    if (p == 2) {
      for (i64 i = 0; i < len; ++i) dst.v[i] *= dst.v[i];
    } else if (p == 3) {
      for (i64 i = 0; i < len; ++i) dst.v[i] *= dst.v[i] * dst.v[i];
    } else if (p != 1) {
      for (i64 i = 0; i < len; ++i) dst.v[i] = power(dst.v[i], p);
    }
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    A* v = rows[0].v;
    const i64 len = n * g.run;
    const A back = A(1 / scale_);
    if (p == 2) {
      for (i64 i = 0; i < len; ++i) v[i] = root(v[i], 2) * back;
    } else if (p == 1) {
      for (i64 i = 0; i < len; ++i) v[i] *= back;
    } else {
      for (i64 i = 0; i < len; ++i) v[i] = root(v[i], p) * back;
    }
    if (small_) {
      const A limit = A(::pow(least_sum(), 1 / p)) * back;
      for (i64 i = 0; i < len; ++i)
        if (v[i] < limit) {
          const Origin k = origin_of(g, x, s, i / g.run, i % g.run);
          v[i] = A(norm(Window<T>(pr, x, k.n, k.c, k.o), p, clamp, floor, mean));
        }
    }
    narrow_row(v, g.dst[g.rank - 1], n, g.run, row_of<T>(y.data, s, g.dst, s.plane.dst, g.rank));
  }
  static double least_sum() { return double(std::numeric_limits<A>::min()) * 1e8; }
};

// sum exp(beta x - m) and sum x exp(beta x - m), m the largest of the block.
template <class T>
struct Softmax final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using C = Plain<A, Sum>;
  using Row = typename C::Row;
  const Problem& pr;
  const Grid& g;
  const View &x, &y;
  const View* lse;
  double beta, shift_ = 0;
  const Counts counts;

  Softmax(const Problem& problem, const Grid& grid, const View& in, const View& out, const View* aux)
      : pr(problem), g(grid), x(in), y(out), lse(aux), beta(problem.params.beta), counts{&problem, false, 0} {}

  // log of the taps and places of lse go row by row.
  bool takes_blocks() const override { return lse == nullptr && (pr.reducer == Reducer::Soft || !pr.params.mean); }
  void begin(const Spot& from, const i64* to) override {
    constexpr int L = 16;
    A most[L];
    const A low = -std::numeric_limits<A>::max(), high = -low;
    for (A& v : most) v = low;
    const A sign = beta < 0 ? A(-1) : A(1);
    const auto one = [&](A v, int lane) {
      v *= sign;
      const A finite = v <= high ? v : low;
      most[lane] = finite > most[lane] ? finite : most[lane];
    };
    Spot s = from;
    const int R = g.rank;
    const i64 n = to[R - 1] - from.pos[R - 1], stride = g.src[R - 1];
    Magnitudes<T>::each_line(g, from, to, s, [&] {
      const T* row = row_of<T>(x.data, s, g.src, s.plane.src, R);
      const i64 len = stride == g.run ? n * g.run : 0;
      i64 i = 0;
      for (; i + L <= len; i += L)
        for (int k = 0; k < L; ++k) one(widen(row[i + k]), k);
      for (; i < len; ++i) one(widen(row[i]), 0);
      if (stride != g.run)
        for (i64 j = 0; j < n; ++j)
          for (i64 e = 0; e < g.run; ++e) one(widen(row[j * stride + e]), 0);
    });
    A top = low;
    for (A v : most) top = std::max(top, v);
    shift_ = top == low ? 0 : double(top * sign) * beta;
    if (!(std::fabs(shift_) < HUGE_VAL)) shift_ = 0;
  }
  void load(int component, const Spot& s, i64 n, Row dst) override {
    const T* row = row_of<T>(x.data, s, g.src, s.plane.src, g.rank);
    const i64 len = n * g.run, stride = g.src[g.rank - 1];
    widen_row(row, stride, n, g.run, dst.v);
    // x - m / beta first: close to the maximum, where weights matter, that difference is exact.
    const A b = A(beta), m = A(shift_ / beta);
    for (i64 i = 0; i < len; ++i) dst.v[i] = (dst.v[i] - m) * b;
    exp_row(dst.v, len);
    if (component == 0) return;
    if (stride == g.run) {
      for (i64 i = 0; i < len; ++i) dst.v[i] *= widen(row[i]) - m;
    } else {
      for (i64 j = 0; j < n; ++j)
        for (i64 e = 0; e < g.run; ++e) dst.v[j * g.run + e] *= widen(row[j * stride + e]) - m;
    }
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    const bool soft = pr.reducer == Reducer::Soft;
    A *sum = rows[0].v, *value = soft ? rows[1].v : rows[0].v;
    i64 outer = g.joined_taps;
    for (int i = 0; i + 1 < g.rank; ++i) outer *= counts.of(g, i, s.pos[i], s.plane.window);
    const A least = std::numeric_limits<A>::min() * A(1e8), m = A(shift_ / beta);
    for (i64 j = 0; j < n; ++j) {
      const double log_taps =
          soft || !pr.params.mean
              ? 0
              : ::log(double(outer * counts.of(g, g.rank - 1, s.pos[g.rank - 1] + j, s.plane.window)));
      for (i64 e = 0; e < g.run; ++e) {
        const i64 i = j * g.run + e;
        const A total = sum[i];
        double l;
        if (total >= least && total <= std::numeric_limits<A>::max() && (!soft || value[i] == value[i])) {
          l = soft && lse == nullptr ? 0 : ::log(double(total));
          if (soft)
            value[i] = value[i] / total + m;
          else
            value[i] = A((l - log_taps) / beta + shift_ / beta);
          l += shift_;
        } else {
          const Origin k = origin_of(g, x, s, j, e);
          const SoftmaxState exact = softmax(Window<T>(pr, x, k.n, k.c, k.o), beta);
          l = exact.lse;
          value[i] = A(soft ? exact.value : (l - log_taps) / beta);
        }
        if (lse != nullptr) Line<A>(*lse, g, s)(j, e) = A(l);
      }
    }
    narrow_row(value, g.dst[g.rank - 1], n, g.run, row_of<T>(y.data, s, g.dst, s.plane.dst, g.rank));
  }
};

}  // namespace poolkit::POOLKIT_ISA_NS

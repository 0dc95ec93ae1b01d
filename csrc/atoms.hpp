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
    widen_all(src, dst, n * run);
  } else if (run > 1) {
    for (i64 i = 0; i < n; ++i) widen_all(src + i * stride, dst + i * run, run);
  } else {
    for (i64 i = 0; i < n; ++i) dst[i] = A(widen(src[i * stride]));
  }
}
template <class T, class A>
static inline void narrow_row(const A* src, i64 stride, i64 n, i64 run, T* dst) {
  if (stride == run) return narrow_all(src, dst, n * run);
  for (i64 i = 0; i < n; ++i) narrow_all(src + i * run, dst + i * stride, run);
}

// A row as accumulators side by side, where it lies or copied to `copy`.
template <class A, class T>
static inline const A* widened(const T* src, i64 stride, i64 n, i64 run, A* copy) {
  if constexpr (std::is_same_v<A, T>)
    if (stride == run || n == 1) return src;
  widen_row(src, stride, n, run, copy);
  return copy;
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
  bool takes_planes() const override { return true; }
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

// Half precision as 16-bit integers of the same order: a maximum of halves is one of integers, twice as many to a
// vector as floats. Every NaN is the one number beyond all others.
template <class T, template <class> class Op, bool Magnitude = false>
struct Keys final : Io<Plain<std::int16_t, Op>> {
  using Row = typename Plain<std::int16_t, Op>::Row;
  using Key = std::int16_t;
  static constexpr Key infinite = std::is_same_v<T, bf16> ? 0x7f80 : 0x7c00;
  static constexpr Key nan = Op<Key>::identity == std::numeric_limits<Key>::lowest() ? 0x7fff : -0x8000;
  const Grid& g;
  const View &x, &y;
  Keys(const Grid& grid, const View& in, const View& out) : g(grid), x(in), y(out) {}

  bool takes_blocks() const override { return true; }
  bool takes_planes() const override { return true; }
  void load(int, const Spot& s, i64 n, Row dst) override {
    const int last = g.rank - 1;
    widen_row(row_of<Key>(x.data, s, g.src, s.plane.src, g.rank), g.src[last], n, g.run, dst.v);
    for (i64 i = 0; i < n * g.run; ++i) {
      const Key size = dst.v[i] & 0x7fff;
      const Key key = Magnitude ? size : turned(dst.v[i]);
      dst.v[i] = size > infinite ? nan : key;
    }
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    const int last = g.rank - 1;
    for (i64 i = 0; i < n * g.run; ++i) rows[0].v[i] = turned(rows[0].v[i]);
    narrow_row(rows[0].v, g.dst[last], n, g.run, row_of<Key>(y.data, s, g.dst, s.plane.dst, g.rank));
  }

 private:
  // Sign and magnitude to two's complement, and back.
  static Key turned(Key k) { return Key(k ^ ((k >> 15) & 0x7fff)); }
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

// Calls fn() with s at every row of the block between from and to.
template <class Fn>
static inline void each_line(const Grid& g, const Spot& from, const i64* to, Spot& s, Fn&& fn) {
  const int R = g.rank, h = R == 3 ? 1 : 0;
  const i64 d1 = R == 3 ? to[0] : from.pos[0] + 1;
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

// Calls fn(row, elements) for every row of a block's inputs, as accumulators.
template <class T, class Fn>
static inline void each_row(const Grid& g, const View& x, const Spot& from, const i64* to,
                            Rows<Plain<acc_t<T>, Sum>>& copies, Fn&& fn) {
  const int R = g.rank;
  const i64 n = to[R - 1] - from.pos[R - 1];
  Spot s = from;
  if (R >= 2 && n == g.last().size && g.src[R - 1] == g.run && g.src[R - 2] == n * g.run) {
    // Lines without a gap are one row.
    const i64 lines = to[R - 2] - from.pos[R - 2], len = lines * n * g.run;
    acc_t<T>* const copy = copies.take(len).v;
    for (i64 d = from.pos[0]; d < (R == 3 ? to[0] : from.pos[0] + 1) && len > 0; ++d) {
      s.pos[0] = R == 3 ? d : from.pos[0];
      fn(widened(row_of<T>(x.data, s, g.src, s.plane.src, R), g.run, lines * n, g.run, copy), len);
    }
    return;
  }
  acc_t<T>* const copy = copies.take(n * g.run).v;
  each_line(g, from, to, s,
            [&] { fn(widened(row_of<T>(x.data, s, g.src, s.plane.src, R), g.src[R - 1], n, g.run, copy), n * g.run); });
}

// fn(vector) for all of a row; the last vector is filled up with the row's first element.
template <class A, class Fn>
static inline void each_vector(const A* row, i64 n, Fn&& fn) {
  using V = vec<A>;
  constexpr int L = lanes<A>;
  i64 i = 0;
  for (; i + L <= n; i += L) fn(load<V>(row + i));
  if (i < n) fn(first_lanes<A>(n - i) ? load_first(row + i, n - i) : V{} + row[0]);
}

// Largest and smallest magnitude of the finite, nonzero elements of rows.
template <class A>
struct Magnitudes {
  using V = vec<A>;
  static constexpr A huge = std::numeric_limits<A>::max();
  V most{}, few = V{} + huge;
  bool clamp = false;
  A floor = 0;

  void add(const A* row, i64 n) {
    each_vector(row, n, [&](V v) {
      v = clamp ? (v > floor ? v : V{} + floor) : absolute<A>(v);
      most = pick<false>(v <= huge ? v : V{}, most);
      few = pick<true>(v > A(0) ? v : V{} + huge, few);
    });
  }
  double top() const {
    A t = 0;
    for (int l = 0; l < lanes<A>; ++l) t = std::max(t, most[l]);
    return double(t);
  }
  double least() const {
    A t = huge;
    for (int l = 0; l < lanes<A>; ++l) t = std::min(t, few[l]);
    return double(t);
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
    Magnitudes<A> m;
    m.clamp = clamp, m.floor = A(floor);
    each_row<T>(g, x, from, to, copies_, [&](const A* row, i64 n) { m.add(row, n); });
    scale_ = unit_scale<A>(m.top()) / 2;  // no power is above one, however large p
    // Powers this small are lost beside the largest, but a window may hold nothing else.
    small_ = m.top() > 0 && ::pow(m.least() * scale_, p) < least_sum();
  }
  void load(int, const Spot& s, i64 n, Row dst) override {
    using V = vec<A>;
    const A* const row = widened(row_of<T>(x.data, s, g.src, s.plane.src, g.rank), g.src[g.rank - 1], n, g.run, dst.v);
    const A by = A(scale_), low = A(floor);
    const auto take = [&](auto&& raise) {
      if (clamp)
        map_row(row, dst.v, n * g.run, [&](V v) { return raise((v <= low ? V{} + low : v) * by); });
      else
        map_row(row, dst.v, n * g.run, [&](V v) { return raise(absolute<A>(v) * by); });
    };
    if (p == 1)
      take([](V v) { return v; });
    else if (p == 2)
      take([](V v) { return v * v; });
    else if (p == 3)
      take([](V v) { return v * v * v; });
    else
      take([&](V v) { return power_v(v, p); });
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    using V = vec<A>;
    A* const v = rows[0].v;
    const i64 len = n * g.run;
    const A back = A(1 / scale_);
    const auto take = [&](auto&& lower) { map_row(v, v, len, [&](V sum) { return lower(sum) * back; }); };
    if (p == 1)
      take([](V sum) { return sum; });
    else if (p == 2)
      take([](V sum) { return sqrt_v(sum); });
    else
      take([&](V sum) { return root_v(sum, p); });
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

 private:
  Rows<C> copies_;
};

// sum exp(beta x - m), for Soft also sum (x - m / beta) exp(beta x - m), m the largest of the block. The fold divides
// the first by the taps where LogSumExp is of their mean. lse, where it is wanted, is the logarithm of the sum.
template <class T>
struct Softmax final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using C = Plain<A, Sum>;
  using Row = typename C::Row;
  using V = vec<A>;
  const Problem& pr;
  const Grid& g;
  const View &x, &y;
  const View* lse;
  double beta, shift_ = 0;

  // y without data: only lse is wanted.
  Softmax(const Problem& problem, const Grid& grid, const View& in, const View& out, const View* aux)
      : pr(problem), g(grid), x(in), y(out), lse(aux), beta(problem.params.beta) {}

  // Places of lse go row by row.
  bool takes_blocks() const override { return lse == nullptr; }
  void begin(const Spot& from, const i64* to) override {
    constexpr A low = -std::numeric_limits<A>::max();
    const A sign = beta < 0 ? A(-1) : A(1);
    V most = V{} + low;
    each_row<T>(g, x, from, to, copies_, [&](const A* row, i64 n) {
      each_vector(row, n, [&](V v) {
        v = v * sign;
        most = pick<false>(v <= -low ? v : V{} + low, most);
      });
    });
    A top = low;
    for (int l = 0; l < lanes<A>; ++l) top = std::max(top, most[l]);
    shift_ = top == low ? 0 : double(top * sign) * beta;
    if (!(std::fabs(shift_) < HUGE_VAL)) shift_ = 0;
  }
  void load(int component, const Spot& s, i64 n, Row dst) override {
    const i64 len = n * g.run;
    A* const copy = component == 0 ? dst.v : copies_.take(len).v;
    const A* const row = widened(row_of<T>(x.data, s, g.src, s.plane.src, g.rank), g.src[g.rank - 1], n, g.run, copy);
    // x - m / beta first: close to the maximum, where weights matter, that difference is exact.
    const A b = A(beta), m = A(shift_ / beta);
    if (component == 0)
      map_row(row, dst.v, len, [&](V v) { return exp_v((v - m) * b); });
    else
      map_rows(row, dst.v, dst.v, len, [&](V v, V weight) { return weight * (v - m); });
  }
  void finish(const Row* rows, const Spot& s, i64 n) override {
    const bool soft = pr.reducer == Reducer::Soft;
    const i64 len = n * g.run;
    A *const sum = rows[0].v, *const value = soft ? rows[1].v : copies_.take(len).v;
    const A least = std::numeric_limits<A>::min() * A(1e8), most = std::numeric_limits<A>::max(), m = A(shift_ / beta);
    const A b = A(beta);
    A* const logs = lse != nullptr ? logs_.take(len).v : nullptr;
    decltype(V{} < V{}) far{};
    if (logs != nullptr) map_row(sum, logs, len, [&](V total) { return log_v(total) + A(shift_); });
    map_rows(sum, soft ? value : sum, value, len, [&](V total, V part) {
      far = far | ~((total >= least) & (total <= most) & (part == part));
      return soft ? part / total + m : log_v(total) / b + m;
    });
    if (any_lane(far))
      for (i64 i = 0; i < len; ++i) {
        // Neither is in range of an output that was out of it.
        if (sum[i] >= least && sum[i] <= most && value[i] - value[i] == 0) continue;
        const Origin k = origin_of(g, x, s, i / g.run, i % g.run);
        const Window<T> window(pr, x, k.n, k.c, k.o);
        const SoftmaxState exact = softmax(window, beta);
        const double taps = !soft && pr.params.mean ? double(window.taps()) : 1;
        value[i] = A(soft ? exact.value : (exact.lse - ::log(taps)) / beta);
        if (logs != nullptr) logs[i] = A(exact.lse - ::log(taps));
      }
    if (logs != nullptr) {
      const Line<A> to(*lse, g, s);
      const Counts counts{&pr, false, 0};
      i64 outer = g.joined_taps;
      for (int i = 0; i + 1 < g.rank; ++i) outer *= counts.of(g, i, s.pos[i], s.plane.window);
      for (i64 j = 0; j < n; ++j) {
        // What the fold divided by.
        const i64 taps =
            soft || !pr.params.mean ? 1 : outer * counts.of(g, g.rank - 1, s.pos[g.rank - 1] + j, s.plane.window);
        const A log_taps = taps == 1 ? A(0) : A(::log(double(taps)));
        for (i64 e = 0; e < g.run; ++e) to(j, e) = logs[j * g.run + e] + log_taps;
      }
    }
    if (y.data != nullptr)
      narrow_row(value, g.dst[g.rank - 1], n, g.run, row_of<T>(y.data, s, g.dst, s.plane.dst, g.rank));
  }

 private:
  Rows<C> copies_, logs_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

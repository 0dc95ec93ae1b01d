// The gradient of sums and of what is built on them: a fold over the transposed windows.
#pragma once

#include "atoms.hpp"
#include "scratch.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Windows turned round: for every input, the outputs that saw it.
static inline Axis transpose(const Axis& a, bool stuffed) {
  Axis t = a;
  switch (a.kind) {
    case AxisKind::adaptive:
      std::swap(t.size, t.out);
      return t;
    case AxisKind::sliding:
      t.out = a.size;
      t.before = (a.kernel - 1) * a.dilation - a.before;
      t.after = 0;
      if (a.stride == 1 || stuffed) {
        t.size = (a.out - 1) * a.stride + 1;
        t.stride = 1;
        return t;
      }
      t.kind = AxisKind::transposed;
      t.size = a.out;
      t.before = a.before;
      return t;
    default:
      t.kind = AxisKind::transposed_starts;
      std::swap(t.size, t.out);
      return t;
  }
}

// dy times what the reducer's derivative has on the output's side, before the fold; after it, times what it has on the
// input's side.
template <class T>
struct Gradient final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using C = Plain<A, Sum>;
  using Row = typename C::Row;
  using V = vec<A>;
  const Problem& pr;
  const Grid& g;  // from outputs to inputs
  const View &dy, &dx;
  const View *x, *y, *lse;
  const i64* stuff;  // stride of each axis whose outputs are spread out between zeros
  double p = 2, beta, scale_ = 1, shift_ = 0;
  bool exact_ = false;

  Gradient(const Problem& problem, const Grid& grid, const View& dy_, const View& dx_, const View* x_, const View* y_,
           const View* lse_, const i64* stuff_)
      : pr(problem),
        g(grid),
        dy(dy_),
        dx(dx_),
        x(x_),
        y(y_),
        lse(lse_),
        stuff(stuff_),
        p(problem.params.p),
        beta(problem.params.beta),
        counts_{&problem, problem.reducer == Reducer::Mean && problem.params.include_pad,
                problem.reducer == Reducer::Mean ? problem.params.divisor : 0} {
    if (pr.reducer == Reducer::RMS) p = 2;
  }

  bool power() const {
    return pr.reducer == Reducer::Lp || pr.reducer == Reducer::PowerMean || pr.reducer == Reducer::RMS;
  }
  bool softmax() const { return lse != nullptr; }

  // The outputs in a row of the fold: the first one's position, how many, and where in the row the first one is.
  struct Part {
    i64 first, count, at;
  };
  Part part(i64 begin, i64 n) const {
    const i64 gap = stuff[g.rank - 1], first = ceil_div(begin, gap), at = first * gap - begin;
    return {first, at < n ? (n - at + gap - 1) / gap : 0, at};
  }
  // Positions first ... first + count of a view's row, as accumulators side by side.
  template <class U>
  const A* row(const View& v, Spot s, i64 first, i64 count, Rows<C>& copies) const {
    s.pos[g.rank - 1] = 0;
    const Line<U> line(v, g, s);
    A* const copy = copies.take(count * g.run).v;
    U* const at = &line(first, 0);
    if (g.run == 1 || line.per_element == 1) return widened(at, line.per_position, count, g.run, copy);
    for (i64 j = 0; j < count; ++j)
      for (i64 e = 0; e < g.run; ++e) copy[j * g.run + e] = A(widen(line(first + j, e)));
    return copy;
  }

  void begin(const Spot& from, const i64* to) override {
    if (!power() && !softmax()) return;
    const int w = g.rank - 1;
    const Part outputs = part(from.pos[w], to[w] - from.pos[w]);
    if (outputs.count == 0) return;
    constexpr A huge = std::numeric_limits<A>::max();
    Magnitudes<A> sizes;
    V high = V{} - huge, low = V{} + huge;
    decltype(V{} < V{}) odd{};
    Spot s = from;
    each_line(g, from, to, s, [&] {
      const A* const values = power() ? row<T>(*y, s, outputs.first, outputs.count, copies_[0])
                                      : row<A>(*lse, s, outputs.first, outputs.count, copies_[0]);
      if (power()) sizes.add(values, outputs.count * g.run);
      each_vector(values, outputs.count * g.run, [&](V v) {
        odd = odd | ~(v - v == V{});
        high = pick<false>(v, high), low = pick<true>(v, low);
      });
    });
    const bool finite = !any_lane(odd);
    if (power()) {
      const double top = sizes.top(), least = sizes.least();
      scale_ = unit_scale<A>(top);
      // y^(1-p) of the smallest output beside x^(p-1) of the largest input: both must fit the accumulator.
      const double reach = sizeof(A) == 4 ? 40 : 400;
      exact_ = !finite || std::fabs(p - 1) * std::max(1.0, top > 0 ? ::log2(top / least) : 0) > reach || p < 1;
    } else {
      A most = -huge, fewest = huge;
      for (int l = 0; l < lanes<A>; ++l) most = std::max(most, high[l]), fewest = std::min(fewest, low[l]);
      exact_ = !finite || double(most) - double(fewest) > (sizeof(A) == 4 ? 40 : 300);
      shift_ = exact_ || most < fewest ? 0 : double(most);  // inputs that no window saw have no outputs
    }
  }

  void load(int component, const Spot& s, i64 n, Row dst) override {
    const int w = g.rank - 1;
    const i64 run = g.run, gap = stuff[w];
    if (exact_) return C::clear(dst, n * run);
    const Part outputs = part(s.pos[w], n);
    const i64 len = outputs.count * run;
    A* const to = gap == 1 ? dst.v : dense_.take(len).v;
    if (component == 1) {
      // sum dy w (1 + beta (x - y)) = sum dy w (1 - beta (y - m)) + beta (x - m) sum dy w, with m the block's maximum
      const A m = A(shift_ / beta), b = A(beta);
      const A* const value = row<T>(*y, s, outputs.first, outputs.count, copies_[0]);
      if (gap > 1) gather(dst.v, outputs, gap, to);
      map_rows(value, to, to, len, [&](V v, V weight) { return weight * (A(1) - b * (v - m)); });
    } else {
      const A* grad = row<T>(dy, s, outputs.first, outputs.count, copies_[0]);
      if (pr.reducer == Reducer::Mean || pr.reducer == Reducer::PowerMean || pr.reducer == Reducer::RMS) {
        divide(s, outputs, grad, to);
        grad = to;
      }
      if (power()) {
        const A by = A(scale_);
        map_rows(grad, row<T>(*y, s, outputs.first, outputs.count, copies_[1]), to, len,
                 [&](V d, V v) { return v == V{} ? V{} : d * power_v(v * by, 1 - p); });
      } else if (softmax()) {
        const A shift = A(shift_);
        map_rows(grad, row<A>(*lse, s, outputs.first, outputs.count, copies_[1]), to, len,
                 [&](V d, V v) { return d * exp_v(shift - v); });
      } else if (grad != to) {
        std::memcpy(static_cast<void*>(to), grad, len * sizeof(A));
      }
    }
    if (gap == 1) return;
    if (component == 0) C::clear(dst, n * run);
    for (i64 j = 0; j < outputs.count; ++j)
      for (i64 e = 0; e < run; ++e) dst.v[(outputs.at + j * gap) * run + e] = to[j * run + e];
  }

  void finish(const Row* rows, const Spot& s, i64 n) override {
    const Line<T> out(dx, g, s);
    const A* const sum = rows[0].v;
    const i64 run = g.run, len = n * run;
    const bool flat = out.per_position == run && (run == 1 || out.per_element == 1);
    const A* result = sum;
    if (power() || softmax()) {
      A* to = dense_.take(len).v;
      if constexpr (std::is_same_v<A, T>)
        if (flat) to = out.at;
      through_inputs(rows, s, n, to);
      result = to;
    }
    if (flat) {
      if (static_cast<const void*>(result) != out.at) narrow_row(result, run, n, run, out.at);
    } else {
      for (i64 j = 0; j < n; ++j)
        for (i64 e = 0; e < run; ++e) out(j, e) = narrow<T>(result[j * run + e]);
    }
  }

 private:
  Counts counts_;
  Rows<C> copies_[2], dense_, taps_;
  i64 known_[2] = {-1, -1};
  bool even_ = false;

  // The inputs' side of a derivative that has one.
  void through_inputs(const Row* rows, const Spot& s, i64 n, A* to) {
    const A* const sum = rows[0].v;
    const i64 len = n * g.run;
    if (exact_) {
      for (i64 i = 0; i < len; ++i) to[i] = A(by_window(origin_of(g, dx, s, i / g.run, i % g.run)));
      return;
    }
    const A* const in = row<T>(*x, s, s.pos[g.rank - 1], n, copies_[0]);
    if (power()) {
      const A by = A(scale_), floor = A(pr.params.eps);
      const bool clamp = pr.reducer == Reducer::PowerMean;
      map_rows(in, sum, to, len, [&](V v, V t) {
        if (clamp) return v < floor ? V{} : t * power_v(v * by, p - 1);
        const V slope = t * power_v((v < A(0) ? -v : v) * by, p - 1);
        return v == V{} ? V{} : v < A(0) ? -slope : slope;
      });
      return;
    }
    const A m = A(shift_ / beta), b = A(beta);
    const auto weight = [&](V v) { return exp_v((v - m) * b); };
    if (pr.reducer == Reducer::LogSumExp) {
      map_rows(in, sum, to, len, [&](V v, V t) { return t * weight(v); });
      return;
    }
    A* const other = rows[1].v;
    map_rows(in, sum, copies_[1].take(len).v, len, [&](V v, V t) { return b * (v - m) * t; });
    map_rows(copies_[1].take(len).v, other, other, len, [](V t, V rest) { return t + rest; });
    map_rows(in, other, to, len, [&](V v, V t) {
      const V w = weight(v);
      return w == V{} ? V{} : w * t;  // a cell without weight has no slope, even if it is infinite
    });
  }

  void gather(const A* from, const Part& outputs, i64 gap, A* to) const {
    for (i64 j = 0; j < outputs.count; ++j)
      for (i64 e = 0; e < g.run; ++e) to[j * g.run + e] = from[(outputs.at + j * gap) * g.run + e];
  }

  // By the taps behind each output of a row.
  void divide(const Spot& s, const Part& outputs, const A* from, A* to) {
    const i64 run = g.run, len = outputs.count * run;
    const int w = g.rank - 1;
    const auto all_by = [&](A taps) { map_row(from, to, len, [&](V v) { return v / taps; }); };
    if (counts_.divisor > 0) return all_by(A(counts_.divisor));
    i64 outer = 1;
    for (int i = 0; i < w; ++i) outer *= counts_.of(g, i, s.pos[i], s.plane.window);
    A* const taps = taps_.take(outputs.count).v;
    if (known_[0] != outputs.first || known_[1] != outputs.count || g.axes[w].plane_stride != 0) {
      known_[0] = outputs.first, known_[1] = outputs.count, even_ = true;
      for (i64 j = 0; j < outputs.count; ++j) {
        taps[j] = A(counts_.of(g, w, outputs.first + j, s.plane.window));
        even_ &= taps[j] == taps[0];
      }
    }
    const A times = A(outer);
    if (len == 0) return;
    if (even_) return all_by(times * taps[0]);
    if (run == 1) return map_rows(from, taps, to, len, [&](V v, V t) { return v / (t * times); });
    for (i64 j = 0; j < outputs.count; ++j)
      map_row(from + j * run, to + j * run, run, [&](V v) { return v / (times * taps[j]); });
  }

  template <class V>
  static double element(const View& v, const Origin& k, int rank) {
    i64 at = k.n * v.stride[0] + k.c * v.stride[1];
    for (int i = 0; i < rank; ++i) at += k.o[i] * v.stride[2 + i];
    return double(widen(static_cast<V*>(v.data)[at]));
  }

  // The gradient of one input from the outputs that saw it, one by one: where a common scale would overflow.
  double by_window(const Origin& in) const {
    const double v = element<T>(*x, in, pr.rank);
    double sum = 0;
    Interval box[3] = {{0, 1}, {0, 1}, {0, 1}};
    i64 step[3] = {1, 1, 1};
    for (int i = 0; i < pr.rank; ++i) {
      const Axis t = transpose(pr.axes[i], false);
      box[i] = interval(t, in.o[i], in.n * dx.shape[1] + in.c);
      step[i] = step_of(t);
    }
    Origin o = in;
    for (i64 a = 0; a < box[0].n; ++a)
      for (i64 b = 0; b < box[1].n; ++b)
        for (i64 c = 0; c < box[2].n; ++c) {
          o.o[0] = box[0].start + a * step[0], o.o[1] = box[1].start + b * step[1], o.o[2] = box[2].start + c * step[2];
          const double grad = element<T>(dy, o, pr.rank);
          double weight;
          if (softmax()) {
            weight = ::exp(beta * v - element<A>(*lse, o, pr.rank));
            if (pr.reducer == Reducer::Soft && weight != 0) weight *= 1 + beta * (v - element<T>(*y, o, pr.rank));
          } else {
            const double out = element<T>(*y, o, pr.rank);
            const double size = std::fabs(v);
            if (pr.reducer == Reducer::PowerMean)
              weight = v < pr.params.eps || out == 0 ? 0 : ::pow(v / out, p - 1);
            else
              weight = out == 0 || v == 0 ? 0 : ::copysign(::pow(size / out, p - 1), v);
            if (pr.reducer != Reducer::Lp)
              for (int i = 0; i < pr.rank; ++i)
                weight /= double(interval(pr.axes[i], o.o[i], o.n * dx.shape[1] + o.c).n);
          }
          sum += grad * weight;
        }
    return sum;
  }
};

}  // namespace poolkit::POOLKIT_ISA_NS

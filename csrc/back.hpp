// The backward loops. Sums and what is built on them fold the gradient over the transposed windows; a chosen tap gets
// its gradient routed. One thread owns a plane (or the channels of a batch entry), so the result never depends on how
// many there are.
#pragma once

#include <atomic>

#include "atoms.hpp"

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

// dy times what the reducer's derivative has on the output's side, before the fold.
template <class T>
struct Gradient final : Io<Plain<acc_t<T>, Sum>> {
  using A = acc_t<T>;
  using C = Plain<A, Sum>;
  using Row = typename C::Row;
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
        beta(problem.params.beta) {
    if (pr.reducer == Reducer::RMS) p = 2;
  }

  bool power() const {
    return pr.reducer == Reducer::Lp || pr.reducer == Reducer::PowerMean || pr.reducer == Reducer::RMS;
  }
  bool softmax() const { return facts(pr.reducer).lse; }

  // The output row at s, every position that exists: fn(position in the row of the fold, output position, element).
  template <class Fn>
  void each(const Spot& s, i64 n, Fn&& fn) const {
    const int w = g.rank - 1;
    const i64 gap = stuff[w], first = s.pos[w];
    for (i64 j = ceil_div(first, gap) * gap; j < first + n; j += gap)
      for (i64 e = 0; e < g.run; ++e) fn(j - first, j / gap, e);
  }
  Spot output_row(const Spot& s) const {
    Spot o = s;
    o.pos[g.rank - 1] = 0;
    return o;
  }

  void begin(const Spot& from, const i64* to) override {
    if (!power() && !softmax()) return;
    double top = 0, least = HUGE_VAL, high = -HUGE_VAL, low = HUGE_VAL;
    bool finite = true;
    Spot s = from;
    Magnitudes<T>::each_line(g, from, to, s, [&] {
      const Spot o = output_row(s);
      const i64 n = to[g.rank - 1] - from.pos[g.rank - 1];
      if (power()) {
        const Line<T> out(*y, g, o);
        each(s, n, [&](i64, i64 j, i64 e) {
          const double v = double(widen(out(j, e)));
          finite &= std::fabs(v) < HUGE_VAL;
          if (v != 0) top = std::max(top, std::fabs(v)), least = std::min(least, std::fabs(v));
        });
      } else {
        const Line<A> out(*lse, g, o);
        each(s, n, [&](i64, i64 j, i64 e) {
          const double v = double(out(j, e));
          finite &= std::fabs(v) < HUGE_VAL;
          high = std::max(high, v), low = std::min(low, v);
        });
      }
    });
    if (power()) {
      scale_ = unit_scale<A>(top);
      // y^(1-p) of the smallest output beside x^(p-1) of the largest input: both must fit the accumulator.
      exact_ = !finite || (top > 0 && std::fabs(p - 1) * ::log2(top / least) > (sizeof(A) == 4 ? 40 : 400)) || p < 1;
    } else {
      exact_ = !finite || high - low > (sizeof(A) == 4 ? 40 : 300);
      shift_ = exact_ || high < low ? 0 : high;
    }
  }

  void load(int component, const Spot& s, i64 n, Row dst) override {
    C::clear(dst, n * g.run);
    if (exact_) return;
    const Spot o = output_row(s);
    const Line<T> grad(dy, g, o);
    const i64 run = g.run;
    switch (pr.reducer) {
      case Reducer::Mean:
      case Reducer::PowerMean:
      case Reducer::RMS: {
        const Counts counts{&pr, pr.reducer == Reducer::Mean && pr.params.include_pad,
                            pr.reducer == Reducer::Mean ? pr.params.divisor : 0};
        i64 outer = 1;
        for (int i = 0; i + 1 < g.rank; ++i) outer *= counts.of(g, i, s.pos[i], s.plane.window);
        i64 at = -1;
        A taps = 1;
        const auto divisor = [&](i64 j) {
          if (counts.divisor > 0) return A(counts.divisor);
          if (j != at) at = j, taps = A(outer * counts.of(g, g.rank - 1, j, s.plane.window));
          return taps;
        };
        if (pr.reducer == Reducer::Mean) {
          each(s, n, [&](i64 k, i64 j, i64 e) { dst.v[k * run + e] = widen(grad(j, e)) / divisor(j); });
        } else {
          const Line<T> out(*y, g, o);
          each(s, n, [&](i64 k, i64 j, i64 e) {
            const A v = widen(out(j, e));
            dst.v[k * run + e] = v == 0 ? A(0) : widen(grad(j, e)) / divisor(j) * power_of(v * A(scale_), 1 - p);
          });
        }
        return;
      }
      case Reducer::Lp: {
        const Line<T> out(*y, g, o);
        each(s, n, [&](i64 k, i64 j, i64 e) {
          const A v = widen(out(j, e));
          dst.v[k * run + e] = v == 0 ? A(0) : widen(grad(j, e)) * power_of(v * A(scale_), 1 - p);
        });
        return;
      }
      case Reducer::LogSumExp: {
        const Line<A> out(*lse, g, o);
        each(s, n, [&](i64 k, i64 j, i64 e) {
          dst.v[k * run + e] = widen(grad(j, e)) * A(::exp(shift_ - double(out(j, e))));
        });
        return;
      }
      case Reducer::Soft: {
        // sum dy w (1 + beta (x - y)) = sum dy w (1 - beta (y - m)) + beta (x - m) sum dy w, with m the block's maximum
        const Line<A> out(*lse, g, o);
        const Line<T> value(*y, g, o);
        const A m = A(shift_ / beta), b = A(beta);
        each(s, n, [&](i64 k, i64 j, i64 e) {
          const A w = widen(grad(j, e)) * A(::exp(shift_ - double(out(j, e))));
          dst.v[k * run + e] = component == 0 ? w * (1 - b * (widen(value(j, e)) - m)) : w;
        });
        return;
      }
      default:
        each(s, n, [&](i64 k, i64 j, i64 e) { dst.v[k * run + e] = widen(grad(j, e)); });
    }
  }

  static A power_of(A v, double q) { return A(q == 0 ? 1 : q == -1 ? 1 / double(v) : ::pow(double(v), q)); }

  void finish(const Row* rows, const Spot& s, i64 n) override {
    const Line<T> out(dx, g, s);
    const A* sum = rows[0].v;
    const i64 run = g.run;
    if (!power() && !softmax()) {
      if (out.per_position == run && (run == 1 || out.per_element == 1)) return narrow_row(sum, run, n, run, out.at);
      for (i64 j = 0; j < n; ++j)
        for (i64 e = 0; e < run; ++e) out(j, e) = narrow<T>(sum[j * run + e]);
      return;
    }
    const Line<T> in(*x, g, s);
    const A m = A(shift_ / beta), b = A(beta);
    for (i64 j = 0; j < n; ++j)
      for (i64 e = 0; e < run; ++e) {
        const A v = widen(in(j, e)), t = sum[j * run + e];
        A r;
        if (exact_) {
          const Origin k = origin_of(g, dx, s, j, e);
          r = A(by_window(k));
        } else if (power()) {
          if (pr.reducer == Reducer::PowerMean)
            r = v < A(pr.params.eps) ? A(0) : t * power_of(v * A(scale_), p - 1);
          else
            r = v == 0 ? A(0) : t * A(::copysign(double(power_of((v < 0 ? -v : v) * A(scale_), p - 1)), double(v)));
        } else {
          const A w = A(::exp(double((v - m) * b)));
          // A cell without weight has no slope, even if it is infinite.
          r = pr.reducer == Reducer::LogSumExp ? t * w : w == 0 ? A(0) : w * (t + b * (v - m) * rows[1].v[j * run + e]);
        }
        out(j, e) = narrow<T>(r);
      }
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

// dx[chosen tap] += dy. Work and order are those of the outputs alone.
template <class T>
static const char* route(const Problem& pr, const View& dy, const View& dx, const View* x, const View& offsets,
                         const Exec& exec) {
  using A = acc_t<T>;
  const int R = pr.rank, w = R - 1;
  i64 box[3] = {1, 1, 1}, taps = 1, size = 1, outs = 1;
  offset_box(pr, box);
  for (int i = 0; i < R; ++i) taps *= box[i], size *= dx.shape[2 + i], outs *= dy.shape[2 + i];
  // A plane's gradients are summed in order in contiguous memory, in the accumulator's type.
  i64 line[3], next = 1;
  for (int i = w; i >= 0; --i) line[i] = next, next *= dx.shape[2 + i];
  const auto step = [&](int i) { return step_of(pr.axes[i]); };
  const bool magnitude = pr.reducer == Reducer::Lp, drawn = pr.params.sample;
  const i64 none = offsets.dtype == DType::u8 ? 0xff : offsets.dtype == DType::i16 ? 0xffff : 0x7fffffff;
  const i64 planes = dx.shape[0] * dx.shape[1];
  std::atomic<bool> outside{false};
  parallel(exec, planes, std::max<i64>(1, (i64(1) << 15) / (size + outs)), [&](i64 begin, i64 end) {
    bool dense = true;
    for (int i = 0; i < R; ++i) dense &= dx.shape[2 + i] == 1 || dx.stride[2 + i] == line[i];
    const bool in_place = dense && std::is_same_v<A, T>;
    A* const scratch = in_place ? nullptr : static_cast<A*>(std::malloc(size * sizeof(A)));
    if (!in_place && scratch == nullptr) throw std::bad_alloc();
    // Displacement of each tap from its window's first one.
    constexpr i64 table_size = 256;
    i64 table[table_size];
    const auto displacement = [&](i64 t) {
      i64 at = 0;
      for (int i = w; i >= 0; --i) at += t % box[i] * step(i) * line[i], t /= box[i];
      return at;
    };
    for (i64 t = 0; t < std::min(taps, table_size); ++t) table[t] = displacement(t);
    for (i64 plane = begin; plane < end; ++plane) {
      const i64 n = plane / dx.shape[1], c = plane % dx.shape[1];
      T* const to = static_cast<T*>(dx.data) + n * dx.stride[0] + c * dx.stride[1];
      A* sum = scratch;
      if constexpr (std::is_same_v<A, T>)
        if (in_place) sum = to;
      std::memset(static_cast<void*>(sum), 0, size * sizeof(A));
      i64 o[3] = {};
      for (i64 row = 0; row < outs; row += dy.shape[2 + w]) {
        i64 base = 0, from = n * dy.stride[0] + c * dy.stride[1], tag = n * offsets.stride[0] + c * offsets.stride[1];
        bool whole = true;
        i64 count[3];
        for (int i = 0; i < w; ++i) {
          const Interval k = interval(pr.axes[i], o[i], plane);
          base += k.start * line[i], count[i] = k.n, whole &= k.n == box[i];
          from += o[i] * dy.stride[2 + i], tag += o[i] * offsets.stride[2 + i];
        }
        for (i64 j = 0; j < dy.shape[2 + w]; ++j) {
          const Interval k = interval(pr.axes[w], j, plane);
          const i64 at = tag + j * offsets.stride[2 + w];
          i64 t;
          if (offsets.dtype == DType::u8)
            t = static_cast<const std::uint8_t*>(offsets.data)[at];
          else if (offsets.dtype == DType::i16)
            t = static_cast<const std::uint16_t*>(offsets.data)[at];
          else
            t = static_cast<const std::int32_t*>(offsets.data)[at];
          if (drawn && t == none) continue;
          bool inside = t >= 0 && t < taps;
          if (inside && !(whole && k.n == box[w])) {
            count[w] = k.n;
            i64 rest = t;
            for (int i = w; i >= 0; --i) inside &= rest % box[i] < count[i], rest /= box[i];
          }
          if (!inside) {
            outside.store(true, std::memory_order_relaxed);
            continue;
          }
          const i64 where = base + k.start * line[w] + (t < table_size ? table[t] : displacement(t));
          A grad = widen(static_cast<const T*>(dy.data)[from + j * dy.stride[2 + w]]);
          if (magnitude) {
            i64 q = n * x->stride[0] + c * x->stride[1], rest = where;
            for (int i = 0; i < R; ++i) q += rest / line[i] * x->stride[2 + i], rest %= line[i];
            const A v = widen(static_cast<const T*>(x->data)[q]);
            grad = v > 0 ? grad : v < 0 ? -grad : A(0);
          }
          sum[where] += grad;
        }
        for (int i = w - 1; i >= 0; --i) {
          if (++o[i] < dy.shape[2 + i]) break;
          o[i] = 0;
        }
      }
      if (!in_place) {
        i64 q[3] = {};
        for (i64 i = 0; i < size; i += dx.shape[2 + w]) {
          i64 at = 0;
          for (int k = 0; k < w; ++k) at += q[k] * dx.stride[2 + k];
          for (i64 j = 0; j < dx.shape[2 + w]; ++j) to[at + j * dx.stride[2 + w]] = narrow<T>(sum[i + j]);
          for (int k = w - 1; k >= 0; --k) {
            if (++q[k] < dx.shape[2 + k]) break;
            q[k] = 0;
          }
        }
      }
    }
    std::free(scratch);
  });
  return outside.load() ? "indices hold an offset outside its window" : nullptr;
}

}  // namespace poolkit::POOLKIT_ISA_NS

// The backward loops. Sums and what is built on them fold the gradient over the transposed windows; a chosen tap gets
// its gradient routed. One thread owns a plane (or the channels of a batch entry), so the result never depends on how
// many there are.
#pragma once

#include <atomic>

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

// The two loops that matter, by themselves: with all that surrounds them they run out of registers. False: an offset is
// no tap.
template <class A, class T, class O>
[[gnu::noinline]] static bool route_row(const O* tags, i64 next_tag, const T* grads, i64 next_grad, const i64* column,
                                        i64 n, const i64* table, i64 taps, A* to) {
  bool good = true;
  for (i64 j = 0; j < n; ++j) {
    const i64 t = i64(tags[j * next_tag]);
    if (t < taps)
      to[column[j] + table[t]] += widen(grads[j * next_grad]);
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

// dx[chosen tap] += dy. Work and order are those of the outputs alone. O is the unsigned type that offsets are stored
// in. outside: set when one of them is no tap.
//
// A unit is a plane, or a block of contiguous channels of a sample; its gradients are summed in order in the
// accumulator's type, in dx itself where that has it.
template <class T, class O>
static void route_offsets(const Problem& pr, const View& dy, const View& dx, const View* x, const View& offsets,
                          std::atomic<bool>& outside, const Exec& exec) {
  using A = acc_t<T>;
  const int R = pr.rank, w = R - 1;
  i64 box[3] = {1, 1, 1}, taps = 1, size = 1, outs = 1;
  offset_box(pr, box);
  for (int i = 0; i < R; ++i) taps *= box[i], size *= dx.shape[2 + i], outs *= dy.shape[2 + i];
  const i64 columns = dy.shape[2 + w], channels = dx.shape[1];
  bool starts = false;
  for (int i = 0; i < R; ++i) starts |= pr.axes[i].plane_stride != 0;
  const bool together = !starts && channels > 1 && dx.stride[1] == 1 && dy.stride[1] == 1 && offsets.stride[1] == 1;
  const i64 group = together ? std::min<i64>(channels, 64) : 1, groups = (channels + group - 1) / group;
  const bool magnitude = pr.reducer == Reducer::Lp, drawn = pr.params.sample;
  constexpr i64 none = sizeof(O) == 4 ? 0x7fffffff : i64(O(-1));
  parallel(exec, dx.shape[0] * groups, std::max<i64>(1, (i64(1) << 15) / ((size + outs) * group)),
           [&](i64 begin, i64 end) {
             // Where sums lie: in dx, or dense beside it.
             i64 line[3], next = group;
             for (int i = w; i >= 0; --i) line[i] = next, next *= dx.shape[2 + i];
             bool dense = true;
             for (int i = 0; i < R; ++i) dense &= dx.shape[2 + i] == 1 || dx.stride[2 + i] == line[i];
             const bool in_place = std::is_same_v<A, T> && (together || dense);
             if (in_place)
               for (int i = 0; i < R; ++i) line[i] = dx.stride[2 + i];
             Scratch<A> beside;
             Scratch<i64> tables;
             A* const scratch = in_place ? nullptr : beside.take(size * group);
             // Displacement of each tap from its window's first one; the place and taps of each window of the last
             // axis.
             constexpr i64 table_size = 256;
             i64* const table = tables.take(table_size + 2 * columns);
             i64 *const column = table + table_size, *const column_taps = column + columns;
             const auto displacement = [&](i64 t) {
               i64 at = 0;
               for (int i = w; i >= 0; --i) at += t % box[i] * step_of(pr.axes[i]) * line[i], t /= box[i];
               return at;
             };
             for (i64 t = 0; t < std::min(taps, table_size); ++t) table[t] = displacement(t);
             const bool plain = !drawn && !magnitude && taps <= table_size;
             i64 full[2] = {0, 0};
             const auto find_columns = [&](i64 plane) {
               for (i64 j = 0; j < columns; ++j) {
                 const Interval k = interval(pr.axes[w], j, plane);
                 column[j] = k.start * line[w], column_taps[j] = k.n;
               }
               // Windows with all their taps, if they stand together.
               full[0] = 0;
               while (full[0] < columns && column_taps[full[0]] != box[w]) ++full[0];
               full[1] = full[0];
               while (full[1] < columns && column_taps[full[1]] == box[w]) ++full[1];
             };
             if (!starts) find_columns(0);
             // fn(o): every line of the unit's planes, by its first cell.
             const auto each_dx_line = [&](auto&& fn) {
               i64 q[3] = {};
               for (i64 i = 0; i < size; i += dx.shape[2 + w]) {
                 fn(q);
                 for (int k = w - 1; k >= 0 && ++q[k] == dx.shape[2 + k]; --k) q[k] = 0;
               }
             };
             for (i64 unit = begin; unit < end; ++unit) {
               const i64 n = unit / groups, c = unit % groups * group, plane = n * channels + c;
               const i64 width = std::min(group, channels - c);
               if (starts) find_columns(plane);
               T* const to = static_cast<T*>(dx.data) + n * dx.stride[0] + c * dx.stride[1];
               A* sum = scratch;
               if constexpr (std::is_same_v<A, T>)
                 if (in_place) sum = to;
               if (!in_place || dense)
                 std::memset(static_cast<void*>(sum), 0, size * group * sizeof(A));
               else
                 each_dx_line([&](const i64* q) {
                   i64 at = 0;
                   for (int k = 0; k < w; ++k) at += q[k] * line[k];
                   for (i64 j = 0; j < dx.shape[2 + w]; ++j)
                     std::memset(static_cast<void*>(sum + at + j * line[w]), 0, width * sizeof(A));
                 });
               i64 o[3] = {};
               for (i64 row = 0; row < outs; row += columns) {
                 i64 base = 0, from = n * dy.stride[0] + c * dy.stride[1],
                     tag = n * offsets.stride[0] + c * offsets.stride[1];
                 bool whole = true;
                 i64 count[3];
                 for (int i = 0; i < w; ++i) {
                   const Interval k = interval(pr.axes[i], o[i], plane);
                   base += k.start * line[i], count[i] = k.n, whole &= k.n == box[i];
                   from += o[i] * dy.stride[2 + i], tag += o[i] * offsets.stride[2 + i];
                 }
                 const auto one = [&](i64 j) {
                   const bool all = whole && column_taps[j] == box[w];
                   const O* const tags = static_cast<const O*>(offsets.data) + tag + j * offsets.stride[2 + w];
                   const T* const grads = static_cast<const T*>(dy.data) + from + j * dy.stride[2 + w];
                   A* const target = sum + base + column[j];
                   if (plain && all && width > 1) {
                     if (!route_side_by_side(tags, grads, width, table, taps, target))
                       outside.store(true, std::memory_order_relaxed);
                     return;
                   }
                   for (i64 e = 0; e < width; ++e) {
                     const i64 t = i64(tags[e]);
                     if (drawn && t == none) continue;
                     bool inside = t < taps;
                     if (inside && !all) {
                       count[w] = column_taps[j];
                       i64 rest = t;
                       for (int i = w; i >= 0; --i) inside &= rest % box[i] < count[i], rest /= box[i];
                     }
                     if (!inside) {
                       outside.store(true, std::memory_order_relaxed);
                       continue;
                     }
                     const i64 where = t < table_size ? table[t] : displacement(t);
                     A grad = widen(grads[e]);
                     if (magnitude) {
                       i64 q = n * x->stride[0] + (c + e) * x->stride[1], rest = t;
                       for (int i = w; i >= 0; --i) {
                         const Interval k = interval(pr.axes[i], i == w ? j : o[i], plane);
                         q += (k.start + rest % box[i] * step_of(pr.axes[i])) * x->stride[2 + i], rest /= box[i];
                       }
                       const A v = widen(static_cast<const T*>(x->data)[q]);
                       grad = v > 0 ? grad : v < 0 ? -grad : A(0);
                     }
                     target[where + e] += grad;
                   }
                 };
                 const bool quick = plain && whole && width == 1;
                 const i64 full_begin = quick ? full[0] : columns, full_end = quick ? full[1] : columns;
                 for (i64 j = 0; j < full_begin; ++j) one(j);
                 if (full_begin < full_end) {
                   const i64 next_tag = offsets.stride[2 + w], next_grad = dy.stride[2 + w];
                   if (!route_row(static_cast<const O*>(offsets.data) + tag + full_begin * next_tag, next_tag,
                                  static_cast<const T*>(dy.data) + from + full_begin * next_grad, next_grad,
                                  column + full_begin, full_end - full_begin, table, taps, sum + base))
                     outside.store(true, std::memory_order_relaxed);
                 }
                 for (i64 j = full_end; j < columns; ++j) one(j);
                 for (int i = w - 1; i >= 0; --i) {
                   if (++o[i] < dy.shape[2 + i]) break;
                   o[i] = 0;
                 }
               }
               if (in_place) continue;
               const A* at_sum = sum;
               each_dx_line([&](const i64* q) {
                 i64 at = 0;
                 for (int k = 0; k < w; ++k) at += q[k] * dx.stride[2 + k];
                 for (i64 j = 0; j < dx.shape[2 + w]; ++j, at_sum += group)
                   for (i64 e = 0; e < width; ++e)
                     to[at + j * dx.stride[2 + w] + e * dx.stride[1]] = narrow<T>(at_sum[e]);
               });
             }
           });
}

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

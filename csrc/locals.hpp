// Atoms over whole windows that do not sort: moments, mixtures, draws, similarities, filters. Each is a value and,
// beside it, its slopes.
#pragma once

#include "order.hpp"
#include "vmath.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class A>
static inline vec<A> all(double x) {
  return splat<vec<A>, A>(A(x));
}

template <class A>
static vec<A> mean_of(const Block<A>& b) {
  vec<A> sum{};
  for (i64 t = 0; t < b.n; ++t) sum = sum + b.tap(t);
  return sum / all<A>(double(b.n));
}

// Variance and standard deviation, from the differences to the mean.
template <class A, bool Root>
struct Moment final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  explicit Moment(const Problem& problem) : pr(problem) {}

  V variance(const Block<A>& b, V mean) const {
    V sum{};
    for (i64 t = 0; t < b.n; ++t) {
      const V d = b.tap(t) - mean;
      sum = sum + d * d;
    }
    return sum / all<A>(divisor(b.n));
  }
  void value(const Block<A>& b) override {
    const V v = variance(b, mean_of(b));
    store(b.y, Root ? sqrt_v(v) : v);
  }
  void slopes(const Block<A>& b) override {
    const V mean = mean_of(b);
    V scale = all<A>((Root ? 1.0 : 2.0) / divisor(b.n));
    if (Root) {
      // A window of equal cells has no slope: 0 by agreement.
      const V y = sqrt_v(variance(b, mean));
      scale = y == V{} ? V{} : scale / y;
    }
    for (i64 t = 0; t < b.n; ++t) store(b.slopes + t * L, (b.tap(t) - mean) * scale);
  }

 private:
  // Of one cell alone there is no unbiased estimate; its variance is 0.
  double divisor(i64 n) const { return double(pr.params.mode == 1 && n > 1 ? n - 1 : n); }
  const Problem& pr;
};

// a max + (1 - a) mean.
template <class A>
struct Mixed final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  explicit Mixed(const Problem& problem) : pr(problem) {}

  static V largest(const Block<A>& b) {
    V top = b.tap(0);
    for (i64 t = 1; t < b.n; ++t) {
      const V x = b.tap(t);
      top = x != x ? x : pick<false>(x, top);
    }
    return top;
  }
  V part(const Block<A>& b) const { return b.extra != nullptr ? load<V>(b.extra) : all<A>(pr.params.level); }

  void value(const Block<A>& b) override {
    const V a = part(b), top = largest(b), mean = mean_of(b), one = all<A>(1);
    // Weight 0 leaves a side out altogether, however large it is. A NaN is both the largest and the mean.
    store(b.y, a == V{} ? mean : a == one ? top : a * top + (one - a) * mean);
  }
  void slopes(const Block<A>& b) override {
    const V a = part(b), top = largest(b), share = (all<A>(1) - a) / all<A>(double(b.n));
    V free = all<A>(1);
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t);
      const auto here = (x == top) | (x != x);
      store(b.slopes + t * L, share + (here ? a * free : V{}));
      free = here ? V{} : free;
    }
    if (b.extra_slopes != nullptr) store(b.extra_slopes, top - mean_of(b));
  }

 private:
  const Problem& pr;
};

// Cells by the probability their activation gives them: one drawn by u, or the mean they would give on average.
template <class A>
struct Stochastic final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  explicit Stochastic(const Problem& problem) : pr(problem) {}

  bool softmax() const { return pr.params.mode == 1; }
  // The largest logit, which every weight is relative to.
  V shift(const Block<A>& b) const {
    V top = b.tap(0);
    if (softmax())
      for (i64 t = 1; t < b.n; ++t) top = pick<false>(b.tap(t), top);
    return top;
  }
  // Drawing: the same bits wherever it is worked out, and with them the same cells.
  template <bool Drawing>
  V weight(V x, V top) const {
    if (!softmax()) return x > V{} ? x : V{};
    const V logit = x == top ? V{} : (x - top) * all<A>(pr.params.beta);
    return Drawing ? exp_same(logit) : exp_v(logit);
  }

  void value(const Block<A>& b) override { b.extra == nullptr ? mean(b) : draw(b); }

  void mean(const Block<A>& b) {
    const V top = shift(b);
    V total{}, y{};
    for (i64 t = 0; t < b.n; ++t) total = total + weight<false>(b.tap(t), top);
    // Relative to the total from the start, so that no square overflows.
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t), w = weight<false>(x, top) / total;
      y = y + (w > V{} ? w * x : V{});
    }
    store(b.y, with_nan(b, total == all<A>(HUGE_VAL) ? total : y));
  }

  void draw(const Block<A>& b) {
    const V top = shift(b);
    A* const weights = weights_.take(b.n * L);
    V total{};
    for (i64 t = 0; t < b.n; ++t) {
      const V w = weight<true>(b.tap(t), top);
      store(weights + t * L, w);
      total = total + w;
    }
    const V wanted = load<V>(b.extra) * total;
    using I = std::conditional_t<sizeof(A) == 8, std::int64_t, std::int32_t>;
    V sum{}, y{}, last{};
    vec<I> place = vec<I>{} - 1, place_last = place;
    auto open = total > V{};
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t), w = load<V>(weights + t * L);
      sum = sum + w;
      const auto able = w > V{};
      last = able ? x : last, place_last = able ? vec<I>{} + I(t) : place_last;
      // An infinite cell has all the probability there is.
      const auto here = open & able & ((sum > wanted) | (w == all<A>(HUGE_VAL)));
      y = here ? x : y, place = here ? vec<I>{} + I(t) : place;
      open = open & ~here;
    }
    y = open ? last : y, place = open ? place_last : place;  // rounding kept the sum from passing the last cell
    y = with_nan(b, y);
    store(b.y, y);
    if (b.chosen == nullptr) return;
    I chosen[L];
    store(chosen, place);
    for (int l = 0; l < L; ++l) {
      b.chosen[l] = std::int32_t(chosen[l]);
      if (b.y[l] != b.y[l])
        for (i64 t = b.n - 1; t >= 0; --t)
          if (b.taps[t * L + l] != b.taps[t * L + l]) b.chosen[l] = std::int32_t(t);
    }
  }

  void slopes(const Block<A>& b) override {
    mean(b);
    const V y = load<V>(b.y), top = shift(b);
    V total{};
    for (i64 t = 0; t < b.n; ++t) total = total + weight<false>(b.tap(t), top);
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t), w = weight<false>(x, top) / total;
      const V slope = softmax() ? w * (all<A>(1) + all<A>(pr.params.beta) * (x - y)) : (all<A>(2) * x - y) / total;
      store(b.slopes + t * L, w > V{} ? slope : V{});
    }
  }

 private:
  const Problem& pr;
  Scratch<A> weights_;
};

// Softmax with a sharpness of its own for every output: beta 0 is the mean.
template <class A>
struct Boltzmann final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;

  template <class Fn>
  static void each_weight(const Block<A>& b, Fn&& fn) {
    const V beta = load<V>(b.extra);
    // An infinite cell times 0 is no logit: with sharpness 0 all weigh the same.
    const auto logit = [&](V x) { return beta == V{} ? V{} : x * beta; };
    V top = logit(b.tap(0)), total{};
    for (i64 t = 1; t < b.n; ++t) top = pick<false>(logit(b.tap(t)), top);
    const auto weight = [&](V x) {
      const V l = logit(x);
      return exp_v(l == top ? V{} : l - top);
    };
    for (i64 t = 0; t < b.n; ++t) total = total + weight(b.tap(t));
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t);
      fn(t, x, weight(x) / total);
    }
  }
  void value(const Block<A>& b) override {
    V y{};
    each_weight(b, [&](i64, V x, V w) { y = y + (w == V{} ? V{} : w * x); });
    store(b.y, with_nan(b, y));
  }
  void slopes(const Block<A>& b) override {
    value(b);
    const V y = load<V>(b.y), beta = load<V>(b.extra);
    V spread{};
    each_weight(b, [&](i64 t, V x, V w) {
      store(b.slopes + t * L, w == V{} ? V{} : w * (all<A>(1) + beta * (x - y)));
      spread = spread + (w == V{} ? V{} : w * (x - y) * (x - y));
    });
    store(b.extra_slopes, spread);
  }
};

// beta times a mean weighted by likeness to the window's mean, plus (1 - beta) times the softmax-weighted mean.
template <class A>
struct Ada final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  explicit Ada(const Problem& problem) : pr(problem) {}

  void value(const Block<A>& b) override { run(b, false); }
  void slopes(const Block<A>& b) override { run(b, true); }

 private:
  bool inverse_distance() const { return pr.params.mode == 1; }
  // How like x is to m: Dice-Soerensen 2 |x m| / (x^2 + m^2), or the logarithm of 1 / (|x - m| + eps).
  V likeness(V x, V m) const {
    if (inverse_distance()) return -log_v(absolute<A>(x - m) + all<A>(pr.params.eps));
    const V r = ratio(x, m);
    return all<A>(2) * r / (all<A>(1) + r * r);
  }
  // |x / m| or its inverse, whichever is below one: the likeness is the same, and no square overflows.
  static V ratio(V x, V m) {
    const V a = absolute<A>(x), c = absolute<A>(m), low = a < c ? a : c, high = a < c ? c : a;
    return high == V{} ? V{} : low / high;
  }
  // Derivative of likeness by its first argument; exchanging x and m gives the other one.
  V slope_of(V x, V m) const {
    const V zero{};
    if (inverse_distance()) {
      const V d = x - m, size = absolute<A>(d) + all<A>(pr.params.eps);
      return d == zero ? zero : d > zero ? -all<A>(1) / size : all<A>(1) / size;
    }
    const V r = ratio(x, m), q = all<A>(1) + r * r,
            big = absolute<A>(x) > absolute<A>(m) ? absolute<A>(x) : absolute<A>(m);
    V s = all<A>(2) * (all<A>(1) - r * r) / (q * q * big);
    // Of the smaller argument the likeness grows with its size, of the larger one it falls, by the ratio slower.
    s = absolute<A>(x) > absolute<A>(m) ? -s * r : s;
    s = x < zero ? -s : s;
    return (x == zero) | (m == zero) ? zero : s;
  }

  void run(const Block<A>& b, bool back) {
    const V beta = b.extra != nullptr ? load<V>(b.extra) : all<A>(pr.params.level), one = all<A>(1);
    const V m = mean_of(b);
    V top = likeness(b.tap(0), m), high = b.tap(0);
    A* const like = like_.take(2 * b.n * L);
    A* const soft = like + b.n * L;
    for (i64 t = 0; t < b.n; ++t) {
      const V l = likeness(b.tap(t), m);
      store(like + t * L, l);
      top = pick<false>(l, top), high = pick<false>(b.tap(t), high);
    }
    V total{}, total_soft{};
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t), w = exp_v(load<V>(like + t * L) - top), e = exp_v(x == high ? V{} : x - high);
      store(like + t * L, w), store(soft + t * L, e);
      total = total + w, total_soft = total_soft + e;
    }
    V first{}, second{};
    for (i64 t = 0; t < b.n; ++t) {
      const V w = load<V>(like + t * L) / total, e = load<V>(soft + t * L) / total_soft;
      store(like + t * L, w), store(soft + t * L, e);
      first = first + w * b.tap(t), second = second + (e == V{} ? V{} : e * b.tap(t));
    }
    store(b.y, with_nan(b, beta * first + (one - beta) * second));
    if (!back) return;
    V by_mean{};
    for (i64 t = 0; t < b.n; ++t)
      by_mean = by_mean + load<V>(like + t * L) * (b.tap(t) - first) * slope_of(m, b.tap(t));
    by_mean = by_mean / all<A>(double(b.n));
    for (i64 t = 0; t < b.n; ++t) {
      const V x = b.tap(t), w = load<V>(like + t * L), e = load<V>(soft + t * L);
      const V one_side = w * (one + (x - first) * slope_of(x, m)) + by_mean;
      const V other = e == V{} ? V{} : e * (one + x - second);
      store(b.slopes + t * L, beta * one_side + (one - beta) * other);
    }
    if (b.extra_slopes != nullptr) store(b.extra_slopes, first - second);
  }

  const Problem& pr;
  Scratch<A> like_;
};

// sum of w x, with a weight for each cell of the kernel; cells outside the input count as 0.
template <class A>
struct Filter final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  void value(const Block<A>& b) override {
    V y{};
    for (i64 t = 0; t < b.n; ++t) y = y + load<V>(b.extra + b.ids[t] * L) * b.tap(t);
    store(b.y, y);
  }
  void slopes(const Block<A>& b) override {
    const V dy = load<V>(b.dy);
    for (i64 t = 0; t < b.n; ++t) {
      store(b.slopes + t * L, load<V>(b.extra + b.ids[t] * L));
      A* const sum = b.extra_slopes + b.ids[t] * L;
      store(sum, load<V>(sum) + dy * b.tap(t));
    }
  }
};

// (mean max(x, eps)^p)^(1/p) with a power of its own for every output.
template <class A>
struct GeM final : Atom<A> {
  using V = vec<A>;
  static constexpr int L = lanes<A>;
  explicit GeM(const Problem& problem) : pr(problem) {}

  void value(const Block<A>& b) override { run(b, false); }
  void slopes(const Block<A>& b) override { run(b, true); }

 private:
  void run(const Block<A>& b, bool back) {
    const V p = load<V>(b.extra), floor = all<A>(pr.params.eps), zero{};
    const auto clamped = [&](i64 t) {
      const V x = b.tap(t);
      return x < floor ? floor : x;
    };
    V top = clamped(0);
    for (i64 t = 1; t < b.n; ++t) top = pick<false>(clamped(t), top);
    // Relative to the largest cell: no power overflows, and one cell at least does not vanish.
    V sum{}, logs{};
    A* const log_rows = logs_.take(b.n * L);
    for (i64 t = 0; t < b.n; ++t) {
      const V x = clamped(t), log = log_v(x == top ? all<A>(1) : x / top), power = exp_v(p * log);
      store(log_rows + t * L, log);
      sum = sum + power, logs = logs + (power > zero ? power * log : zero);
    }
    const V log_root = log_v(sum / all<A>(double(b.n))) / p;
    const V y = with_nan(b, top == zero ? zero : top == all<A>(HUGE_VAL) ? top : top * exp_v(log_root));
    store(b.y, y);
    if (!back) return;
    for (i64 t = 0; t < b.n; ++t) {
      // (x / y)^(p - 1) / n, in the same terms; a cell of 0 has a slope only where p is 1.
      const V power = (p - all<A>(1)) * (load<V>(log_rows + t * L) - log_root), most = all<A>(80);
      const V slope = exp_v(p == all<A>(1) ? zero : power > most ? most : power) / all<A>(double(b.n));
      const auto flat = (b.tap(t) < floor) | (y == zero) | ((b.tap(t) == zero) & (p != all<A>(1)));
      store(b.slopes + t * L, y != y ? y : flat ? zero : slope);
    }
    store(b.extra_slopes, y == zero ? zero : y / p * (logs / sum - log_root));
  }

  const Problem& pr;
  Scratch<A> logs_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

// Order statistics of whole windows: sorting networks over rows, weights by rank, choices by rank.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "whole.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// The comparators of Batcher's odd-even merge sort of n values (Knuth, volume 3, 5.2.2, algorithm M).
template <class Fn>
static constexpr void each_comparator(i64 n, Fn&& fn) {
  i64 top = 1;
  while (2 * top < n) top *= 2;
  for (i64 p = top; p > 0; p /= 2)
    for (i64 q = top, r = 0, d = p;;) {
      for (i64 i = 0; i + d < n; ++i)
        if ((i & p) == r) fn(i, i + d);
      if (q == p) break;
      d = q - p, q /= 2, r = p;
    }
}

// The larger value first. Windows with a NaN end in any order: their lanes are overruled afterwards.
template <class V>
static inline void order_two(V& a, V& b) {
  const V high = pick<false>(b, a), low = pick<true>(b, a);
  a = high, b = low;
}

template <int N>
struct Network {
  static constexpr int count = [] {
    int k = 0;
    each_comparator(N, [&](i64, i64) { ++k; });
    return k;
  }();
  static constexpr auto pairs = [] {
    std::array<std::array<int, 2>, count> list{};
    int k = 0;
    each_comparator(N, [&](i64 i, i64 j) { list[k++] = {int(i), int(j)}; });
    return list;
  }();
  template <class V>
  static void sort(V (&v)[N]) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      (order_two(v[pairs[K][0]], v[pairs[K][1]]), ...);
    }(std::make_index_sequence<count>{});
  }
};

struct Larger {
  template <class A>
  bool operator()(A a, A b) const {
    return a > b;
  }
};

// Above this many taps a lane is sorted alone: the network's comparators grow faster than n log n. Up to register_limit
// a window is sorted without going through memory.
constexpr i64 network_limit = 512, register_limit = 9;

template <int N, class A>
static void sort_in_registers(const A* taps, A* sorted) {
  vec<A> v[N];
  for (int t = 0; t < N; ++t) v[t] = load<vec<A>>(taps + t * lanes<A>);
  Network<N>::sort(v);
  for (int t = 0; t < N; ++t) store(sorted + t * lanes<A>, v[t]);
}

// Rows to rows, the largest value of each lane first; lanes with a NaN hold anything.
template <class A>
static void sort_rows(const A* taps, A* sorted, i64 n, Scratch<A>& scratch) {
  using V = vec<A>;
  constexpr int L = lanes<A>;
  if (n <= register_limit) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      ((n == i64(K + 1) && (sort_in_registers<int(K + 1)>(taps, sorted), true)) || ...);
    }(std::make_index_sequence<register_limit>{});
    return;
  }
  if (n <= network_limit) {
    std::memcpy(sorted, taps, n * L * sizeof(A));
    each_comparator(n, [&](i64 i, i64 j) {
      V a = load<V>(sorted + i * L), b = load<V>(sorted + j * L);
      order_two(a, b);
      store(sorted + i * L, a), store(sorted + j * L, b);
    });
    return;
  }
  A* const lane = scratch.take(n);
  for (int l = 0; l < L; ++l) {
    bool nan = false;
    for (i64 t = 0; t < n; ++t) lane[t] = taps[t * L + l], nan |= lane[t] != lane[t];
    if (!nan) std::sort(lane, lane + n, Larger{});
    for (i64 t = 0; t < n; ++t) sorted[t * L + l] = lane[t];
  }
}

// Lanes in which a tap is NaN.
template <class A>
static auto nan_lanes(const Block<A>& b) {
  auto mask = b.tap(0) != b.tap(0);
  for (i64 t = 1; t < b.n; ++t) mask = mask | (b.tap(t) != b.tap(t));
  return mask;
}

template <class A>
static vec<A> with_nan(const Block<A>& b, vec<A> y) {
  if constexpr (std::is_floating_point_v<A>)
    return with_nans(y, reinterpret_cast<const vec<A>*>(b.taps), b.n);
  else
    return y;
}

// The first tap that is y, or the first NaN where y is one.
template <class A>
static void choose_first(const Block<A>& b, vec<A> y) {
  using I = index_t<A>;
  vec<I> place{};
  for (i64 t = b.n - 1; t >= 0; --t) {
    const vec<A> x = b.tap(t);
    const auto here = (x == y) | ((x != x) & (y != y));
    place = here ? vec<I>{} + I(t) : place;
  }
  I list[lanes<A>];
  store(list, place);
  for (int l = 0; l < lanes<A>; ++l) b.chosen[l] = std::int32_t(list[l]);
}

// The weight of each rank, largest value first, in windows of n taps.
static inline void rank_weights(const Problem& pr, i64 n, double* w) {
  const Params& p = pr.params;
  for (i64 r = 0; r < n; ++r) w[r] = 0;
  const auto ascending = [&](double place, double weight) {
    const i64 r = n - 1 - std::min<i64>(n - 1, std::max<i64>(0, i64(place)));
    w[r] += weight;
  };
  switch (pr.reducer) {
    case Reducer::Median:
    case Reducer::Quantile: {
      const double h = double(n - 1) * p.level, low = std::floor(h), high = std::ceil(h), part = h - low;
      switch (Interpolation(p.mode)) {
        case Interpolation::lower:
          ascending(low, 1);
          break;
        case Interpolation::higher:
          ascending(high, 1);
          break;
        case Interpolation::nearest:
          // Of two ranks equally near the even one, as NumPy does.
          ascending(part < 0.5 ? low : part > 0.5 ? high : std::fmod(low, 2) == 0 ? low : high, 1);
          break;
        case Interpolation::midpoint:
          ascending(low, 0.5), ascending(high, 0.5);
          break;
        case Interpolation::linear:
          ascending(low, 1 - part), ascending(high, part);
          break;
      }
      break;
    }
    case Reducer::TopKMean: {
      const double wanted = p.mode == 0 ? p.level : std::floor(p.level * double(n) + 0.5);
      const i64 k = wanted >= double(n) ? n : std::max<i64>(1, i64(wanted));
      for (i64 r = 0; r < k; ++r) w[r] = 1 / double(k);
      break;
    }
    default: {
      // Geometric: alpha (1 - alpha)^r, made to sum to one unless mode says otherwise.
      double next = p.level, sum = 0;
      for (i64 r = 0; r < n; ++r) w[r] = next, sum += next, next *= 1 - p.level;
      if (p.mode == 0)
        for (i64 r = 0; r < n; ++r) w[r] /= sum;
    }
  }
}

// What all order statistics share: the weights of the window size at hand.
template <class A>
struct Ranked : Atom<A> {
  static constexpr int L = lanes<A>;
  explicit Ranked(const Problem& problem) : pr(problem) {}

 protected:
  const double* weights(i64 n) {
    if (n != known_) {
      rank_weights(pr, n, table_.take(n));
      known_ = n;
      first_ = last_ = -1;
      for (i64 r = 0; r < n; ++r)
        if (table_.take(n)[r] != 0) first_ = first_ < 0 ? r : first_, last_ = r;
    }
    return table_.take(n);
  }
  A* sorted(const Block<A>& b) {
    A* rows = rows_.take(b.n * L);
    sort_rows(b.taps, rows, b.n, lane_);
    return rows;
  }
  // Rank of every tap among the others, the largest first; of equal taps the first is the larger one.
  template <class Fn>
  void each_rank(const Block<A>& b, Fn&& fn) {
    using I = index_t<A>;
    if (b.n <= pairwise_limit) {
      for (i64 t = 0; t < b.n; ++t) {
        vec<I> rank{};
        const vec<A> x = b.tap(t);
        for (i64 s = 0; s < t; ++s) rank -= b.tap(s) >= x;
        for (i64 s = t + 1; s < b.n; ++s) rank -= b.tap(s) > x;
        I list[L];
        store(list, rank);
        for (int l = 0; l < L; ++l) fn(t, l, i64(list[l]));
      }
      return;
    }
    i64* const order = order_.take(b.n);
    for (int l = 0; l < L; ++l) {
      bool nan = false;
      for (i64 t = 0; t < b.n; ++t) order[t] = t, nan |= b.taps[t * L + l] != b.taps[t * L + l];
      const A* const taps = b.taps + l;
      if (!nan)
        std::sort(order, order + b.n, [taps](i64 s, i64 t) {
          const A a = taps[s * L], c = taps[t * L];
          return a > c || (a == c && s < t);
        });
      for (i64 r = 0; r < b.n; ++r) fn(order[r], l, r);
    }
  }

  const Problem& pr;
  i64 first_ = -1, last_ = -1;

 private:
  static constexpr i64 pairwise_limit = 128;
  Scratch<double> table_;
  Scratch<A> rows_, lane_;
  Scratch<i64> order_;
  i64 known_ = -1;
};

// y = sum over ranks r of w[r] x[r].
template <class A>
struct RankSum final : Ranked<A> {
  using Ranked<A>::Ranked;
  static constexpr int L = lanes<A>;

  void value(const Block<A>& b) override {
    const double* w = this->weights(b.n);
    vec<A> y;
    const bool one = this->first_ == this->last_ && w[this->first_] == 1;
    // The medians of small windows, in registers: comparators they do not need fall away.
    if (one && b.n == 9 && this->first_ == 4)
      y = chosen_of<9, 4>(b);
    else if (one && b.n == 4 && this->first_ == 2)
      y = chosen_of<4, 2>(b);
    else if (one)
      y = load<vec<A>>(this->sorted(b) + this->first_ * L);
    else if constexpr (std::is_floating_point_v<A>)
      y = weighted(this->sorted(b), w);
    else
      y = b.tap(0);  // integers have no weighted ranks: the front ends refuse them
    y = with_nan(b, y);
    store(b.y, y);
    if (b.chosen != nullptr) choose_first(b, y);
  }

  void slopes(const Block<A>& b) override {
    const double* w = this->weights(b.n);
    this->each_rank(b, [&](i64 t, int l, i64 r) { b.slopes[t * L + l] = A(w[r]); });
    if constexpr (std::is_floating_point_v<A>) {
      const auto nan = nan_lanes(b);
      for (i64 t = 0; t < b.n; ++t)
        store(b.slopes + t * L, nan ? splat<vec<A>, A>(A(NAN)) : load<vec<A>>(b.slopes + t * L));
    }
  }

 private:
  template <int N, int R>
  static vec<A> chosen_of(const Block<A>& b) {
    vec<A> v[N];
    for (int t = 0; t < N; ++t) v[t] = b.tap(t);
    Network<N>::sort(v);
    return v[R];
  }
  vec<A> weighted(const A* rows, const double* w) const {
    vec<A> y{};
    for (i64 r = this->first_; r <= this->last_; ++r)
      if (w[r] != 0) y = y + load<vec<A>>(rows + r * L) * splat<vec<A>, A>(A(w[r]));
    return y;
  }
};

// One value drawn by rank: u, uniform in [0, 1), picks the rank; past the weights' sum nothing is picked, and y is 0.
template <class A>
struct RankDraw final : Ranked<A> {
  using Ranked<A>::Ranked;
  static constexpr int L = lanes<A>;

  void value(const Block<A>& b) override {
    const double* w = this->weights(b.n);
    const A* rows = this->sorted(b);
    const bool all = this->pr.reducer == Reducer::RankStochastic;
    A drawn[L];
    bool none[L];
    for (int l = 0; l < L; ++l) {
      double sum = 0;
      i64 r = 0;
      while (r < b.n && !(double(b.extra[l]) < (sum += w[r]))) ++r;
      none[l] = r == b.n && !all;
      drawn[l] = none[l] ? A(0) : rows[std::min(r, b.n - 1) * L + l];
    }
    const vec<A> y = with_nan(b, load<vec<A>>(drawn));
    store(b.y, y);
    if (b.chosen == nullptr) return;
    choose_first(b, y);
    store(drawn, y);
    for (int l = 0; l < L; ++l)
      if (none[l] && drawn[l] == drawn[l]) b.chosen[l] = -1;
  }
};

// Weights by rank that are learned: a step function over the quantiles of a window, one step for each weight, so that
// windows of any size take the same total.
template <class A>
struct Ordinal final : Ranked<A> {
  static constexpr int L = lanes<A>;
  Ordinal(const Problem& problem, i64 weights) : Ranked<A>(problem), K(weights) {}

  void value(const Block<A>& b) override {
    const A* w = steps(b);
    const A* rows = this->sorted(b);
    vec<A> y{};
    for (i64 r = 0; r < b.n; ++r) y = y + load<vec<A>>(rows + r * L) * load<vec<A>>(w + r * L);
    store(b.y, with_nan(b, y));
  }

  void slopes(const Block<A>& b) override {
    const A* w = steps(b);
    const auto nan = nan_lanes(b);
    A* by_rank = ranks_.take(b.n * L);
    this->each_rank(b, [&](i64 t, int l, i64 r) {
      b.slopes[t * L + l] = w[r * L + l];
      by_rank[r * L + l] = b.taps[t * L + l] * b.dy[l];
    });
    for (i64 t = 0; t < b.n; ++t)
      store(b.slopes + t * L, nan ? splat<vec<A>, A>(A(NAN)) : load<vec<A>>(b.slopes + t * L));
    shares(b.n, [&](i64 r, i64 k, double share) {
      A* const to = b.extra_slopes + k * L;
      store(to, load<vec<A>>(to) + load<vec<A>>(by_rank + r * L) * splat<vec<A>, A>(A(share)));
    });
  }

 private:
  // fn(rank, weight, share): how much of each weight a rank of n takes.
  template <class Fn>
  void shares(i64 n, Fn&& fn) const {
    for (i64 r = 0; r < n; ++r)
      for (i64 k = r * K / n; k < K && k * n < (r + 1) * K; ++k) {
        const i64 low = std::max(r * K, k * n), high = std::min((r + 1) * K, (k + 1) * n);
        if (high > low) fn(r, k, double(high - low) / double(n));
      }
  }
  const A* steps(const Block<A>& b) {
    A* w = weights_.take(b.n * L);
    std::memset(static_cast<void*>(w), 0, b.n * L * sizeof(A));
    shares(b.n, [&](i64 r, i64 k, double share) {
      store(w + r * L, load<vec<A>>(w + r * L) + load<vec<A>>(b.extra + k * L) * splat<vec<A>, A>(A(share)));
    });
    return w;
  }

  i64 K;
  Scratch<A> weights_, ranks_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

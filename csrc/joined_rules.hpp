// What joined.hpp does with the cells of a window: powers, exponentials, means, a blend of maximum and mean.
#pragma once

#include "atoms.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// A window by itself, in double.
using OneWindow = double (*)(const Problem&, const View& x, i64 n, i64 c, const i64 o[3]);

// Rules. What stands for a cell are `parts` values, made by enter, of cells beyond the edges those in fill; join is
// that of the parts, value what becomes of a window's. It says which lanes it does not vouch for; those are computed
// alone, but for lanes that vouched finds right after all, by what enter has noted. A rule that looks sees the cells of
// a block once more before that.
template <class A>
struct JoinedBase {
  using V = vec<A>;
  static constexpr bool looks = false;
  static constexpr A huge = std::numeric_limits<A>::max(), least = std::numeric_limits<A>::min() * A(1e8);
  static constexpr bool divides = false;  // value is given the cells that exist, not one over them
  A fill[2] = {0, 0};
  const Problem& pr;
  explicit JoinedBase(const Problem& problem) : pr(problem) {}
  struct Notes {};
  Notes begin() const { return {}; }
  void look(V) {}
  void looked() {}
  template <int Part>
  static V join(V a, V b) {
    return a + b;
  }
};

// (sum |x|^p)^(1/p) and the mean of max(x, eps)^p, for powers of 2 and 3. Nothing is scaled.
template <class A, int P>
struct Norm : JoinedBase<A> {
  using typename JoinedBase<A>::V;
  using JoinedBase<A>::huge, JoinedBase<A>::least;
  static constexpr int parts = 1;
  const bool clamp, mean;
  const A floor;
  struct Notes {
    V few;  // the smallest of the cells that are not 0
  };
  explicit Norm(const Problem& problem)
      : JoinedBase<A>(problem),
        clamp(problem.reducer == Reducer::PowerMean),
        mean(problem.reducer != Reducer::Lp),
        floor(A(problem.params.eps)) {}

  static V power(V v) { return P == 2 ? v * v : v * v * v; }
  Notes begin() const { return {V{} + huge}; }
  void enter(V x, V (&v)[1], Notes& notes) const {
    x = clamp ? (x <= floor ? V{} + floor : x) : absolute<A>(x);  // no -0 either way
    notes.few = pick<true>(x > A(0) ? x : V{} + huge, notes.few);
    v[0] = power(x);
  }
  auto value(const V (&v)[1], V inverse, V& y) const {
    const V sum = mean ? v[0] * inverse : v[0];
    y = P == 2 ? sqrt_v(sum) : cbrt_v(sum);
    return ~((v[0] >= least) & (v[0] <= huge));
  }
  // Where no power is lost, a sum of 0 is one.
  auto vouched(const V (&v)[1], const Notes& notes) const {
    return any_lane(power(notes.few) < least) ? V{} != V{} : v[0] < least;
  }

  template <class T>
  static double alone(const Problem& pr, const View& x, i64 n, i64 c, const i64 o[3]) {
    return norm(Window<T>(pr, x, n, c, o), double(P), pr.reducer == Reducer::PowerMean, pr.params.eps,
                pr.reducer != Reducer::Lp);
  }
};

// log of the sum (or mean) of exp(beta x), over beta, and the mean by weights of exp(beta x). Logits of common size
// need no shift; a block with others begins again, relative to its largest one.
template <class A, bool Soft>
struct Exponential : JoinedBase<A> {
  using typename JoinedBase<A>::V;
  using JoinedBase<A>::huge, JoinedBase<A>::least, typename JoinedBase<A>::Notes;
  static constexpr bool looks = true;
  static constexpr int parts = Soft ? 2 : 1;
  const A beta;
  const bool mean;
  V most{};
  A m = 0;  // the cell that others are relative to
  explicit Exponential(const Problem& problem)
      : JoinedBase<A>(problem), beta(A(problem.params.beta)), mean(!Soft && problem.params.mean) {}

  Notes begin() {
    most = V{} - huge, m = 0;
    return {};
  }
  void look(V x) {
    x = beta < 0 ? -x : x;
    most = pick<false>(x <= huge ? x : V{} - huge, most);
  }
  void looked() {
    A top = -huge;
    for (i64 l = 0; l < lanes<A>; ++l) top = std::max(top, most[l]);
    const double shift = double(top) * std::fabs(this->pr.params.beta);
    m = top == -huge || !(std::fabs(shift) < HUGE_VAL) ? A(0) : beta < 0 ? -top : top;
  }
  void enter(V x, V (&v)[parts], Notes&) const {
    // Close to the maximum, where weights matter, this difference is exact.
    const V d = m == 0 ? x : x - m;
    v[0] = exp_v(beta == 1 ? d : d * beta);
    if constexpr (Soft) v[1] = v[0] * d;
  }
  auto value(const V (&v)[parts], V inverse, V& y) const {
    if constexpr (Soft) {
      y = quotient(v[1], v[0]) + m;
    } else {
      const V log = log_v<true>(mean ? v[0] * inverse : v[0]);
      y = (beta == 1 ? log : log / beta) + m;
    }
    return ~((v[0] >= least) & (v[0] <= huge / 16) & (y - y == V{}));
  }
  auto vouched(const V (&)[parts], const Notes&) const { return V{} != V{}; }

  template <class T>
  static double alone(const Problem& pr, const View& x, i64 n, i64 c, const i64 o[3]) {
    const Window<T> window(pr, x, n, c, o);
    const SoftmaxState state = softmax(window, pr.params.beta);
    return Soft ? state.value : (state.lse - (pr.params.mean ? ::log(double(window.taps())) : 0)) / pr.params.beta;
  }
};

// a max + (1 - a) mean, a neither 0 nor 1. A NaN is in the mean.
template <class A>
struct Blend : JoinedBase<A> {
  using typename JoinedBase<A>::V;
  using typename JoinedBase<A>::Notes;
  static constexpr int parts = 2;
  const A level;
  explicit Blend(const Problem& problem) : JoinedBase<A>(problem), level(A(problem.params.level)) {
    this->fill[0] = -std::numeric_limits<A>::infinity();
  }

  template <int Part>
  static V join(V a, V b) {
    return Part == 0 ? pick<false>(b, a) : a + b;
  }
  void enter(V x, V (&v)[2], Notes&) const { v[0] = v[1] = x; }
  auto value(const V (&v)[2], V inverse, V& y) const {
    y = level * v[0] + (1 - level) * (v[1] * inverse);
    return v[1] - v[1] != V{};
  }
  auto vouched(const V (&)[2], const Notes&) const { return V{} != V{}; }

  // The sum may have overflowed on the way.
  template <class T>
  static double alone(const Problem& pr, const View& x, i64 n, i64 c, const i64 o[3]) {
    const Window<T> window(pr, x, n, c, o);
    double top = -HUGE_VAL, mean = 0;
    bool nan = false;
    window.each([&](T cell) {
      const double v = double(widen(cell));
      nan |= v != v, top = std::max(top, v), mean += v / 16;
    });
    mean = mean / double(window.taps()) * 16;
    return nan ? std::nan("") : pr.params.level * top + (1 - pr.params.level) * mean;
  }
};

// The mean of numbers narrower than A. Sums of integers are exact, and their quotients round as the exact ones would.
template <class A>
struct NarrowMean : JoinedBase<A> {
  using typename JoinedBase<A>::V;
  using typename JoinedBase<A>::Notes;
  static constexpr int parts = 1;
  static constexpr bool divides = true;
  using JoinedBase<A>::JoinedBase;

  void enter(V x, V (&v)[1], Notes&) const { v[0] = x; }
  auto value(const V (&v)[1], V cells, V& y) const {
    y = quotient(v[0], cells);
    return y - y != V{};
  }
  auto vouched(const V (&)[1], const Notes&) const { return V{} != V{}; }

  // The sum may have overflowed on the way.
  template <class T>
  static double alone(const Problem& pr, const View& x, i64 n, i64 c, const i64 o[3]) {
    double sum = 0;
    Window<T>(pr, x, n, c, o).each([&](T cell) { sum += double(widen(cell)); });
    return sum / mean_divisor(pr, n * x.shape[1] + c, o);
  }
};

}  // namespace poolkit::POOLKIT_ISA_NS

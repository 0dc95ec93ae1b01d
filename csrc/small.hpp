// Windows of 2x2 and 3x3 along rows, their cells in registers from the first to the last. What becomes of the cells is
// a rule's; the few windows that a rule does not trust itself with go to the code that holds for all.
#pragma once

#include <limits>

#include "atoms.hpp"
#include "direct.hpp"
#include "locals.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What a rule finds beside the cells of a vector of windows.
template <class A>
struct Beside {
  vec<A> extra;      // of the outputs
  vec<A> count;      // cells that exist
  i64 n, c, o[2];    // the first output
  i64 lanes;         // and how many follow it
  const A* weights;  // [N][L], of the kernel
};

// Rules. parts: how many values stand for a cell; enter, where a rule enters, makes them of it; fill are those of cells
// beyond the edges. scan, where a rule scans, sees a plane's cells before that. value: of N cells each, v and u their
// parts; it says which lanes it does not vouch for, and if there are any, exact is asked. A rule that joins takes the
// cells of a column as one: value sees K of them.
template <class A>
struct RuleBase {
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr int L = lanes<A>;
  static constexpr bool extra = false, count = false, weights = false, enters = false, scans = false, joins = false;
  static constexpr int parts = 1;
  A fill[2] = {0, 0};
  void begin() {}
  void scan(V) {}
  template <int Part>
  static V join(V a, V b) {
    return a + b;
  }
  template <int N>
  void exact(const V (&)[N], const V (&)[N], const Beside<A>&, V&, I&) {}
};

// The cell of a draw by its share.
template <class A>
struct Draw : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr int L = lanes<A>;
  static constexpr bool extra = true;
  Stochastic<A> whole;
  explicit Draw(const Problem& pr) : whole(pr) {}

  template <int N>
  auto value(const V (&x)[N], const V (&)[N], const Beside<A>& b, V& y, I& place) {
    V sums[N];
    V total{};
    for (int t = 0; t < N; ++t) sums[t] = total = total + pick<false>(x[t], V{});
    const V wanted = b.extra * total;
    // The first whose sum is above what is wanted; none of all where all are 0.
    V drawn{};
    place = I{} - 1;
    for (int t = N - 1; t >= 0; --t) {
      const auto here = sums[t] > wanted;
      drawn = here ? x[t] : drawn, place = here ? I{} + t : place;
    }
    y = with_nans<N>(drawn, x);
    return ((total > V{}) & ~(wanted < total)) | (y != y);
  }
  template <int N>
  void exact(const V (&x)[N], const V (&)[N], const Beside<A>& b, V& y, I& place) {
    alignas(64) A out[L], beside[L];
    std::int32_t chosen[L];
    store(beside, b.extra);
    Block<A> block;
    block.n = N, block.taps = reinterpret_cast<const A*>(x), block.extra = beside, block.y = out, block.chosen = chosen;
    whole.value(block);
    y = load<V>(out);
    for (int l = 0; l < L; ++l) place[l] = chosen[l];
  }
};

// Weights by rank. K: only that many of the largest count; 0: any.
template <class A, int K>
struct ByRank : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  double w[9];
  i64 first = -1, last = -1;
  bool one;
  ByRank(const Problem& pr, i64 n) {
    rank_weights(pr, n, w);
    for (i64 r = 0; r < n; ++r)
      if (w[r] != 0) first = first < 0 ? r : first, last = r;
    one = first == last && w[first] == 1;
    this->fill[0] = -std::numeric_limits<A>::infinity();
  }

  template <int N>
  auto value(const V (&x)[N], const V (&)[N], const Beside<A>&, V& y, I& place) {
    V s[N];
    if constexpr (K > 0) {
      for (int t = 0; t < N; ++t) {
        s[t] = x[t];
        for (int r = std::min(t, K) - 1, at = t; r >= 0; at = r--) order_two(s[r], s[at]);
      }
      y = V{};
      for (int r = 0; r < K; ++r) y = y + s[r] * splat<V, A>(A(w[r]));
    } else {
      for (int t = 0; t < N; ++t) s[t] = x[t];
      Network<N>::sort(s);
      V sorted[N];
      for (int t = 0; t < N; ++t) sorted[t] = s[t];
      y = sorted[first];
      if (!one) {
        y = V{};
        for (i64 r = first; r <= last; ++r)
          if (w[r] != 0) y = y + sorted[r] * splat<V, A>(A(w[r]));
      }
    }
    y = with_nans<N>(y, x);
    for (int t = N - 1; t >= 0; --t) place = (x[t] == y) | ((x[t] != x[t]) & (y != y)) ? I{} + t : place;
    return V{} != V{};
  }
};

// sum of w x.
template <class A>
struct Weighted : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr bool weights = true;

  template <int N>
  auto value(const V (&x)[N], const V (&)[N], const Beside<A>& b, V& y, I&) {
    y = V{};
    for (int t = 0; t < N; ++t) y = y + load<V>(b.weights + t * lanes<A>) * x[t];
    return V{} != V{};
  }
};

// (sum |x|^p)^(1/p) and the mean of max(x, eps)^p, for powers of 2 and 3. Nothing is scaled: where a sum is close to
// either end of the range, its window is taken again by itself.
template <class A, class T, int P>
struct Norm : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr bool count = true, enters = true, joins = true;
  static constexpr A huge = std::numeric_limits<A>::max(), least = std::numeric_limits<A>::min() * A(1e8);
  const Problem& pr;
  const View& in;
  const bool clamp, mean;
  V few{};  // the smallest of the cells that are not 0
  Norm(const Problem& problem, const View& x)
      : pr(problem), in(x), clamp(pr.reducer == Reducer::PowerMean), mean(pr.reducer != Reducer::Lp) {}

  static V power(V v) { return P == 2 ? v * v : v * v * v; }
  void begin() { few = V{} + huge; }
  void enter(V x, V& v, V&) {
    const V floor = splat<V, A>(A(pr.params.eps));
    x = clamp ? (x < floor ? floor : x) : (x < A(0) ? -x : x);
    few = pick<true>(x > A(0) ? x : V{} + huge, few);
    v = power(x);
  }
  template <int N>
  auto value(const V (&v)[N], const V (&)[N], const Beside<A>& b, V& y, I&) {
    V sum = v[0];
    for (int t = 1; t < N; ++t) sum = sum + v[t];
    y = root(sum, b);
    return ~((sum >= least) & (sum <= huge));
  }
  template <int N>
  void exact(const V (&v)[N], const V (&)[N], const Beside<A>& b, V& y, I&) {
    V sum = v[0];
    for (int t = 1; t < N; ++t) sum = sum + v[t];
    // Where no power is lost, a sum of 0 is one.
    const auto far = any_lane(power(few) < least) ? (sum < least) | (sum > huge) : sum > huge;
    if (!any_lane(far)) return;
    for (i64 l = 0; l < b.lanes; ++l) {
      if (far[l] == 0) continue;
      i64 o[3] = {b.o[0], b.o[1] + l, 0};
      y[l] = A(norm(Window<T>(pr, in, b.n, b.c, o), double(P), clamp, pr.params.eps, mean));
    }
  }

 private:
  V root(V sum, const Beside<A>& b) const {
    if (mean) sum = sum / b.count;
    return P == 2 ? sqrt_v(sum) : cbrt_v(sum);
  }
};

// log of the sum (or mean) of exp(beta x), over beta, and the mean by weights of exp(beta x): both relative to the
// plane's largest logit. Windows far below it are taken again by themselves.
template <class A, class T, bool Soft>
struct Exponential : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr bool count = !Soft, enters = true, scans = true, joins = true;
  static constexpr int parts = Soft ? 2 : 1;
  static constexpr A huge = std::numeric_limits<A>::max(), least = std::numeric_limits<A>::min() * A(1e8);
  const Problem& pr;
  const View& in;
  const A beta;
  V most{};
  A m = 0;  // the cell of the largest logit
  bool scanned = false;
  Exponential(const Problem& problem, const View& x) : pr(problem), in(x), beta(A(problem.params.beta)) {}

  void begin() { most = V{} - huge, scanned = false; }
  void scan(V x) {
    x = beta < 0 ? -x : x;
    most = pick<false>(x <= huge ? x : V{} - huge, most);
  }
  void enter(V x, V& v, V& u) {
    if (!scanned) {
      A top = -huge;
      for (i64 l = 0; l < lanes<A>; ++l) top = std::max(top, most[l]);
      const double shift = double(top) * std::fabs(pr.params.beta);
      m = top == -huge || !(std::fabs(shift) < HUGE_VAL) ? A(0) : beta < 0 ? -top : top;
      scanned = true;
    }
    // Close to the maximum, where weights matter, this difference is exact.
    const V d = x - m;
    v = exp_v(d * beta);
    if (Soft) u = v * d;
  }
  template <int N>
  auto value(const V (&v)[N], const V (&u)[N], const Beside<A>& b, V& y, I&) {
    V total = v[0], part = u[0];
    for (int t = 1; t < N; ++t) total = total + v[t], part = part + u[t];
    const auto range = (total >= least) & (total <= huge);
    if constexpr (Soft) {
      y = part / total + m;
      return ~(range & (part == part));
    } else {
      const V log = log_normal(pr.params.mean ? total / b.count : total);
      y = (beta == 1 ? log : log / beta) + m;
      return ~range;
    }
  }
  template <int N>
  void exact(const V (&v)[N], const V (&)[N], const Beside<A>& b, V& y, I&) {
    V total = v[0];
    for (int t = 1; t < N; ++t) total = total + v[t];
    for (i64 l = 0; l < b.lanes; ++l) {
      if (total[l] >= least && total[l] <= huge && y[l] - y[l] == 0) continue;
      const i64 o[3] = {b.o[0], b.o[1] + l, 0};
      const Window<T> window(pr, in, b.n, b.c, o);
      const SoftmaxState state = softmax(window, pr.params.beta);
      const double taps = pr.params.mean ? double(window.taps()) : 1;
      y[l] = A(Soft ? state.value : (state.lse - ::log(taps)) / pr.params.beta);
    }
  }
};

// a max + (1 - a) mean, a neither 0 nor 1. A NaN is in the mean.
template <class A, class T>
struct Blend : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr bool count = true, joins = true;
  static constexpr int parts = 2;
  const Problem& pr;
  const View& in;
  const A level;
  Blend(const Problem& problem, const View& x) : pr(problem), in(x), level(A(problem.params.level)) {
    this->fill[0] = -std::numeric_limits<A>::infinity();
  }

  template <int Part>
  static V join(V a, V b) {
    return Part == 0 ? pick<false>(b, a) : a + b;
  }
  template <int N>
  auto value(const V (&v)[N], const V (&u)[N], const Beside<A>& b, V& y, I&) {
    V top = v[0], sum = u[0];
    for (int t = 1; t < N; ++t) top = pick<false>(v[t], top), sum = sum + u[t];
    y = level * top + (1 - level) * (sum / b.count);
    return sum - sum != V{};
  }
  // The sum may have overflowed on the way.
  template <int N>
  void exact(const V (&)[N], const V (&)[N], const Beside<A>& b, V& y, I&) {
    for (i64 l = 0; l < b.lanes; ++l) {
      if (y[l] - y[l] == 0) continue;
      const i64 o[3] = {b.o[0], b.o[1] + l, 0};
      const Window<T> window(pr, in, b.n, b.c, o);
      A top = -std::numeric_limits<A>::infinity(), mean = 0;
      window.each([&](T cell) { top = std::max(top, A(widen(cell))), mean += A(widen(cell)) / 16; });
      y[l] = level * top + (1 - level) * (mean / A(window.taps()) * 16);
    }
  }
};

// Planes of small windows, a vector of outputs at a time.
template <class T, class Rule>
class Small {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;

  Small(const Problem& pr, const View& in, const View& out, const View* offsets, const View* extra, const Rule& rule)
      : lines_(pr.axes[0]), columns_(pr.axes[1]), x(in), y(out), offsets_(offsets), extra_(extra), rule_(rule) {
    K_ = lines_.kernel;
    height_ = (lines_.out - 1) * lines_.stride + K_, width_ = (columns_.out - 1) * columns_.stride + K_;
    inside_ = lines_.before == 0 && columns_.before == 0 && height_ <= lines_.size && width_ <= columns_.size;
    end_ = static_cast<const T*>(x.data) + end_of(x, 2);
    const i64 n = columns_.out;
    A* const counts = counts_.take(n + L);
    index_t<A>* const skipped = skipped_.take(n + L);
    for (i64 j = 0; j < n + L; ++j) {
      const Interval taps = interval(columns_, std::min(j, n - 1), 0);
      counts[j] = A(taps.n), skipped[j] = index_t<A>(taps.start - window_origin(columns_, std::min(j, n - 1)));
    }
  }

  void plane(i64 n, i64 c) {
    const T* const from = static_cast<const T*>(x.data) + n * x.stride[0] + c * x.stride[1];
    T* const to = static_cast<T*>(y.data) + n * y.stride[0] + c * y.stride[1];
    beside_.n = n, beside_.c = c;
    if constexpr (Rule::weights) kernel_weights(c);
    rule_.begin();
    i64 pitch = x.stride[2];
    const A* cells = nullptr;
    bool entered = false;  // cells have gone through the rule
    if constexpr (std::is_same_v<A, T> && !Rule::scans)
      if (inside_ && (!Rule::enters || (K_ == 2 && columns_.stride == 2)) && x.stride[3] == 1 && columns_.out >= L &&
          from + (height_ - 1) * pitch + width_ + 2 * L <= end_)
        cells = from;
    if (cells == nullptr) cells = padded(from), pitch = pitch_, entered = true;
    for (i64 o = 0; o < lines_.out; ++o) {
      const A* const top = cells + o * lines_.stride * pitch;
      beside_.o[0] = o;
      if (entered) enter_lines(std::min(o * lines_.stride + K_ - lines_.before, cell_lines()));
      if (K_ == 2)
        columns_.stride == 1 ? row<2, 1>(top, pitch, to, entered) : row<2, 2>(top, pitch, to, entered);
      else
        columns_.stride == 1 ? row<3, 1>(top, pitch, to, entered) : row<3, 2>(top, pitch, to, entered);
    }
  }

 private:
  void kernel_weights(i64 c) {
    A* const w = weights_.take(extra_->shape[2] * L);
    const A* const from = static_cast<const A*>(extra_->data) + (extra_->shape[1] == 1 ? 0 : c * extra_->stride[1]);
    for (i64 k = 0; k < extra_->shape[2]; ++k) store(w + k * L, splat<V, A>(from[k * extra_->stride[2]]));
    beside_.weights = w;
  }

  // Where windows find the plane's cells as the rule sees them, between those beyond the edges, which stay from plane
  // to plane: one block for each part. Its lines are made when a window needs them.
  const A* padded(const T* from) {
    pitch_ = width_ + 2 * L, part_ = height_ * pitch_ + 2 * L;
    block_at_ = block_.take(Rule::parts * part_);
    for (i64 k = 0; k < Rule::parts && !filled_; ++k) std::fill_n(block_at_ + k * part_, part_, rule_.fill[k]);
    filled_ = true;
    from_ = from, entered_ = 0;
    if constexpr (Rule::scans)
      for (i64 r = 0; r < cell_lines(); ++r) each_vector(cells(r), cells_in_line(), [&](V v) { rule_.scan(v); });
    return block_at_;
  }
  i64 cell_lines() const { return std::min(lines_.size, height_ - lines_.before); }
  i64 cells_in_line() const { return std::min(columns_.size, width_ - columns_.before); }
  A* line(i64 r) const { return block_at_ + (r + lines_.before) * pitch_ + columns_.before; }
  // A line of the input, where it is or in its place in the block.
  const A* cells(i64 r) const {
    const T* const row = from_ + r * x.stride[2];
    if constexpr (std::is_same_v<A, T>)
      if (x.stride[3] == 1) return row;
    A* const to = line(r);
    for (i64 i = 0; i < cells_in_line(); ++i) to[i] = A(widen(row[i * x.stride[3]]));
    return to;
  }
  // Many at a time: a vector that overlaps two just written waits until they have left the core.
  void enter_lines(i64 end) {
    const i64 n = cells_in_line();
    if (end <= entered_) return;
    end += 4096 / width_;
    for (end = std::min(end, cell_lines()); entered_ < end; ++entered_) {
      const A* const row = cells(entered_);
      A* const to = line(entered_);
      const auto enter = [&](i64 i, i64 count, V cells) {
        V v, u;
        if constexpr (Rule::enters)
          rule_.enter(cells, v, u);
        else
          v = u = cells;
        put(to + i, v, count);
        if constexpr (Rule::parts > 1) put(to + part_ + i, u, count);
      };
      i64 i = 0;
      for (; i + L <= n; i += L) enter(i, L, load<V>(row + i));
      if (i == n) continue;
      if (row != to && n >= L)
        enter(n - L, L, load<V>(row + n - L));
      else
        enter(i, n - i, first_lanes<A>(n - i) ? load_first(row + i, n - i) : V{} + row[0]);
    }
  }
  static void put(A* to, V v, i64 count) { count == L ? store(to, v) : store_first<A>(to, v, count); }

  // The cells of L windows from `line` on: those of each row, or where rules join them those of each column.
  template <int K, int S, int Part, int N>
  void cells_of(const A* line, i64 pitch, bool entered, V (&v)[N]) {
    if constexpr (Rule::joins) {
      const auto cell = [&](i64 i) {
        V a = load<V>(line + i), b{};
        if constexpr (Rule::enters && K == 2 && S == 2)
          if (!entered) rule_.enter(a, a, b);
        return a;
      };
      const auto column = [&](i64 i) {
        V a = Rule::template join<Part>(cell(i), cell(pitch + i));
        if constexpr (K == 3) a = Rule::template join<Part>(a, cell(2 * pitch + i));
        return a;
      };
      const V low = column(0), high = column(L);
      if constexpr (S == 1) {
        v[0] = low, v[1] = shifted<1>(low, high);
        if constexpr (K == 3) v[2] = shifted<2>(low, high);
      } else {
        v[0] = evens(low, high), v[1] = odds(low, high);
        if constexpr (K == 3) {
          const V next = column(2 * L);
          v[2] = shifted<1>(v[0], evens(next, next));
        }
      }
    } else {
      for (int a = 0; a < K; ++a, line += pitch) {
        if constexpr (S == 1) {
          for (int b = 0; b < K; ++b) v[a * K + b] = load<V>(line + b);
        } else {
          const V low = load<V>(line), high = load<V>(line + L);
          v[a * K] = evens(low, high), v[a * K + 1] = odds(low, high);
          if constexpr (K == 3) v[a * K + 2] = evens(load<V>(line + 2), load<V>(line + 2 + L));
        }
      }
    }
  }

  template <int K, int S>
  void row(const A* top, i64 pitch, T* plane, bool entered) {
    constexpr int N = Rule::joins ? K : K * K;
    const i64 n = columns_.out, o = beside_.o[0];
    T* const to = plane + o * y.stride[2];
    const i64 origin = window_origin(lines_, o), skipped_lines = std::max<i64>(0, -origin);
    const A lines = A(std::min<i64>(K, lines_.size - origin) - skipped_lines);
    for (i64 j = 0; j < n; j += L) {
      // The last vector of a row overlaps the one before it.
      const i64 at = n >= L ? std::min(j, n - L) : j, count = std::min(L, n - at);
      V v[N], u[N];
      cells_of<K, S, 0>(top + at * S, pitch, entered, v);
      if constexpr (Rule::parts > 1) cells_of<K, S, 1>(top + (entered ? part_ : 0) + at * S, pitch, entered, u);
      if constexpr (Rule::extra) {
        const A* const more = static_cast<const A*>(extra_->data) + beside_.n * extra_->stride[0] +
                              beside_.c * extra_->stride[1] + o * extra_->stride[2] + at * extra_->stride[3];
        if (extra_->stride[3] == 1)
          beside_.extra = count == L ? load<V>(more) : load_first(more, count);
        else
          for (i64 l = 0; l < L; ++l) beside_.extra[l] = more[std::min(l, count - 1) * extra_->stride[3]];
      }
      if constexpr (Rule::count) beside_.count = load<V>(counts_.take(0) + at) * splat<V, A>(lines);
      beside_.o[1] = at, beside_.lanes = count;
      V value;
      I place{};
      auto doubtful = rule_.template value<N>(v, u, beside_, value, place);
      if (count < L) doubtful = doubtful & first_lanes<A>(count);
      if (any_lane(doubtful)) [[unlikely]]
        rule_.template exact<N>(v, u, beside_, value, place);
      scatter<A>(to + at * y.stride[3], y.stride[3], count, value);
      if (offsets_ != nullptr) {
        const I skipped = load<I>(skipped_.take(0) + at) + splat<I, index_t<A>>(index_t<A>(skipped_lines * K));
        put_offsets(place < I{} ? place : place - skipped, at, count);
      }
    }
  }

  void put_offsets(I place, i64 at, i64 count) {
    const View& v = *offsets_;
    const i64 to = beside_.n * v.stride[0] + beside_.c * v.stride[1] + beside_.o[0] * v.stride[2] + at * v.stride[3];
    if (v.dtype == DType::u8 && v.stride[3] == 1) {
      const auto bytes = __builtin_convertvector(place, vec<std::int8_t, int(L)>);
      std::memcpy(static_cast<std::uint8_t*>(v.data) + to, &bytes, std::size_t(count));
      return;
    }
    for (i64 l = 0; l < count; ++l) put_offset(v, to + l * v.stride[3], place[l]);
  }

  const Axis &lines_, &columns_;
  const View &x, &y;
  const View *offsets_, *extra_;
  Rule rule_;
  Beside<A> beside_{};
  i64 K_, height_, width_, pitch_ = 0, part_ = 0;  // what the windows reach over
  bool inside_, filled_ = false;
  const T *end_, *from_ = nullptr;
  A* block_at_ = nullptr;
  i64 entered_ = 0;  // lines of the input that are in the block
  Scratch<A> block_, counts_, weights_;
  Scratch<index_t<A>> skipped_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

// Windows along rows whose cells are joined: powers, exponentials, a blend of maximum and mean. Each cell is raised
// once, on its way from memory to the first window that sees it, and stays in level 1 until the last one has: no pass
// over a block in between. The few windows whose result leaves the range are taken again by themselves.
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
    x = clamp ? (x < floor ? V{} + floor : x) : absolute<A>(x);
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

// How lines of any type are read and written.
template <class A>
struct Storage {
  bool plain;  // what is stored are accumulators
  OneWindow alone;
  const A* (*read)(const View& x, i64 at, i64 n, i64 stride, A* copy);
  void (*write)(const View& y, i64 at, i64 n, i64 stride, const A* from);  // nullptr: straight to y

  template <class T, class Rule>
  static Storage of(const View& y) {
    Storage s;
    s.plain = std::is_same_v<A, T>;
    s.alone = Rule::template alone<T>;
    s.read = [](const View& x, i64 at, i64 n, i64 stride, A* copy) {
      return widened<A>(static_cast<const T*>(x.data) + at, stride, n, 1, copy);
    };
    s.write = [](const View& v, i64 at, i64 n, i64 stride, const A* from) {
      narrow_row(from, stride, n, 1, static_cast<T*>(v.data) + at);
    };
    if (s.plain && (y.stride[3] == 1 || y.shape[3] == 1)) s.write = nullptr;
    return s;
  }
};

// Blocks of output rows, a vector of outputs at a time.
template <class A, class Rule>
class Joined {
 public:
  using V = vec<A>;
  static constexpr i64 L = lanes<A>;
  static constexpr i64 most_side = 9;
  // Whether windows need not be of 2x2 or 3x3.
  static constexpr bool any_side = tuned && sizeof(A) == 4;

  Joined(const Problem& pr, const View& in, const View& out, const Storage<A>& storage, const Rule& rule)
      : pr_(pr), lines_(pr.axes[0]), columns_(pr.axes[1]), x(in), y(out), storage_(storage), rule_(rule) {
    const i64 n = columns_.out, S = columns_.stride, K = columns_.kernel;
    const bool square = lines_.kernel == K;
    width_ = (n - 1) * S + K, cells_ = std::min(columns_.size, width_ - columns_.before);
    const bool whole = columns_.before == 0 && width_ <= columns_.size && lines_.before == 0 &&
                       window_origin(lines_, lines_.out - 1) + lines_.kernel <= lines_.size;
    form_ = square && (K == 2 || K == 3) ? K : 0;
    plain_ = storage_.plain && x.stride[3] == 1;
    straight_ = plain_ && storage_.write == nullptr && form_ == 2 && S == 2 && lines_.stride >= 2 && whole && n >= L;
    row_ = ceil_div(n, L) * L;
    pitch_ = row_ * S + (width_ > row_ * S ? S * L : 0);
    const i64 down = lines_.stride, all = (lines_.out - 1) * down + lines_.kernel;
    const i64 held = std::max(3072 / (pitch_ * Rule::parts), 2 * lines_.kernel + down);
    most_ = (std::min(held, all) - lines_.kernel) / down + 1;
    part_ = ((most_ - 1) * down + lines_.kernel) * pitch_ + 2 * L;
    if (!straight_) {
      block_ = block_memory_.take(Rule::parts * part_);
      for (int k = 0; k < Rule::parts; ++k) std::fill_n(block_ + k * part_, part_, rule_.fill[k]);
      copy_ = copy_memory_.take(cells_ + L);
    }
    if (storage_.write != nullptr) written_ = written_memory_.take(most_ * row_);
    // One over the cells that exist, for every number of lines.
    A* const inverses = inverses_memory_.take((lines_.kernel + 1) * row_);
    for (i64 j = 0; j < row_; ++j) {
      const A columns = A(interval(columns_, std::min(j, n - 1), 0).n);
      for (i64 t = 1; t <= lines_.kernel; ++t) inverses[t * row_ + j] = 1 / (A(t) * columns);
    }
    inverses_ = inverses;
  }

  // Rows [begin, end) of outputs of a plane.
  void rows(i64 n, i64 c, i64 begin, i64 end) {
    n_ = n, c_ = c;
    looked_ = !Rule::looks;
    notes_ = rule_.begin();
    if (outputs(begin, end)) return;
    const i64 from = std::max<i64>(0, window_origin(lines_, begin));
    const i64 to = std::min(lines_.size, window_origin(lines_, end - 1) + lines_.kernel);
    for (i64 r = from; r < to; ++r) each_vector(read(r), cells_, [&](V v) { rule_.look(v); });
    rule_.looked();
    looked_ = true;
    outputs(begin, end);
  }

 private:
  struct Parts {
    V v[Rule::parts];
  };

  const A* read(i64 r) {
    const i64 at = n_ * x.stride[0] + c_ * x.stride[1] + r * x.stride[2];
    return plain_ ? static_cast<const A*>(x.data) + at : storage_.read(x, at, cells_, x.stride[3], copy_);
  }
  // Lines [from, to) raised into the block, where `at` is the first one's place between those beyond the edges.
  void enter(i64 from, i64 to, A* at) {
    // The compiler cannot see that what is written is none of these.
    const Rule rule = rule_;
    auto notes = notes_;
    const i64 n = cells_, part = part_, pitch = pitch_, down = x.stride[2];
    const bool plain = plain_;
    at += columns_.before;
    const A* const first = read(from) - from * down;
    for (; from < to; ++from, at += pitch) {
      const A* const row = plain ? first + from * down : read(from);
      const auto one = [&](i64 i, V cells, i64 count) {
        Parts p;
        rule.enter(cells, p.v, notes);
        for (int k = 0; k < Rule::parts; ++k)
          count == L ? store(at + k * part + i, p.v[k]) : store_first<A>(at + k * part + i, p.v[k], count);
      };
      i64 i = 0;
      for (; i + L <= n; i += L) one(i, load<V>(row + i), L);
      if (i == n) continue;
      if (n > L)
        one(n - L, load<V>(row + n - L), L);
      else
        one(0, first_lanes<A>(n) ? load_first(row, n) : V{} + row[0], n);
    }
    notes_ = notes;
  }
  // The lines [origin, origin + n) that windows see, of which the first `kept` are the last ones of the block before.
  void hold(i64 origin, i64 n, i64 kept) {
    for (int k = 0; k < Rule::parts; ++k) {
      A* const part = block_ + k * part_;
      std::copy_n(part + most_ * lines_.stride * pitch_, kept * pitch_, part);
      for (i64 i = kept; i < n; ++i)
        if (origin + i < 0 || origin + i >= lines_.size) std::fill_n(part + i * pitch_, pitch_, rule_.fill[k]);
    }
    const i64 from = std::max<i64>(0, origin + kept), to = std::min(lines_.size, origin + n);
    if (from < to) enter(from, to, block_ + (from - origin) * pitch_);
  }

  // False: the rule wants to look at the block first.
  bool outputs(i64 begin, i64 end) {
    const i64 K = lines_.kernel, S = lines_.stride, whole_to = (lines_.size - K + lines_.before) / S + 1;
    // Many lines at a time: a vector that overlaps two just written waits until they have left the core.
    const i64 most = straight_ ? end - begin : most_;
    const i64 pitch = straight_ ? x.stride[2] : pitch_, out_pitch = written_ == nullptr ? y.stride[2] : row_;
    for (i64 o = begin; o < end; o += most) {
      const i64 n = std::min(most, end - o), origin = window_origin(lines_, o);
      const i64 at = n_ * y.stride[0] + c_ * y.stride[1] + o * y.stride[2];
      const A* const top = straight_ ? read(origin) : block_;
      A* const out = written_ == nullptr ? static_cast<A*>(y.data) + at : written_;
      if (!straight_) hold(origin, (n - 1) * S + K, o > begin ? K - S : 0);
      for (i64 r = 0, alike; r < n; r += alike) {
        const i64 lines = interval(lines_, o + r, 0).n;
        alike = lines == K ? std::min(n, whole_to - o) - r : 1;
        if (!windows(top + r * S * pitch, pitch, out + r * out_pitch, out_pitch, o + r, alike, lines)) return false;
      }
      for (i64 r = 0; r < n && written_ != nullptr; ++r)
        storage_.write(y, at + r * y.stride[2], columns_.out, y.stride[3], written_ + r * row_);
    }
    return true;
  }
  bool windows(const A* top, i64 pitch, A* out, i64 out_pitch, i64 o, i64 rows, i64 lines) {
    const A* const inverses = inverses_ + lines * row_;
    const auto go = [&]<int K, int S, bool Straight>(std::integral_constant<int, K>, std::integral_constant<int, S>,
                                                     std::bool_constant<Straight>) {
      return rows_of<K, S, Straight>(top, pitch, out, out_pitch, o, rows, inverses);
    };
    constexpr std::integral_constant<int, 0> any;
    constexpr std::integral_constant<int, 1> one;
    constexpr std::integral_constant<int, 2> two;
    constexpr std::integral_constant<int, 3> three;
    constexpr std::false_type held;
    const bool dense = columns_.stride == 1;
    if (straight_) return go(two, two, std::true_type{});
    if (form_ == 2) return dense ? go(two, one, held) : go(two, two, held);
    if (form_ == 3) return dense ? go(three, one, held) : go(three, two, held);
    if constexpr (any_side) return dense ? go(any, one, held) : go(any, two, held);
    return true;
  }

  [[gnu::always_inline]] static void join(Parts& a, const Parts& b) {
    a.v[0] = Rule::template join<0>(a.v[0], b.v[0]);
    if constexpr (Rule::parts > 1) a.v[1] = Rule::template join<1>(a.v[1], b.v[1]);
  }
  template <int W>
  [[gnu::always_inline]] static Parts shifted_by(const Parts& a, const Parts& b) {
    Parts p;
    for (int k = 0; k < Rule::parts; ++k) p.v[k] = shifted<W>(a.v[k], b.v[k]);
    return p;
  }

  // So many rows of outputs, from o on, whose windows begin in the lines from top on. K: the kernel's sides; 0: any.
  // S: the distance of windows along a row. Straight: the lines hold cells as they are.
  template <int K, int S, bool Straight>
  [[gnu::noinline]] bool rows_of(const A* top, i64 pitch, A* out, i64 out_pitch, i64 o, i64 rows, const A* inverses) {
    const Rule rule = rule_;
    auto notes = notes_;
    const i64 n = columns_.out, down = K > 0 ? K : lines_.kernel, along = K > 0 ? K : columns_.kernel;
    const i64 part = part_, width = width_, step = lines_.stride * pitch;
    const auto cells = [&](i64 t, i64 i) {
      Parts p;
      if constexpr (Straight)
        rule.enter(load<V>(top + t * pitch + i), p.v, notes);
      else
        for (int k = 0; k < Rule::parts; ++k) p.v[k] = load<V>(top + k * part + t * pitch + i);
      return p;
    };
    // Those of columns i, i + 1, ... joined.
    const auto column = [&](i64 i) {
      Parts a = cells(0, i);
      for (i64 t = 1; t < down; ++t) join(a, cells(t, i));
      return a;
    };
    // Those of outputs j, j + 1, ...: their first columns and, where windows are two apart, the second ones.
    struct Firsts {
      Parts p[S];
    };
    const auto firsts = [&](i64 j) {
      Firsts f;
      f.p[0] = column(S * j);
      if constexpr (S == 2) {
        const Parts high = column(S * j + L);
        for (int k = 0; k < Rule::parts; ++k) {
          const V low = f.p[0].v[k];
          f.p[0].v[k] = evens(low, high.v[k]), f.p[1].v[k] = odds(low, high.v[k]);
        }
      }
      return f;
    };
    constexpr bool apart = K > 0 && K <= S;
    const auto live = first_lanes<A>(n % L == 0 || Straight ? L : n % L);
    for (i64 r = 0; r < rows; ++r, top += step, out += out_pitch) {
      Firsts now;
      if constexpr (!apart) now = firsts(0);
      for (i64 j = 0; j < n; j += L) {
        // Straight from memory the last vector overlaps the one before it: nothing beyond a row is read.
        const i64 at = Straight ? std::min(j, n - L) : j;
        const bool full = Straight || j + L <= n;
        Firsts next;
        if constexpr (apart)
          now = firsts(at);
        else
          next = width > S * (j + L) ? firsts(j + L) : now;
        Parts sum = now.p[0];
        if constexpr (K > 0) {
          if constexpr (K > 1) join(sum, shifted_by<1 / S>(now.p[1 % S], next.p[1 % S]));
          if constexpr (K > 2) join(sum, shifted_by<2 / S>(now.p[0], next.p[0]));
        } else {
          for (i64 t = 1; t < along; ++t) {
            const vec<index_t<A>> place = iota_ + index_t<A>(t / S);
            Parts p;
            for (int k = 0; k < Rule::parts; ++k) p.v[k] = elements<A>(now.p[t % S].v[k], next.p[t % S].v[k], place);
            join(sum, p);
          }
        }
        V value;
        auto doubtful = rule.value(sum.v, load<V>(inverses + at), value);
        if (!full) doubtful = doubtful & live;
        if (any_lane(doubtful)) [[unlikely]] {
          doubtful = doubtful & ~rule.vouched(sum.v, notes);
          if (any_lane(doubtful)) {
            if (!looked_) return false;
            value = alone(doubtful, o + r, at, full ? L : n - at, value);
          }
        }
        full ? store(out + at, value) : store_first<A>(out + at, value, n - at);
        if constexpr (!apart) now = next;
      }
    }
    if constexpr (Straight) notes_ = notes;
    return true;
  }
  template <class M>
  [[gnu::noinline]] V alone(M doubtful, i64 line, i64 at, i64 count, V value) const {
    for (i64 l = 0; l < count; ++l) {
      if (doubtful[l] == 0) continue;
      const i64 o[3] = {line, at + l, 0};
      value[l] = A(storage_.alone(pr_, x, n_, c_, o));
    }
    return value;
  }

  static constexpr auto first_places() {
    return []<std::size_t... K>(std::index_sequence<K...>) {
      return vec<index_t<A>>{index_t<A>(K)...};
    }(std::make_index_sequence<std::size_t(L)>{});
  }
  const Problem& pr_;
  const Axis &lines_, &columns_;
  const View &x, &y;
  const Storage<A> storage_;
  Rule rule_;
  typename Rule::Notes notes_;
  const vec<index_t<A>> iota_ = first_places();
  i64 width_, cells_, form_;       // width_: columns that windows reach over
  i64 row_, pitch_, part_, most_;  // rows of outputs that a block holds the lines of
  bool plain_, straight_, looked_ = false;
  const A* inverses_;
  A *block_ = nullptr, *copy_ = nullptr, *written_ = nullptr;
  i64 n_ = 0, c_ = 0;
  Scratch<A> block_memory_, copy_memory_, written_memory_, inverses_memory_;
};

template <class A, class Rule>
static void run_joined(const Problem& pr, const View& x, const View& y, const Storage<A>& storage, const Rule& rule,
                       const Exec& exec) {
  const Axis& down = pr.axes[0];
  const i64 channels = y.shape[1], row = std::max<i64>(1, y.shape[3] * pr.axes[1].stride * down.stride);
  // Rows of a block: the lines between two of them are entered twice.
  const i64 rows = std::min(down.out, std::max<i64>((i64(1) << 16) / row, 16 * down.kernel));
  const i64 blocks = ceil_div(down.out, rows);
  parallel(exec, y.shape[0] * channels * blocks, std::max<i64>(1, (i64(1) << 13) / (row * rows)),
           [&](i64 begin, i64 end) {
             Joined<A, Rule> joined(pr, x, y, storage, rule);
             for (i64 u = begin; u < end; ++u) {
               const i64 plane = u / blocks, from = u % blocks * rows;
               joined.rows(plane / channels, plane % channels, from, std::min(down.out, from + rows));
             }
           });
}

// False: nothing was done.
template <class T>
static bool joined_forward(const Problem& pr, const View& x, const View& y, const View* extra, const Exec& exec) {
  using A = acc_t<T>;
  const bool square = pr.rank == 2 && pr.axes[0].kernel == pr.axes[1].kernel && pr.axes[0].kernel <= 3;
  if (pr.rank != 2 || (!square && !(tuned && sizeof(A) == 4)) || extra != nullptr ||
      (x.stride[1] == 1 && x.shape[1] > 1))
    return false;
  for (int i = 0; i < 2; ++i) {
    const Axis& a = pr.axes[i];
    if (a.kind != AxisKind::sliding || a.dilation != 1 || a.kernel < 2 || a.kernel > 9 || a.stride > a.kernel ||
        a.before >= a.kernel || a.size < a.kernel)
      return false;
  }
  if (pr.axes[1].stride > 2 || 4 * y.shape[3] < 3 * lanes<A>) return false;
  const auto run = [&]<class Rule>(const Rule& rule) {
    run_joined<A>(pr, x, y, Storage<A>::template of<T, Rule>(y), rule, exec);
    return true;
  };
  switch (pr.reducer) {
    case Reducer::Lp:
    case Reducer::RMS:
    case Reducer::PowerMean: {
      const double p = pr.reducer == Reducer::RMS ? 2 : pr.params.p;
      return p == 2 ? run(Norm<A, 2>(pr)) : p == 3 && run(Norm<A, 3>(pr));
    }
    case Reducer::LogSumExp:
      return run(Exponential<A, false>(pr));
    case Reducer::Soft:
      return run(Exponential<A, true>(pr));
    case Reducer::Mixed:
      return pr.params.level != 0 && pr.params.level != 1 && run(Blend<A>(pr));
    default:
      return false;
  }
}

}  // namespace poolkit::POOLKIT_ISA_NS

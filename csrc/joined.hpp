// Windows along rows whose cells are joined. Each cell is raised once, on its way from memory to the first window that
// sees it, and stays in level 1 until the last one has: no pass over a block in between. The few windows whose result
// leaves the range are taken again by themselves.
#pragma once

#include "joined_rules.hpp"
#include "narrow.hpp"

namespace poolkit::POOLKIT_ISA_NS {

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

// Blocks of output rows, a vector of outputs at a time. T: what is read and written in registers; of other types a line
// is made of A first.
template <class A, class Rule, class T = A>
class Joined {
 public:
  using V = vec<A>;
  static constexpr i64 L = lanes<A>;
  static constexpr i64 most_side = 9;
  static constexpr bool in_registers = !std::is_same_v<A, T>;
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
    plain_ = x.stride[3] == 1 && (in_registers || storage_.plain);
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
    // One over the cells that exist, or their number, by how many lines they are in.
    padded_ = Rule::divides && pr.params.include_pad;
    const A fixed = Rule::divides ? A(pr.params.divisor) : A(0);
    A* const inverses = inverses_memory_.take((lines_.kernel + 1) * row_);
    for (i64 j = 0; j < row_; ++j) {
      const A columns = A(count_of(columns_, std::min(j, n - 1)));
      for (i64 t = 1; t <= lines_.kernel; ++t) {
        const A count = fixed > 0 ? fixed : A(t) * columns;
        inverses[t * row_ + j] = Rule::divides ? count : 1 / count;
      }
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
    for (i64 r = from; r < to; ++r) look(read(r));
    rule_.looked();
    looked_ = true;
    outputs(begin, end);
  }

 private:
  void look(const T* row) {
    if constexpr (Rule::looks) each_vector(row, cells_, [&](V v) { rule_.look(v); });
  }
  struct Parts {
    V v[Rule::parts];
  };

  i64 count_of(const Axis& a, i64 o) const { return padded_ ? padded_count(a, o, 0) : interval(a, o, 0).n; }
  const T* read(i64 r) {
    const i64 at = n_ * x.stride[0] + c_ * x.stride[1] + r * x.stride[2];
    if constexpr (!in_registers)
      if (!plain_) return storage_.read(x, at, cells_, x.stride[3], copy_);
    return static_cast<const T*>(x.data) + at;
  }
  static V get(const T* p) {
    if constexpr (in_registers)
      return cells_at(p);
    else
      return load<V>(p);
  }
  // n cells, less than a vector; idle lanes repeat the first.
  static V get_first(const T* p, i64 n) {
    if constexpr (in_registers) {
      alignas(64) T cells[L];
      std::fill_n(cells, L, *p);
      std::memcpy(cells, p, n * sizeof(T));
      return cells_at(cells);
    } else {
      return first_lanes<A>(n) ? load_first(p, n) : V{} + *p;
    }
  }
  static void put(T* p, V v, i64 n) {
    if constexpr (in_registers)
      put_cells(p, v, n);
    else
      n == L ? store(p, v) : store_first<A>(p, v, n);
  }
  // Lines [from, to) raised into the block, where `at` is the first one's place between those beyond the edges.
  void enter(i64 from, i64 to, A* at) {
    // The compiler cannot see that what is written is none of these.
    const Rule rule = rule_;
    auto notes = notes_;
    const i64 n = cells_, part = part_, pitch = pitch_, down = x.stride[2];
    const bool plain = plain_;
    at += columns_.before;
    const T* const first = read(from) - from * down;
    for (; from < to; ++from, at += pitch) {
      const T* const row = plain ? first + from * down : read(from);
      const auto one = [&](i64 i, V cells, i64 count) {
        Parts p;
        rule.enter(cells, p.v, notes);
        for (int k = 0; k < Rule::parts; ++k)
          count == L ? store(at + k * part + i, p.v[k]) : store_first<A>(at + k * part + i, p.v[k], count);
      };
      i64 i = 0;
      for (; i + L <= n; i += L) one(i, get(row + i), L);
      if (i == n) continue;
      if (n > L)
        one(n - L, get(row + n - L), L);
      else
        one(0, get_first(row, n), n);
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
    const i64 pitch = pitch_, out_pitch = written_ == nullptr ? y.stride[2] : row_;
    for (i64 o = begin; o < end; o += most) {
      const i64 n = std::min(most, end - o), origin = window_origin(lines_, o);
      const i64 at = n_ * y.stride[0] + c_ * y.stride[1] + o * y.stride[2];
      T* out = static_cast<T*>(y.data) + at;
      if constexpr (!in_registers)
        if (written_ != nullptr) out = written_;
      if (!straight_) hold(origin, (n - 1) * S + K, o > begin ? K - S : 0);
      for (i64 r = 0, alike; r < n; r += alike) {
        alike = interval(lines_, o + r, 0).n == K ? std::min(n, whole_to - o) - r : 1;
        const A* const counts = inverses_ + count_of(lines_, o + r) * row_;
        if (!windows(origin + r * S, block_ + r * S * pitch, out + r * out_pitch, out_pitch, o + r, alike, counts))
          return false;
      }
      for (i64 r = 0; r < n && written_ != nullptr; ++r)
        storage_.write(y, at + r * y.stride[2], columns_.out, y.stride[3], written_ + r * row_);
    }
    return true;
  }
  bool windows(i64 line, const A* block, T* out, i64 out_pitch, i64 o, i64 rows, const A* inverses) {
    const auto go = [&]<int K, int S, bool Straight>(std::integral_constant<int, K>, std::integral_constant<int, S>,
                                                     std::bool_constant<Straight>) {
      if constexpr (Straight)
        return rows_of<K, S, T>(read(line), x.stride[2], out, out_pitch, o, rows, inverses);
      else
        return rows_of<K, S>(block, pitch_, out, out_pitch, o, rows, inverses);
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
  // S: the distance of windows along a row. From: what lies there, cells as they are stored or, void, what they became.
  template <int K, int S, class From = void>
  [[gnu::noinline]] bool rows_of(const std::conditional_t<std::is_void_v<From>, A, From>* top, i64 pitch, T* out,
                                 i64 out_pitch, i64 o, i64 rows, const A* inverses) {
    constexpr bool Straight = !std::is_void_v<From>;
    const Rule rule = rule_;
    auto notes = notes_;
    const i64 n = columns_.out, down = K > 0 ? K : lines_.kernel, along = K > 0 ? K : columns_.kernel;
    const i64 part = part_, width = width_, step = lines_.stride * pitch;
    const auto cells = [&](i64 t, i64 i) {
      Parts p;
      if constexpr (Straight)
        rule.enter(get(top + t * pitch + i), p.v, notes);
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
        full ? put(out + at, value, L) : put(out + at, value, n - at);
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
  bool plain_, straight_, padded_, looked_ = false;
  const A* inverses_;
  A *block_ = nullptr, *copy_ = nullptr, *written_ = nullptr;
  i64 n_ = 0, c_ = 0;
  Scratch<A> block_memory_, copy_memory_, written_memory_, inverses_memory_;
};

template <class A, class Rule, class T = A>
static void run_joined(const Problem& pr, const View& x, const View& y, const Storage<A>& storage, const Rule& rule,
                       const Exec& exec) {
  const Axis& down = pr.axes[0];
  const i64 channels = y.shape[1], row = std::max<i64>(1, y.shape[3] * pr.axes[1].stride * down.stride);
  // Rows of a block: the lines between two of them are entered twice.
  const i64 rows = std::min(down.out, std::max<i64>((i64(1) << 16) / row, 16 * down.kernel));
  const i64 blocks = ceil_div(down.out, rows);
  parallel(exec, y.shape[0] * channels * blocks, std::max<i64>(1, (i64(1) << 13) / (row * rows)),
           [&](i64 begin, i64 end) {
             Joined<A, Rule, T> joined(pr, x, y, storage, rule);
             for (i64 u = begin; u < end; ++u) {
               const i64 plane = u / blocks, from = u % blocks * rows;
               joined.rows(plane / channels, plane % channels, from, std::min(down.out, from + rows));
             }
           });
}

// Whether windows are sliding ones of few cells in a row of a plane, most of a vector of them or more.
template <class A>
static bool joins(const Problem& pr, const View& x, const View& y) {
  if (pr.rank != 2 || (x.stride[1] == 1 && x.shape[1] > 1)) return false;
  const bool square = pr.axes[0].kernel == pr.axes[1].kernel && pr.axes[0].kernel <= 3;
  if (!square && !(tuned && sizeof(A) == 4)) return false;
  for (int i = 0; i < 2; ++i) {
    const Axis& a = pr.axes[i];
    if (a.kind != AxisKind::sliding || a.dilation != 1 || a.kernel < 2 || a.kernel > 9 || a.stride > a.kernel ||
        a.before >= a.kernel || a.size < a.kernel)
      return false;
  }
  return pr.axes[1].stride <= 2 && 4 * y.shape[3] >= 3 * lanes<A>;
}

// False: nothing was done.
template <class T>
static bool joined_mean(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  if (x.stride[3] != 1 || y.stride[3] != 1 || !joins<float>(pr, x, y)) return false;
  // With another divisor a mean of integers may leave their range.
  const i64 divisor = pr.params.divisor;
  if (std::is_integral_v<T> && divisor > 0 && divisor < pr.axes[0].kernel * pr.axes[1].kernel) return false;
  Storage<float> storage{};
  storage.alone = NarrowMean<float>::alone<T>;
  run_joined<float, NarrowMean<float>, T>(pr, x, y, storage, NarrowMean<float>(pr), exec);
  return true;
}

// The same.
template <class T>
static bool joined_forward(const Problem& pr, const View& x, const View& y, const View* extra, const Exec& exec) {
  using A = acc_t<T>;
  if (extra != nullptr || !joins<A>(pr, x, y)) return false;
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

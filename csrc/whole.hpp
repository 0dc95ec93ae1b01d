// Reducers that look at a whole window at once: the only loops over such windows, forward and backward.
//
// Outputs whose windows have the same taps form a block, one output a lane: neighbours along a row, or the same place
// in several channels. Their taps are gathered into rows, tap by tap, and an atom reduces the rows; backward, the atom
// gives a slope for every tap, and the slopes are scattered the way the taps were gathered. One thread owns a plane.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

#include "exec.hpp"
#include "half.hpp"
#include "plan.hpp"
#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What integers narrower than 32 bits are reduced in.
template <class T>
using whole_t = std::conditional_t<std::is_integral_v<acc_t<T>> && sizeof(acc_t<T>) < 4, std::int32_t, acc_t<T>>;

// Memory that grows and is never copied.
template <class A>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }
  A* take(i64 n) {
    if (n > size_) {
      std::free(memory_);
      size_ = n;
      memory_ = static_cast<A*>(std::aligned_alloc(64, (n * sizeof(A) + 63) / 64 * 64));
      if (memory_ == nullptr) throw std::bad_alloc();
    }
    return memory_;
  }
  void swap(Scratch& other) {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
  }

 private:
  A* memory_ = nullptr;
  i64 size_ = 0;
};

// Up to lanes<A> windows of n taps; rows of lanes<A> values.
template <class A>
struct Block {
  static constexpr int L = lanes<A>;
  i64 n = 0;
  const A* taps = nullptr;            // [n][L]
  const std::int32_t* ids = nullptr;  // [n]: each tap's number in the unclipped kernel
  const A* extra = nullptr;           // one row of outputs, or a row for each number in the kernel
  A* y = nullptr;                     // [L]
  std::int32_t* chosen = nullptr;     // [L]: the tap that was taken, -1 for none; null when nobody asks
  const A* dy = nullptr;              // [L]
  A* slopes = nullptr;                // [n][L]: derivative of y by each tap
  A* extra_slopes = nullptr;          // as extra: y's derivative; per kernel number it is summed up, times dy

  vec<A> tap(i64 t) const { return load<vec<A>>(taps + t * L); }
};

// What becomes of a block. One object for each thread: it may keep tables.
template <class A>
struct Atom {
  virtual ~Atom() = default;
  virtual void value(const Block<A>&) = 0;
  virtual void slopes(const Block<A>&) {}
};

// The views of one call with the planes' axes joined where all of them allow it.
struct Views {
  static constexpr int most = 8;
  View* list[most] = {};
  int count = 0;
  void add(View& v) {
    if (v.data != nullptr) list[count++] = &v;
  }
  void join_planes() {
    bool even = true;
    for (int i = 0; i < count; ++i)
      even &= list[i]->shape[0] == 1 || list[i]->shape[1] == 1 ||
              list[i]->stride[0] == list[i]->shape[1] * list[i]->stride[1];
    if (!even) return;
    for (int i = 0; i < count; ++i) {
      View& v = *list[i];
      if (v.shape[1] == 1) v.stride[1] = v.stride[0];
      v.shape[1] *= v.shape[0];
      v.shape[0] = 1;
    }
  }
};

static inline i64 place_of(const View& v, int rank, i64 n, i64 c, const i64 o[3]) {
  i64 at = n * v.stride[0] + c * v.stride[1];
  for (int i = 0; i < rank; ++i) at += o[i] * v.stride[2 + i];
  return at;
}

// One past the furthest element, counted from data.
static inline i64 end_of(const View& v, int rank) {
  i64 end = 1;
  for (int i = 0; i < 2 + rank; ++i)
    if (v.stride[i] > 0) end += (v.shape[i] - 1) * v.stride[i];
  return end;
}

// L values `stride` apart, of which `count` are wanted; nothing at or beyond `end` is read.
template <class A, class T>
static inline vec<A> gather(const T* p, i64 stride, i64 count, const T* end) {
  constexpr int L = lanes<A>;
  if constexpr (std::is_same_v<A, T>) {
    if (stride == 1 && p + L <= end) return load<vec<A>>(p);
    if (stride == 2 && p + 2 * L - 1 <= end) {
      // The second load ends at the last wanted element.
      const vec<A> a = load<vec<A>>(p), b = load<vec<A>>(p + L - 1);
      return [&]<std::size_t... K>(std::index_sequence<K...>) {
        return __builtin_shufflevector(a, b, int(K < L / 2 ? 2 * K : L + 2 * (K - L / 2) + 1)...);
      }(std::make_index_sequence<L>{});
    }
  }
  A lane[L] = {};
  for (i64 l = 0; l < count; ++l) lane[l] = A(widen(p[l * stride]));
  return load<vec<A>>(lane);
}

template <class A, class T>
static inline void scatter(T* p, i64 stride, i64 count, vec<A> v) {
  if constexpr (std::is_same_v<A, T>)
    if (stride == 1 && count == lanes<A>) return store(p, v);
  A lane[lanes<A>];
  store(lane, v);
  for (i64 l = 0; l < count; ++l) {
    if constexpr (std::is_same_v<T, acc_t<T>>)
      p[l * stride] = T(lane[l]);
    else
      p[l * stride] = narrow<T>(lane[l]);
  }
}

template <class A>
static inline void scatter_add(A* p, i64 stride, i64 count, vec<A> v) {
  constexpr int L = lanes<A>;
  if (stride == 1 && count == L) return store(p, load<vec<A>>(p) + v);
  if (stride == 2 && count == L) {
    // Spread to every second place. The second store ends at the last place wanted, as the second load of gather does.
    const vec<A> zero{};
    const vec<A> low = [&]<std::size_t... K>(std::index_sequence<K...>) {
      return __builtin_shufflevector(v, zero, int(K % 2 == 0 ? K / 2 : L)...);
    }(std::make_index_sequence<L>{});
    const vec<A> high = [&]<std::size_t... K>(std::index_sequence<K...>) {
      return __builtin_shufflevector(v, zero, int(K % 2 == 1 ? L / 2 + K / 2 : L)...);
    }(std::make_index_sequence<L>{});
    store(p, load<vec<A>>(p) + low);
    return store(p + L - 1, load<vec<A>>(p + L - 1) + high);
  }
  A lane[lanes<A>];
  store(lane, v);
  for (i64 l = 0; l < count; ++l) p[l * stride] += lane[l];
}

// Which outputs stand side by side in a block.
struct Blocks {
  const Problem& pr;
  const View& y;
  i64 width;         // lanes
  i64 span = 1;      // channels of a unit
  bool across;       // lanes are channels, else neighbours along the last axis
  bool same_starts;  // no plane has window places of its own

  struct Run {
    i64 begin, count, start, taps, step;  // windows, the first one's place and taps, distance between windows
  };
  struct Place {
    i64 n, c, o[3], count, plane;
    Interval box[3];
    i64 step;  // cells between neighbours along the last axis
    i64 run;   // number of the run along it
  };

  // Where channels are contiguous, a unit takes up to `group` vectors of them, and goes through memory in order.
  Blocks(const Problem& problem, const View& x, const View& out, i64 lanes_wanted, i64 group)
      : pr(problem), y(out), width(lanes_wanted), same_starts(true) {
    for (int i = 0; i < pr.rank; ++i)
      same_starts &= pr.axes[i].kind != AxisKind::starts || pr.axes[i].plane_stride == 0;
    const Axis& last = pr.axes[pr.rank - 1];
    across = false;
    if (same_starts) each_run(last, 0, [&](const Run& run) { runs_.add(run); });
    if (!same_starts || y.shape[1] == 1) return;
    if (x.stride[1] == 1) {
      across = true;
      span = width * group;
      return;
    }
    // Rows that fall apart into short blocks waste more lanes than reading across planes costs.
    i64 blocks = 0;
    for (i64 i = 0; i < runs_.count; ++i) blocks += (runs_.list[i].count + width - 1) / width;
    constexpr i64 worth = 4;
    across = last.out < worth * blocks && y.shape[1] >= worth;
    if (across) span = width;
  }

  i64 units() const { return y.shape[0] * spans(); }
  i64 planes(i64 unit) const { return std::min(span, y.shape[1] - channel(unit)); }
  i64 channel(i64 unit) const { return unit % spans() * span; }
  i64 sample(i64 unit) const { return unit / spans(); }

  // Maximal runs of windows with the same taps of their kernels, at even distances.
  template <class Fn>
  static void each_run(const Axis& a, i64 plane, Fn&& fn) {
    Run run{0, 0, 0, 0, 0};
    for (i64 j = 0; j < a.out; ++j) {
      const Interval k = interval(a, j, plane);
      const i64 step = k.start - (run.start + (run.count - 1) * run.step);
      // Clipped windows may begin at one place, but at other cells of their kernels.
      const bool follows = a.kind == AxisKind::sliding ? step == a.stride : run.count == 1 || step == run.step;
      if (run.count > 0 && k.n == run.taps && follows) {
        run.step = step, ++run.count;
        continue;
      }
      if (run.count > 0) fn(run);
      run = {j, 1, k.start, k.n, 0};
    }
    fn(run);
  }

  // Calls fn(place) for every block of a unit, in the order of the outputs.
  template <class Fn>
  void each(i64 unit, Fn&& fn) const {
    const int w = pr.rank - 1;
    const i64 first = channel(unit), end = first + planes(unit);
    Place p{sample(unit), first, {}, 1, 0, {{0, 1}, {0, 1}, {0, 1}}, 0, 0};
    p.plane = same_starts ? 0 : p.n * y.shape[1] + p.c;
    i64 rows = 1;
    for (int i = 0; i < w; ++i) rows *= pr.axes[i].out;
    for (i64 row = 0; row < rows; ++row) {
      for (i64 i = w - 1, rest = row; i >= 0; --i) {
        p.o[i] = rest % pr.axes[i].out, rest /= pr.axes[i].out;
        p.box[i] = interval(pr.axes[i], p.o[i], p.plane);
      }
      p.run = 0;
      const auto go = [&](const Run& run) {
        p.step = run.step;
        for (i64 j = 0; j < run.count; j += across ? 1 : width) {
          p.o[w] = run.begin + j;
          p.box[w] = {run.start + j * run.step, run.taps};
          if (!across) p.count = std::min(width, run.count - j);
          for (p.c = first; p.c < end; p.c += across ? width : 1) {
            if (across) p.count = std::min(width, end - p.c);
            fn(p);
          }
        }
        ++p.run;
      };
      if (same_starts)
        for (i64 i = 0; i < runs_.count; ++i) go(runs_.list[i]);
      else
        each_run(pr.axes[w], p.plane, go);
    }
  }

 private:
  i64 spans() const { return (y.shape[1] + span - 1) / span; }

  // The last axis' runs, the same in every row.
  struct Runs {
    Scratch<Run> memory;
    Run* list = nullptr;
    i64 count = 0, room = 0;
    void add(const Run& run) {
      if (count == room) {
        Scratch<Run> larger;
        Run* const to = larger.take(room = std::max<i64>(8, 2 * room));
        for (i64 i = 0; i < count; ++i) to[i] = list[i];
        memory.swap(larger);
        list = to;
      }
      list[count++] = run;
    }
  };
  Runs runs_;
};

// Where the taps of a clipped box lie, kept until a box of another form comes.
struct Taps {
  Scratch<i64> memory;
  Scratch<std::int32_t> numbers;
  i64 n = 0;
  i64 furthest = 0;         // the largest shift
  bool whole = false;       // every tap's offset is its own number
  i64* shift = nullptr;     // in x's elements, from the first tap
  i64* second = nullptr;    // the same in another view's
  i64* position = nullptr;  // in the plane's cells, from the first tap
  i64* offset = nullptr;    // in the box that offsets count in
  std::int32_t* id = nullptr;

  void find(const Problem& pr, const View& x, const View& other, const Blocks::Place& p, const i64 box[3]) {
    const int R = pr.rank;
    bool same = n > 0;
    i64 skipped[3] = {};
    for (int i = 0; i < R; ++i) {
      const Axis& a = pr.axes[i];
      if (a.kind == AxisKind::sliding) skipped[i] = (p.box[i].start - window_origin(a, p.o[i])) / a.dilation;
      same &= counts_[i] == p.box[i].n && skipped_[i] == skipped[i];
    }
    if (same) return;
    n = 1;
    for (int i = 0; i < R; ++i) n *= counts_[i] = p.box[i].n, skipped_[i] = skipped[i];
    shift = memory.take(4 * n), second = shift + n, position = second + n, offset = position + n;
    id = numbers.take(n);
    furthest = 0, whole = true;
    // As three axes, the missing ones in front.
    i64 count[3] = {1, 1, 1}, cell[3] = {}, in[3] = {}, out[3] = {}, line[3] = {}, side[3] = {}, number[3] = {};
    i64 lines = 1, sides = 1, numbers_so_far = 1, skips = 0;
    for (int i = R - 1; i >= 0; --i) {
      const int k = i + 3 - R;
      count[k] = counts_[i], cell[k] = step_of(pr.axes[i]);
      in[k] = cell[k] * x.stride[2 + i], out[k] = cell[k] * other.stride[2 + i];
      line[k] = cell[k] * lines, side[k] = sides, number[k] = numbers_so_far;
      skips += skipped[i] * numbers_so_far;
      lines *= pr.axes[i].size, sides *= box[i], numbers_so_far *= std::min<i64>(pr.axes[i].kernel, i64(1) << 20);
    }
    i64 t = 0;
    for (i64 a = 0; a < count[0]; ++a)
      for (i64 b = 0; b < count[1]; ++b)
        for (i64 c = 0; c < count[2]; ++c, ++t) {
          shift[t] = a * in[0] + b * in[1] + c * in[2], second[t] = a * out[0] + b * out[1] + c * out[2];
          position[t] = a * line[0] + b * line[1] + c * line[2], offset[t] = a * side[0] + b * side[1] + c * side[2];
          id[t] = std::int32_t(skips + a * number[0] + b * number[1] + c * number[2]);
          furthest = std::max(furthest, shift[t]), whole &= offset[t] == t;
        }
  }

 private:
  i64 counts_[3] = {}, skipped_[3] = {};
};

// The tables of the last axis' first runs, so that windows at the two ends of a row do not drive out those between.
class TapTables {
 public:
  const Taps& find(const Problem& pr, const View& x, const View& other, const Blocks::Place& p, const i64 box[3]) {
    Taps& taps = list_[p.run % kept];
    taps.find(pr, x, other, p, box);
    return taps;
  }

 private:
  static constexpr i64 kept = 16;
  Taps list_[kept];
};

static inline void put_offset(const View& offsets, i64 at, i64 value) {
  // -1, for no tap at all, becomes the type's largest number.
  if (offsets.dtype == DType::u8)
    static_cast<std::uint8_t*>(offsets.data)[at] = std::uint8_t(value);
  else if (offsets.dtype == DType::i16)
    static_cast<std::uint16_t*>(offsets.data)[at] = std::uint16_t(value);
  else
    static_cast<std::int32_t*>(offsets.data)[at] = value < 0 ? std::int32_t(0x7fffffff) : std::int32_t(value);
}

// The weights that taps of each kernel number have in a unit's lanes: extra is a view [1 or C][K].
template <class A>
static void weight_rows(const View& extra, const Blocks& blocks, i64 unit, i64 channels, A* rows) {
  constexpr int L = lanes<A>;
  const A* from = static_cast<const A*>(extra.data);
  const i64 next = extra.shape[1] == 1 ? 0 : extra.stride[1];
  for (i64 k = 0; k < extra.shape[2]; ++k)
    for (i64 l = 0; l < L; ++l) {
      const i64 lane = blocks.across ? std::min(l, blocks.planes(unit) - 1) : 0;
      rows[k * L + l] = from[(blocks.channel(unit) + lane) % channels * next + k * extra.stride[2]];
    }
}

constexpr i64 most_vectors = 16;  // of a unit, where channels are contiguous
constexpr i64 whole_grain = i64(1) << 13;

static inline i64 unit_grain(const Problem& pr, const View& y, const Blocks& blocks) {
  i64 cost = blocks.span;
  for (int i = 0; i < pr.rank; ++i) cost *= y.shape[2 + i] * std::max<i64>(1, longest(pr.axes[i]));
  return std::max<i64>(1, whole_grain / std::max<i64>(1, cost));
}

// Every thread makes itself an atom.
template <class A>
using MakeAtom = Atom<A>* (*)(const Problem&, const View* extra);

template <class A>
class OwnAtom {
 public:
  explicit OwnAtom(Atom<A>* atom) : atom_(atom) {}
  OwnAtom(const OwnAtom&) = delete;
  OwnAtom& operator=(const OwnAtom&) = delete;
  ~OwnAtom() { delete atom_; }
  Atom<A>* operator->() const { return atom_; }

 private:
  Atom<A>* atom_;
};

template <class T>
static void whole_forward(const Problem& pr, View x, View y, const View* offsets_, const View* indices_,
                          const View* extra_, Extra kind, const Exec& exec, MakeAtom<whole_t<T>> make) {
  using A = whole_t<T>;
  constexpr int L = lanes<A>;
  const int R = pr.rank;
  const i64 channels = y.shape[1];
  View offsets = offsets_ ? *offsets_ : View{}, indices = indices_ ? *indices_ : View{},
       extra = extra_ ? *extra_ : View{};
  Views views;
  views.add(x), views.add(y), views.add(offsets), views.add(indices);
  if (kind == Extra::outputs) views.add(extra);
  bool starts = false;
  for (int i = 0; i < R; ++i) starts |= pr.axes[i].kind == AxisKind::starts;
  if (!starts) views.join_planes();
  const Blocks blocks(pr, x, y, L, kind == Extra::kernel ? 1 : most_vectors);
  i64 box[3] = {1, 1, 1};
  for (int i = 0; i < R; ++i) box[i] = longest(pr.axes[i]);
  const T* const end = static_cast<const T*>(x.data) + end_of(x, R);
  const int lane_axis = blocks.across ? 1 : 1 + R;
  parallel(exec, blocks.units(), unit_grain(pr, y, blocks), [&](i64 from, i64 to) {
    const OwnAtom<A> atom(make(pr, extra_));
    TapTables tables;
    Scratch<A> rows, weights;
    alignas(64) A out[L], more[L];
    alignas(64) std::int32_t chosen[L];
    Block<A> block;
    block.y = out;
    block.chosen = offsets.data != nullptr || indices.data != nullptr ? chosen : nullptr;
    for (i64 unit = from; unit < to; ++unit) {
      if (kind == Extra::kernel) {
        A* w = weights.take(extra.shape[2] * L);
        weight_rows(extra, blocks, unit, channels, w);
        block.extra = w;
      }
      blocks.each(unit, [&](const Blocks::Place& p) {
        const Taps& taps = tables.find(pr, x, x, p, box);
        A* const row = rows.take(taps.n * L);
        i64 first[3], cell = 0;
        for (int i = 0; i < R; ++i) first[i] = p.box[i].start, cell = cell * pr.axes[i].size + first[i];
        const T* const at = static_cast<const T*>(x.data) + place_of(x, R, p.n, p.c, first);
        const i64 stride = blocks.across ? x.stride[1] : p.step * x.stride[1 + R];
        for (i64 t = 0; t < taps.n; ++t) store(row + t * L, gather<A>(at + taps.shift[t], stride, p.count, end));
        block.n = taps.n, block.taps = row, block.ids = taps.id;
        if (kind == Extra::outputs && extra.data != nullptr) {
          const A* q = static_cast<const A*>(extra.data) + place_of(extra, R, p.n, p.c, p.o);
          for (i64 l = 0; l < L; ++l) more[l] = q[std::min(l, p.count - 1) * extra.stride[lane_axis]];
          block.extra = more;
        }
        atom->value(block);
        scatter<A>(static_cast<T*>(y.data) + place_of(y, R, p.n, p.c, p.o), y.stride[lane_axis], p.count,
                   load<vec<A>>(out));
        if (block.chosen == nullptr) return;
        for (i64 l = 0; l < p.count; ++l) {
          const std::int32_t t = chosen[l];
          if (offsets.data != nullptr)
            put_offset(offsets, place_of(offsets, R, p.n, p.c, p.o) + l * offsets.stride[lane_axis],
                       t < 0 ? -1 : taps.offset[t]);
          if (indices.data != nullptr)
            static_cast<i64*>(indices.data)[place_of(indices, R, p.n, p.c, p.o) + l * indices.stride[lane_axis]] =
                cell + (blocks.across ? 0 : l * p.step) + (t < 0 ? 0 : taps.position[t]);
        }
      });
    }
  });
}

// dx, and where dextra is given the gradient of extra: a view of y's shape, or [planes][K] per kernel number.
template <class T>
static void whole_backward(const Problem& pr, View dy, View dx, View x, const View* extra_, const View* dextra_,
                           Extra kind, const Exec& exec, MakeAtom<whole_t<T>> make) {
  using A = acc_t<T>;
  constexpr int L = lanes<A>;
  const int R = pr.rank;
  const i64 channels = dy.shape[1];
  View extra = extra_ ? *extra_ : View{}, dextra = dextra_ ? *dextra_ : View{};
  Views views;
  views.add(dy), views.add(dx), views.add(x);
  if (kind == Extra::outputs) views.add(extra), views.add(dextra);
  bool starts = false;
  for (int i = 0; i < R; ++i) starts |= pr.axes[i].kind == AxisKind::starts;
  if (!starts) views.join_planes();
  const Blocks blocks(pr, x, dy, L, kind == Extra::kernel || !std::is_same_v<A, T> ? 1 : most_vectors);
  i64 box[3] = {1, 1, 1}, size = 1;
  for (int i = 0; i < R; ++i) box[i] = longest(pr.axes[i]), size *= pr.axes[i].size;
  const T* const end = static_cast<const T*>(x.data) + end_of(x, R);
  const T* const dy_end = static_cast<const T*>(dy.data) + end_of(dy, R);
  const int lane_axis = blocks.across ? 1 : 1 + R;
  const i64 planes_a_unit = blocks.across ? L : 1;
  parallel(exec, blocks.units(), unit_grain(pr, dy, blocks), [&](i64 from, i64 to) {
    const OwnAtom<A> atom(make(pr, extra_));
    TapTables tables;
    Scratch<A> rows, slopes, weights, sums, wide;
    alignas(64) A out[L], more[L], more_slope[L], grad[L];
    Block<A> block;
    block.y = out, block.dy = grad;
    const i64 K = kind == Extra::kernel ? extra.shape[2] : 0;
    // Gradients add up in the accumulator's type: in dx itself, or in planes beside it.
    View sum = dx;
    if constexpr (!std::is_same_v<A, T>) {
      sum.data = wide.take(size * planes_a_unit);
      sum.stride[0] = 0, sum.stride[1] = blocks.across ? 1 : size;
      i64 next = planes_a_unit;
      for (int i = R - 1; i >= 0; --i) sum.stride[2 + i] = next, next *= pr.axes[i].size;
    }
    // fn(o): a line of the last axis, by its first cell.
    const i64 line = pr.axes[R - 1].size;
    const auto each_line = [&](auto&& fn) {
      i64 o[3] = {};
      for (i64 i = 0; i < size; i += line) {
        fn(o);
        for (int k = R - 2; k >= 0 && ++o[k] == pr.axes[k].size; --k) o[k] = 0;
      }
    };
    for (i64 unit = from; unit < to; ++unit) {
      const i64 n = blocks.sample(unit), c = blocks.channel(unit), planes = blocks.planes(unit);
      const bool own = !std::is_same_v<A, T>;
      const i64 at_n = own ? 0 : n, at_c = own ? 0 : c;
      A* const to_sum = static_cast<A*>(sum.data);
      if (own)
        std::memset(static_cast<void*>(to_sum), 0, size * planes_a_unit * sizeof(A));
      else
        each_line([&](const i64* o) {
          A* const to = to_sum + place_of(sum, R, n, c, o);
          const i64 next = sum.stride[1 + R];
          if (sum.stride[1] == 1)
            for (i64 j = 0; j < line; ++j) std::memset(static_cast<void*>(to + j * next), 0, planes * sizeof(A));
          else
            for (i64 l = 0; l < planes; ++l)
              for (i64 j = 0; j < line; ++j) to[l * sum.stride[1] + j * next] = A(0);
        });
      if (kind == Extra::kernel) {
        A* w = weights.take(K * L);
        weight_rows(extra, blocks, unit, channels, w);
        block.extra = w;
        block.extra_slopes = sums.take(K * L);
        std::memset(static_cast<void*>(block.extra_slopes), 0, K * L * sizeof(A));
      }
      blocks.each(unit, [&](const Blocks::Place& p) {
        const Taps& taps = tables.find(pr, x, sum, p, box);
        const auto live = first_lanes<A>(p.count);
        A* const row = rows.take(taps.n * L);
        i64 first[3];
        for (int i = 0; i < R; ++i) first[i] = p.box[i].start;
        const T* const at = static_cast<const T*>(x.data) + place_of(x, R, p.n, p.c, first);
        const i64 stride = blocks.across ? x.stride[1] : p.step * x.stride[1 + R];
        for (i64 t = 0; t < taps.n; ++t) {
          const vec<A> v = gather<A>(at + taps.shift[t], stride, p.count, end);
          store(row + t * L, live ? v : vec<A>{});  // idle lanes must not bring a NaN into sums over lanes
        }
        block.n = taps.n, block.taps = row, block.ids = taps.id;
        block.slopes = slopes.take(taps.n * L);
        if (kind == Extra::outputs && extra.data != nullptr) {
          const A* q = static_cast<const A*>(extra.data) + place_of(extra, R, p.n, p.c, p.o);
          for (i64 l = 0; l < L; ++l) more[l] = q[std::min(l, p.count - 1) * extra.stride[lane_axis]];
          block.extra = more, block.extra_slopes = more_slope;
        }
        vec<A> g = gather<A>(static_cast<const T*>(dy.data) + place_of(dy, R, p.n, p.c, p.o), dy.stride[lane_axis],
                             p.count, dy_end);
        g = live ? g : vec<A>{};
        store(grad, g);
        atom->slopes(block);
        i64 where = at_n * sum.stride[0] + at_c * sum.stride[1];
        for (int i = 0; i < R; ++i) where += first[i] * sum.stride[2 + i];
        const i64 apart = blocks.across ? sum.stride[1] : p.step * sum.stride[1 + R];
        for (i64 t = 0; t < taps.n; ++t)
          scatter_add<A>(to_sum + where + taps.second[t], apart, p.count, g * load<vec<A>>(block.slopes + t * L));
        if (kind == Extra::outputs && dextra.data != nullptr)
          scatter<A>(static_cast<A*>(dextra.data) + place_of(dextra, R, p.n, p.c, p.o), dextra.stride[lane_axis],
                     p.count, g * load<vec<A>>(more_slope));
      });
      if (own)
        each_line([&](const i64* o) {
          T* const to_dx = static_cast<T*>(dx.data) + place_of(dx, R, n, c, o);
          const A* const from_sum = to_sum + place_of(sum, R, 0, 0, o);
          for (i64 j = 0; j < line; ++j)
            for (i64 l = 0; l < planes; ++l)
              to_dx[l * dx.stride[1] + j * dx.stride[1 + R]] = narrow<T>(from_sum[j * sum.stride[1 + R] + l]);
        });
      if (kind == Extra::kernel && dextra.data != nullptr) {
        A* const to_extra = static_cast<A*>(dextra.data);
        for (i64 k = 0; k < K; ++k)
          for (i64 l = 0; l < (blocks.across ? planes : 1); ++l) {
            A total = A(0);
            if (blocks.across)
              total = block.extra_slopes[k * L + l];
            else
              for (int i = 0; i < L; ++i) total += block.extra_slopes[k * L + i];
            to_extra[((n * dy.shape[1]) + c + l) * dextra.stride[1] + k * dextra.stride[2]] = total;
          }
      }
    }
  });
}

}  // namespace poolkit::POOLKIT_ISA_NS

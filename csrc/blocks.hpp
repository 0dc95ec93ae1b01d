// Which outputs stand side by side in a vector, where the taps of their windows lie, and how they are gathered and
// scattered: what all loops over whole windows share.
#pragma once

#include <atomic>

#include "exec.hpp"
#include "half.hpp"
#include "plan.hpp"
#include "scratch.hpp"
#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What integers narrower than 32 bits are reduced in.
template <class T>
using whole_t = std::conditional_t<std::is_integral_v<acc_t<T>> && sizeof(acc_t<T>) < 4, std::int32_t, acc_t<T>>;

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
  // No loop: compilers make vectors of it, and then wait for places that were written one by one a moment ago.
  i64 at = n * v.stride[0] + c * v.stride[1] + o[0] * v.stride[2];
  if (rank > 1) at += o[1] * v.stride[3];
  if (rank > 2) at += o[2] * v.stride[4];
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
  if (stride == 1)
    widen_all(p, lane, count);
  else
    for (i64 l = 0; l < count; ++l) lane[l] = A(widen(p[l * stride]));
  return load<vec<A>>(lane);
}

template <class A, class T>
static inline void scatter(T* p, i64 stride, i64 count, vec<A> v) {
  if constexpr (std::is_same_v<A, T>)
    if (stride == 1) return count == lanes<A> ? store(p, v) : store_first<A>(p, v, count);
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

// Which outputs stand side by side in a block: channels, where they are contiguous or planes are tiny; else neighbours
// along the last axis, or along the one before it where the last one has only few windows of a form, as at its ends.
struct Blocks {
  const Problem& pr;
  const View& y;
  i64 width;         // lanes
  i64 span = 1;      // channels of a unit
  bool across;       // lanes are channels
  bool same_starts;  // no plane has window places of its own

  struct Run {
    i64 begin, count, start, taps, step;  // windows, the first one's place and taps, distance between windows
  };
  struct Place {
    i64 n, c, o[3], count, plane;
    Interval box[3];
    int lane;       // the axis of a view, N C spatial ..., that lanes go along
    i64 step;       // cells between neighbours along it
    i64 cell_step;  // and counted in the plane's cells
    i64 form;       // a number for each form of windows
  };

  // Where channels are contiguous, a unit takes up to `group` vectors of them, and goes through memory in order.
  Blocks(const Problem& problem, const View& x, const View& out, i64 lanes_wanted, i64 group)
      : pr(problem), y(out), width(lanes_wanted), same_starts(true) {
    for (int i = 0; i < pr.rank; ++i)
      same_starts &= pr.axes[i].kind != AxisKind::starts || pr.axes[i].plane_stride == 0;
    across = false;
    if (!same_starts) return;
    each_run(pr.axes[w()], 0, [&](const Run& run) { runs_.add(run); });
    if (pr.rank > 1) each_run(pr.axes[w() - 1], 0, [&](const Run& run) { down_.add(run); });
    if (y.shape[1] == 1) return;
    if (x.stride[1] == 1) {
      across = true;
      span = width * group;
      return;
    }
    across = y.shape[1] >= 4 && cost_across() < cost_along();
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

  // For every block of a unit fn(place); before it form(place), where the taps may differ from those of the last block.
  // again: an output may come in two blocks, so that they can be full.
  template <class Form, class Fn>
  void each(i64 unit, bool again, Form&& form, Fn&& fn) const {
    const i64 first = channel(unit), end = first + planes(unit);
    Place p{sample(unit), first, {}, 1, 0, {{0, 1}, {0, 1}, {0, 1}}, across ? 1 : 2 + w(), across ? 1 : 0, 0, 0};
    p.plane = same_starts ? 0 : p.n * y.shape[1] + p.c;
    each_row(w(), p, [&] {
      p.form = 0;
      const auto along = [&](const Run& run) {
        ++p.form;
        if (upright(run)) return;
        if (!across) p.step = p.cell_step = run.step;
        p.box[w()] = {run.start, run.taps};
        p.o[w()] = run.begin;
        form(p);
        if (across) {
          for (i64 j = 0; j < run.count; ++j) {
            p.o[w()] = run.begin + j, p.box[w()].start = run.start + j * run.step;
            pieces(end - first, again, [&](i64 at, i64 count) {
              p.c = first + at, p.count = count;
              fn(p);
            });
          }
        } else {
          pieces(run.count, again, [&](i64 at, i64 count) {
            p.o[w()] = run.begin + at, p.box[w()].start = run.start + at * run.step, p.count = count;
            fn(p);
          });
        }
      };
      if (same_starts)
        for (i64 i = 0; i < runs_.count; ++i) along(runs_.list[i]);
      else
        each_run(pr.axes[w()], p.plane, along);
    });
    if (same_starts && !across) each_upright(p, again, form, fn);
  }

 private:
  int w() const { return pr.rank - 1; }
  i64 spans() const { return (y.shape[1] + span - 1) / span; }

  // fn(begin, count) for pieces of n of at most the width.
  template <class Fn>
  void pieces(i64 n, bool again, Fn&& fn) const {
    for (i64 j = 0; j < n; j += width) {
      const i64 at = again && n >= width ? std::min(j, n - width) : j;
      fn(at, std::min(width, n - at));
    }
  }

  // fn() with p at every combination of windows of the first `axes` axes.
  template <class Fn>
  void each_row(int axes, Place& p, Fn&& fn) const {
    i64 rows = 1;
    for (int i = 0; i < axes; ++i) rows *= pr.axes[i].out;
    for (i64 row = 0; row < rows; ++row) {
      for (i64 i = axes - 1, rest = row; i >= 0; --i) {
        p.o[i] = rest % pr.axes[i].out, rest /= pr.axes[i].out;
        p.box[i] = interval(pr.axes[i], p.o[i], p.plane);
      }
      fn();
    }
  }

  // Whether windows of a run of the last axis stand in blocks with those above and below them.
  bool upright(const Run& run) const {
    if (!same_starts || across || 2 * run.count >= width) return false;
    for (i64 i = 0; i < down_.count; ++i)
      if (down_.list[i].count > 2 * run.count) return true;
    return false;
  }
  template <class Form, class Fn>
  void each_upright(Place& p, bool again, Form&& form, Fn&& fn) const {
    const int h = w() - 1;
    p.form = runs_.count;
    if (h < 0) return;
    p.lane = 2 + h;
    each_row(h, p, [&] {
      p.form = runs_.count;
      for (i64 i = 0; i < runs_.count; ++i) {
        const Run& run = runs_.list[i];
        if (!upright(run)) continue;
        for (i64 k = 0; k < down_.count; ++k) {
          const Run& down = down_.list[k];
          ++p.form;
          p.step = down.step, p.cell_step = down.step * pr.axes[w()].size;
          p.o[h] = down.begin, p.box[h] = {down.start, down.taps};
          p.o[w()] = run.begin, p.box[w()] = {run.start, run.taps};
          form(p);
          for (i64 j = 0; j < run.count; ++j) {
            p.o[w()] = run.begin + j, p.box[w()].start = run.start + j * run.step;
            pieces(down.count, again, [&](i64 at, i64 count) {
              p.o[h] = down.begin + at, p.box[h].start = down.start + at * down.step, p.count = count;
              fn(p);
            });
          }
        }
      }
    });
  }

  // What a plane costs, counted in loads: a block has an overhead, and lanes that are not side by side are loaded one
  // by one.
  static constexpr double overhead = 20;
  double taps() const {
    double n = 1;
    for (int i = 0; i < pr.rank; ++i) n *= double(longest(pr.axes[i]));
    return n;
  }
  double block_cost(i64 step) const { return overhead + taps() * (step <= 2 ? 2.0 : double(width)); }
  double cost_across() const {
    double outputs = 1;
    for (int i = 0; i < pr.rank; ++i) outputs *= double(pr.axes[i].out);
    return outputs * block_cost(width) / double(std::min(width, y.shape[1]));
  }
  double cost_along() const {
    double rows = 1, cost = 0;
    for (int i = 0; i < w(); ++i) rows *= double(pr.axes[i].out);
    for (i64 i = 0; i < runs_.count; ++i) {
      const Run& run = runs_.list[i];
      if (!upright(run)) {
        cost += rows * double((run.count + width - 1) / width) * block_cost(run.step);
        continue;
      }
      for (i64 k = 0; k < down_.count; ++k)
        cost += rows / double(pr.axes[w() - 1].out) * double(run.count * ((down_.list[k].count + width - 1) / width)) *
                block_cost(width);
    }
    return cost;
  }

  // The runs of an axis, the same in every row.
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
  Runs runs_, down_;
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

// The tables of the first forms, so that windows at the two ends of a row do not drive out those between.
class TapTables {
 public:
  const Taps& find(const Problem& pr, const View& x, const View& other, const Blocks::Place& p, const i64 box[3]) {
    Taps& taps = list_[p.form % kept];
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

constexpr i64 most_vectors = 16;  // of a unit, where channels are contiguous
constexpr i64 whole_grain = i64(1) << 13;

static inline i64 unit_grain(const Problem& pr, const View& y, const Blocks& blocks) {
  i64 cost = blocks.span;
  for (int i = 0; i < pr.rank; ++i) cost *= y.shape[2 + i] * std::max<i64>(1, longest(pr.axes[i]));
  return std::max<i64>(1, whole_grain / std::max<i64>(1, cost));
}

}  // namespace poolkit::POOLKIT_ISA_NS

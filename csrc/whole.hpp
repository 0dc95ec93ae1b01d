// Reducers that look at a whole window at once: the only loops over such windows, forward and backward.
//
// Outputs whose windows have the same taps form a block, one output a lane: neighbours along a row, or the same place
// in several channels. Their taps are gathered into rows, tap by tap, and an atom reduces the rows; backward, the atom
// gives a slope for every tap, and the slopes are scattered the way the taps were gathered. One thread owns a plane.
#pragma once

#include "blocks.hpp"

namespace poolkit::POOLKIT_ISA_NS {

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

// The taps of a block into its rows.
template <class A, class T>
static inline void gather_taps(const T* at, const Taps& taps, i64 stride, i64 count, const T* end, A* rows) {
  constexpr int L = lanes<A>;
  if constexpr (std::is_same_v<A, T>)
    if (stride == 1 && at + taps.furthest + L <= end) {
      for (i64 t = 0; t < taps.n; ++t) store(rows + t * L, load<vec<A>>(at + taps.shift[t]));
      return;
    }
  for (i64 t = 0; t < taps.n; ++t) store(rows + t * L, gather<A>(at + taps.shift[t], stride, count, end));
}

// What stands beside the outputs of a block; idle lanes repeat the last one.
template <class A>
static inline void gather_extra(const View& extra, int rank, const Blocks::Place& p, A* to) {
  constexpr i64 L = lanes<A>;
  const A* const from = static_cast<const A*>(extra.data) + place_of(extra, rank, p.n, p.c, p.o);
  const i64 stride = extra.stride[p.lane];
  if (stride == 0) return store(to, splat<vec<A>, A>(*from));
  if (stride == 1 && p.count == L) return store(to, load<vec<A>>(from));
  for (i64 l = 0; l < L; ++l) to[l] = from[std::min(l, p.count - 1) * stride];
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
  parallel(exec, blocks.units(), unit_grain(pr, y, blocks), [&](i64 from, i64 to) {
    const OwnAtom<A> atom(make(pr, extra_));
    TapTables tables;
    const Taps* taps = nullptr;
    Scratch<A> rows, weights;
    A* row = nullptr;
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
      const auto form = [&](const Blocks::Place& p) {
        taps = &tables.find(pr, x, x, p, box);
        row = rows.take(taps->n * L);
        block.n = taps->n, block.taps = row, block.ids = taps->id;
      };
      blocks.each(unit, true, form, [&](const Blocks::Place& p) {
        i64 first[3] = {}, cell = 0;
        for (int i = 0; i < R; ++i) first[i] = p.box[i].start, cell = cell * pr.axes[i].size + first[i];
        const T* const at = static_cast<const T*>(x.data) + place_of(x, R, p.n, p.c, first);
        gather_taps<A>(at, *taps, p.step * x.stride[p.lane], p.count, end, row);
        if (kind == Extra::outputs && extra.data != nullptr) {
          gather_extra<A>(extra, R, p, more);
          block.extra = more;
        }
        atom->value(block);
        scatter<A>(static_cast<T*>(y.data) + place_of(y, R, p.n, p.c, p.o), y.stride[p.lane], p.count,
                   load<vec<A>>(out));
        if (block.chosen == nullptr) return;
        for (i64 l = 0; l < p.count; ++l) {
          const std::int32_t t = chosen[l];
          if (offsets.data != nullptr)
            put_offset(offsets, place_of(offsets, R, p.n, p.c, p.o) + l * offsets.stride[p.lane],
                       t < 0 ? -1 : taps->offset[t]);
          if (indices.data != nullptr)
            static_cast<i64*>(indices.data)[place_of(indices, R, p.n, p.c, p.o) + l * indices.stride[p.lane]] =
                cell + l * p.cell_step + (t < 0 ? 0 : taps->position[t]);
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
  const i64 planes_a_unit = blocks.across ? L : 1;
  parallel(exec, blocks.units(), unit_grain(pr, dy, blocks), [&](i64 from, i64 to) {
    const OwnAtom<A> atom(make(pr, extra_));
    TapTables tables;
    const Taps* taps = nullptr;
    Scratch<A> rows, slopes, weights, sums, wide;
    A* row = nullptr;
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
      const i64 at_n = own ? 0 : n;
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
      const auto form = [&](const Blocks::Place& p) {
        taps = &tables.find(pr, x, sum, p, box);
        row = rows.take(taps->n * L);
        block.n = taps->n, block.taps = row, block.ids = taps->id;
        block.slopes = slopes.take(taps->n * L);
      };
      blocks.each(unit, false, form, [&](const Blocks::Place& p) {
        i64 first[3] = {};
        for (int i = 0; i < R; ++i) first[i] = p.box[i].start;
        const T* const at = static_cast<const T*>(x.data) + place_of(x, R, p.n, p.c, first);
        gather_taps<A>(at, *taps, p.step * x.stride[p.lane], p.count, end, row);
        const auto live = first_lanes<A>(p.count);
        if (p.count < L)  // idle lanes must not bring a NaN into sums over lanes
          for (i64 t = 0; t < taps->n; ++t) store(row + t * L, live ? load<vec<A>>(row + t * L) : vec<A>{});
        if (kind == Extra::outputs && extra.data != nullptr) {
          gather_extra<A>(extra, R, p, more);
          block.extra = more, block.extra_slopes = more_slope;
        }
        vec<A> g = gather<A>(static_cast<const T*>(dy.data) + place_of(dy, R, p.n, p.c, p.o), dy.stride[p.lane],
                             p.count, dy_end);
        g = live ? g : vec<A>{};
        store(grad, g);
        atom->slopes(block);
        i64 where = at_n * sum.stride[0] + (own ? p.c - c : p.c) * sum.stride[1];
        for (int i = 0; i < R; ++i) where += first[i] * sum.stride[2 + i];
        const i64 apart = p.step * sum.stride[p.lane];
        for (i64 t = 0; t < taps->n; ++t)
          scatter_add<A>(to_sum + where + taps->second[t], apart, p.count, g * load<vec<A>>(block.slopes + t * L));
        if (kind == Extra::outputs && dextra.data != nullptr)
          scatter<A>(static_cast<A*>(dextra.data) + place_of(dextra, R, p.n, p.c, p.o), dextra.stride[p.lane], p.count,
                     g * load<vec<A>>(more_slope));
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

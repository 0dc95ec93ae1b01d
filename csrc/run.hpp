// Folds over whole calls: from views to views, on as many threads as there are.
#pragma once

#include <optional>

#include "across.hpp"
#include "atoms.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Whether y is one gapless block in logical order.
static bool dense_view(const View& v, int rank) {
  i64 next = 1;
  for (int i = 1 + rank; i >= 0; --i) {
    if (v.shape[i] != 1 && v.stride[i] != next) return false;
    next *= v.shape[i];
  }
  return true;
}

// Runs a fold over its units. prepare(fold) says where rows come from and go to; what it returns lives as long.
template <class C, class Prepare>
static void run_fold(const Grid& g, const Counts* divide, const Exec& exec, Prepare&& prepare) {
  i64 work = g.run;
  for (int i = 0; i < g.rank; ++i) work *= g.axes[i].size;
  const i64 per_plane = Fold<C>::blocks(g);
  const i64 cost = std::max<i64>(1, work / per_plane);
  parallel(exec, g.planes() * per_plane, std::max<i64>(1, grain_elements / cost), [&](i64 begin, i64 end) {
    Fold<C> fold(g);
    std::optional<Divider<C>> divider;
    if (divide != nullptr) fold.divide = &divider.emplace(g, *divide);
    auto keep = prepare(fold, end);
    fold.units(begin, end);
    if (divider) divider->report();
    (void)keep;
  });
}

// Straight from x to y: both hold the accumulator's type, with contiguous rows.
template <class C>
static void fold_direct(const Problem& pr, const Grid& g, const View& x, const View& y, const Counts* divide,
                        const Exec& exec) {
  using A = typename C::A;
  if constexpr (tuned && std::is_same_v<A, float>)
    if (fold_across<C>(g, x, y, divide, exec)) return;
  const bool ordered = dense_view(y, pr.rank);
  i64 whole = 1;
  for (int i = 0; i < 2 + pr.rank; ++i) whole *= y.shape[i];
  const i64 per_plane = Fold<C>::blocks(g), length = Fold<C>::block_length(g);
  run_fold<C>(g, divide, exec, [&](Fold<C>& fold, i64 end) {
    fold.source = static_cast<A*>(x.data);
    fold.source_end = fold.source + end_of(x, pr.rank);
    fold.target = fold.target_end = static_cast<A*>(y.data);
    if (ordered)
      fold.target_end +=
          end == g.planes() * per_plane ? whole : place(g, end / per_plane).dst + end % per_plane * length * g.dst[0];
    return 0;
  });
}

template <class C, class MakeIo>
static void fold_io(const Grid& g, int components, const Counts* divide, const Exec& exec, MakeIo&& make) {
  run_fold<C>(g, divide, exec, [&](Fold<C>& fold, i64) {
    using Made = decltype(make());
    struct Keep {
      Made* io;
      ~Keep() { delete io; }
    };
    auto* const io = new Made(make());
    fold.io = io, fold.components = components;
    return Keep{io};
  });
}

// Max, Min (of |x|), Sum, Mean: one state, nothing but conversions around the fold.
template <class C, class T, class U, bool Magnitude = false>
static void fold_simple(const Problem& pr, const View& x, const View& y, const Counts* divide, const Exec& exec) {
  const Grid g = make_grid(pr, x, y, Merge::all);
  if (g.nothing_pooled && divide != nullptr && divide->divisor == 0) divide = nullptr;
  if constexpr (!Magnitude && std::is_same_v<T, typename C::A> && std::is_same_v<U, T>)
    if (g.src[g.rank - 1] == g.run && g.dst[g.rank - 1] == g.run) return fold_direct<C>(pr, g, x, y, divide, exec);
  fold_io<C>(g, 1, divide, exec, [&] { return Convert<C, T, U, Magnitude>(g, x, y); });
}

}  // namespace poolkit::POOLKIT_ISA_NS

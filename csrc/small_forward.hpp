// Which poolings go through small windows in registers, and by which rule.
#pragma once

#include "joined.hpp"
#include "small.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Planes that are copied have to stay near the core.
constexpr i64 most_copied = i64(1) << 17;

// Whether the windows are small ones in a row, a vector of them or most of one.
static inline bool small_windows(const Problem& pr, const View& x, const View& y, i64 lanes_of_row) {
  if (pr.rank != 2 || (x.stride[1] == 1 && x.shape[1] > 1)) return false;
  for (int i = 0; i < 2; ++i) {
    const Axis& a = pr.axes[i];
    if (a.kind != AxisKind::sliding || a.dilation != 1 || a.kernel < 2 || a.kernel > 3 || a.size < a.kernel ||
        a.kernel != pr.axes[0].kernel)
      return false;
  }
  return pr.axes[1].stride <= 2 && 4 * y.shape[3] >= 3 * lanes_of_row;
}
static inline bool cut_off(const Problem& pr) {
  for (int i = 0; i < 2; ++i) {
    const Axis& a = pr.axes[i];
    if (a.before > 0 || window_origin(a, a.out - 1) + a.kernel > a.size) return true;
  }
  return false;
}

// Whether the weights of all kernels are finite.
template <class A>
static bool all_finite(const View& extra) {
  A odd = 0;
  for (i64 c = 0; c < extra.shape[1]; ++c)
    for (i64 k = 0; k < extra.shape[2]; ++k)
      odd += A(0) * static_cast<const A*>(extra.data)[c * extra.stride[1] + k * extra.stride[2]];
  return odd == 0;
}

template <class T, class Rule>
static void run_small(const Problem& pr, const View& x, const View& y, const View* offsets, const View* extra,
                      const Exec& exec, const Rule& rule) {
  const i64 channels = y.shape[1], cost = y.shape[2] * y.shape[3] * longest(pr.axes[0]) * longest(pr.axes[1]);
  parallel(exec, y.shape[0] * channels, std::max<i64>(1, whole_grain / cost), [&](i64 begin, i64 end) {
    Small<T, Rule> small(pr, x, y, offsets, extra, rule);
    for (i64 p = begin; p < end; ++p) small.plane(p / channels, p % channels);
  });
}

// False: nothing was done.
template <class T>
static bool small_forward(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                          const View* extra, const Exec& exec) {
  using A = acc_t<T>;
  if (offsets == nullptr && joined_forward<T>(pr, x, y, extra, exec)) return true;
  if (indices != nullptr || !small_windows(pr, x, y, lanes<A>)) return false;
  const i64 K = pr.axes[0].kernel, cells = K * K, size = pr.axes[0].size * pr.axes[1].size;
  const bool cut = cut_off(pr);
  const auto run = [&]<class Rule>(const Rule& rule) {
    const bool in_place = std::is_same_v<A, T> && !cut;
    if (!in_place && size > most_copied) return false;
    run_small<T>(pr, x, y, offsets, extra, exec, rule);
    return true;
  };
  switch (pr.reducer) {
    case Reducer::Stochastic:
      return pr.params.sample && pr.params.mode == 0 && extra != nullptr && run(Draw<A>(pr));
    case Reducer::Filter:
      // A weight that is not finite makes a NaN of the 0 beyond an edge.
      return (!cut || all_finite<A>(*extra)) && run(Weighted<A>());
    case Reducer::TopKMean: {
      const double k = pr.params.level;
      i64 fewest = 1;
      for (int i = 0; i < 2; ++i) {
        i64 n = K;
        for (i64 j = 0; j < pr.axes[i].out; ++j) n = std::min(n, interval(pr.axes[i], j, 0).n);
        fewest *= n;
      }
      if (cut && (pr.params.mode != 0 || k > double(fewest))) return false;
      if (pr.params.mode == 0 && k == 2) return run(ByRank<A, 2>(pr, cells));
      return run(ByRank<A, 0>(pr, cells));
    }
    case Reducer::Median:
    case Reducer::Quantile:
    case Reducer::RankMean:
      return !cut && run(ByRank<A, 0>(pr, cells));
    default:
      return false;
  }
}

}  // namespace poolkit::POOLKIT_ISA_NS

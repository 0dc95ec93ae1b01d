// Small planes, one plane a lane: no row has a tail, no vector crosses an edge, and what both axes ask for are joins of
// whole vectors. Sixteen planes (as many as a vector has lanes) are turned into lanes, folded, and turned back.
#pragma once

#include "exec.hpp"
#include "grid.hpp"
#include "rows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class C>
class Across {
 public:
  using A = typename C::A;
  using V = vec<A>;
  static constexpr i64 L = lanes<A>;

  static bool takes(const Grid& g) {
    return g.rank == 2 && g.run == 1 && g.planes_rank == 1 && g.src[0] == g.axes[1].size && g.dst[0] == g.axes[1].out &&
           planes_as_lanes(g.axes[0], g.axes[1], g.planes(), L, !C::idempotent);
  }

  Across(const Grid& grid, const Counts* counts) : g(grid), counts_(counts) {
    const Axis &h = g.axes[0], &w = g.axes[1];
    block_[0] = cheapest_block(h), block_[1] = cheapest_block(w);
    in_ = in_rows_.take(h.size * w.size * L).v;
    between_ = between_rows_.take(h.out * w.size * L).v;
    out_ = out_rows_.take(h.out * w.out * L).v;
    if (counts_ != nullptr) tabulate();
  }

  // L planes from src to dst; those before the first are left alone.
  void planes(const A* src, A* dst, i64 first) {
    const Axis &h = g.axes[0], &w = g.axes[1];
    const bool ordered = turn_in(src, h.size * w.size);
    if (!C::idempotent || ordered)
      fold<Ordered<typename C::Op>>();
    else if constexpr (C::idempotent)
      fold<typename C::Op>();
    turn_out(dst, h.out * w.out, first);
  }
  void report() const {
    if (counts_ != nullptr && counts_->not_finite != nullptr && any_lane(odd_ != odd_))
      counts_->not_finite->store(true, std::memory_order_relaxed);
  }

 private:
  static constexpr int M = L < 8 ? int(L) : 8;  // cells turned at once
  // Lines at once, and the most outputs of one line that share what their windows have in common.
  static constexpr int U = vector_bytes > 32 ? 2 : 1, most = 8;

  // Outputs that share: their windows have kernel - B + 1 taps in common, and what each has beside them grows by one
  // tap from window to window.
  static int cheapest_block(const Axis& a) {
    int best = 2;
    i64 least = i64(1) << 62;
    for (int b = 2; b <= most && b <= a.kernel && b <= a.out; ++b) {
      const i64 joins = a.kernel - b + 3 * b - 4, loads = a.kernel + b - 1, blocks = ceil_div(a.out, b);
      const i64 cost = blocks * (joins + loads + 2 * b);
      if (cost < least) least = cost, best = b;
    }
    return best;
  }

  // Cells of L planes, some at a time, the last of them overlapping those before. Whether none is a NaN.
  bool turn_in(const A* src, i64 cells) {
    V odd{};
    const i64 pitch = g.plane_src[0];
    for (i64 c = 0;; c = std::min(c + M, cells - M)) {
      V v[M];
#pragma GCC unroll 16
      for (int q = 0; q < M; ++q) v[q] = load_pieces<M, L>(src + c + q * pitch, pitch);
      if constexpr (C::idempotent) odd = with_nans<M>(odd, v);
      turn<M>(v);
      // The planes after these: what comes in the order of lanes, no hardware foresees.
      for (int q = 0; q < M; ++q) __builtin_prefetch(src + (pitch + c + q) * L, 0, 2);
#pragma GCC unroll 16
      for (int q = 0; q < M; ++q) store(in_ + (c + q) * L, v[q]);
      if (c + M >= cells) break;
    }
    return !any_lane(odd != odd);
  }
  void turn_out(A* dst, i64 cells, i64 first) {
    const i64 pitch = g.plane_dst[0];
    for (i64 c = 0;; c = std::min(c + M, cells - M)) {
      V v[M];
#pragma GCC unroll 16
      for (int q = 0; q < M; ++q) v[q] = load<V>(out_ + (c + q) * L);
      if (counts_ != nullptr) {
#pragma GCC unroll 16
        for (int q = 0; q < M; ++q) {
          v[q] /= splat<V, A>(divisors_[c + q]);
          odd_ += v[q] - v[q];
        }
      }
      turn<M>(v);
      for (int q = 0; q < M; ++q) __builtin_prefetch(dst + (pitch + c + q) * L, 1, 2);
      if (first == 0) {
#pragma GCC unroll 16
        for (int q = 0; q < M; ++q) store_pieces<M>(dst + c + q * pitch, pitch, v[q]);
      } else {
        for (i64 lane = first; lane < L; ++lane)
          std::memcpy(dst + lane * pitch + c, reinterpret_cast<const A*>(&v[lane % M]) + lane / M * M, M * sizeof(A));
      }
      if (c + M >= cells) break;
    }
  }

  template <class Join>
  void fold() {
    const Axis &h = g.axes[0], &w = g.axes[1];
    axis<Join>(block_[0], h, w.size, in_, w.size * L, L, between_, w.size * L, L);
    axis<Join>(block_[1], w, h.out, between_, L, w.size * L, out_, L, w.out * L);
  }
  // `lines` lines along an axis: cells are x_step apart, lines x_next.
  template <class Join, int B = 2>
  void axis(int block, const Axis& a, i64 lines, const A* x, i64 x_step, i64 x_next, A* y, i64 y_step, i64 y_next) {
    if constexpr (B < most)
      if (block > B) return axis<Join, B + 1>(block, a, lines, x, x_step, x_next, y, y_step, y_next);
    for (i64 i = 0;; i = std::min(i + U, lines - U)) {
      for (i64 j = 0;; j = std::min(j + B, a.out - B)) {
        windows<Join, B>(x + i * x_next, x_step, x_next, y + i * y_next + j * y_step, y_step, y_next, a, j);
        if (j + B >= a.out) break;
      }
      if (i + U >= lines) break;
    }
  }
  // Outputs j .. j + B of U lines.
  template <class Join, int B>
  [[gnu::always_inline]] static void windows(const A* x, i64 x_step, i64 x_next, A* y, i64 y_step, i64 y_next,
                                             const Axis& a, i64 j) {
    const i64 low = window_origin(a, j), to = std::min(a.size, low + a.kernel);
    const auto at = [=](i64 t, int u) { return load<V>(x + t * x_step + u * x_next); };
    V s[B][U], after[U];
    i64 t = std::max<i64>(0, low + B - 1);
    for (int u = 0; u < U; ++u) s[B - 1][u] = at(t, u);
    while (++t < to)
      for (int u = 0; u < U; ++u) s[B - 1][u] = Join::join(s[B - 1][u], at(t, u));
#pragma GCC unroll 8
    for (int b = B - 2; b >= 0; --b)
      for (int u = 0; u < U; ++u) s[b][u] = low + b >= 0 ? Join::join(at(low + b, u), s[b + 1][u]) : s[b + 1][u];
    const auto put = [&](int b, int u, V v) { store(y + b * y_step + u * y_next, v); };
    for (int u = 0; u < U; ++u) put(0, u, s[0][u]);
    t = low + a.kernel;
    if (t >= a.size) {
#pragma GCC unroll 8
      for (int b = 1; b < B; ++b)
        for (int u = 0; u < U; ++u) put(b, u, s[b][u]);
      return;
    }
    for (int u = 0; u < U; ++u) after[u] = at(t, u);
#pragma GCC unroll 8
    for (int b = 1; b < B; ++b) {
      if (b > 1 && ++t < a.size)
        for (int u = 0; u < U; ++u) after[u] = Join::join(after[u], at(t, u));
      for (int u = 0; u < U; ++u) put(b, u, Join::join(s[b][u], after[u]));
    }
  }

  void tabulate() {
    const Axis &h = g.axes[0], &w = g.axes[1];
    divisors_ = divisor_rows_.take(h.out * w.out).v;
    for (i64 i = 0; i < h.out; ++i)
      for (i64 j = 0; j < w.out; ++j)
        divisors_[i * w.out + j] = A(counts_->divisor > 0 ? counts_->divisor
                                                          : (counts_->padded ? g.joined_padded : g.joined_taps) *
                                                                counts_->of(g, 0, i, 0) * counts_->of(g, 1, j, 0));
  }

  const Grid& g;
  const Counts* const counts_;
  int block_[2];
  Rows<C> in_rows_, between_rows_, out_rows_, divisor_rows_;
  A *in_, *between_, *out_, *divisors_ = nullptr;
  V odd_{};
};

// False: nothing was done.
template <class C>
static bool fold_across(const Grid& g, const View& x, const View& y, const Counts* counts, const Exec& exec) {
  using A = typename C::A;
  constexpr i64 L = lanes<A>;
  if (!Across<C>::takes(g)) return false;
  const i64 planes = g.planes(), cells = g.axes[0].size * g.axes[1].size;
  parallel(exec, ceil_div(planes, L), std::max<i64>(1, grain_elements / (cells * L)), [&](i64 begin, i64 end) {
    Across<C> across(g, counts);
    for (i64 i = begin; i < end; ++i) {
      // The last planes go with some of those before them, which are not written again.
      const i64 plane = std::min(i * L, planes - L);
      across.planes(static_cast<const A*>(x.data) + plane * g.plane_src[0],
                    static_cast<A*>(y.data) + plane * g.plane_dst[0], i * L - plane);
    }
    across.report();
  });
  return true;
}

}  // namespace poolkit::POOLKIT_ISA_NS

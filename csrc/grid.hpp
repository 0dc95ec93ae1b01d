// The canonical form of a call: planes, up to three pooled axes, and the run of elements that share one window.
//
// Axes whose windows are single taps at stride 1 become planes or part of the run; a last axis that one window covers
// whole joins the axis before it. So a global pooling is one run, a temporal pooling runs over whole frames, and
// channels-last is a run of channels.
#pragma once

#include "plan.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What may be simplified away. Reducers that need an output's own coordinates keep the axes that hold them.
enum class Merge { all, joins, none };

struct Grid {
  int planes_rank = 0;
  bool nothing_pooled = false;  // every window is one tap
  bool channels_last = false;   // planes are batch entries, the run is the channels
  i64 plane_size[5];
  i64 plane_src[5], plane_dst[5];   // strides
  i64 windows_per_plane_entry = 1;  // entries of the last plane dimensions that share one n, c

  int rank = 0;
  Axis axes[3];
  i64 src[3], dst[3];
  int origin[3];        // the problem's axis behind each; -1: the joined taps hold its own
  i64 joined_taps = 1;  // taps of the axes that were joined to another, padding counted and not
  i64 joined_padded = 1;

  i64 run = 1;  // consecutive elements a position holds, contiguous in src and dst

  i64 planes() const {
    i64 n = 1;
    for (int i = 0; i < planes_rank; ++i) n *= plane_size[i];
    return n;
  }
  const Axis& last() const { return axes[rank - 1]; }
};

struct Place {
  i64 src, dst;  // element offsets of a plane
  i64 window;    // n * C + c, for windows that differ from plane to plane
};

static inline Place place(const Grid& g, i64 plane) {
  Place p{0, 0, g.windows_per_plane_entry == 1 ? plane : plane / g.windows_per_plane_entry};
  for (int i = g.planes_rank - 1; i > 0; --i) {
    const i64 k = plane % g.plane_size[i];
    plane /= g.plane_size[i];
    p.src += k * g.plane_src[i], p.dst += k * g.plane_dst[i];
  }
  p.src += plane * g.plane_src[0], p.dst += plane * g.plane_dst[0];
  return p;
}

static inline bool single_taps(const Axis& a) {
  if (a.size != a.out) return false;
  if (a.kind == AxisKind::sliding) return a.kernel == 1 && a.stride == 1 && a.before == 0;
  return a.kind == AxisKind::adaptive;
}

static inline bool whole(const Axis& a) {
  if (a.out != 1) return false;
  if (a.kind == AxisKind::sliding) {
    const Interval i = interval(a, 0, 0);
    return i.n == a.size && (a.dilation == 1 || a.size == 1);
  }
  return a.kind == AxisKind::adaptive;
}

// Planes without a gap whose first axis is tiled, windows side by side from end to end, are one plane: its windows go
// on from plane to plane. Single elements that one window takes whole stay apart: they are runs to be reduced.
static inline void join_planes(Grid& g, const Problem& pr) {
  Axis a = g.axes[0];
  if (g.run > 1 && whole(a)) a.kind = AxisKind::sliding, a.kernel = a.stride = a.size, a.before = a.after = 0;
  const int k = g.planes_rank - 1;
  if (a.kind != AxisKind::sliding || a.before != 0 || a.kernel > a.stride || a.dilation != 1 ||
      a.size != a.out * a.stride || (a.out == 1 && g.run == 1) || g.plane_src[k] != a.size * g.src[0] ||
      g.plane_dst[k] != a.out * g.dst[0])
    return;
  a.size *= g.plane_size[k], a.out *= g.plane_size[k];
  g.axes[0] = a;
  g.plane_size[k] = 1;
  g.joined_taps *= interval(pr.axes[g.origin[0]], 0, 0).n;
  g.joined_padded *= padded_count(pr.axes[g.origin[0]], 0, 0);
  g.origin[0] = -1;
}

static inline Grid make_grid(const Problem& pr, const View& x, const View& y, Merge merge) {
  Grid g;
  bool per_plane = false;
  for (int i = 0; i < pr.rank; ++i) per_plane |= pr.axes[i].plane_stride != 0;
  const int w = 1 + pr.rank;
  const bool channels_last =
      !per_plane && x.shape[1] > 1 && x.stride[1] == 1 && y.stride[1] == 1 && !(x.stride[w] == 1 && x.shape[w] > 1);
  g.plane_size[0] = x.shape[0], g.plane_src[0] = x.stride[0], g.plane_dst[0] = y.stride[0];
  g.planes_rank = 1;
  g.channels_last = channels_last;
  if (channels_last) {
    g.run = x.shape[1];
  } else {
    g.plane_size[1] = x.shape[1], g.plane_src[1] = x.stride[1], g.plane_dst[1] = y.stride[1];
    g.planes_rank = 2;
  }
  for (int i = 0; i < pr.rank; ++i) {
    const Axis& a = pr.axes[i];
    const i64 s = x.stride[2 + i], d = y.stride[2 + i];
    if (merge == Merge::all && g.rank == 0 && single_taps(a)) {
      g.plane_size[g.planes_rank] = a.size, g.plane_src[g.planes_rank] = s, g.plane_dst[g.planes_rank] = d;
      ++g.planes_rank;
      if (!channels_last) g.windows_per_plane_entry *= a.size;
      continue;
    }
    g.axes[g.rank] = a, g.src[g.rank] = s, g.dst[g.rank] = d, g.origin[g.rank] = i;
    ++g.rank;
  }
  const bool nothing_pooled = g.rank == 0;
  if (nothing_pooled) {  // nothing but single taps: the last one stays an axis
    const int k = --g.planes_rank;
    g.axes[0] = pr.axes[pr.rank - 1], g.src[0] = g.plane_src[k], g.dst[0] = g.plane_dst[k], g.origin[0] = pr.rank - 1,
    g.rank = 1;
    if (!channels_last) g.windows_per_plane_entry /= g.plane_size[k];
  }
  if (merge == Merge::all && nothing_pooled) {
    // One long row, as far as memory is even.
    Axis& a = g.axes[0];
    a.kind = AxisKind::sliding, a.kernel = a.stride = 1, a.before = a.after = 0;
    for (int k = g.planes_rank - 1; k > 0; --k) {
      if (g.plane_src[k] != a.size * g.src[0] || g.plane_dst[k] != a.size * g.dst[0]) break;
      a.size *= g.plane_size[k], a.out = a.size;
      --g.planes_rank;
    }
    g.nothing_pooled = true;
  }
  if (merge != Merge::none)
    while (g.rank > 1) {
      const int k = g.rank - 1;
      const Axis a = g.axes[k];
      if (merge == Merge::all && single_taps(a) && g.src[k] == g.run && g.dst[k] == g.run &&
          g.axes[k - 1].kind != AxisKind::starts) {
        g.run *= a.size;
        --g.rank;
        continue;
      }
      Axis& b = g.axes[k - 1];
      // Taps of the joined axis have to stay one interval with one step.
      constexpr i64 far = i64(1) << 31;
      const bool joins = b.kind == AxisKind::adaptive
                             ? b.out == 1
                             : b.kind == AxisKind::sliding && b.dilation == 1 && a.size < far && b.kernel < far &&
                                   b.stride < far && b.after < far;
      if (!whole(a) || !joins || (b.size > 1 && a.size > 1 && g.src[k - 1] != a.size * g.src[k])) break;
      if (b.kind == AxisKind::sliding) {
        b.kernel *= a.size, b.stride *= a.size, b.before *= a.size, b.after *= a.size;
      }
      if (a.size > 1) g.src[k - 1] = g.src[k];
      b.size *= a.size;
      g.joined_taps *= interval(pr.axes[g.origin[k]], 0, 0).n;
      g.joined_padded *= padded_count(pr.axes[g.origin[k]], 0, 0);
      --g.rank;
    }
  // The stride of an axis with one element is anybody's.
  const int l = g.rank - 1;
  if (g.axes[l].size == 1) g.src[l] = g.run;
  if (g.axes[l].out == 1) g.dst[l] = g.run;
  // Planes that follow each other evenly are one dimension.
  for (int i = g.planes_rank - 1; i > 0; --i) {
    const bool even = g.plane_src[i - 1] == g.plane_size[i] * g.plane_src[i] &&
                      g.plane_dst[i - 1] == g.plane_size[i] * g.plane_dst[i];
    const bool inner_only = g.plane_size[i - 1] == 1, outer_only = g.plane_size[i] == 1;
    if (!even && !inner_only && !outer_only) continue;
    g.plane_size[i - 1] *= g.plane_size[i];
    if (!outer_only) g.plane_src[i - 1] = g.plane_src[i], g.plane_dst[i - 1] = g.plane_dst[i];
    for (int k = i; k + 1 < g.planes_rank; ++k)
      g.plane_size[k] = g.plane_size[k + 1], g.plane_src[k] = g.plane_src[k + 1], g.plane_dst[k] = g.plane_dst[k + 1];
    --g.planes_rank;
  }
  if (merge == Merge::all && !per_plane && !g.nothing_pooled) join_planes(g, pr);
  return g;
}

}  // namespace poolkit::POOLKIT_ISA_NS

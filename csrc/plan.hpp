// A view of the intervals a Problem describes: the one place in the core where a window becomes taps.
#pragma once

#include <algorithm>

#include "core.hpp"

namespace poolkit {

// Taps start, start + step, ... of one window; all of them lie inside the input. step is the axis' dilation.
struct Interval {
  i64 start, n;
};

static inline i64 ceil_div(i64 a, i64 b) { return a / b + (a % b > 0); }

static inline i64 window_origin(const Axis& a, i64 j) { return j * a.stride - a.before; }

static inline Interval interval(const Axis& a, i64 j, i64 plane) {
  switch (a.kind) {
    case AxisKind::sliding: {
      const i64 origin = window_origin(a, j);
      const i64 first = origin < 0 ? ceil_div(-origin, a.dilation) : 0;
      const i64 last = std::min(a.kernel, ceil_div(a.size - origin, a.dilation));
      return {origin + first * a.dilation, std::max<i64>(0, last - first)};
    }
    case AxisKind::adaptive: {
      const i64 start = i64(__int128(j) * a.size / a.out);
      const i64 stop = i64((__int128(j + 1) * a.size + a.out - 1) / a.out);
      return {start, stop - start};
    }
    case AxisKind::starts: break;
  }
  return {a.starts[plane * a.plane_stride + j], a.kernel};
}

// Taps inside the input and its padding: what count_include_pad divides by. Ceil overhang never counts.
static inline i64 padded_count(const Axis& a, i64 j, i64 plane) {
  if (a.kind != AxisKind::sliding) return interval(a, j, plane).n;
  return std::min(a.kernel, ceil_div(a.size + a.after - window_origin(a, j), a.dilation));
}

// Longest clipped window: the side of the box that offsets count in.
static inline i64 longest(const Axis& a) {
  switch (a.kind) {
    case AxisKind::sliding: return std::min(a.kernel, ceil_div(a.size, a.dilation));
    case AxisKind::adaptive: {
      const i64 whole = a.size / a.out, rest = a.size % a.out;
      return rest == 0 ? whole : whole + (a.out % rest == 0 ? 1 : 2);
    }
    case AxisKind::starts: break;
  }
  return a.kernel;
}

}  // namespace poolkit

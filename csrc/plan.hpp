// A view of the intervals a Problem describes: the one place in the core where a window becomes taps.
#pragma once

#include <algorithm>
#include <numeric>

#include "core.hpp"

namespace poolkit {

// Taps start, start + step, ... of one window; all of them lie inside the input.
struct Interval {
  i64 start, n;
};

static inline i64 step_of(const Axis& a) {
  if (a.kind == AxisKind::sliding) return a.dilation;
  return a.kind == AxisKind::transposed ? a.dilation / std::gcd(a.dilation, a.stride) : 1;
}

static inline i64 ceil_div(i64 a, i64 b) { return b == 1 ? a : a / b + (a % b > 0); }

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
      if (((j + 1) | a.size) >> 31 == 0) {  // the same in one word, where a division takes a fraction of the time
        const i64 start = j * a.size / a.out;
        return {start, ceil_div((j + 1) * a.size, a.out) - start};
      }
      const i64 start = i64(__int128(j) * a.size / a.out);
      const i64 stop = i64((__int128(j + 1) * a.size + a.out - 1) / a.out);
      return {start, stop - start};
    }
    case AxisKind::starts:
      break;
    case AxisKind::transposed: {
      // Outputs o with o * stride + t * dilation = j + before for a tap t: every dilation / gcd-th one.
      const i64 u = j + a.before, reach = (a.kernel - 1) * a.dilation;
      i64 lo = u > reach ? ceil_div(u - reach, a.stride) : 0, hi = std::min(a.size - 1, u / a.stride);
      const i64 step = step_of(a);
      for (i64 tries = 0; hi >= lo && (u - hi * a.stride) % a.dilation != 0; --hi)
        if (++tries >= step) return {lo, 0};
      if (hi < lo) return {lo, 0};
      const i64 n = (hi - lo) / step + 1;
      return {hi - (n - 1) * step, n};
    }
    case AxisKind::transposed_starts: {
      const i64* s = a.starts + plane * a.plane_stride;
      const i64 hi = std::upper_bound(s, s + a.size, j) - s;
      if (a.after > 0) {
        const i64 lo = std::max<i64>(0, std::upper_bound(s, s + a.size, j - a.after + 1) - s - 1);
        return {lo, hi - lo};
      }
      const i64 lo = std::upper_bound(s, s + a.size, j - a.kernel) - s;
      return {lo, hi - lo};
    }
  }
  const i64* s = a.starts + plane * a.plane_stride + j;
  if (a.after == 0) return {*s, a.kernel};
  return {*s, (j + 1 < a.out ? std::min(a.size, s[1] + a.after - 1) : a.size) - *s};
}

// Taps inside the input and its padding: what count_include_pad divides by. Ceil overhang never counts.
static inline i64 padded_count(const Axis& a, i64 j, i64 plane) {
  if (a.kind != AxisKind::sliding) return interval(a, j, plane).n;
  return std::min(a.kernel, ceil_div(a.size + a.after - window_origin(a, j), a.dilation));
}

// Longest clipped window: the side of the box that offsets count in.
static inline i64 longest(const Axis& a) {
  switch (a.kind) {
    case AxisKind::sliding:
      return std::min(a.kernel, ceil_div(a.size, a.dilation));
    case AxisKind::adaptive: {
      const i64 whole = a.size / a.out, rest = a.size % a.out;
      return rest == 0 ? whole : whole + (a.out % rest == 0 ? 1 : 2);
    }
    case AxisKind::transposed:
      return std::min(a.size, (a.kernel - 1) * std::gcd(a.dilation, a.stride) / a.stride + 1);
    case AxisKind::transposed_starts:
      return a.size;
    case AxisKind::starts:
      break;
  }
  return a.kernel;
}

// Whether windows at stride 1 over planes of h x w floats are best reduced one plane a lane, `lanes` planes at once.
// What planes cost on the way into lanes and back has to be less than what rows shorter than a few vectors, and large
// windows along them, cost otherwise; and the planes have to stay near the core. Sums: of sums, or maxima.
static inline bool planes_as_lanes(const Axis& h, const Axis& w, i64 planes, i64 lanes, bool sums) {
  if (lanes < 8 || planes < lanes) return false;
  for (const Axis* a : {&h, &w})
    if (a->kind != AxisKind::sliding || a->stride != 1 || a->dilation != 1 || a->kernel < 2 || a->before >= a->kernel ||
        a->out < 2 || a->size < 2 || window_origin(*a, a->out - 1) >= a->size || longest(*a) > 40)
      return false;
  const i64 cells = h.size * w.size, out = h.out * w.out, kernel = std::min(h.kernel, w.kernel);
  // Planes whole pages apart meet in the same few lines of the first cache.
  const i64 least = lanes > 8 && cells % 1024 == 0 ? 9 : lanes == 8 ? 5 : sums ? 3 : 4;
  const i64 most = kernel < 5 ? 640 : kernel < 9 ? 1600 : 3200;
  return kernel >= least && std::min(cells, out) >= 8 && std::max(cells, out) <= most;
}

}  // namespace poolkit

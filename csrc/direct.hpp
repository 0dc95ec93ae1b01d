// One window at a time, tap by tap, in double: what the folds hand over when a window leaves the range they scale to,
// and the plain statement of every reducer's arithmetic.
#pragma once

#include <cmath>
#include <type_traits>

#include "half.hpp"
#include "plan.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// The taps of output (o[0], o[1], o[2]) of one plane. base points at the plane's first element.
template <class T>
struct Window {
  const T* base;
  i64 stride[3];
  Interval box[3];
  i64 step[3];

  Window(const Problem& problem, const View& x, i64 n, i64 c, const i64 o[3]) {
    base = static_cast<const T*>(x.data) + n * x.stride[0] + c * x.stride[1];
    const int pad = 3 - problem.rank;
    for (int i = 0; i < 3; ++i) {
      if (i < pad) {
        stride[i] = 0, box[i] = {0, 1}, step[i] = 1;
      } else {
        const Axis& a = problem.axes[i - pad];
        stride[i] = x.stride[2 + i - pad];
        box[i] = interval(a, o[i - pad], n * x.shape[1] + c);
        step[i] = step_of(a);
      }
    }
  }

  i64 taps() const { return box[0].n * box[1].n * box[2].n; }

  i64 position(int axis, i64 t) const { return (box[axis].start + t * step[axis]) * stride[axis]; }

  template <class Fn>
  void each(Fn&& fn) const {
    for (i64 a = 0; a < box[0].n; ++a)
      for (i64 b = 0; b < box[1].n; ++b)
        for (i64 c = 0; c < box[2].n; ++c) fn(base[position(0, a) + position(1, b) + position(2, c)]);
  }
};

static inline double mean_divisor(const Problem& problem, i64 plane, const i64 o[3]) {
  if (problem.params.divisor > 0) return double(problem.params.divisor);
  i64 n = 1;
  for (int i = 0; i < problem.rank; ++i)
    n *= problem.params.include_pad ? padded_count(problem.axes[i], o[i], plane)
                                    : interval(problem.axes[i], o[i], plane).n;
  return double(n);
}

// (sum |x|^p)^(1/p) without overflow or underflow: relative to the largest tap. clamp: max(x, floor) in place of |x|.
template <class T>
double norm(const Window<T>& w, double p, bool clamp, double floor, bool mean) {
  double top = 0;
  bool nan = false;
  const auto size = [&](T v) {
    const double x = double(widen(v));
    return clamp ? std::fmax(x, floor) : std::fabs(x);
  };
  w.each([&](T v) {
    const double x = double(widen(v));
    nan |= x != x;
    top = std::fmax(top, size(v));
  });
  if (nan) return std::nan("");
  if (top == 0 || std::isinf(top)) return top;
  double sum = 0;
  w.each([&](T v) { sum += std::pow(size(v) / top, p); });
  return top * std::pow(mean ? sum / double(w.taps()) : sum, 1 / p);
}

struct SoftmaxState {
  double lse;    // log(sum(exp(beta x)))
  double value;  // sum(x exp(beta x)) / sum(exp(beta x))
};

template <class T>
SoftmaxState softmax(const Window<T>& w, double beta) {
  double top = -HUGE_VAL;
  bool nan = false;
  w.each([&](T v) {
    const double l = beta * double(widen(v));
    nan |= l != l;
    top = std::fmax(top, l);
  });
  if (nan) return {std::nan(""), std::nan("")};
  if (std::isinf(top)) return {top, top / beta};
  double s = 0, t = 0;
  w.each([&](T v) {
    const double x = double(widen(v)), l = beta * x;
    if (std::isinf(l)) return;  // weight 0, and 0 * inf must not make a NaN
    const double e = std::exp(l - top);
    s += e, t += e * x;
  });
  return {top + std::log(s), t / s};
}

}  // namespace poolkit::POOLKIT_ISA_NS

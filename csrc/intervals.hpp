// The windows of each axis as a table: working one out divides, and planes share them.
#pragma once

#include "plan.hpp"
#include "scratch.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// As three axes, the missing ones in front: these have one window of one tap.
class Intervals {
 public:
  explicit Intervals(const Problem& pr) : pr_(pr) {
    for (int i = 0; i < pr.rank; ++i) {
      out_[3 - pr.rank + i] = pr.axes[i].out;
      differ_ |= pr.axes[i].plane_stride != 0;
    }
    Interval* next = memory_.take(out_[0] + out_[1] + out_[2]);
    for (int k = 0; k < 3; next += out_[k++]) windows_[k] = next;
    fill(0);
  }

  i64 out(int k) const { return out_[k]; }
  const Interval* operator[](int k) const { return windows_[k]; }
  // The table is that of this plane from now on; whether it is another one.
  bool turn_to(i64 plane) {
    if (differ_) fill(plane);
    return differ_;
  }

 private:
  const Problem& pr_;
  Scratch<Interval> memory_;
  Interval* windows_[3];
  i64 out_[3] = {1, 1, 1};
  bool differ_ = false;

  void fill(i64 plane) {
    for (int k = 0; k < 3; ++k)
      for (i64 j = 0; j < out_[k]; ++j)
        windows_[k][j] = k < 3 - pr_.rank ? Interval{0, 1} : interval(pr_.axes[k - (3 - pr_.rank)], j, plane);
  }
};

}  // namespace poolkit::POOLKIT_ISA_NS

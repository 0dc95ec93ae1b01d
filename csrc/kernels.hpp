// What one instruction set's build of the kernels offers. Arguments were checked by dispatch.cpp.
#pragma once

#include "core.hpp"

namespace poolkit {

// Each returns nullptr, or what is wrong. No std::string here: code shared between instruction sets must not be
// instantiated in their translation units, where the linker could keep the copy that this CPU cannot run.
struct KernelTable {
  const char* (*forward)(const Problem&, const View& x, const View& y, const View* offsets, const View* indices,
                         const View* lse, const View* extra, const Exec&);
  const char* (*backward)(const Problem&, const View& dy, const View& dx, const View* x, const View* y, const View* lse,
                          const View* offsets, const View* extra, const View* dextra, const Exec&);
  const char* (*unpool)(const View& x, const View& indices, const View& out, int rank, const Exec&);
  const char* (*unpool_backward)(const View& dout, const View& indices, const View& dx, int rank, const Exec&);
  void (*elementary_f32)(Elementary, double p, const float* x, float* y, i64 n);
  void (*elementary_f64)(Elementary, double p, const double* x, double* y, i64 n);
};

}  // namespace poolkit

// The core's whole interface. No Python and no framework: the bind_* files translate into these structs.
//
// A call is described by a Problem (reducer, its parameters, one Axis per pooled axis) and by Views: typed, strided
// arrays in the logical order N, C, spatial..., whatever the memory layout. Channels-last is a stride pattern.
#pragma once

#include <cstdint>
#include <string>

namespace poolkit {

using i64 = std::int64_t;

enum class DType : int { f32 = 0, f64 = 1, f16 = 2, bf16 = 3, i8 = 4, u8 = 5, i16 = 6, i32 = 7, i64 = 8 };

enum class Reducer : int {
  Max = 0,
  Min = 1,
  Sum = 2,
  Mean = 3,
  Lp = 4,
  PowerMean = 5,
  RMS = 6,
  LogSumExp = 7,
  Soft = 8
};

// What bindings, checks and kernels ask of a reducer: facts of its record in reducer.py, one row for each code.
struct Facts {
  bool integers;   // takes integer inputs
  bool widens;     // and gives int64 for them
  bool x, y, lse;  // backward needs these of the forward pass (offsets instead, where a tap is chosen)
};
inline constexpr Facts reducer_facts[] = {
    {true, false, false, false, false},  // Max
    {true, false, false, false, false},  // Min
    {true, true, false, false, false},   // Sum
    {true, false, false, false, false},  // Mean
    {false, false, true, true, false},   // Lp
    {false, false, true, true, false},   // PowerMean
    {false, false, true, true, false},   // RMS
    {false, false, true, false, true},   // LogSumExp
    {false, false, true, true, true},    // Soft
};
inline constexpr int reducers = sizeof reducer_facts / sizeof reducer_facts[0];
constexpr const Facts& facts(Reducer r) { return reducer_facts[int(r)]; }

struct Params {
  double p = 2.0;           // Lp, PowerMean; infinity is legal for Lp
  double eps = 0.0;         // PowerMean: x is clamped from below
  double beta = 1.0;        // LogSumExp, Soft; finite and not zero
  i64 divisor = 0;          // Mean: > 0 replaces the count of taps
  bool include_pad = true;  // Mean: padding (never ceil overhang) counts as taps
  bool mean = true;         // LogSumExp: log of the mean instead of the sum
};

// The transposed kinds (for every input, the outputs that saw it) arise inside backward only.
enum class AxisKind : int { sliding = 0, adaptive = 1, starts = 2, transposed = 3, transposed_starts = 4 };

// One pooled axis. Window j begins at j * stride - before (sliding), floor(j * size / out) (adaptive) or starts[j].
struct Axis {
  AxisKind kind = AxisKind::sliding;
  i64 size = 1;    // input length
  i64 out = 1;     // number of windows
  i64 kernel = 1;  // taps of a window before clipping (sliding, starts)
  i64 stride = 1;
  i64 before = 0;  // padding
  i64 after = 0;
  i64 dilation = 1;
  const i64* starts = nullptr;  // kind starts: `out` entries, or plane_stride apart for every plane n * C + c
  i64 plane_stride = 0;
};

struct Problem {
  Reducer reducer = Reducer::Max;
  Params params;
  int rank = 2;  // 1, 2 or 3 pooled axes
  Axis axes[3];
};

// Whether each output is one of its window's taps, which backward finds by its offset.
inline bool selects(const Problem& p) {
  return p.reducer == Reducer::Max || p.reducer == Reducer::Min ||
         (p.reducer == Reducer::Lp && p.params.p == __builtin_inf());
}

// shape and stride hold 2 + rank entries (N, C, spatial...); strides count elements and may be negative or 0.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  i64 shape[5] = {1, 1, 1, 1, 1};
  i64 stride[5] = {0, 0, 0, 0, 0};
};

// parallel_for as the caller owns the threads: calls body(env, begin, end) on disjoint pieces of [0, n).
using Body = void (*)(void* env, i64 begin, i64 end);
struct Exec {
  void (*parallel_for)(void* self, i64 n, i64 grain, Body body, void* env) = nullptr;  // nullptr: run inline
  void* self = nullptr;
};

// Empty: success. Otherwise what is wrong with the arguments; nothing has been written then, except where noted.
using Status = std::string;

// y has the window counts as its spatial shape. Optional outputs have y's shape:
//   offsets  Max, Min (and Lp with p = inf): u8, i16 (read as uint16) or i32; the flat row-major position of the
//            chosen tap inside the window's clipped box (taps that exist), box sides as given by offset_box()
//   indices  the same: i64, flat row-major position in the unpadded plane
//   lse      LogSumExp, Soft: log(sum(exp(beta x))) in the accumulator's type (f64 for f64, else f32)
Status forward(const Problem&, const View& x, const View& y, const View* offsets, const View* indices, const View* lse,
               const Exec&);

// dx = gradient of x, every element written. x, y, lse, offsets: what the reducer needs (see backward_needs).
// A bad offset is reported after dx was partly written.
Status backward(const Problem&, const View& dy, const View& dx, const View* x, const View* y, const View* lse,
                const View* offsets, const Exec&);

// Sides of the box that offsets count in: the longest clipped window of each axis.
void offset_box(const Problem&, i64 box[3]);

// out is zeroed, then out[indices] = x plane by plane; of equal indices the last in row-major order wins.
Status unpool(const View& x, const View& indices, const View& out, int rank, const Exec&);
// dx = dout[indices] for the winning writer, 0 for the others.
Status unpool_backward(const View& dout, const View& indices, const View& dx, int rank, const Exec&);

// Instruction sets: "baseline", "avx2", "avx512", "neon". POOLKIT_ISA chooses one at load time.
const char* isa();
bool set_isa(const char* name);       // false: not compiled in, or this CPU lacks it
const char* const* available_isas();  // null-terminated

}  // namespace poolkit

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
  Soft = 8,
  // From here on a window is seen whole: whole.hpp.
  Median = 9,
  Quantile = 10,
  TopKMean = 11,
  RankMean = 12,
  Ordinal = 13,
  Stochastic = 14,
  RankStochastic = 15,
  MaxDrop = 16,
  Mixed = 17,
  Var = 18,
  Std = 19,
  Ada = 20,
  Boltzmann = 21,
  GeM = 22,
  Filter = 23
};

// What a Median or Quantile takes between two ranks; the others give one of the cells.
enum class Interpolation : int { linear = 0, lower = 1, higher = 2, nearest = 3, midpoint = 4 };

// The array that some reducers take beside x: nothing, one value for each output, or one for each cell of the kernel
// in [1 or C][K].
enum class Extra : int { none = 0, outputs = 1, kernel = 2 };

// What bindings, checks and kernels ask of a reducer: facts of its record in reducer.py, one row for each code.
struct Facts {
  bool integers;  // takes integer inputs
  bool widens;    // and gives int64 for them
  bool x, y;      // backward needs these of the forward pass (offsets instead, where a tap is chosen)
  bool lse;       // forward can give it; backward takes it, and finds it again from x where it is missing
  Extra extra = Extra::none;
  bool optional = false;  // the extra array may be missing
};
inline constexpr Facts reducer_facts[] = {
    {true, false, false, false, false},                        // Max
    {true, false, false, false, false},                        // Min
    {true, true, false, false, false},                         // Sum
    {true, false, false, false, false},                        // Mean
    {false, false, true, true, false},                         // Lp
    {false, false, true, true, false},                         // PowerMean
    {false, false, true, true, false},                         // RMS
    {false, false, true, false, true},                         // LogSumExp
    {false, false, true, true, true},                          // Soft
    {true, false, true, false, false},                         // Median
    {true, false, true, false, false},                         // Quantile
    {false, false, true, false, false},                        // TopKMean
    {false, false, true, false, false},                        // RankMean
    {false, false, true, false, false, Extra::kernel},         // Ordinal
    {false, false, true, false, false, Extra::outputs, true},  // Stochastic: uniforms, where it draws
    {false, false, true, false, false, Extra::outputs, true},  // RankStochastic: the same
    {false, false, true, false, false, Extra::outputs, true},  // MaxDrop: the same
    {false, false, true, false, false, Extra::outputs, true},  // Mixed: the maximum's weight
    {false, false, true, false, false},                        // Var
    {false, false, true, false, false},                        // Std
    {false, false, true, false, false, Extra::outputs, true},  // Ada: the likeness' weight
    {false, false, true, false, false, Extra::outputs},        // Boltzmann: sharpness
    {false, false, true, false, false, Extra::outputs},        // GeM: power
    {false, false, true, false, false, Extra::kernel},         // Filter
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
  double level = 0.5;       // Quantile: q; TopKMean: k or a share; geometric ranks: alpha; Mixed, Ada: weight
  int mode = 0;             // a choice that each reducer names itself
  bool sample = false;      // Stochastic, RankStochastic, MaxDrop: draw, instead of the mean over draws
};

// The transposed kinds (for every input, the outputs that saw it) arise inside backward only.
enum class AxisKind : int { sliding = 0, adaptive = 1, starts = 2, transposed = 3, transposed_starts = 4 };

// One pooled axis. Window j begins at j * stride - before (sliding), floor(j * size / out) (adaptive) or starts[j].
// Windows with starts hold `kernel` cells. With after > 0 they may differ: each ends `after - 1` cells past the start
// of the next one, the last with the input, and none is longer than `kernel`.
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
  switch (p.reducer) {
    case Reducer::Max:
    case Reducer::Min:
      return true;
    case Reducer::Lp:
      return p.params.p == __builtin_inf();
    case Reducer::Median:
    case Reducer::Quantile:
      return p.params.mode != int(Interpolation::linear) && p.params.mode != int(Interpolation::midpoint);
    default:
      return p.params.sample;
  }
}
inline bool whole(Reducer r) { return r >= Reducer::Median; }

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
// Where Stochastic or MaxDrop takes no tap, y is 0, the offset its type's largest value, the index that of the first
// tap. extra, in the accumulator's type: as the reducer's facts say; for outputs of y's shape (any strides, 0 too).
Status forward(const Problem&, const View& x, const View& y, const View* offsets, const View* indices, const View* lse,
               const View* extra, const Exec&);

// dx = gradient of x, every element written. x, y, lse, offsets: what the reducer needs (see backward_needs).
// A bad offset is reported after dx was partly written. dextra, optional: the gradient of extra in the accumulator's
// type, of dy's shape, or [planes][K] for weights of a kernel.
Status backward(const Problem&, const View& dy, const View& dx, const View* x, const View* y, const View* lse,
                const View* offsets, const View* extra, const View* dextra, const Exec&);

// Sides of the box that offsets count in: the longest clipped window of each axis.
void offset_box(const Problem&, i64 box[3]);

// out is zeroed, then out[indices] = x plane by plane; of equal indices the last in row-major order wins.
Status unpool(const View& x, const View& indices, const View& out, int rank, const Exec&);
// dx = dout[indices] for the winning writer, 0 for the others.
Status unpool_backward(const View& dout, const View& indices, const View& dx, int rank, const Exec&);

// The vector functions that kernels are built from, one by one, so that tests can hold them to what they promise:
// y[i] = f(x[i]), to the power p or the third root where f asks.
enum class Elementary : int { exp = 0, log = 1, pow = 2, cbrt = 3, exp_same = 4 };
void elementary(Elementary f, double p, const float* x, float* y, i64 n);
void elementary(Elementary f, double p, const double* x, double* y, i64 n);

// Instruction sets: "baseline", "avx2", "avx512", "neon". POOLKIT_ISA chooses one at load time.
const char* isa();
bool set_isa(const char* name);       // false: not compiled in, or this CPU lacks it
const char* const* available_isas();  // null-terminated

}  // namespace poolkit

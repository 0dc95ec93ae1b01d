// Checks what a caller handed over, then runs the kernels of the best instruction set this CPU has.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"
#include "plan.hpp"

namespace poolkit {

#define POOLKIT_DECLARE(ns)         \
  namespace ns {                    \
  extern const KernelTable kernels; \
  }
#if defined(__x86_64__)
POOLKIT_DECLARE(baseline)
POOLKIT_DECLARE(avx2)
POOLKIT_DECLARE(avx512)
#elif defined(__aarch64__)
POOLKIT_DECLARE(neon)
#else
POOLKIT_DECLARE(baseline)
#endif

namespace {

struct Level {
  const char* name;
  const KernelTable* table;
  bool (*runs_here)();
};

bool always() { return true; }

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
         __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
}
const Level levels[] = {{"avx512", &avx512::kernels, has_avx512},
                        {"avx2", &avx2::kernels, has_avx2},
                        {"baseline", &baseline::kernels, always}};
#elif defined(__aarch64__)
const Level levels[] = {{"neon", &neon::kernels, always}};
#else
const Level levels[] = {{"baseline", &baseline::kernels, always}};
#endif

const Level* find(const char* name) {
  for (const Level& level : levels)
    if (level.runs_here() && (name == nullptr || std::strcmp(name, level.name) == 0)) return &level;
  return nullptr;
}

const Level* initial() {
  const Level* level = find(std::getenv("POOLKIT_ISA"));
  return level != nullptr ? level : find(nullptr);
}

std::atomic<const Level*>& current() {
  static std::atomic<const Level*> level{initial()};
  return level;
}

// Rows of a few vectors are mostly ends, and ends of 64-byte vectors cost more than two of 32 save.
constexpr i64 short_row_bytes = 256;
std::atomic<bool> chosen_by_user{std::getenv("POOLKIT_ISA") != nullptr};

// Where a row of small windows is reduced with some arithmetic, the longer vectors win as soon as it fills most of one:
// windows seen whole up to 3x3, joined cells as far as they are kept in level 1.
constexpr i64 small_row_bytes = 48;
bool small_and_long(const Problem& p, i64 itemsize, const View& x) {
  const i64 side = p.reducer <= Reducer::Soft ? 9 : 3;
  const auto small = [&](const Axis& a) { return a.kind == AxisKind::sliding && a.kernel <= side && a.dilation == 1; };
  const bool narrow_mean = p.reducer == Reducer::Mean && itemsize <= 2;
  return (p.reducer >= Reducer::Lp || narrow_mean) && p.rank == 2 && (x.stride[1] != 1 || x.shape[1] == 1) &&
         small(p.axes[0]) && small(p.axes[1]) && p.axes[1].stride <= 2 &&
         p.axes[1].out * std::max<i64>(itemsize, 4) >= small_row_bytes;
}

// Where every lane holds a plane of its own, rows have no ends.
bool in_lanes_of_planes(const Problem& p, const View& x) {
  return x.dtype == DType::f32 && p.reducer <= Reducer::Mean && p.rank == 2 && x.stride[3] == 1 &&
         x.stride[2] == x.shape[3] &&
         planes_as_lanes(p.axes[0], p.axes[1], x.shape[0] * x.shape[1], 16, p.reducer >= Reducer::Sum);
}

// forward: the problem, where it is one; values: nothing beside them is asked for.
const KernelTable& table(const View& x, int rank, const Problem* forward = nullptr, bool values = false) {
  const Level* level = current().load(std::memory_order_relaxed);
#if defined(__x86_64__)
  if (level->table == &avx512::kernels && !chosen_by_user.load(std::memory_order_relaxed)) {
    static const i64 sizes[] = {4, 8, 2, 2, 1, 1, 2, 4, 8};
    const i64 itemsize = sizes[int(x.dtype)];
    i64 row = x.shape[1 + rank] * (x.stride[1] == 1 ? x.shape[1] : 1);
    // Lines that one window takes whole are one long row.
    for (int i = rank - 1; forward != nullptr && i > 0 && forward->axes[i].out == 1; --i) row *= x.shape[1 + i];
    if (row * itemsize < short_row_bytes &&
        (forward == nullptr || !(small_and_long(*forward, itemsize, x) || (values && in_lanes_of_planes(*forward, x)))))
      return avx2::kernels;
  }
#else
  (void)x, (void)rank, (void)forward, (void)values;
#endif
  return *level->table;
}

Status status(const char* wrong) { return wrong == nullptr ? Status() : Status(wrong); }

std::string number(const char* name, i64 value, const char* rule) {
  return std::string(name) + " is " + std::to_string(value) + "; it must be " + rule;
}

std::string check_axis(const Axis& a, i64 planes) {
  if (a.size < 1) return number("input size", a.size, "at least 1");
  if (a.out < 1) return number("output size", a.out, "at least 1");
  if (a.kind == AxisKind::adaptive) {
    // interval() needs (j + 1) * size in 128 bits only; the offsets it returns are below size.
    return {};
  }
  if (a.kernel < 1) return number("kernel_size", a.kernel, "at least 1");
  if (a.kind == AxisKind::starts) {
    if (a.kernel > a.size) return number("kernel_size", a.kernel, "at most the input size");
    if (a.starts == nullptr) return "starts are missing";
    if (a.after < 0 || a.after > a.size) return number("after", a.after, "from 0 to the input size");
    const i64 rows = a.plane_stride == 0 ? 1 : planes;
    for (i64 p = 0; p < rows; ++p)
      for (i64 j = 0; j < a.out; ++j) {
        const i64 start = a.starts[p * a.plane_stride + j];
        if (a.after == 0) {
          if (start < 0 || start > a.size - a.kernel) return number("starts", start, "inside the input");
          continue;
        }
        if (start < 0 || start >= a.size || (j > 0 && start <= a.starts[p * a.plane_stride + j - 1]))
          return number("starts", start, "inside the input and above the one before");
        if (j > 0 && interval(a, j - 1, p).n > a.kernel) return number("starts", start, "a kernel from the one before");
        if (j + 1 == a.out && a.size - start > a.kernel) return number("starts", start, "a kernel from the end");
      }
    return {};
  }
  if (a.stride < 1) return number("stride", a.stride, "at least 1");
  if (a.dilation < 1) return number("dilation", a.dilation, "at least 1");
  if (a.before < 0 || a.after < 0) return number("padding", std::min(a.before, a.after), "at least 0");
  i64 reach, last, end;
  if (__builtin_mul_overflow(a.kernel - 1, a.dilation, &reach) || __builtin_add_overflow(reach, a.size, &end) ||
      __builtin_add_overflow(end, a.before, &end) || __builtin_add_overflow(end, a.after, &end))
    return number("kernel_size", a.kernel, "small enough that dilation * (kernel_size - 1) + padding fits in 64 bits");
  if (__builtin_mul_overflow(a.out - 1, a.stride, &last) || __builtin_add_overflow(last, reach, &end))
    return number("stride", a.stride, "small enough that the last window's position fits in 64 bits");
  if (last - a.before >= a.size) return number("output size", a.out, "such that every window begins inside the input");
  if (a.dilation == 1) {
    if (a.before >= a.kernel) return number("padding", a.before, "below the kernel, or a window holds no tap");
    return {};
  }
  // Only windows that overhang an end can lose all their taps, and their origins are the first or the last ones.
  for (i64 j = 0; j < a.out && window_origin(a, j) < 0; ++j)
    if (interval(a, j, 0).n < 1) return number("dilation", a.dilation, "such that every window holds a tap");
  for (i64 j = a.out - 1; j >= 0 && window_origin(a, j) > a.size - 1 - reach; --j)
    if (interval(a, j, 0).n < 1) return number("dilation", a.dilation, "such that every window holds a tap");
  return {};
}

bool same_shape(const View& a, const View& b, int rank) {
  for (int i = 0; i < 2 + rank; ++i)
    if (a.shape[i] != b.shape[i]) return false;
  return true;
}

std::string check(const Problem& problem, const View& x, const View& y) {
  if (problem.rank < 1 || problem.rank > 3) return number("rank", problem.rank, "1, 2 or 3");
  for (int i = 0; i < 2 + problem.rank; ++i)
    if (x.shape[i] < 0) return number("input shape", x.shape[i], "not negative");
  if (y.shape[0] != x.shape[0] || y.shape[1] != x.shape[1]) return "output and input differ in batch or channels";
  for (int i = 0; i < problem.rank; ++i) {
    const Axis& a = problem.axes[i];
    if (a.size != x.shape[2 + i]) return number("input shape", x.shape[2 + i], "what the window was planned for");
    if (a.out != y.shape[2 + i]) return number("output shape", y.shape[2 + i], "what the window was planned for");
    if (std::string wrong = check_axis(a, x.shape[0] * x.shape[1]); !wrong.empty()) return wrong;
  }
  return {};
}

bool empty(const View& v, int rank) {
  for (int i = 0; i < 2 + rank; ++i)
    if (v.shape[i] == 0) return true;
  return false;
}

bool floating(DType t) { return int(t) <= int(DType::bf16); }

std::string check_extra(const Problem& problem, const View& y, const View* extra, DType type) {
  const Facts& has = facts(problem.reducer);
  const Params& p = problem.params;
  if (p.mode < 0 || p.mode > int(Interpolation::midpoint)) return number("mode", p.mode, "one that the reducer has");
  if (p.sample && (has.extra != Extra::outputs || extra == nullptr))
    return "drawing needs uniforms, one for each output";
  if (extra == nullptr) return has.extra == Extra::none || has.optional ? std::string() : "extra is missing";
  if (has.extra == Extra::none) return "this reducer takes no extra array";
  if (extra->dtype != (type == DType::f64 ? DType::f64 : DType::f32)) return "extra must have the accumulator's dtype";
  if (has.extra == Extra::outputs) return same_shape(*extra, y, problem.rank) ? "" : "extra and output differ in shape";
  if (extra->shape[0] != 1 || (extra->shape[1] != 1 && extra->shape[1] != y.shape[1]) || extra->shape[2] < 1)
    return "extra must have the shape [1, 1 or channels, weights]";
  if (problem.reducer != Reducer::Filter) return {};
  i64 cells = 1;
  for (int i = 0; i < problem.rank; ++i) {
    const Axis& a = problem.axes[i];
    if (a.kind == AxisKind::adaptive || (a.kind == AxisKind::starts && a.after > 0))
      return "a filter needs a kernel of one size";
    if (__builtin_mul_overflow(cells, problem.axes[i].kernel, &cells))
      return "extra has one weight for each kernel cell";
  }
  return cells == extra->shape[2] ? "" : "extra has one weight for each kernel cell";
}

std::string check_offsets_type(DType t) {
  return t == DType::u8 || t == DType::i16 || t == DType::i32 ? std::string() : "offsets must be uint8, int16 or int32";
}

}  // namespace

Status forward(const Problem& problem, const View& x, const View& y, const View* offsets, const View* indices,
               const View* lse, const View* extra, const Exec& exec) {
  if (std::string wrong = check(problem, x, y); !wrong.empty()) return wrong;
  const bool integer = !floating(x.dtype);
  if (integer && (!facts(problem.reducer).integers || (whole(problem.reducer) && !selects(problem))))
    return "this reducer needs a floating input";
  const DType want = integer && facts(problem.reducer).widens ? DType::i64 : x.dtype;
  if (y.dtype != want) return "output has the wrong dtype";
  if ((offsets != nullptr || indices != nullptr) && !selects(problem))
    return "only reducers that choose a cell have offsets or indices";
  if (offsets != nullptr && (!same_shape(*offsets, y, problem.rank))) return "offsets and output differ in shape";
  if (indices != nullptr && (!same_shape(*indices, y, problem.rank) || indices->dtype != DType::i64))
    return "indices must be int64 and of the output's shape";
  if (offsets != nullptr)
    if (std::string wrong = check_offsets_type(offsets->dtype); !wrong.empty()) return wrong;
  if (lse != nullptr &&
      (!same_shape(*lse, y, problem.rank) || lse->dtype != (x.dtype == DType::f64 ? DType::f64 : DType::f32)))
    return "lse must have the output's shape and the accumulator's dtype";
  if (std::string wrong = check_extra(problem, y, extra, x.dtype); !wrong.empty()) return wrong;
  if (empty(y, problem.rank)) return {};
  const bool values = offsets == nullptr && indices == nullptr;
  return status(table(x, problem.rank, &problem, values).forward(problem, x, y, offsets, indices, lse, extra, exec));
}

Status backward(const Problem& problem, const View& dy, const View& dx, const View* x, const View* y, const View* lse,
                const View* offsets, const View* extra, const View* dextra, const Exec& exec) {
  if (std::string wrong = check(problem, dx, dy); !wrong.empty()) return "grad: " + wrong;
  if (!floating(dx.dtype) || dy.dtype != dx.dtype) return "grad must be floating and of the input's dtype";
  const auto needs = [&](const View* v, const View& like, const char* name, bool same_type) -> std::string {
    if (v == nullptr) return std::string(name) + " is missing";
    if (!same_shape(*v, like, problem.rank)) return std::string(name) + " and grad differ in shape";
    if (same_type && v->dtype != dx.dtype) return std::string(name) + " and grad differ in dtype";
    return {};
  };
  std::string wrong;
  if (selects(problem)) {
    wrong = needs(offsets, dy, "indices", false);
    if (wrong.empty()) wrong = check_offsets_type(offsets->dtype);
    if (wrong.empty() && problem.reducer == Reducer::Lp) wrong = needs(x, dx, "input", true);
  } else {
    const Facts& keeps = facts(problem.reducer);
    if (keeps.x) wrong = needs(x, dx, "input", true);
    if (wrong.empty() && keeps.y) wrong = needs(y, dy, "output", true);
    if (wrong.empty() && keeps.lse && lse != nullptr) {
      wrong = needs(lse, dy, "lse", false);
      if (wrong.empty() && lse->dtype != (dx.dtype == DType::f64 ? DType::f64 : DType::f32))
        wrong = "lse has the wrong dtype";
    }
  }
  if (wrong.empty() && !selects(problem)) wrong = check_extra(problem, dy, extra, dx.dtype);
  if (wrong.empty() && dextra != nullptr) {
    if (extra == nullptr || dextra->dtype != extra->dtype)
      wrong = "the gradient of extra needs extra, and its dtype";
    else if (facts(problem.reducer).extra == Extra::outputs
                 ? !same_shape(*dextra, dy, problem.rank)
                 : dextra->shape[1] != dy.shape[0] * dy.shape[1] || dextra->shape[2] != extra->shape[2])
      wrong = "the gradient of extra has the wrong shape";
  }
  if (!wrong.empty()) return wrong;
  if (!facts(problem.reducer).lse) lse = nullptr;
  if (empty(dx, problem.rank)) return {};
  return status(table(dx, problem.rank).backward(problem, dy, dx, x, y, lse, offsets, extra, dextra, exec));
}

void offset_box(const Problem& problem, i64 box[3]) {
  for (int i = 0; i < problem.rank; ++i) box[i] = longest(problem.axes[i]);
}

namespace {

std::string check_unpool(const View& x, const View& indices, const View& out, int rank) {
  if (rank < 1 || rank > 3) return number("rank", rank, "1, 2 or 3");
  if (!same_shape(x, indices, rank)) return "indices and input differ in shape";
  if (indices.dtype != DType::i64) return "indices must be int64";
  if (x.dtype != out.dtype) return "input and output differ in dtype";
  if (x.shape[0] != out.shape[0] || x.shape[1] != out.shape[1]) return "input and output differ in batch or channels";
  return {};
}

}  // namespace

Status unpool(const View& x, const View& indices, const View& out, int rank, const Exec& exec) {
  if (std::string wrong = check_unpool(x, indices, out, rank); !wrong.empty()) return wrong;
  if (empty(out, rank)) return {};
  return status(table(x, rank).unpool(x, indices, out, rank, exec));
}

Status unpool_backward(const View& dout, const View& indices, const View& dx, int rank, const Exec& exec) {
  if (std::string wrong = check_unpool(dx, indices, dout, rank); !wrong.empty()) return wrong;
  if (empty(dout, rank)) return {};
  return status(table(dx, rank).unpool_backward(dout, indices, dx, rank, exec));
}

void elementary(Elementary f, double p, const float* x, float* y, i64 n) {
  current().load()->table->elementary_f32(f, p, x, y, n);
}
void elementary(Elementary f, double p, const double* x, double* y, i64 n) {
  current().load()->table->elementary_f64(f, p, x, y, n);
}

const char* isa() { return current().load()->name; }

bool set_isa(const char* name) {
  const Level* level = find(name);
  if (level == nullptr) return false;
  current().store(level);
  chosen_by_user.store(true);
  return true;
}

const char* const* available_isas() {
  static const char* names[4] = {};
  static const bool filled = [] {
    int n = 0;
    for (const Level& level : levels)
      if (level.runs_here()) names[n++] = level.name;
    return true;
  }();
  (void)filled;
  return names;
}

}  // namespace poolkit

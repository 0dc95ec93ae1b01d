// PyTorch operators over the core, through the LibTorch stable ABI: one binary for every torch >= 2.10.
//
// Anybody may call torch.ops.poolkit.* with anything, so nothing here trusts the Python layer. A plan is checked once,
// when its text is parsed; per call only the tensors are compared with it.
#ifndef TORCH_TARGET_VERSION
#define TORCH_TARGET_VERSION 0x020a000000000000  // 2.10, the first with parallel_for in the stable ABI
#endif

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core.hpp"
#include "plan_text.hpp"

namespace {

using poolkit::Axis;
using poolkit::AxisKind;
using poolkit::DType;
using poolkit::Exec;
using poolkit::i64;
using poolkit::Problem;
using poolkit::Reducer;
using poolkit::View;
using poolkit::plan_text::check;
using poolkit::plan_text::checked_mul;
using poolkit::plan_text::fail;
using poolkit::plan_text::find_plan;
using poolkit::plan_text::Plan;
using torch::headeronly::ScalarType;

void require(AOTITorchError code, const char* what) {
  if (code != 0) fail(what);
}

// A tensor with its metadata read once. Owns its handle.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(AtenTensorHandle handle) : Tensor() {  // delegates: a throw below still frees the handle
    handle_ = handle;
    i64* sizes = nullptr;
    i64* strides = nullptr;
    std::int32_t type = 0;
    std::int32_t device = 0;
    require(aoti_torch_get_dim(handle, &dim), "cannot read a tensor's rank");
    require(aoti_torch_get_sizes(handle, &sizes), "cannot read a tensor's shape");
    require(aoti_torch_get_strides(handle, &strides), "cannot read a tensor's strides");
    require(aoti_torch_get_dtype(handle, &type), "cannot read a tensor's dtype");
    require(aoti_torch_get_device_type(handle, &device), "cannot read a tensor's device");
    require(aoti_torch_get_data_ptr(handle, &data), "cannot read a tensor's data");
    check(device == aoti_torch_device_type_cpu(), "every tensor must be on the CPU");
    shape = sizes;
    stride = strides;
    dtype = static_cast<ScalarType>(type);
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  Tensor(Tensor&& other) noexcept { *this = std::move(other); }
  Tensor& operator=(Tensor&& other) noexcept {
    dim = other.dim;
    shape = other.shape;
    stride = other.stride;
    data = other.data;
    dtype = other.dtype;
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Tensor() {
    if (handle_ != nullptr) aoti_torch_delete_tensor_object(handle_);
  }

  explicit operator bool() const { return handle_ != nullptr; }
  StableIValue release() { return torch::stable::detail::from(std::exchange(handle_, nullptr)); }

  i64 dim = 0;
  const i64* shape = nullptr;
  const i64* stride = nullptr;
  void* data = nullptr;
  ScalarType dtype = ScalarType::Float;

 private:
  AtenTensorHandle handle_ = nullptr;
};

Tensor take_tensor(StableIValue value) { return Tensor(torch::stable::detail::to<AtenTensorHandle>(value)); }

Tensor take_optional(StableIValue value) {
  auto* inner = torch::stable::detail::to<StableIValue*>(value);
  if (inner == nullptr) return {};
  const StableIValue held = *inner;
  delete inner;
  return take_tensor(held);
}

const Plan& take_plan(StableIValue value) {
  const auto handle = torch::stable::detail::to<StringHandle>(value);
  struct Guard {
    StringHandle handle;
    ~Guard() { torch_delete_string(handle); }
  } guard{handle};
  const char* text = nullptr;
  std::size_t length = 0;
  require(torch_string_length(handle, &length), "cannot read the plan");
  require(torch_string_c_str(handle, &text), "cannot read the plan");
  return find_plan({text, length});
}

std::vector<i64> take_ints(StableIValue value) {
  const auto handle = torch::stable::detail::to<StableListHandle>(value);
  struct Guard {
    StableListHandle handle;
    ~Guard() { torch_delete_list(handle); }
  } guard{handle};
  std::size_t size = 0;
  require(torch_list_size(handle, &size), "cannot read a list");
  std::vector<i64> ints(size);
  for (std::size_t i = 0; i < size; ++i) {
    StableIValue item = 0;
    require(torch_list_get_item(handle, i, &item), "cannot read a list");
    ints[i] = torch::stable::detail::to<i64>(item);
  }
  return ints;
}

DType core_dtype(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return DType::f32;
    case ScalarType::Double:
      return DType::f64;
    case ScalarType::Half:
      return DType::f16;
    case ScalarType::BFloat16:
      return DType::bf16;
    case ScalarType::Char:
      return DType::i8;
    case ScalarType::Byte:
      return DType::u8;
    case ScalarType::Short:
      return DType::i16;
    case ScalarType::Int:
      return DType::i32;
    case ScalarType::Long:
      return DType::i64;
    default:
      fail("unsupported dtype (floats of 16, 32, 64 bits; int8, uint8, int16, int32, int64)");
  }
}

bool is_float(DType type) {
  return type == DType::f32 || type == DType::f64 || type == DType::f16 || type == DType::bf16;
}

i64 element_size(ScalarType type) {
  switch (core_dtype(type)) {
    case DType::i8:
    case DType::u8:
      return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::f32:
    case DType::i32:
      return 4;
    default:
      return 8;
  }
}

// Shape of a call with its two leading axes always there: N is 1 for an unbatched tensor.
struct Shape {
  int rank = 0;
  bool batched = true;
  i64 dims[5] = {1, 1, 1, 1, 1};

  i64 planes() const { return checked_mul(dims[0], dims[1], "number of planes"); }
};

Shape shape_of(const Tensor& t, int rank) {
  check(t.dim == rank + 2 || t.dim == rank + 1, "a tensor's rank does not fit the plan");
  Shape shape;
  shape.rank = rank;
  shape.batched = t.dim == rank + 2;
  for (int i = 0; i < rank + 1; ++i) shape.dims[i + 1] = t.shape[i + (shape.batched ? 1 : 0)];
  if (shape.batched) shape.dims[0] = t.shape[0];
  check(shape.dims[0] >= 0, "negative batch");
  for (int i = 1; i < rank + 2; ++i) check(shape.dims[i] >= 1, "only the batch may be empty");
  return shape;
}

bool same_shape(const Tensor& t, const Shape& shape) {
  if (t.dim != shape.rank + (shape.batched ? 2 : 1)) return false;
  for (i64 i = 0; i < t.dim; ++i) {
    if (t.shape[i] != shape.dims[i + (shape.batched ? 0 : 1)]) return false;
  }
  return true;
}

View view_of(const Tensor& t, const Shape& shape) {
  View view;
  view.data = t.data;
  view.dtype = core_dtype(t.dtype);
  const int skip = shape.batched ? 0 : 1;
  for (int i = 0; i < shape.rank + 2; ++i) view.shape[i] = shape.dims[i];
  for (int i = skip; i < shape.rank + 2; ++i) view.stride[i] = t.stride[i - skip];
  return view;
}

// torch's own rule for "the strides say channels-last", for any number of pooled axes; ambiguous means channels-first.
bool channels_last(const Tensor& t, const Shape& shape) {
  const i64* stride = t.stride + (shape.batched ? 1 : 0);
  const i64* size = shape.dims + 1;
  if (stride[0] == 0) return false;
  i64 least = size[0] > 1 ? stride[0] * size[0] : stride[0];
  for (int d = shape.rank; d >= 1; --d) {
    if (stride[d] < least) return false;
    least = size[d] > 1 ? stride[d] * size[d] : stride[d];
  }
  if (least == stride[0]) return false;
  return !shape.batched || (shape.dims[0] != 0 && t.stride[0] >= least);
}

Tensor make(const Shape& shape, ScalarType dtype, bool last) {
  i64 strides[5];
  i64 count = 1;
  const int rank = shape.rank;
  const auto place = [&](int axis) {
    strides[axis] = count;
    count = checked_mul(count, std::max<i64>(shape.dims[axis], 1), "number of elements");
  };
  if (last) place(1);
  for (int axis = rank + 1; axis >= 2; --axis) place(axis);
  if (!last) place(1);
  place(0);
  checked_mul(count, element_size(dtype), "number of bytes");
  const int skip = shape.batched ? 0 : 1;
  AtenTensorHandle handle = nullptr;
  require(aoti_torch_empty_strided(rank + 2 - skip, shape.dims + skip, strides + skip, static_cast<std::int32_t>(dtype),
                                   aoti_torch_device_type_cpu(), 0, &handle),
          "cannot allocate memory for the output");
  return Tensor(handle);
}

struct Task {
  poolkit::Body body;
  void* env;
};

void torch_parallel(void* /*self*/, i64 n, i64 grain, poolkit::Body body, void* env) {
  Task task{body, env};
  const auto run = [](i64 begin, i64 end, void* context) {
    const auto* t = static_cast<const Task*>(context);
    t->body(t->env, begin, end);
  };
  require(torch_parallel_for(0, n, std::max<i64>(grain, 1), run, &task), "a parallel task failed");
}

Exec torch_exec() {
  Exec exec;
  exec.parallel_for = &torch_parallel;
  return exec;
}

// The plan's problem with the caller's starts bound to it. The rows of `starts` are planes n * C + c, or one for all.
Problem bind(const Plan& plan, const Tensor& starts, i64 planes) {
  Problem problem = plan.problem;
  if (plan.starts == 0) {
    check(!starts, "starts: this plan takes none");
    return problem;
  }
  check(static_cast<bool>(starts), "starts: this plan needs them");
  check(starts.dtype == ScalarType::Long && starts.dim == 2, "starts: expected a 2-D int64 tensor");
  check(starts.shape[1] == plan.starts, "starts: expected one column per window");
  check(starts.shape[0] == 1 || starts.shape[0] == planes, "starts: expected one row, or one per plane");
  check(starts.stride[1] == 1 || starts.shape[1] == 1, "starts: rows must be contiguous");
  const i64 rows = starts.shape[0];
  i64 column = 0;
  for (int i = 0; i < problem.rank; ++i) {
    Axis& axis = problem.axes[i];
    if (axis.kind != AxisKind::starts) continue;
    axis.starts = static_cast<const i64*>(starts.data) + column;
    axis.plane_stride = rows == 1 ? 0 : starts.stride[0];
    column += axis.out;
  }
  return problem;
}

void report(const poolkit::Status& status) {
  if (!status.empty()) fail(status);
}

ScalarType out_dtype(Reducer reducer, ScalarType input) {
  const DType type = core_dtype(input);
  if (is_float(type)) return input;
  check(poolkit::facts(reducer).integers, "this reducer takes floating-point input only");
  return poolkit::facts(reducer).widens ? ScalarType::Long : input;
}

ScalarType offset_dtype(const Problem& problem, i64 bytes) {
  i64 box[3] = {1, 1, 1};
  poolkit::offset_box(problem, box);
  i64 taps = 1;
  for (int i = 0; i < problem.rank; ++i) taps = checked_mul(taps, box[i], "offset box");
  switch (bytes) {
    case 1:
      check(taps <= 255, "offset_bytes: the window needs more than 1");
      return ScalarType::Byte;
    case 2:
      check(taps <= 65535, "offset_bytes: the window needs more than 2");
      return ScalarType::Short;
    case 4:
      check(taps <= std::numeric_limits<std::int32_t>::max(), "the window holds more than 2^31 - 1 elements");
      return ScalarType::Int;
    default:
      fail("offset_bytes must be 1, 2 or 4");
  }
}

// The array beside x as the core takes it: of y's shape, or [1 or channels, weights].
View extra_view(const Tensor& extra, const Problem& problem, const Shape& out) {
  const bool per_output = poolkit::facts(problem.reducer).extra == poolkit::Extra::outputs;
  if (per_output) {
    check(same_shape(extra, out), "extra: must have the output's shape");
    return view_of(extra, out);
  }
  check(extra.dim == 2, "extra: expected [1 or channels, weights]");
  View view;
  view.data = extra.data;
  view.dtype = core_dtype(extra.dtype);
  for (int i = 0; i < 2; ++i) view.shape[1 + i] = extra.shape[i], view.stride[1 + i] = extra.stride[i];
  return view;
}

// pool*(x, plan, starts[, offset_bytes], extra) -> y, then the further outputs in the order offsets, indices, lse.
template <bool offsets, bool indices, bool lse>
void pool(StableIValue* stack, std::uint64_t /*inputs*/, std::uint64_t /*outputs*/) {
  const Tensor x = take_tensor(stack[0]);
  const Tensor starts = take_optional(stack[2]);
  const Tensor extra = lse ? Tensor() : take_optional(stack[offsets ? 4 : 3]);
  const Plan& plan = take_plan(stack[1]);
  const Shape in = shape_of(x, plan.problem.rank);
  Shape out = in;
  for (int i = 0; i < in.rank; ++i) {
    check(in.dims[i + 2] == plan.problem.axes[i].size, "x: its shape does not fit the plan");
    out.dims[i + 2] = plan.problem.axes[i].out;
  }
  const Problem problem = bind(plan, starts, in.planes());
  if constexpr (offsets || indices) check(poolkit::selects(problem), "this reducer chooses no element");
  if constexpr (lse) {
    check(poolkit::facts(problem.reducer).lse, "only LogSumExp and Soft have lse");
  }
  const bool last = channels_last(x, in);
  Tensor y = make(out, out_dtype(problem.reducer, x.dtype), last);
  Tensor chosen;
  Tensor positions;
  Tensor sums;
  View views[3];
  if constexpr (offsets) {
    chosen = make(out, offset_dtype(problem, torch::stable::detail::to<i64>(stack[3])), last);
    views[0] = view_of(chosen, out);
  }
  if constexpr (indices) {
    positions = make(out, ScalarType::Long, last);
    views[1] = view_of(positions, out);
  }
  if constexpr (lse) {
    sums = make(out, x.dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float, last);
    views[2] = view_of(sums, out);
  }
  if (in.dims[0] != 0) {
    View more;
    if (extra) more = extra_view(extra, problem, out);
    report(poolkit::forward(problem, view_of(x, in), view_of(y, out), offsets ? &views[0] : nullptr,
                            indices ? &views[1] : nullptr, lse ? &views[2] : nullptr, extra ? &more : nullptr,
                            torch_exec()));
  }
  int slot = 0;
  stack[slot++] = y.release();
  if constexpr (offsets) stack[slot++] = chosen.release();
  if constexpr (indices) stack[slot++] = positions.release();
  if constexpr (lse) stack[slot++] = sums.release();
}

// pool_backward(dy, plan, starts, x, y, lse, offsets, channels_last, extra) -> dx, and with `both` the gradient of
// extra: of dy's shape, or [planes, weights].
template <bool both>
void pool_backward(StableIValue* stack, std::uint64_t /*inputs*/, std::uint64_t /*outputs*/) {
  const Tensor dy = take_tensor(stack[0]);
  const Tensor starts = take_optional(stack[2]);
  const Tensor x = take_optional(stack[3]);
  const Tensor y = take_optional(stack[4]);
  const Tensor lse = take_optional(stack[5]);
  const Tensor offsets = take_optional(stack[6]);
  const bool last = torch::stable::detail::to<bool>(stack[7]);
  const Tensor extra = both ? take_tensor(stack[8]) : take_optional(stack[8]);
  const Plan& plan = take_plan(stack[1]);
  const Shape out = shape_of(dy, plan.problem.rank);
  Shape in = out;
  for (int i = 0; i < in.rank; ++i) {
    check(out.dims[i + 2] == plan.problem.axes[i].out, "dy: its shape does not fit the plan");
    in.dims[i + 2] = plan.problem.axes[i].size;
  }
  check(is_float(core_dtype(dy.dtype)), "dy: gradients are floating-point");
  const Problem problem = bind(plan, starts, out.planes());
  check(!x || same_shape(x, in), "x: its shape does not fit the plan");
  check(!y || same_shape(y, out), "y: must have dy's shape");
  check(!lse || same_shape(lse, out), "lse: must have dy's shape");
  check(!offsets || same_shape(offsets, out), "offsets: must have dy's shape");
  Tensor dx = make(in, dy.dtype, last);
  View more;
  if (extra) more = extra_view(extra, problem, out);
  Tensor dextra;
  View dmore;
  if constexpr (both) {
    check(static_cast<bool>(extra), "extra: this gradient needs it");
    if (poolkit::facts(problem.reducer).extra == poolkit::Extra::outputs) {
      dextra = make(out, extra.dtype, last);
      dmore = view_of(dextra, out);
    } else {
      const i64 sizes[] = {out.planes(), extra.shape[1]};
      const i64 strides[] = {extra.shape[1], 1};
      AtenTensorHandle handle = nullptr;
      require(aoti_torch_empty_strided(2, sizes, strides, static_cast<std::int32_t>(extra.dtype),
                                       aoti_torch_device_type_cpu(), 0, &handle),
              "cannot allocate memory for the gradient of extra");
      dextra = Tensor(handle);
      dmore.data = dextra.data;
      dmore.dtype = core_dtype(dextra.dtype);
      dmore.shape[1] = sizes[0], dmore.shape[2] = sizes[1];
      dmore.stride[1] = strides[0], dmore.stride[2] = 1;
    }
  }
  if (in.dims[0] != 0) {
    View views[4];
    if (x) views[0] = view_of(x, in);
    if (y) views[1] = view_of(y, out);
    if (lse) views[2] = view_of(lse, out);
    if (offsets) views[3] = view_of(offsets, out);
    report(poolkit::backward(problem, view_of(dy, out), view_of(dx, in), x ? &views[0] : nullptr,
                             y ? &views[1] : nullptr, lse ? &views[2] : nullptr, offsets ? &views[3] : nullptr,
                             extra ? &more : nullptr, both ? &dmore : nullptr, torch_exec()));
  }
  stack[0] = dx.release();
  if constexpr (both) stack[1] = dextra.release();
}

// unpool(x, indices, output_size) -> out
void unpool(StableIValue* stack, std::uint64_t /*inputs*/, std::uint64_t /*outputs*/) {
  const Tensor x = take_tensor(stack[0]);
  const Tensor indices = take_tensor(stack[1]);
  const std::vector<i64> sizes = take_ints(stack[2]);
  check(!sizes.empty() && sizes.size() <= 3, "output_size: expected 1 to 3 sizes");
  const Shape in = shape_of(x, static_cast<int>(sizes.size()));
  check(indices.dtype == ScalarType::Long, "indices: expected int64");
  check(same_shape(indices, in), "indices: must have x's shape");
  Shape out = in;
  i64 plane = 1;
  for (int i = 0; i < in.rank; ++i) {
    out.dims[i + 2] = sizes[static_cast<std::size_t>(i)];
    check(out.dims[i + 2] >= 1, "output_size: every size must be at least 1");
    plane = checked_mul(plane, out.dims[i + 2], "output_size");
  }
  Tensor y = make(out, x.dtype, channels_last(x, in));
  if (in.dims[0] != 0) {
    report(poolkit::unpool(view_of(x, in), view_of(indices, in), view_of(y, out), in.rank, torch_exec()));
  }
  stack[0] = y.release();
}

// unpool_backward(dout, indices, channels_last) -> dx
void unpool_backward(StableIValue* stack, std::uint64_t /*inputs*/, std::uint64_t /*outputs*/) {
  const Tensor dout = take_tensor(stack[0]);
  const Tensor indices = take_tensor(stack[1]);
  const i64 rank = torch::stable::detail::to<i64>(stack[2]);
  const bool last = torch::stable::detail::to<bool>(stack[3]);
  check(rank >= 1 && rank <= 3, "rank must be 1, 2 or 3");
  const Shape out = shape_of(dout, static_cast<int>(rank));
  const Shape in = shape_of(indices, static_cast<int>(rank));
  check(indices.dtype == ScalarType::Long, "indices: expected int64");
  check(in.batched == out.batched && in.dims[0] == out.dims[0] && in.dims[1] == out.dims[1],
        "indices: its planes must be dout's");
  Tensor dx = make(in, dout.dtype, last);
  if (in.dims[0] != 0) {
    report(poolkit::unpool_backward(view_of(dout, out), view_of(indices, in), view_of(dx, in), in.rank, torch_exec()));
  }
  stack[0] = dx.release();
}

}  // namespace

STABLE_TORCH_LIBRARY(poolkit, m) {
  m.def("pool(Tensor x, str plan, Tensor? starts=None, Tensor? extra=None) -> Tensor");
  m.def(
      "pool_with_offsets(Tensor x, str plan, Tensor? starts, int offset_bytes, Tensor? extra=None) -> (Tensor, "
      "Tensor)");
  m.def("pool_with_indices(Tensor x, str plan, Tensor? starts=None, Tensor? extra=None) -> (Tensor, Tensor)");
  m.def(
      "pool_with_offsets_and_indices(Tensor x, str plan, Tensor? starts, int offset_bytes, Tensor? extra=None) -> "
      "(Tensor, Tensor, Tensor)");
  m.def("pool_with_lse(Tensor x, str plan, Tensor? starts=None) -> (Tensor, Tensor)");
  m.def(
      "pool_backward(Tensor dy, str plan, Tensor? starts, Tensor? x, Tensor? y, Tensor? lse, Tensor? offsets, "
      "bool channels_last, Tensor? extra=None) -> Tensor");
  m.def(
      "pool_backward_extra(Tensor dy, str plan, Tensor? starts, Tensor? x, Tensor? y, Tensor? lse, Tensor? offsets, "
      "bool channels_last, Tensor extra) -> (Tensor, Tensor)");
  m.def("unpool(Tensor x, Tensor indices, int[] output_size) -> Tensor");
  m.def("unpool_backward(Tensor dout, Tensor indices, int rank, bool channels_last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolkit, CPU, m) {
  m.impl("pool", &pool<false, false, false>);
  m.impl("pool_with_offsets", &pool<true, false, false>);
  m.impl("pool_with_indices", &pool<false, true, false>);
  m.impl("pool_with_offsets_and_indices", &pool<true, true, false>);
  m.impl("pool_with_lse", &pool<false, false, true>);
  m.impl("pool_backward", &pool_backward<false>);
  m.impl("pool_backward_extra", &pool_backward<true>);
  m.impl("unpool", &unpool);
  m.impl("unpool_backward", &unpool_backward);
}

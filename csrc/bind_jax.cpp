// The core as custom calls of XLA, for JAX on the CPU: one target forward and one backward, for every window and
// reducer.
//
// Arrays are dense and row-major, (L..., C, spatial...) or, channels last, (L..., spatial..., C) with any number of
// leading axes L: jax.vmap adds one. A call's geometry is its attribute `plan`, the text of plan_text.hpp; the
// attribute `given` says which arrays follow the first one, `wanted` which results follow the first one, as bits.
#include <xla/ffi/api/ffi.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core.hpp"
#include "loop.hpp"
#include "plan_text.hpp"

namespace {

namespace ffi = xla::ffi;
using poolkit::Axis;
using poolkit::AxisKind;
using poolkit::DType;
using poolkit::Exec;
using poolkit::i64;
using poolkit::Problem;
using poolkit::View;
using poolkit::plan_text::check;
using poolkit::plan_text::checked_mul;
using poolkit::plan_text::fail;
using poolkit::plan_text::find_plan;
using poolkit::plan_text::Plan;

// Bits of `given`, in the order of the arrays; forward knows the first two.
constexpr i64 with_starts = 1, with_extra = 2, with_x = 4, with_y = 8, with_lse = 16, with_offsets = 32;
// Bits of forward's `wanted`; backward's is one bit, the gradient of the array beside x.
constexpr i64 want_indices = 1, want_offsets = 2, want_lse = 4, want_extra = 1;

DType core_dtype(ffi::DataType type) {
  switch (type) {
    case ffi::F32:
      return DType::f32;
    case ffi::F64:
      return DType::f64;
    case ffi::F16:
      return DType::f16;
    case ffi::BF16:
      return DType::bf16;
    case ffi::S8:
      return DType::i8;
    case ffi::U8:
      return DType::u8;
    case ffi::S16:
    case ffi::U16:  // offsets alone: the core reads them as unsigned
      return DType::i16;
    case ffi::S32:
      return DType::i32;
    case ffi::S64:
      return DType::i64;
    default:
      fail("unsupported dtype (floats of 16, 32, 64 bits; int8, uint8, int16, int32, int64)");
  }
}

// N is the product of the leading axes, 1 where there are none.
struct Shape {
  int rank = 0;
  bool last = false;
  i64 dims[5] = {1, 1, 1, 1, 1};

  i64 planes() const { return checked_mul(dims[0], dims[1], "number of planes"); }
};

Shape shape_of(ffi::AnyBuffer::Dimensions dims, int rank, bool last) {
  const int lead = static_cast<int>(dims.size()) - rank - 1;
  check(lead >= 0, "an array's rank does not fit the plan");
  Shape shape{rank, last, {1, 1, 1, 1, 1}};
  for (int i = 0; i < lead; ++i) shape.dims[0] = checked_mul(shape.dims[0], dims[i], "batch");
  shape.dims[1] = dims[last ? lead + rank : lead];
  for (int i = 0; i < rank; ++i) shape.dims[2 + i] = dims[lead + i + (last ? 0 : 1)];
  return shape;
}

View view_of(ffi::AnyBuffer buffer, const Shape& shape) {
  const Shape own = shape_of(buffer.dimensions(), shape.rank, shape.last);
  View view;
  view.data = buffer.untyped_data();
  view.dtype = core_dtype(buffer.element_type());
  for (int i = 0; i < shape.rank + 2; ++i) {
    check(own.dims[i] == shape.dims[i], "an array's shape does not fit the plan");
    view.shape[i] = shape.dims[i];
  }
  i64 step = 1;
  const auto place = [&](int axis) {
    view.stride[axis] = step;
    step *= shape.dims[axis];
  };
  if (shape.last) place(1);
  for (int axis = shape.rank + 1; axis >= 2; --axis) place(axis);
  if (!shape.last) place(1);
  place(0);
  return view;
}

// The core writes 64-bit integers. Where JAX has none, they go through memory of our own.
class Wide {
 public:
  explicit Wide(View& view) {
    if (view.dtype != DType::i32) return;
    to_ = static_cast<std::int32_t*>(view.data);
    i64 cells = 1;
    for (const i64 n : view.shape) cells *= n;
    values_.resize(static_cast<std::size_t>(cells));
    view.data = values_.data();
    view.dtype = DType::i64;
  }
  void write() const {
    for (std::size_t i = 0; i < values_.size(); ++i) to_[i] = static_cast<std::int32_t>(values_[i]);
  }

 private:
  std::int32_t* to_ = nullptr;
  std::vector<i64> values_;
};

// A plan's problem with the caller's starts bound to it: (M..., rows, windows), one row for the planes that it is for.
class Call {
 public:
  Call(const Plan& plan, const ffi::AnyBuffer* starts, i64 planes) : problem(plan.problem) {
    check((plan.starts != 0) == (starts != nullptr), "starts: missing, or not taken by this plan");
    if (starts == nullptr) return;
    const auto dims = starts->dimensions();
    check(dims.size() >= 2 && dims[dims.size() - 1] == plan.starts, "starts: expected one column per window");
    i64 rows = 1;
    for (std::size_t i = 0; i + 1 < dims.size(); ++i) rows = checked_mul(rows, dims[i], "starts");
    if (planes == 0) rows = 1;
    check(rows >= 1 && (rows == 1 || planes % rows == 0), "starts: expected one row, or one per plane");
    const i64 each = rows == 1 ? 1 : planes / rows, columns = plan.starts;
    starts_.resize(static_cast<std::size_t>(checked_mul(rows * each, columns, "starts")));
    const auto fill = [&](const auto* from) {
      for (i64 row = 0; row < rows * each; ++row)
        for (i64 j = 0; j < columns; ++j)
          starts_[static_cast<std::size_t>(row * columns + j)] = from[row / each * columns + j];
    };
    if (planes > 0) {
      if (starts->element_type() == ffi::S32)
        fill(static_cast<const std::int32_t*>(starts->untyped_data()));
      else if (starts->element_type() == ffi::S64)
        fill(static_cast<const i64*>(starts->untyped_data()));
      else
        fail("starts: expected int32 or int64");
    }
    i64 column = 0;
    for (int i = 0; i < problem.rank; ++i) {
      Axis& axis = problem.axes[i];
      if (axis.kind != AxisKind::starts) continue;
      axis.starts = starts_.data() + column;
      axis.plane_stride = rows * each == 1 ? 0 : columns;
      column += axis.out;
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Problem problem;

 private:
  std::vector<i64> starts_;
};

// Weights of a kernel, (M..., 1 or C, K): under vmap there are several, each for its share of the batch.
struct Weights {
  i64 groups = 1, rows = 1, count = 1, itemsize = 4;
  View view;

  Weights(ffi::AnyBuffer buffer, i64 batch) {
    const auto dims = buffer.dimensions();
    check(dims.size() >= 2, "extra: expected [1 or channels, weights]");
    rows = dims[dims.size() - 2], count = dims[dims.size() - 1];
    for (std::size_t i = 0; i + 2 < dims.size(); ++i) groups = checked_mul(groups, dims[i], "extra");
    check(rows >= 1 && count >= 1 && (batch == 0 || (groups >= 1 && batch % groups == 0)),
          "extra: its leading axes are not those of x");
    view.data = buffer.untyped_data();
    view.dtype = core_dtype(buffer.element_type());
    itemsize = view.dtype == DType::f64 ? 8 : 4;
    view.shape[1] = rows, view.shape[2] = count;
    view.stride[1] = count, view.stride[2] = 1;
  }
  View of(i64 group) const {
    View one = view;
    one.data = static_cast<char*>(view.data) + group * rows * count * itemsize;
    return one;
  }
};

i64 itemsize_of(DType type) {
  static constexpr i64 sizes[] = {4, 8, 2, 2, 1, 1, 2, 4, 8};
  return sizes[static_cast<int>(type)];
}

// Samples first ... first + count of an array.
View part_of(View view, i64 first, i64 count) {
  view.data = static_cast<char*>(view.data) + first * view.stride[0] * itemsize_of(view.dtype);
  view.shape[0] = count;
  return view;
}

Problem part_of(Problem problem, i64 first_plane) {
  for (int i = 0; i < problem.rank; ++i)
    if (problem.axes[i].kind == AxisKind::starts) problem.axes[i].starts += first_plane * problem.axes[i].plane_stride;
  return problem;
}

void report(const poolkit::Status& status) {
  if (!status.empty()) fail(status);
}

// A loop on XLA's own threads. The caller works, too, and in the end waits only for those who are at a piece: a pool
// whose threads are all busy with callers like it cannot stand still. Helpers that come late find nothing to take.
struct Helped : poolkit::Loop {
  std::mutex mutex;
  std::condition_variable idle;
  int helpers = 0;

  void help() {
    {
      const std::lock_guard lock(mutex);
      ++helpers;
    }
    work();
    const std::lock_guard lock(mutex);
    if (--helpers == 0) idle.notify_all();
  }
  void finish() {
    work();
    std::unique_lock lock(mutex);
    idle.wait(lock, [&] { return helpers == 0; });
    if (error) std::rethrow_exception(error);
  }
};

void xla_parallel(void* self, i64 n, i64 grain, poolkit::Body body, void* env) {
  auto& pool = *static_cast<ffi::ThreadPool*>(self);
  const i64 threads = pool.num_threads(),
            piece = poolkit::piece_of(n, std::max<i64>(grain, 1), std::max<i64>(threads, 1));
  const i64 helpers = std::min(threads - 1, (n + piece - 1) / piece - 1);
  if (helpers < 1) return body(env, 0, n);
  const auto loop = std::make_shared<Helped>();
  loop->body = body, loop->env = env, loop->n = n, loop->piece = piece;
  for (i64 i = 0; i < helpers; ++i) pool.Schedule([loop] { loop->help(); });
  loop->finish();
}

Exec xla_exec(ffi::ThreadPool& pool) { return {xla_parallel, &pool}; }

// Arrays after the first, taken in the order of their bits.
class Given {
 public:
  Given(const ffi::RemainingArgs& args, i64 bits) : args_(args), bits_(bits) {}
  const ffi::AnyBuffer* take(i64 bit) {
    if ((bits_ & bit) == 0) return nullptr;
    auto got = args_.get<ffi::AnyBuffer>(at_++);
    check(got.has_value(), "an array is missing");
    buffers_.push_back(std::make_unique<ffi::AnyBuffer>(*got));
    return buffers_.back().get();
  }

 private:
  const ffi::RemainingArgs& args_;
  i64 bits_;
  std::size_t at_ = 0;
  std::vector<std::unique_ptr<ffi::AnyBuffer>> buffers_;
};

ffi::AnyBuffer result_of(const ffi::RemainingRets& results, std::size_t at) {
  auto got = results.get<ffi::AnyBuffer>(at);
  check(got.has_value(), "a result is missing");
  return **got;
}

void forward_or_throw(ffi::ThreadPool& pool, ffi::AnyBuffer x, const ffi::RemainingArgs& more, ffi::AnyBuffer y,
                      const ffi::RemainingRets& further, std::string_view text, bool last, i64 given, i64 wanted) {
  const Plan& plan = find_plan(text);
  const Shape in = shape_of(x.dimensions(), plan.problem.rank, last);
  Shape out = in;
  for (int i = 0; i < in.rank; ++i) {
    check(in.dims[i + 2] == plan.problem.axes[i].size, "x: its shape does not fit the plan");
    out.dims[i + 2] = plan.problem.axes[i].out;
  }
  Given arrays(more, given);
  const Call call(plan, arrays.take(with_starts), in.planes());
  const ffi::AnyBuffer* const extra = arrays.take(with_extra);
  if (in.dims[0] == 0) return;
  const View from = view_of(x, in);
  View to = view_of(y, out), views[3];
  std::size_t at = 0;
  for (int i = 0; i < 3; ++i)
    if (wanted & (i64(1) << i)) views[i] = view_of(result_of(further, at++), out);
  const bool widened = from.dtype >= DType::i8 && poolkit::facts(call.problem.reducer).widens;
  View none;
  const Wide wide_y(widened ? to : none), wide_indices(wanted & want_indices ? views[0] : none);
  const auto run = [&](const Problem& problem, i64 first, i64 count, const View* beside) {
    View part[3];
    for (int i = 0; i < 3; ++i) part[i] = part_of(views[i], first, count);
    report(poolkit::forward(problem, part_of(from, first, count), part_of(to, first, count),
                            wanted & want_offsets ? &part[1] : nullptr, wanted & want_indices ? &part[0] : nullptr,
                            wanted & want_lse ? &part[2] : nullptr, beside, xla_exec(pool)));
  };
  if (extra == nullptr) {
    run(call.problem, 0, in.dims[0], nullptr);
  } else if (poolkit::facts(call.problem.reducer).extra == poolkit::Extra::outputs) {
    const View beside = view_of(*extra, out);
    run(call.problem, 0, in.dims[0], &beside);
  } else {
    const Weights weights(*extra, in.dims[0]);
    const i64 share = in.dims[0] / weights.groups;
    for (i64 group = 0; group < weights.groups; ++group) {
      const View beside = weights.of(group);
      run(part_of(call.problem, group * share * in.dims[1]), group * share, share, &beside);
    }
  }
  if (widened) wide_y.write();
  wide_indices.write();
}

void backward_or_throw(ffi::ThreadPool& pool, ffi::AnyBuffer dy, const ffi::RemainingArgs& more, ffi::AnyBuffer dx,
                       const ffi::RemainingRets& further, std::string_view text, bool last, i64 given, i64 wanted) {
  const Plan& plan = find_plan(text);
  const Shape out = shape_of(dy.dimensions(), plan.problem.rank, last);
  Shape in = out;
  for (int i = 0; i < in.rank; ++i) {
    check(out.dims[i + 2] == plan.problem.axes[i].out, "dy: its shape does not fit the plan");
    in.dims[i + 2] = plan.problem.axes[i].size;
  }
  Given arrays(more, given);
  const Call call(plan, arrays.take(with_starts), in.planes());
  const ffi::AnyBuffer* const extra = arrays.take(with_extra);
  if (in.dims[0] == 0) return;
  const View from = view_of(dy, out), to = view_of(dx, in);
  View kept[4];  // x, y, lse, offsets
  bool has[4] = {};
  for (int i = 0; i < 4; ++i) {
    const ffi::AnyBuffer* const buffer = arrays.take(with_x << i);
    if (buffer == nullptr) continue;
    kept[i] = view_of(*buffer, i == 0 ? in : out);
    has[i] = true;
  }
  const bool both = (wanted & want_extra) != 0;
  check(!both || extra != nullptr, "extra: this gradient needs it");
  const auto run = [&](const Problem& problem, i64 first, i64 count, const View* beside, const View* slope) {
    View part[4];
    for (int i = 0; i < 4; ++i) part[i] = part_of(kept[i], first, count);
    report(poolkit::backward(problem, part_of(from, first, count), part_of(to, first, count),
                             has[0] ? &part[0] : nullptr, has[1] ? &part[1] : nullptr, has[2] ? &part[2] : nullptr,
                             has[3] ? &part[3] : nullptr, beside, slope, xla_exec(pool)));
  };
  if (extra == nullptr) return run(call.problem, 0, in.dims[0], nullptr, nullptr);
  if (poolkit::facts(call.problem.reducer).extra == poolkit::Extra::outputs) {
    const View beside = view_of(*extra, out), slope = both ? view_of(result_of(further, 0), out) : View{};
    return run(call.problem, 0, in.dims[0], &beside, both ? &slope : nullptr);
  }
  // The gradient of a kernel's weights comes for each plane: (L..., C, K).
  const Weights weights(*extra, in.dims[0]);
  View slope;
  if (both) {
    const ffi::AnyBuffer result = result_of(further, 0);
    check(static_cast<i64>(result.element_count()) == checked_mul(in.planes(), weights.count, "extra"),
          "extra: its gradient has another shape");
    slope.data = result.untyped_data();
    slope.dtype = core_dtype(result.element_type());
    slope.stride[1] = weights.count, slope.stride[2] = 1;
    slope.shape[2] = weights.count;
  }
  const i64 share = in.dims[0] / weights.groups;
  for (i64 group = 0; group < weights.groups; ++group) {
    const View beside = weights.of(group);
    View part = slope;
    part.shape[1] = share * in.dims[1];
    if (both) part.data = static_cast<char*>(slope.data) + group * part.shape[1] * weights.count * weights.itemsize;
    run(part_of(call.problem, group * share * in.dims[1]), group * share, share, &beside, both ? &part : nullptr);
  }
}

template <auto work>
ffi::Error guarded(ffi::ThreadPool pool, ffi::AnyBuffer first, ffi::RemainingArgs more,
                   ffi::Result<ffi::AnyBuffer> result, ffi::RemainingRets further, std::string_view plan,
                   bool channels_last, i64 given, i64 wanted) {
  try {
    work(pool, first, more, *result, further, plan, channels_last, given, wanted);
    return ffi::Error::Success();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "poolkit: not enough memory");
  } catch (const std::exception& error) {
    return ffi::Error::InvalidArgument(error.what());
  }
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .RemainingArgs()
      .Ret<ffi::AnyBuffer>()
      .RemainingRets()
      .Attr<std::string_view>("plan")
      .Attr<bool>("channels_last")
      .Attr<i64>("given")
      .Attr<i64>("wanted");
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(poolkit_forward, guarded<forward_or_throw>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(poolkit_backward, guarded<backward_or_throw>, binding());
#pragma GCC visibility pop

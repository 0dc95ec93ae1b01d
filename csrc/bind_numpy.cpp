// poolkit._core: NumPy arrays into the core, through the buffer protocol. The core checks shapes, dtypes and geometry;
// this file checks that a buffer is what its caller says it is.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core.hpp"
#include "threads.hpp"

namespace nb = nanobind;
using poolkit::DType;
using poolkit::i64;
using poolkit::View;

namespace {

struct TypeRow {
  DType dtype;
  int itemsize;
  const char* formats;  // buffer formats that hold it
};
constexpr TypeRow types[] = {{DType::f32, 4, "f"},  {DType::f64, 8, "d"},  {DType::f16, 2, "e"},
                             {DType::bf16, 2, "H"}, {DType::i8, 1, "b"},   {DType::u8, 1, "B"},
                             {DType::i16, 2, "hH"}, {DType::i32, 4, "il"}, {DType::i64, 8, "lq"}};

const TypeRow& type_row(int code) {
  for (const TypeRow& row : types)
    if (int(row.dtype) == code) return row;
  throw nb::value_error("dtype is not one of the core's codes, 0 to 8");
}

// A borrowed array as a View. Holds the buffer, so the memory stays while the GIL is released.
class Buffer {
 public:
  Buffer(nb::handle array, const char* name, int rank, bool writable) {
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(array.ptr(), &buffer_, flags) != 0) throw nb::python_error();
    held_ = true;
    if (buffer_.ndim != rank + 2) fail(name, "has the wrong number of axes");
    for (int i = 0; i < buffer_.ndim; ++i) {
      view.shape[i] = buffer_.shape[i];
      if (buffer_.strides[i] % buffer_.itemsize != 0) fail(name, "has a stride that is no multiple of its item size");
      // The stride of an axis of one cell means nothing, and may be anything.
      view.stride[i] = buffer_.shape[i] > 1 ? buffer_.strides[i] / buffer_.itemsize : 0;
    }
    if (writable) check_distinct(name);
    view.data = buffer_.buf;
    if (reinterpret_cast<std::uintptr_t>(buffer_.buf) % std::uintptr_t(buffer_.itemsize) != 0)
      fail(name, "is not aligned");
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() {
    if (held_) PyBuffer_Release(&buffer_);
  }

  void as(DType dtype, const char* name) {
    const TypeRow& row = type_row(int(dtype));
    if (!has(row)) fail(name, "has another dtype than its code says");
    view.dtype = dtype;
  }
  // The first of these dtypes that the buffer holds.
  void any_of(std::initializer_list<DType> dtypes, const char* name) {
    for (const DType dtype : dtypes)
      if (has(type_row(int(dtype)))) {
        view.dtype = dtype;
        return;
      }
    fail(name, "has a dtype that does not belong there");
  }

  View view;

 private:
  bool has(const TypeRow& row) const {
    const std::string format = buffer_.format == nullptr ? "B" : buffer_.format;
    return buffer_.itemsize == row.itemsize && format.size() == 1 &&
           std::string(row.formats).find(format) != std::string::npos;
  }
  // Two threads must never write one cell: outputs have no zero strides.
  void check_distinct(const char* name) {
    for (int i = 0; i < buffer_.ndim; ++i)
      if (buffer_.shape[i] > 1 && buffer_.strides[i] == 0) fail(name, "repeats cells, and is written to");
  }
  [[noreturn]] void fail(const char* name, const char* wrong) {
    if (held_) PyBuffer_Release(&buffer_);
    held_ = false;
    throw nb::value_error((std::string(name) + " " + wrong).c_str());
  }

  Py_buffer buffer_{};
  bool held_ = false;
};

// A Problem together with the memory its starts live in.
class Call {
 public:
  Call(int reducer, const std::vector<double>& params, const std::vector<i64>& spec, nb::handle starts) {
    if (reducer < 0 || reducer >= poolkit::reducers) throw nb::value_error("reducer is not one of the core's codes");
    if (params.size() != 9)
      throw nb::value_error("params holds p, eps, beta, divisor, include_pad, mean, level, mode and sample");
    if (spec.empty() || spec.size() % 8 != 0 || spec.size() > 24)
      throw nb::value_error("spec holds eight integers for each of 1 to 3 axes");
    if (!(params[3] >= 0 && params[3] <= 9007199254740992.0)) throw nb::value_error("divisor lies in 0 .. 2**53");
    problem.reducer = poolkit::Reducer(reducer);
    if (!(params[7] >= 0 && params[7] < 100)) throw nb::value_error("mode is one of the core's codes");
    problem.params = {params[0],      params[1], params[2],      i64(params[3]), params[4] != 0,
                      params[5] != 0, params[6], int(params[7]), params[8] != 0};
    problem.rank = int(spec.size() / 8);
    i64 total = 0;
    for (int i = 0; i < problem.rank; ++i) {
      const i64* s = spec.data() + 8 * i;
      if (s[0] < 0 || s[0] > 2) throw nb::value_error("spec: an axis' kind is 0, 1 or 2");
      problem.axes[i] = {poolkit::AxisKind(s[0]), s[1], s[2], s[3], s[4], s[5], s[6], s[7], nullptr, 0};
      if (s[0] == 2 && __builtin_add_overflow(total, s[2], &total)) throw nb::value_error("spec: too many windows");
    }
    if (!starts.is_none()) take_starts(starts, total);
  }

  // `planes` rows of starts, or one for all.
  void check_planes(const View& x) const {
    if (has_starts_ && rows_ != 1 && rows_ != x.shape[0] * x.shape[1])
      throw nb::value_error("starts has one row for every plane, or one for all");
  }

  poolkit::Problem problem;

 private:
  void take_starts(nb::handle starts, i64 total) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(starts.ptr(), &buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) throw nb::python_error();
    const std::string format = buffer.format == nullptr ? "B" : buffer.format;
    const bool right =
        buffer.ndim == 2 && buffer.itemsize == 8 && (format == "l" || format == "q") && buffer.shape[1] == total;
    if (right) {
      const i64* data = static_cast<const i64*>(buffer.buf);
      starts_.assign(data, data + buffer.shape[0] * total);
      has_starts_ = true;
      rows_ = buffer.shape[0];
    }
    PyBuffer_Release(&buffer);
    if (!right) throw nb::value_error("starts is a C-contiguous int64 array [planes or 1, windows of all axes]");
    i64 at = 0;
    for (int i = 0; i < problem.rank; ++i) {
      poolkit::Axis& axis = problem.axes[i];
      if (axis.kind != poolkit::AxisKind::starts) continue;
      axis.starts = starts_.data() + at;
      axis.plane_stride = rows_ > 1 ? total : 0;
      at += axis.out;
    }
  }

  std::vector<i64> starts_;
  bool has_starts_ = false;
  i64 rows_ = 0;
};

// None or an array.
class Optional {
 public:
  Optional(nb::handle array, const char* name, int rank, bool writable) : name_(name) {
    if (!array.is_none()) buffer_.emplace(array, name, rank, writable);
  }
  void as(DType dtype) {
    if (buffer_) buffer_->as(dtype, name_);
  }
  void any_of(std::initializer_list<DType> dtypes) {
    if (buffer_) buffer_->any_of(dtypes, name_);
  }
  const View* view() const { return buffer_ ? &buffer_->view : nullptr; }

 private:
  const char* name_;
  std::optional<Buffer> buffer_;
};

// The array beside x: of the output's rank, or [1, channels, weights].
int extra_rank(const Call& call) {
  return poolkit::facts(call.problem.reducer).extra == poolkit::Extra::kernel ? 1 : call.problem.rank;
}

constexpr std::initializer_list<DType> offset_types = {DType::u8, DType::i16, DType::i32};

DType wide(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

std::optional<std::string> outcome(const poolkit::Status& status) {
  return status.empty() ? std::nullopt : std::optional<std::string>(status);
}

template <class Fn>
std::optional<std::string> released(Fn&& fn) {
  poolkit::Status status;
  {
    const nb::gil_scoped_release release;
    status = fn();
  }
  return outcome(status);
}

std::optional<std::string> forward(int reducer, const std::vector<double>& params, const std::vector<i64>& spec,
                                   nb::object starts, nb::object x, nb::object y, nb::object offsets,
                                   nb::object indices, nb::object lse, nb::object extra, int dtype) {
  Call call(reducer, params, spec, starts);
  const int rank = call.problem.rank;
  const DType type = type_row(dtype).dtype;
  const bool integer = int(type) >= int(DType::i8);
  Buffer in(x, "x", rank, false), out(y, "y", rank, true);
  in.as(type, "x");
  out.as(integer && poolkit::facts(call.problem.reducer).widens ? DType::i64 : type, "y");
  Optional off(offsets, "indices (as offsets)", rank, true), where(indices, "indices", rank, true),
      sums(lse, "lse", rank, true), more(extra, "extra", extra_rank(call), false);
  more.as(wide(type));
  off.any_of(offset_types);
  where.as(DType::i64);
  sums.as(wide(type));
  call.check_planes(in.view);
  return released([&] {
    return poolkit::forward(call.problem, in.view, out.view, off.view(), where.view(), sums.view(), more.view(),
                            poolkit::own_threads());
  });
}

std::optional<std::string> backward(int reducer, const std::vector<double>& params, const std::vector<i64>& spec,
                                    nb::object starts, nb::object dy, nb::object dx, nb::object x, nb::object y,
                                    nb::object lse, nb::object offsets, nb::object extra, nb::object dextra,
                                    int dtype) {
  Call call(reducer, params, spec, starts);
  const int rank = call.problem.rank;
  const DType type = type_row(dtype).dtype;
  Buffer grad(dy, "grad", rank, false), out(dx, "dx", rank, true);
  grad.as(type, "grad");
  out.as(type, "dx");
  Optional in(x, "x", rank, false), result(y, "y", rank, false), sums(lse, "lse", rank, false);
  Optional off(offsets, "indices (as offsets)", rank, false);
  Optional more(extra, "extra", extra_rank(call), false), more_grad(dextra, "dextra", extra_rank(call), true);
  more.as(wide(type));
  more_grad.as(wide(type));
  in.as(type);
  result.as(type);
  sums.as(wide(type));
  off.any_of(offset_types);
  call.check_planes(out.view);
  return released([&] {
    return poolkit::backward(call.problem, grad.view, out.view, in.view(), result.view(), sums.view(), off.view(),
                             more.view(), more_grad.view(), poolkit::own_threads());
  });
}

nb::tuple offset_box(const std::vector<i64>& spec, nb::object starts) {
  const Call call(0, {2, 0, 1, 0, 1, 1, 0.5, 0, 0}, spec, starts);
  for (int i = 0; i < call.problem.rank; ++i) {
    const poolkit::Axis& axis = call.problem.axes[i];
    if (axis.size < 1 || axis.out < 1 || axis.kernel < 1 || axis.dilation < 1)
      throw nb::value_error("spec: sizes are at least 1");
  }
  i64 box[3] = {1, 1, 1};
  poolkit::offset_box(call.problem, box);
  nb::list sides;
  for (int i = 0; i < call.problem.rank; ++i) sides.append(box[i]);
  return nb::tuple(sides);
}

int checked_rank(int rank) {
  if (rank < 1 || rank > 3) throw nb::value_error("rank is 1, 2 or 3");
  return rank;
}

std::optional<std::string> unpool(nb::object x, nb::object indices, nb::object out, int rank, int dtype) {
  const DType type = type_row(dtype).dtype;
  Buffer in(x, "x", checked_rank(rank), false), where(indices, "indices", rank, false), result(out, "out", rank, true);
  in.as(type, "x");
  where.as(DType::i64, "indices");
  result.as(type, "out");
  return released([&] { return poolkit::unpool(in.view, where.view, result.view, rank, poolkit::own_threads()); });
}

std::optional<std::string> unpool_backward(nb::object dout, nb::object indices, nb::object dx, int rank, int dtype) {
  const DType type = type_row(dtype).dtype;
  Buffer grad(dout, "grad", checked_rank(rank), false), where(indices, "indices", rank, false),
      result(dx, "dx", rank, true);
  grad.as(type, "grad");
  where.as(DType::i64, "indices");
  result.as(type, "dx");
  return released(
      [&] { return poolkit::unpool_backward(grad.view, where.view, result.view, rank, poolkit::own_threads()); });
}

nb::tuple available_isas() {
  nb::list names;
  for (const char* const* name = poolkit::available_isas(); *name != nullptr; ++name) names.append(*name);
  return nb::tuple(names);
}

// For tests: y = f(x) of gapless rows that do not overlap.
void elementary(int f, double p, nb::object x, nb::object y) {
  Buffer in(x, "x", -1, false), out(y, "y", -1, true);
  in.any_of({DType::f32, DType::f64}, "x");
  out.as(in.view.dtype, "y");
  const poolkit::i64 n = in.view.shape[0];
  if (f < 0 || f > int(poolkit::Elementary::exp_same)) throw nb::value_error("f: there is no such function");
  if (out.view.shape[0] != n || in.view.stride[0] != 1 || out.view.stride[0] != 1)
    throw nb::value_error("x and y must be gapless rows of the same length");
  const auto run = [&](auto a) {
    using A = decltype(a);
    poolkit::elementary(poolkit::Elementary(f), p, static_cast<const A*>(in.view.data), static_cast<A*>(out.view.data),
                        n);
  };
  in.view.dtype == DType::f64 ? run(double{}) : run(float{});
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The compiled core over NumPy arrays. Arguments are checked; results are None or what is wrong.";
  m.def("forward", &forward, nb::arg("reducer"), nb::arg("params"), nb::arg("spec"), nb::arg("starts").none(),
        nb::arg("x"), nb::arg("y"), nb::arg("offsets").none(), nb::arg("indices").none(), nb::arg("lse").none(),
        nb::arg("extra").none(), nb::arg("dtype"));
  m.def("backward", &backward, nb::arg("reducer"), nb::arg("params"), nb::arg("spec"), nb::arg("starts").none(),
        nb::arg("dy"), nb::arg("dx"), nb::arg("x").none(), nb::arg("y").none(), nb::arg("lse").none(),
        nb::arg("offsets").none(), nb::arg("extra").none(), nb::arg("dextra").none(), nb::arg("dtype"));
  m.def("offset_box", &offset_box, nb::arg("spec"), nb::arg("starts").none() = nb::none());
  m.def("unpool", &unpool, nb::arg("x"), nb::arg("indices"), nb::arg("out"), nb::arg("rank"), nb::arg("dtype"));
  m.def("unpool_backward", &unpool_backward, nb::arg("dout"), nb::arg("indices"), nb::arg("dx"), nb::arg("rank"),
        nb::arg("dtype"));
  m.def("elementary", &elementary, nb::arg("f"), nb::arg("p"), nb::arg("x"), nb::arg("y"));
  m.def("isa", &poolkit::isa);
  m.def("available_isas", &available_isas);
  m.def("set_isa", &poolkit::set_isa, nb::arg("name"));
  m.def("set_num_threads", &poolkit::set_num_threads, nb::arg("n"));
  m.def("get_num_threads", &poolkit::get_num_threads);
}

// How a call's geometry and reducer travel through torch's dispatcher: as one string, the form that crosses it at the
// least cost and stays readable in an exported graph:
//   "0(2.0,0.0,1.0,0,1,1,0.5,0,0) 0(4,2,3,2,1,1,1) 0(4,2,3,2,1,1,1)"
//    reducer(p,eps,beta,divisor,include_pad,mean,level,mode,sample), then per axis
//    kind(size,out,kernel,stride,before,after,dilation)
// Each string is parsed and checked once per thread.
#pragma once

#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core.hpp"

namespace poolkit::plan_text {

// The Python layer turns errors with this prefix into PoolError.
[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error("poolkit: " + what); }

inline void check(bool ok, const char* what) {
  if (!ok) fail(what);
}

inline i64 checked_mul(i64 a, i64 b, const char* what) {
  i64 product = 0;
  if (__builtin_mul_overflow(a, b, &product)) fail(std::string(what) + " overflows a 64-bit integer");
  return product;
}

inline i64 checked_add(i64 a, i64 b, const char* what) {
  i64 sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) fail(std::string(what) + " overflows a 64-bit integer");
  return sum;
}

// What the arithmetic below divides by. The rules of geometry are the core's, which applies them before it reads data.
inline void check_axis(const Axis& a) {
  check(a.size >= 1 && a.out >= 1, "plan: sizes must be at least 1");
  check(a.kernel >= 1 && a.stride >= 1 && a.dilation >= 1, "plan: kernel, stride and dilation must be at least 1");
  check(a.before >= 0 && a.after >= 0, "plan: padding must not be negative");
}

struct Plan {
  Problem problem;
  i64 starts = 0;  // columns of the starts tensor: windows of all axes of kind `starts`
};

class Reader {
 public:
  explicit Reader(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  template <class T>
  T number(char closing) {
    T value{};
    const auto [next, error] = std::from_chars(at_, end_, value);
    check(error == std::errc() && next != end_ && *next == closing, "plan: expected number(number,...)");
    at_ = next + 1;
    return value;
  }
  bool skip_space() {
    if (at_ == end_ || *at_ != ' ') return false;
    ++at_;
    return true;
  }
  bool done() const { return at_ == end_; }

 private:
  const char* at_;
  const char* end_;
};

inline Plan parse(std::string_view text) {
  check(text.size() <= 2048, "plan: the text is too long");
  Reader in(text);
  Plan plan;
  Problem& problem = plan.problem;
  const auto reducer = in.number<i64>('(');
  check(reducer >= 0 && reducer < reducers, "plan: unknown reducer");
  problem.reducer = static_cast<Reducer>(reducer);
  problem.params.p = in.number<double>(',');
  problem.params.eps = in.number<double>(',');
  problem.params.beta = in.number<double>(',');
  problem.params.divisor = in.number<i64>(',');
  problem.params.include_pad = in.number<i64>(',') != 0;
  problem.params.mean = in.number<i64>(',') != 0;
  problem.params.level = in.number<double>(',');
  problem.params.mode = static_cast<int>(in.number<std::int8_t>(','));
  problem.params.sample = in.number<i64>(')') != 0;
  check(problem.params.p > 0, "plan: p must be above 0");
  check(problem.reducer == Reducer::Lp || std::isfinite(problem.params.p), "plan: p must be finite");
  check(std::isfinite(problem.params.eps) && problem.params.eps >= 0, "plan: eps must be finite and not negative");
  check(std::isfinite(problem.params.beta) && problem.params.beta != 0, "plan: beta must be finite and not 0");
  check(std::isfinite(problem.params.level), "plan: level must be finite");
  check(problem.params.divisor >= 0, "plan: the divisor must be positive, or 0 for none");
  problem.rank = 0;
  while (in.skip_space()) {
    check(problem.rank < 3, "plan: at most 3 axes");
    Axis& axis = problem.axes[problem.rank++];
    const auto kind = in.number<i64>('(');
    check(kind >= 0 && kind <= 2, "plan: unknown kind of axis");
    axis.kind = static_cast<AxisKind>(kind);
    axis.size = in.number<i64>(',');
    axis.out = in.number<i64>(',');
    axis.kernel = in.number<i64>(',');
    axis.stride = in.number<i64>(',');
    axis.before = in.number<i64>(',');
    axis.after = in.number<i64>(',');
    axis.dilation = in.number<i64>(')');
    check_axis(axis);
    if (axis.kind == AxisKind::starts) plan.starts = checked_add(plan.starts, axis.out, "plan: starts");
  }
  check(in.done() && problem.rank >= 1, "plan: expected 1 to 3 axes");
  return plan;
}

inline const Plan& find_plan(std::string_view text) {
  thread_local std::unordered_map<std::string, Plan> plans;
  thread_local const std::pair<const std::string, Plan>* last = nullptr;
  if (last != nullptr && last->first == text) return last->second;
  std::string key(text);
  auto found = plans.find(key);
  if (found == plans.end()) {
    Plan plan = parse(text);
    last = nullptr;
    if (plans.size() >= 1024) plans.clear();
    found = plans.emplace(std::move(key), plan).first;
  }
  last = &*found;
  return last->second;
}

}  // namespace poolkit::plan_text

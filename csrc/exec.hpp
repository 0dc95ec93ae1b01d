// The core owns no threads: a loop runs on whatever parallel_for the caller handed over.
#pragma once

#include <utility>

#include "core.hpp"

namespace poolkit {

// Threads get pieces of at least this many input elements.
constexpr i64 grain_elements = i64(1) << 15;

// Calls fn(begin, end) on disjoint pieces of [0, n), at least `grain` long where n allows it.
template <class Fn>
static void parallel(const Exec& exec, i64 n, i64 grain, Fn&& fn) {
  if (n <= 0) return;
  if (exec.parallel_for == nullptr || n <= grain) {
    fn(i64(0), n);
    return;
  }
  auto body = [](void* env, i64 begin, i64 end) { (*static_cast<std::remove_reference_t<Fn>*>(env))(begin, end); };
  exec.parallel_for(exec.self, n, grain, body, const_cast<void*>(static_cast<const void*>(&fn)));
}

}  // namespace poolkit

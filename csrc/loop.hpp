// One loop of a parallel_for, shared out in pieces that threads take as they become free.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "core.hpp"

namespace poolkit {

struct Loop {
  Body body;
  void* env;
  i64 n, piece;
  std::atomic<i64> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;

  // Returns when no piece is left to take; others may still be at theirs.
  void work() {
    for (;;) {
      const i64 begin = next.fetch_add(piece, std::memory_order_relaxed);
      if (begin >= n) return;
      try {
        body(env, begin, std::min(n, begin + piece));
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
  }
};

// A few pieces a thread even out the ends; each is at least the grain.
inline i64 piece_of(i64 n, i64 grain, i64 threads) { return std::max(grain, n / (threads * 4) + 1); }

}  // namespace poolkit

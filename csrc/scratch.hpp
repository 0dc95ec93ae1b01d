// Working memory of a thread.
#pragma once

#include <cstdlib>
#include <new>
#include <utility>

#include "core.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Memory that grows and is never copied.
template <class A>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }
  A* take(i64 n) {
    if (n > size_) {
      std::free(memory_);
      size_ = n;
      memory_ = static_cast<A*>(std::aligned_alloc(64, (n * sizeof(A) + 63) / 64 * 64));
      if (memory_ == nullptr) throw std::bad_alloc();
    }
    return memory_;
  }
  void swap(Scratch& other) {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
  }

 private:
  A* memory_ = nullptr;
  i64 size_ = 0;
};

}  // namespace poolkit::POOLKIT_ISA_NS

// Rows of state: their memory, where they lie, and what stands between them and the caller's arrays.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>

#include "cores.hpp"
#include "grid.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Memory for rows of state, with room to read and write a few vectors beyond the end.
template <class C>
class Rows {
 public:
  using A = typename C::A;
  ~Rows() { std::free(memory_); }
  Rows() = default;
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  typename C::Row take(i64 n) {
    if (n > size_) {
      std::free(memory_);
      size_ = n;
      const std::size_t slack = 4 * vector_bytes;
      memory_ = static_cast<char*>(std::aligned_alloc(64, (n * sizeof(A) + slack + 63) / 64 * 64));
      if (memory_ == nullptr) throw std::bad_alloc();
      row_.v = reinterpret_cast<A*>(memory_);
    }
    return row_;
  }

 private:
  char* memory_ = nullptr;
  i64 size_ = 0;
  typename C::Row row_;
};

// Where a row lies: of the source (positions before pooling) or of the output. pos[rank - 1] is its first position.
// A spot can stand for several rows that follow each other without a gap, each `columns` positions long: position j
// then lies in row j / columns (of the axis before the last, or of the planes).
struct Spot {
  Place plane;
  i64 pos[3];
  i64 columns = i64(1) << 62;
};

// What surrounds a fold that is not a plain copy in and out: the atoms before and after it.
template <class C>
struct Io {
  using Row = typename C::Row;
  virtual ~Io() = default;
  // A block is about to be folded: source positions from[i] <= p < to[i] on each axis.
  virtual void begin(const Spot&, const i64* /*to*/) {}
  // A component after the first finds in dst what the one before it loaded.
  virtual void load(int component, const Spot&, i64 n, Row dst) = 0;
  virtual void finish(const Row* components, const Spot&, i64 n) = 0;
  // Whether load and finish take spots of several rows.
  virtual bool takes_blocks() const { return false; }
  // And of several planes, each of them many rows.
  virtual bool takes_planes() const { return false; }
};

// Taps behind each output, for reducers that divide by them.
struct Counts {
  const Problem* problem = nullptr;
  bool padded = false;
  i64 divisor = 0;
  std::atomic<bool>* not_finite = nullptr;  // set when an output is not finite

  i64 of(const Grid& g, int axis, i64 j, i64 window) const {
    if (g.origin[axis] < 0) return 1;
    const Axis& a = problem->axes[g.origin[axis]];
    return padded ? padded_count(a, j, window) : interval(a, j, window).n;
  }
};

}  // namespace poolkit::POOLKIT_ISA_NS

// Rows joined into one, and windows of whole vectors (of channels, of frames) straight from their taps.
#pragma once

#include "merge.hpp"
#include "rows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Taps in a lattice: counts[i] of them along axis i, steps[i] elements apart.
struct Box {
  i64 counts[3], steps[3];
  i64 taps() const { return counts[0] * counts[1] * counts[2]; }
  bool operator==(const Box&) const = default;
};

template <class C>
class Gather {
 public:
  using Row = typename C::Row;
  static constexpr i64 L = lanes<typename C::A>;
  // Longer rows are joined a few at a time from end to end: strips of them would jump about in memory.
  static constexpr i64 narrow = 16 * L;
  // So many elements are asked for at once.
  static constexpr i64 fetched = 512;

  // n rows, pitch apart, into one.
  void rows(Row dst, Row from, i64 pitch, i64 n, i64 width, Tail tail, bool ahead = false) {
    windows(dst, from, {{1, 1, n}, {0, 0, pitch}}, 0, 1, width, tail, ahead);
  }

  // n windows, src_pitch apart, each the join of a box of rows, to rows that follow each other.
  void windows(Row dst, Row from, const Box& box, i64 src_pitch, i64 n, i64 width, Tail tail, bool ahead = false) {
    const i64 taps = box.taps();
    if (taps <= 0) return C::clear(dst, n * width);
    const i64* const at = offsets(box);
    if (taps <= most_rows) {
      Row src[most_rows];
      for (i64 t = 0; t < taps; ++t) src[t] = from + at[t];
      // Narrower rows the hardware follows by itself, and wider ones, too.
      const i64 bytes = width * i64(sizeof(typename C::A)), lines = box.counts[0] * box.counts[1];
      ahead &= n > 1 && 640 <= bytes && bytes <= 1536;
      const i64 piece = ahead ? std::clamp<i64>(fetched / src_pitch, 1, n) : n;
      for (i64 i = 0; i < n; i += piece) {
        const i64 together = std::min(piece, n - i);
        for (i64 k = std::max<i64>(0, lines - 2); ahead && k < lines; ++k)
          fetch_ahead<C>(src[k * box.counts[2]], together * src_pitch, 3072);
        merge_rows<C>(dst + i * width, width, src, src_pitch, int(taps), together, width, tail);
        for (i64 t = 0; t < taps; ++t) src[t] = src[t] + piece * src_pitch;
      }
      return;
    }
    for (i64 k = 0; k < n; ++k, dst = dst + width, from = from + src_pitch) {
      if (L <= width && width <= narrow) {
        merge_strips<C>(dst, from, at, taps, width, ahead);
        continue;
      }
      i64 depth = 2;
      for (i64 left = taps; left > 1; left /= 2) ++depth;
      const i64 pitch = C::idempotent ? 0 : (width + 63) / 64 * 64 + L;
      merge_many<C>(dst, from, at, taps, width, tail, spare_.take(pitch * depth), pitch);
    }
  }

 private:
  // Where the taps are, from the first one on; the last box is kept.
  const i64* offsets(const Box& box) {
    i64* const table = offsets_.take(box.taps()).v;
    if (box == box_) return table;
    box_ = box;
    i64 n = 0;
    for (i64 d = 0; d < box.counts[0]; ++d)
      for (i64 h = 0; h < box.counts[1]; ++h)
        for (i64 w = 0; w < box.counts[2]; ++w) table[n++] = d * box.steps[0] + h * box.steps[1] + w * box.steps[2];
    return table;
  }

  Rows<C> spare_;
  Rows<Plain<i64, Sum>> offsets_;
  Box box_{};
};

// Whether windows straight from their taps take less time than slices, lines and columns joined one after the other.
// Of each axis: the taps of a window, and the positions that an output adds to the one before.
template <class C>
static bool direct_pays(int rank, i64 run, const double taps[3], const double fresh[3]) {
  if (rank == 1) return true;
  const double all = taps[0] * taps[1] * taps[2];
  const double lines = taps[0] > 1 ? fresh[1] * taps[0] + taps[1] : taps[1];
  return all <= fresh[2] * lines + taps[2] && (all <= most_rows || run <= Gather<C>::narrow);
}

}  // namespace poolkit::POOLKIT_ISA_NS

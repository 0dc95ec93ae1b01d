// Lines of one or several slices into the rows that a fold's last axis takes, and what is asked of memory meanwhile.
#pragma once

#include "last_axis.hpp"
#include "pairs.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class C>
class Stacks {
 public:
  using A = typename C::A;
  using Row = typename C::Row;
  static constexpr i64 L = lanes<A>;

  const Grid& g;
  // Straight from and to memory; null: not so.
  A* source = nullptr;
  A* target = nullptr;
  const A* source_end = nullptr;  // one past the last readable element
  A* target_end = nullptr;        // rows up to here are written by this fold, in order

  explicit Stacks(const Grid& grid) : g(grid) {
    if (g.rank >= 2) whole_windows(g.axes[g.rank - 2], whole_from_, whole_to_);
  }

 protected:
  // Windows [from, to) of an axis keep all their taps and lie at even distances.
  static void whole_windows(const Axis& a, i64& from, i64& to) {
    if (a.kind != AxisKind::sliding) return;
    from = ceil_div(a.before, a.stride);
    const i64 room = a.size - 1 - (a.kernel - 1) * a.dilation + a.before;
    to = room < 0 ? 0 : std::min(a.out, room / a.stride + 1);
  }
  static Row raw(A* p) {
    Row r;
    r.v = p;
    return r;
  }

  // Rows to be joined: `slices` of them at each line, slice_pitch apart, lines from line_from on, line_pitch apart.
  struct Stack {
    Row first;
    i64 slices, slice_pitch, line_pitch, line_from, width, window;
    bool from_memory;
  };

  Interval line_taps(const Stack& s, i64 r) const {
    if (g.rank < 2) return {0, 1};
    Interval taps = interval(g.axes[g.rank - 2], r, s.window);
    taps.start -= s.line_from;
    return taps;
  }
  // Whether reading a few vectors beyond `reach` elements is harmless.
  bool room(const Stack& s, Row top, i64 reach) const { return !s.from_memory || top.v + reach + 4 * L <= source_end; }

  // An output row with a single tap needs no copy.
  bool use_in_place(const Stack& s, i64 r, Row& row) const {
    const Interval taps = line_taps(s, r);
    const Row top = s.first + taps.start * s.line_pitch;
    if (taps.n * s.slices != 1 || !room(s, top, s.width)) return false;
    row = top;
    return true;
  }

  // Long rows of large arrays are asked for early, so many elements at a time.
  static constexpr i64 far = 1 << 20, fetched = 512, small_slices = 1 << 12;
  bool fetches(const Stack& s, i64 down, i64 long_row_bytes) const {
    return down > 0 && s.from_memory && s.width * i64(sizeof(A)) >= long_row_bytes && source_end - source >= far;
  }

  // Small slices are asked for whole: the hardware loses its way among them. Where windows leave lines out, those that
  // they need of a slice further on.
  [[gnu::always_inline]] void ask_for_slices(Row first) const {
    const Axis& a = g.axes[1];
    const i64 line = g.src[1], fresh = g.axes[0].stride * g.src[0];
    if (fresh <= 0 || fresh > small_slices || source_end - source < far) return;
    const i64 needed = a.kind == AxisKind::sliding ? (a.kernel - 1) * a.dilation + 1 : a.size;
    if (needed + 2 >= a.stride || line <= 0) return fetch_ahead<C>(first, fresh, 8192);
    for (i64 r = 0; r < a.out; ++r) fetch_ahead<C>(first + (3 * fresh + r * a.stride * line), needed * line, 0);
  }

  // Output rows r .. r + n of the row axis, each the join of its slices and lines, to dst, pitch apart.
  void stacked(const Stack& s, Row dst, i64 pitch, i64 r, i64 n) {
    const int R = g.rank;
    const i64 step = R >= 2 ? step_of(g.axes[R - 2]) : 1, down = R >= 2 ? g.axes[R - 2].stride * s.line_pitch : 0;
    for (i64 k = 0; k < n;) {
      const Interval taps = line_taps(s, r + k);
      const i64 all = taps.n * s.slices;
      const Row to = dst + k * pitch, top = s.first + taps.start * s.line_pitch;
      const i64 reach = (taps.n - 1) * step * s.line_pitch + (s.slices - 1) * s.slice_pitch + s.width;
      i64 alike = 1;  // rows from here on with the same taps, further down
      if (all > 0 && all <= 8 && r + k >= whole_from_ && r + k < whole_to_) alike = std::min(n - k, whole_to_ - r - k);
      Tail tail = Tail::exact;
      if (s.width < L) {
        while (alike > 1 && !room(s, top, (alike - 1) * down + reach)) --alike;
        if (room(s, top, (alike - 1) * down + reach)) tail = Tail::blank;
      }
      if (all == 0) {
        C::clear(to, s.width);
      } else if (all > 8) {
        gather_.windows(to, top, {{1, s.slices, taps.n}, {0, s.slice_pitch, step * s.line_pitch}}, 0, 1, s.width, tail,
                        s.from_memory && source_end - source >= far);
      } else {
        Row from[8];
        int count = 0;
        for (i64 d = 0; d < s.slices; ++d)
          for (i64 t = 0; t < taps.n; ++t) from[count++] = top + (d * s.slice_pitch + t * step * s.line_pitch);
        const bool ahead = fetches(s, down, 320);
        const i64 piece = ahead ? std::clamp<i64>(fetched / down, 1, alike) : alike;
        for (i64 i = 0; i < alike; i += piece) {
          const i64 together = std::min(piece, alike - i);
          for (i64 d = 0; ahead && d < s.slices; ++d) fetch_ahead<C>(from[d * taps.n], together * down, 8192);
          merge_rows<C>(to + i * pitch, pitch, from, down, count, together, s.width, tail);
          for (int f = 0; f < count; ++f) from[f] = from[f] + piece * down;
        }
      }
      k += alike;
    }
  }

  static constexpr bool takes_pairs = tuned && sizeof(A) <= 4;
  // Whether whole rows of outputs come from their lines in one pass.
  Paired pairs_at(i64 slices, i64 c0, i64 c1) const {
    if (!takes_pairs || g.rank < 2 || !pairs_of(slices * longest(g.axes[g.rank - 2]))) return {};
    if (c1 - c0 < L && (g.last().kernel != 2 || c1 - c0 < 2)) return {};
    return paired(g.last(), g.run, c0, c1);
  }
  // Output rows r .. r + n, all of whose lines exist.
  void pair(const Stack& s, const Lines<C>& to, i64 r, i64 n, const Paired& pairs) {
    const Axis& a = g.axes[g.rank - 2];
    const Interval taps = line_taps(s, r);
    Row from[4];
    int count = 0;
    for (i64 d = 0; d < s.slices; ++d)
      for (i64 t = 0; t < taps.n; ++t)
        from[count++] = s.first + (d * s.slice_pitch + (taps.start + t * step_of(a)) * s.line_pitch);
    const i64 down = a.stride * s.line_pitch;
    const bool ahead = fetches(s, down, 480);
    const i64 piece = ahead ? std::clamp<i64>(fetched / down, 1, n) : n;
    i64 exact = 0;
    if (const i64 out = g.last().out; 2 * out < L)
      for (const auto within =
               [&](i64 i) {
                 return (target == nullptr || to.row.v + i * to.pitch + L / 2 <= target_end) &&
                        room(s, from[count - 1], i * down + L);
               };
           exact < n && !within(n - 1 - exact);)
        ++exact;
    for (i64 i = 0; i < n; i += piece) {
      const i64 together = std::min(piece, n - i);
      for (i64 d = 0; ahead && d < s.slices; ++d) fetch_ahead<C>(from[d * taps.n], together * down, 8192);
      if constexpr (takes_pairs)
        pair_rows<C>(to.row + i * to.pitch, to.pitch, from, count, down, together, g.last().out, g.last().kernel, pairs,
                     exact);
      for (int f = 0; f < count; ++f) from[f] = from[f] + piece * down;
    }
  }

  Gather<C> gather_;
  i64 whole_from_ = 0, whole_to_ = 0;
};

}  // namespace poolkit::POOLKIT_ISA_NS

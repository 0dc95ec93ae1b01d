// The last step of a fold: rows of states into outputs, along the axis whose elements lie side by side.
#pragma once

#include "picks.hpp"
#include "slide.hpp"
#include "windows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Source positions of an axis behind outputs [begin, end): the existing ones, and (sliding) with padding.
struct Span {
  i64 from, to;      // existing positions
  i64 origin, size;  // of the padded row
};
// Windows at even distances whose padded row is not much longer than the input: shifted copies do them all at once.
static inline bool regular(const Axis& a, i64 begin, i64 end) {
  return a.kind == AxisKind::sliding && (end - 1 - begin) * a.stride + (a.kernel - 1) * a.dilation < 4 * a.size + 1024;
}
static inline Span span(const Axis& a, i64 begin, i64 end, i64 window) {
  if (a.kind == AxisKind::sliding) {
    const i64 origin = window_origin(a, begin);
    const i64 size = (end - 1 - begin) * a.stride + (a.kernel - 1) * a.dilation + 1;
    const i64 from = std::max<i64>(0, origin), to = std::max(from, std::min(a.size, origin + size));
    if (regular(a, begin, end)) return {from, to, origin, size};
    return {from, to, from, to - from};
  }
  i64 from = a.size, to = 0;
  if (a.kind == AxisKind::adaptive) {
    const Interval tail = interval(a, end - 1, window);
    from = interval(a, begin, window).start, to = tail.start + tail.n;
  } else {
    for (i64 j = begin; j < end; ++j) {
      const Interval i = interval(a, j, window);
      if (i.n == 0) continue;
      from = std::min(from, i.start), to = std::max(to, i.start + (i.n - 1) * step_of(a) + 1);
    }
    if (from >= to) from = to = 0;
  }
  return {from, to, from, to - from};
}

// Rows, and how far one is from the next.
template <class C>
struct Lines {
  typename C::Row row;
  i64 pitch;
};

// Whether reduce_segments takes windows of n elements.
template <class C>
static bool in_segments(i64 n) {
  return lanes<typename C::A> <= 16 && n <= chain * lanes<typename C::A>;
}

template <class C>
class LastAxis {
 public:
  using A = typename C::A;
  using Row = typename C::Row;

  explicit LastAxis(const Grid& grid) : g(grid) {}

  // Whether outputs [c0, c1) of n rows are made one row a lane: otherwise a long window takes many shifted copies.
  static bool in_turned_rows(const Grid& g, i64 c0, i64 c1, i64 n) {
    const Axis& a = g.last();
    return turns && regular(a, c0, c1) && a.stride == 1 && a.dilation == 1 && g.run == 1 && n >= L &&
           a.kernel >= (C::idempotent ? 24 : 12) && c1 - c0 >= 2 * a.kernel && c1 - c0 <= longest_turned;
  }

  // Outputs [c0, c1) of n padded rows, which hold the positions `cols`. end: where writing beyond a row has to stop;
  // nullptr: nowhere.
  void operator()(const Lines<C>& to, const A* end, const Lines<C>& from, const Span& cols, i64 window, i64 n, i64 c0,
                  i64 c1) {
    const Axis& a = g.last();
    const i64 run = g.run, out = c1 - c0, len = out * run;
    const Row dst = to.row, block = from.row;
    const i64 row_pitch = to.pitch, pitch = from.pitch;
    // Rows shorter than a vector spill into the next one, which is written later; the last ones have no next.
    const auto each_tail = [&](auto&& fn) {
      if (len >= L) return fn(i64(0), n, Tail::exact);
      i64 spilling = n;
      if (end != nullptr)
        while (spilling > 0 && dst.v + (spilling - 1) * row_pitch + L > end) --spilling;
      if (spilling > 0) fn(i64(0), spilling, Tail::spill);
      if (spilling < n) fn(spilling, n - spilling, Tail::exact);
    };
    i64 moved = 0;

    if (regular(a, c0, c1)) {
      const i64 k = a.kernel, s = a.stride, d = a.dilation;
      if (run >= L / 2 && k > 8 && k * out <= 2 * cols.size) {
        for (i64 i = 0; i < n; ++i)
          for (i64 j = 0; j < out; ++j)
            gather_.rows(dst + (i * row_pitch + j * run), block + (i * pitch + j * s * run), d * run, k, run,
                         Tail::exact);
      } else if (run == 1 && d == 1 && k >= L && k * out <= 2 * cols.size) {
        for (i64 i = 0; i < n; ++i)
          for (i64 j = 0; j < out; ++j) reduce_run<C>(dst + i * row_pitch, j, block + (i * pitch + j * s), k);
      } else if (in_turned_rows(g, c0, c1, n)) {
        if constexpr (turns)
          for (i64 i = 0;; i = std::min(i + L, n - L)) {
            turned_rows({dst + i * row_pitch, row_pitch}, {block + i * pitch, pitch}, k, out);
            if (i + L >= n) break;
          }
      } else if (s == 1) {
        const i64 total = n * pitch;
        Row src[8];
        const int sources = doubled_.shifted(block, run * d, k, total, src);
        each_tail([&](i64 i, i64 rows, Tail tail) {
          for (int q = 0; q < sources; ++q) src[q] = src[q] + (i - moved) * pitch;
          moved = i;
          merge_rows<C>(dst + i * row_pitch, row_pitch, src, pitch, sources, rows, len, tail);
        });
      } else if (run == 1 && s == 2 && d == 1 && (k == 2 || k == 3)) {
        each_tail([&](i64 i, i64 rows, Tail tail) {
          halve<C>(dst + i * row_pitch, row_pitch, block + i * pitch, pitch, k, rows, out, tail);
        });
      } else if (run == 1 && s == 3 && d == 1 && k <= 3 && out >= L) {
        for (i64 i = 0; i < n; ++i) thirds<C>(dst + i * row_pitch, block + i * pitch, k, out, cols.size);
      } else if (run == 1 && s == k && d == 1 && (k == 4 || k == 8) && out * k >= 2 * L) {
        for (i64 i = 0; i < n; ++i) {
          Row from = block + i * pitch;
          if (out >= L) {
            const Row row = dst + i * row_pitch;
            k == 4 ? tiles<C, 4>(row, from, out) : tiles<C, 8>(row, from, out);
            continue;
          }
          for (i64 left = k; left > 2; left /= 2) {
            const Row half = halved_[left == k].take(out * left / 2);
            halve<C>(half, 0, from, 0, 2, 1, out * left / 2, Tail::exact);
            from = half;
          }
          halve<C>(dst + i * row_pitch, 0, from, 0, 2, 1, out, Tail::exact);
        }
      } else if (run == 1 && picked(to, end, from, cols.origin, true, n, c0, c1)) {
        return;
      } else if (run >= L / 2 && (k <= 8 || k <= 2 * s)) {
        const Box box{{1, 1, k}, {0, 0, d * run}};
        for (i64 i = 0; i < n; ++i) {
          const Row row = dst + i * row_pitch, top = block + i * pitch;
          i64 spilling = run < L ? out : 0;
          if (end != nullptr)
            while (spilling > 0 && row.v + (spilling - 1) * run + L > end) --spilling;
          gather_.windows(row, top, box, s * run, spilling, run, Tail::spill);
          gather_.windows(row + spilling * run, top + spilling * s * run, box, s * run, out - spilling, run,
                          Tail::exact);
        }
      } else {
        const Row all = doubled_.windows(block, run * d, k, n * pitch);
        for (i64 i = 0; i < n; ++i) {
          const Row to = dst + i * row_pitch, from = all + i * pitch;
          if (run == 1) {
            for (i64 j = 0; j < out; ++j) C::copy1(to, j, from, j * s);
          } else {
            for (i64 j = 0; j < out; ++j)
              for (i64 e = 0; e < run; ++e) C::copy1(to, j * run + e, from, j * s * run + e);
          }
        }
      }
    } else if (run == 1 && picked(to, end, from, cols.origin, false, n, c0, c1)) {
      return;
    } else if (run == 1 && step_of(a) == 1 && a.kind == AxisKind::adaptive && in_segments<C>(longest(a))) {
      segments(to, block, pitch, cols.origin, n, c0, c1);
    } else if (in_words && run == 1 && a.kind == AxisKind::starts && a.after == 0 && a.kernel <= 4 && out >= L) {
      if constexpr (in_words) scattered(to, block, pitch, cols.origin, window, n, c0, c1);
    } else {
      const i64 step = step_of(a);
      for (i64 i = 0; i < n; ++i) {
        Interval before{-1, -1};
        for (i64 j = 0; j < out; ++j) {
          const Interval taps = interval(a, c0 + j, window);
          const Row to = dst + (i * row_pitch + j * run);
          if (j > 0 && taps.start == before.start && taps.n == before.n) {
            const Row same = dst + (i * row_pitch + (j - 1) * run);
            for (i64 e = 0; e < run; ++e) C::copy1(to, e, same, e);
            continue;
          }
          before = taps;
          const Row from = block + (i * pitch + (taps.start - cols.origin) * run);
          if (run == 1 && step == 1 && taps.n > 0)
            reduce_run<C>(to, 0, from, taps.n);
          else if (run < L && step == 1 && taps.n >= 4)
            reduce_groups<C>(to, from, taps.n, run, spare_.take(taps.n * run));
          else
            gather_.rows(to, from, step * run, taps.n, run, Tail::exact);
        }
      }
    }
  }

 private:
  static constexpr i64 L = lanes<A>;
  static constexpr bool in_words = sizeof(A) >= 4;
  static constexpr i64 longest_turned = 2048;  // near the core
  static constexpr bool turns = tuned && std::is_same_v<A, float> && L >= 8;
  const Grid& g;

  // Outputs in place of the first cells of a line of vectors, by van Herk's blocks.
  template <class Op>
  static void blocks_along(A* line, i64 k, i64 out) {
    using V = vec<A>;
    for (i64 block = 0; block < out; block += k) {
      A *const first = line + block * L, *const after = first + k * L;
      const auto at = [](const A* p, i64 t) { return load<V>(p + t * L); };
      V acc = at(first, k - 1);
      for (i64 t = k - 2; t >= 0; --t) acc = Op::join(at(first, t), acc), store(first + t * L, acc);
      const i64 end = std::min(k, out - block);
      if (end > 1) acc = at(after, 0);
      for (i64 t = 1; t < end; ++t) {
        store(first + t * L, Op::join(at(first, t), acc));
        if (t + 1 < end) acc = Op::join(acc, at(after, t));
      }
    }
  }
  // Outputs of L rows, one row a lane.
  void turned_rows(const Lines<C>& to, const Lines<C>& from, i64 k, i64 out) {
    constexpr int M = 8;
    const i64 cells = out + k - 1;
    const Row line = turned_.take(cells * L);
    vec<A> odd{};
    for (i64 c = 0;; c = std::min(c + M, cells - M)) {
      vec<A> v[M];
#pragma GCC unroll 8
      for (int q = 0; q < M; ++q) v[q] = load_pieces<M, L>(from.row.v + c + q * from.pitch, from.pitch);
      if constexpr (C::idempotent) odd = with_nans<M>(odd, v);
      turn<M>(v);
#pragma GCC unroll 8
      for (int q = 0; q < M; ++q) store(line.v + (c + q) * L, v[q]);
      if (c + M >= cells) break;
    }
    if (!C::idempotent || !any_lane(odd != odd))
      blocks_along<Ordered<typename C::Op>>(line.v, k, out);
    else if constexpr (C::idempotent)
      blocks_along<typename C::Op>(line.v, k, out);
    for (i64 c = 0;; c = std::min(c + M, out - M)) {
      vec<A> v[M];
#pragma GCC unroll 8
      for (int q = 0; q < M; ++q) v[q] = load<vec<A>>(line.v + (c + q) * L);
      turn<M>(v);
      // The rows below: what is written row by row but in this order, no hardware foresees.
      for (int q = 0; q < M; ++q) __builtin_prefetch(to.row.v + (to.pitch + c + q) * L, 1, 2);
#pragma GCC unroll 8
      for (int q = 0; q < M; ++q) store_pieces<M>(to.row.v + c + q * to.pitch, to.pitch, v[q]);
      if (c + M >= out) break;
    }
  }

  // Whether outputs [c0, c1) of n rows were few elements each, near enough to each other, and are done.
  bool picked(const Lines<C>& to, const A* end, const Lines<C>& from, i64 origin, bool padded, i64 n, i64 c0, i64 c1) {
    if constexpr (Picks<C>::known_here) {
      if (!picks_.takes(g.last(), origin, padded, c0, c1)) return false;
      const i64 whole = (c1 - c0 + L - 1) / L * L;
      i64 spilling = n;
      if (end != nullptr)
        while (spilling > 0 && to.row.v + (spilling - 1) * to.pitch + whole > end) --spilling;
      picks_(to.row, to.pitch, from.row, from.pitch, n, spilling);
      return true;
    }
    return false;
  }

  // Outputs [c0, c1) of n rows, each the join of consecutive elements of a row of the block.
  void segments(const Lines<C>& to, Row block, i64 pitch, i64 origin, i64 n, i64 c0, i64 c1) {
    const i64 out = c1 - c0;
    i64* const spans = spans_.take(2 * out).v;
    for (i64 j = 0; j < out; ++j) {
      const Interval taps = interval(g.last(), c0 + j, 0);
      spans[2 * j] = taps.start - origin, spans[2 * j + 1] = taps.n;
    }
    const i64 together = to.pitch == out ? n : 1;
    for (i64 i = 0; i < n; i += together) {
      Row row = block + i * pitch;
      i64 j = 0;
      reduce_segments<C>(to.row + i * to.pitch, together * out, [&] {
        if (j == out) j = 0, row = row + pitch;
        const Segment<C> segment{row + spans[2 * j], spans[2 * j + 1]};
        ++j;
        return segment;
      });
    }
  }

  // The same for a few elements from places of any distance: as long as windows of a vector begin within two vectors,
  // the windows that begin at each of these elements are joined, and those wanted taken from among them.
  void scattered(const Lines<C>& to, Row block, i64 pitch, i64 origin, i64 window, i64 n, i64 c0, i64 c1) {
    using I = index_t<A>;
    const Axis& a = g.last();
    const i64 out = c1 - c0, *const starts = a.starts + window * a.plane_stride + c0;
    for (i64 next = 0; next < out; next += L) {
      const i64 j = std::min(next, out - L);
      vec<I> place{};
      bool near = true;
      for (i64 l = 0; l < L; ++l) {
        const i64 apart = starts[j + l] - starts[j];
        place[l] = I(apart), near &= apart >= 0 && apart < 2 * L;
      }
      Row row = block + (starts[j] - origin), dst = to.row + j;
      for (i64 i = 0; i < n; ++i, row = row + pitch, dst = dst + to.pitch) {
        if (!near) {
          for (i64 l = 0; l < L; ++l) reduce_run<C>(dst, l, block + (i * pitch + starts[j + l] - origin), a.kernel);
          continue;
        }
        auto low = C::get(row, 0), high = C::get(row, L);
        for (i64 t = 1; t < a.kernel; ++t) low = C::join(low, C::get(row, t)), high = C::join(high, C::get(row, L + t));
        C::put(dst, 0, {elements<A>(low.v, high.v, place)});
      }
    }
  }

  Rows<Plain<i64, Sum>> spans_;
  Rows<C> spare_, turned_, halved_[2];
  Picks<C> picks_;
  Doubling<C> doubled_;
  Gather<C> gather_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

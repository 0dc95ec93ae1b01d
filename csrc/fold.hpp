// The forward loops. A pooling is folded axis by axis, the state carried from one axis to the next: slices into rows,
// rows into one row, that row into outputs. The same loops fold gradients over the transposed windows.
#pragma once

#include "divide.hpp"
#include "exec.hpp"
#include "stacks.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class C>
class Fold : public Stacks<C> {
 public:
  using A = typename C::A;
  using Row = typename C::Row;
  using Stacks<C>::L, Stacks<C>::g, Stacks<C>::source, Stacks<C>::target, Stacks<C>::source_end, Stacks<C>::target_end;

  int components = 1;
  Io<C>* io = nullptr;
  Divider<C>* divide = nullptr;  // with target: divide by the taps

  explicit Fold(const Grid& grid) : Stacks<C>(grid), last_axis_(grid) {}

  // Pieces of work: (plane, block of the first axis' outputs).
  static i64 block_length(const Grid& g) {
    const Axis& a = g.axes[0];
    if (g.rank == 3) return 1;
    i64 width = g.run;
    for (int i = 1; i < g.rank; ++i) width *= g.axes[i].size;
    const i64 step = a.kind == AxisKind::sliding ? a.stride : std::max<i64>(1, a.size / a.out);
    i64 rows = std::max<i64>(1, (i64(1) << 15) / std::max<i64>(1, width * step));
    // A block reads the overlap of its windows again: keep that a small part.
    const i64 reach = a.kind == AxisKind::adaptive ? 1 : std::min(longest(a) * a.dilation, a.size);
    rows = std::max(rows, 8 * ceil_div(std::max<i64>(0, reach - step), step));
    return std::min(rows, a.out);
  }
  static i64 blocks(const Grid& g) { return ceil_div(g.axes[0].out, block_length(g)); }

  void units(i64 begin, i64 end) {
    if (g.rank == 1 && g.run == 1 && g.axes[0].out == 1 && source != nullptr && target != nullptr) {
      const Interval taps = interval(g.axes[0], 0, 0);
      if (step_of(g.axes[0]) == 1 && g.axes[0].plane_stride == 0) {
        const bool gapless = g.planes_rank == 1 && g.plane_dst[0] == 1;
        const bool segments = gapless && taps.n >= L && in_segments<C>(taps.n);
        if (segments)
          reduce_rows<C>(raw(target + begin), raw(source + (begin * g.plane_src[0] + taps.start * g.src[0])),
                         g.plane_src[0], taps.n, end - begin);
        for (i64 p = segments ? end : begin; p < end; ++p) {
          const Place plane = place(g, p);
          reduce_run<C>(raw(target + plane.dst), 0, raw(source + (plane.src + taps.start * g.src[0])), taps.n);
          if (divide != nullptr && !gapless) (*divide)(target + plane.dst, 1, plane, 0, 0, 1, 0, 1);
        }
        if (divide != nullptr && gapless) (*divide)(target + begin, 1, place(g, begin), 0, 0, end - begin, 0, 1);
        return;
      }
    }
    if (global_blocks(begin, end) || planes_through_io(begin, end) || slices_in_pairs(begin, end)) return;
    if (source == nullptr || target == nullptr || !together() || !planes_together(begin, end))
      for (i64 u = begin; u < end; ++u) unit(u);
  }

 private:
  using typename Stacks<C>::Stack;
  using Stacks<C>::far, Stacks<C>::gather_, Stacks<C>::whole_from_, Stacks<C>::whole_to_;
  using Stacks<C>::whole_windows, Stacks<C>::raw, Stacks<C>::line_taps, Stacks<C>::use_in_place, Stacks<C>::stacked;
  using Stacks<C>::ask_for_slices, Stacks<C>::pairs_at, Stacks<C>::pair;

  void unit(i64 index) {
    const i64 per_plane = blocks(g), length = block_length(g);
    const Place plane = place(g, index / per_plane);
    const i64 begin = index % per_plane * length, end = std::min(begin + length, g.axes[0].out);
    if (g.rank == 1) {
      columns(plane, 0, 0, 1, begin, end);
    } else if (g.rank == 2) {
      rows(plane, 0, begin, end);
    } else {
      for (i64 d = begin; d < end; ++d) rows(plane, d, 0, g.axes[1].out);
    }
  }

  void rows(const Place& plane, i64 slice, i64 begin, i64 end) {
    const Axis& a = g.last();
    // Wide rows go through in pieces that stay near the core.
    i64 piece = a.out;
    if (a.kind == AxisKind::sliding) {
      const i64 fits = std::max<i64>(1, (i64(1) << 14) / (a.stride * g.run));
      piece = std::min(a.out, std::max(fits, 4 * ceil_div(std::min(a.kernel, a.size) * a.dilation, a.stride)));
    }
    for (i64 c = 0; c < a.out; c += piece) columns(plane, slice, begin, end, c, std::min(c + piece, a.out));
  }

  // Outputs [r0, r1) of the row axis and [c0, c1) of the last one.
  void columns(const Place& plane, i64 slice, i64 r0, i64 r1, i64 c0, i64 c1) {
    const int R = g.rank;
    row_base_ = r0, rows_in_block_ = r1 - r0;
    const Axis& last = g.last();
    const Span cols = span(last, c0, c1, plane.window);
    const i64 width = (cols.to - cols.from) * g.run, lead = (cols.from - cols.origin) * g.run;
    const i64 pitch = cols.size * g.run;

    Interval all_slices{0, 1};
    i64 slice_step = 1;
    if (R == 3) all_slices = interval(g.axes[0], slice, plane.window), slice_step = step_of(g.axes[0]);
    Span lines{0, 1, 0, 1};
    if (R >= 2) lines = span(g.axes[R - 2], r0, r1, plane.window);

    if (io != nullptr) {
      Spot spot{plane, {}};
      i64 to[3] = {};
      int k = 0;
      if (R == 3) spot.pos[k] = all_slices.start, to[k++] = all_slices.start + (all_slices.n - 1) * slice_step + 1;
      if (R >= 2) spot.pos[k] = lines.from, to[k++] = lines.to;
      spot.pos[k] = cols.from, to[k] = cols.to;
      io->begin(spot, to);
    }

    const i64 fits = (i64(1) << 11) / std::max<i64>(1, pitch);
    const i64 group = std::max<i64>(1, std::min(r1 - r0, LastAxis<C>::in_turned_rows(g, c0, c1, r1 - r0) ? L : fits));
    for (int component = 0; component < components; ++component) {
      Interval slices = all_slices;
      Row first;  // row (slices.start, lines.from), existing columns only
      i64 slice_pitch, line_pitch;
      if (source != nullptr) {
        i64 at = plane.src + cols.from * g.src[R - 1];
        if (R >= 2) at += lines.from * g.src[R - 2];
        if (R == 3) at += slices.start * g.src[0];
        first = raw(source + at);
        slice_pitch = R == 3 ? g.src[0] * slice_step : 0, line_pitch = R >= 2 ? g.src[R - 2] : 0;
        if (R == 3) ask_for_slices(first);
      } else {
        line_pitch = width, slice_pitch = width * (lines.to - lines.from);
        first = loaded_.take(slice_pitch * slices.n);
        const bool gapless = R >= 2 && io->takes_blocks() && cols.to - cols.from == last.size &&
                             g.src[R - 1] == g.run && g.src[R - 2] == last.size * g.run;
        const i64 lines_at_once = gapless ? lines.to - lines.from : 1;
        for (i64 d = 0; d < slices.n; ++d)
          for (i64 h = lines.from; h < lines.to; h += lines_at_once) {
            Spot spot{plane, {}};
            int k = 0;
            if (R == 3) spot.pos[k++] = slices.start + d * slice_step;
            if (R >= 2) spot.pos[k++] = h;
            spot.pos[k] = cols.from;
            io->load(component, spot, (cols.to - cols.from) * lines_at_once,
                     first + (d * slice_pitch + (h - lines.from) * line_pitch));
          }
      }

      i64 row_taps = 1;
      if (R >= 2) row_taps = longest(g.axes[R - 2]);
      if (direct(slices.n, lines, r1 - r0, cols, c1 - c0)) {
        const Stack stack{first, slices.n, slice_pitch, line_pitch, lines.from, width, plane.window, source != nullptr};
        for (i64 r = r0; r < r1; ++r) windows(stack, plane, slice, r, c0, c1, cols.from, component);
        continue;
      }
      bool sliced = false;
      // Slices first, where that takes fewer joins: not where there are lines that no window needs.
      if (slices.n > 1 && slices.n * row_taps > 8 && (r1 - r0) * row_taps > lines.to - lines.from) {
        const Row out = sliced_.take(width * (lines.to - lines.from));
        for (i64 h = 0; h < lines.to - lines.from; ++h) {
          const Row top = first + h * line_pitch;
          const i64 reach = (slices.n - 1) * slice_pitch + width + L;
          const bool spills = source == nullptr || top.v + reach <= source_end;
          gather_.rows(out + h * width, top, slice_pitch, slices.n, width, spills ? Tail::spill : Tail::exact);
        }
        first = out, line_pitch = width, slice_pitch = 0, slices.n = 1, sliced = true;
      }

      // Planes may lie before the source's first element, where strides are negative.
      const bool from_memory = source != nullptr && !sliced;
      // Tall overlapping windows: every window start at once, by doubling.
      const bool tall = R >= 2 && row_taps > 8 && regular(g.axes[R - 2], r0, r1) &&
                        row_taps >= 3 * g.axes[R - 2].stride && slices.n == 1;
      Row window_rows;
      i64 window_stride = 0, tall_rows = r1 - r0;  // of which so many are made at a time
      const bool in_blocks = tall && g.axes[R - 2].dilation == 1 && width >= L;
      if (in_blocks) {
        // Whole ones of van Herk's blocks.
        const i64 k = g.axes[R - 2].kernel;
        tall_rows = std::min(tall_rows, k * std::max<i64>(1, (i64(3) << 14) / (k * width)));
        window_rows = tall_.take(tall_rows * width);
        window_stride = width;
      } else if (tall) {
        const Axis& a = g.axes[R - 2];
        const Row x = tall_.take(lines.size * width);
        C::clear(x, (lines.from - lines.origin) * width);
        for (i64 h = lines.from; h < lines.to; ++h) {
          const Row from = first + (h - lines.from) * line_pitch;
          merge<C>(x + (h - lines.origin) * width, &from, 1, width, Tail::exact);
        }
        C::clear(x + (lines.to - lines.origin) * width, (lines.origin + lines.size - lines.to) * width);
        window_rows = tall_doubled_.windows(x, width * a.dilation, a.kernel, lines.size * width);
        window_stride = a.stride * width;
      }

      const Stack stack{first, slices.n, slice_pitch, line_pitch, lines.from, width, plane.window, from_memory};
      const Row block = padded_rows(lead, width, pitch, group);
      const Paired pairs = tall ? Paired{} : pairs_at(slices.n, c0, c1);
      for (i64 r = r0, n = 0; r < r1; r += n) {
        n = std::min(group, r1 - r);
        if (in_blocks) {
          const Axis& a = g.axes[R - 2];
          const i64 made = (r - r0) % tall_rows, origin = lines.origin + (r - r0) * a.stride;
          if (made == 0)
            tall_windows<C>(window_rows, width, first, line_pitch, lines.from - origin, lines.to - origin, a.kernel,
                            a.stride, std::min(tall_rows, r1 - r), width, spare_.take(a.kernel * 4 * L));
          n = std::min(n, tall_rows - made);
        }
        if (pairs.fits) {
          if (r >= whole_from_ && r < whole_to_) {
            n = std::min(n, whole_to_ - r);
            const Lines<C> to = output(plane, slice, r, c0, c1, component);
            pair(stack, to, r, n, pairs);
            divided(to, plane, slice, r, n, c0, c1);
            continue;
          }
          if (r < whole_from_) n = std::min(n, whole_from_ - r);
        }
        Row from = block;
        if (tall) {
          const Row top = window_rows + (r - r0) % tall_rows * window_stride;
          if (width == pitch && n == 1)
            from = top;
          else
            merge_rows<C>(block + lead, pitch, &top, window_stride, 1, n, width, width < L ? Tail::blank : Tail::exact);
        } else if (!(n == 1 && width == pitch && use_in_place(stack, r, from))) {
          stacked(stack, block + lead, pitch, r, n);
        }
        outputs(plane, slice, r, n, c0, c1, cols, from, pitch, component);
      }
    }
    if (target == nullptr) {
      const i64 n = (c1 - c0) * g.run;
      const bool gapless = R >= 2 && io->takes_blocks() && c1 - c0 == last.out && g.dst[R - 1] == g.run &&
                           g.dst[R - 2] == last.out * g.run;
      const i64 rows_at_once = gapless ? r1 - r0 : 1;
      for (i64 r = r0; r < r1; r += rows_at_once) {
        Row parts[2];
        for (int k = 0; k < components; ++k) parts[k] = folded_[k].take(0) + (r - r0) * n;
        Spot spot{plane, {}};
        if (gapless) spot.columns = c1 - c0;
        int k = 0;
        if (R == 3) spot.pos[k++] = slice;
        if (R >= 2) spot.pos[k++] = r;
        spot.pos[k] = c0;
        io->finish(parts, spot, (c1 - c0) * rows_at_once);
      }
    }
  }

  // Memory for rows of width states between the identity: lead of it before, the rest of the pitch after.
  Row padded_rows(i64 lead, i64 width, i64 pitch, i64 rows) {
    const Row block = padded_.take(rows * pitch);
    const i64 shape[4] = {lead, width, pitch, rows};
    if (width < pitch && !std::equal(shape, shape + 4, padding_)) {
      // Later planes of the same shape leave the identity where it is.
      C::clear(block, rows * pitch);
      std::copy(shape, shape + 4, padding_);
    }
    return block;
  }

  // Slices one after the other whose windows all are pairs.
  bool slices_in_pairs(i64 begin, i64 end) {
    if (g.rank != 3 || source == nullptr || target == nullptr) return false;
    const Axis &deep = g.axes[0], &wide = g.axes[2];
    const i64 rows = g.axes[1].out, out = wide.out, per_plane = deep.out;
    i64 from = 0, to = 0;
    whole_windows(deep, from, to);
    if (from > 0 || to < per_plane || whole_from_ > 0 || whole_to_ < rows || wide.stride * out > i64(1) << 14)
      return false;
    const Paired pairs = pairs_at(deep.kernel, 0, out);
    if (!pairs.fits) return false;
    Place plane = place(g, begin / per_plane);
    for (i64 u = begin, d = begin % per_plane; u < end; ++u, ++d) {
      if (d == per_plane) plane = place(g, u / per_plane), d = 0;
      const Row first = raw(source + plane.src + d * deep.stride * g.src[0]);
      ask_for_slices(first);
      const Stack stack{first, deep.kernel, deep.dilation * g.src[0], g.src[1], 0, wide.size, plane.window, true};
      const Lines<C> lines = output(plane, d, 0, 0, out, 0);
      pair(stack, lines, 0, rows, pairs);
      divided(lines, plane, d, 0, rows, 0, out);
    }
    return true;
  }

  // Whether outputs are taken straight from their taps.
  bool direct(i64 slices, const Span& lines, i64 rows, const Span& cols, i64 out) const {
    if (g.run < L) return false;
    const double taps[3] = {double(slices), g.rank >= 2 ? double(longest(g.axes[g.rank - 2])) : 1.0,
                            double(longest(g.last()))};
    const double fresh[3] = {1, double(lines.size) / rows, double(cols.size) / out};
    return direct_pays<C>(g.rank, g.run, taps, fresh);
  }
  // Outputs [c0, c1) of row r.
  void windows(const Stack& s, const Place& plane, i64 slice, i64 r, i64 c0, i64 c1, i64 col_from, int component) {
    const Axis& a = g.last();
    const i64 run = g.run, step = step_of(a);
    const Lines<C> to = output(plane, slice, r, c0, c1, component);
    const Interval lines = line_taps(s, r);
    const Row top = s.first + lines.start * s.line_pitch;
    const i64 line_step = g.rank >= 2 ? step_of(g.axes[g.rank - 2]) * s.line_pitch : 0;
    i64 whole_from = 0, whole_to = 0;
    if (a.kind == AxisKind::sliding) whole_windows(a, whole_from, whole_to);
    for (i64 j = c0; j < c1;) {
      const Interval taps = interval(a, j, plane.window);
      const i64 alike = j >= whole_from && j < whole_to ? std::min(c1, whole_to) - j : 1;
      gather_.windows(to.row + (j - c0) * run, top + (taps.start - col_from) * run,
                      {{s.slices, lines.n, taps.n}, {s.slice_pitch, line_step, step * run}}, a.stride * run, alike, run,
                      Tail::exact, s.from_memory && source_end - source >= far);
      j += alike;
    }
    divided(to, plane, slice, r, 1, c0, c1);
  }

  // One window a plane, planes without a gap, through io: many planes are loaded and finished in one go.
  bool global_blocks(i64 begin, i64 end) {
    const Axis& a = g.axes[0];
    if (g.rank != 1 || g.run != 1 || a.out != 1 || io == nullptr || !io->takes_blocks() || a.plane_stride != 0 ||
        !whole(a) || g.planes_rank != 1 || g.src[0] != 1 || g.plane_src[0] != a.size || g.plane_dst[0] != 1)
      return false;
    const i64 most = std::max<i64>(1, 4096 / a.size);
    for (i64 p = begin; p < end; p += most) {
      const i64 n = std::min(most, end - p);
      Spot spot{place(g, p), {}};
      spot.columns = 1;
      const i64 to[3] = {n * a.size, 0, 0};
      io->begin(spot, to);
      Row parts[2];
      for (int k = 0; k < components; ++k) {
        const Row in = loaded_.take(n * a.size);
        parts[k] = folded_[k].take(n);
        io->load(k, spot, n * a.size, in);
        i64 q = 0;
        if (in_segments<C>(a.size)) reduce_rows<C>(parts[k], in, a.size, a.size, q = n);
        for (; q < n; ++q) reduce_run<C>(parts[k], q, in + q * a.size, a.size);
        if (divide != nullptr) (*divide)(parts[k].v, 1, spot.plane, 0, 0, n, 0, 1);
      }
      io->finish(parts, spot, n);
    }
    return true;
  }

  // Small planes go together: their rows fill one block, and one call turns them into outputs.
  bool together() const {
    return g.rank == 2 && g.run == 1 && g.planes_rank == 1 && blocks(g) == 1 &&
           g.plane_dst[0] == g.axes[0].out * g.dst[0] && g.axes[0].kind != AxisKind::starts &&
           g.axes[1].kind != AxisKind::starts && g.axes[0].out * g.axes[1].out <= 2048;
  }
  // Output rows with the same taps, the first of which lies at line `line`; found once for all planes.
  struct Piece {
    i64 row, rows, line, taps;
  };
  static constexpr i64 most_pieces = 32;
  Piece pieces_[most_pieces];
  // How many there are; 0: too many, or of too many taps.
  i64 find_pieces(i64 line_from) {
    i64 n = 0;
    for (i64 r = 0; r < g.axes[0].out;) {
      const Interval taps = interval(g.axes[0], r, 0);
      if (n == most_pieces || taps.n == 0 || taps.n > 8) return 0;
      const i64 alike = r >= whole_from_ && r < whole_to_ ? whole_to_ - r : 1;
      pieces_[n++] = {r, alike, taps.start - line_from, taps.n};
      r += alike;
    }
    return n;
  }
  // The joined rows of `planes` planes. A piece goes through plane by plane or, where it has fewer rows, row by row.
  void join_pieces(i64 pieces, Row dst, i64 pitch, Row first, i64 planes, i64 width) {
    const i64 down = g.axes[0].stride * g.src[0], step = step_of(g.axes[0]) * g.src[0];
    const i64 plane_dst = g.axes[0].out * pitch, plane_src = g.plane_src[0];
    const Tail tail = width < L ? Tail::blank : Tail::exact;
    // A vector that ends beyond the next row's padding has to be written before that row.
    const bool any_order = width >= L || L <= pitch;
    for (i64 q = 0; q < planes; q = any_order ? planes : q + 1)
      for (i64 i = 0; i < pieces; ++i) {
        const Piece& piece = pieces_[i];
        Row from[8];
        for (i64 t = 0; t < piece.taps; ++t) from[t] = first + (q * plane_src + piece.line * g.src[0] + t * step);
        const Row to = dst + (q * plane_dst + piece.row * pitch);
        const i64 here = any_order ? planes : 1;
        const bool by_row = piece.rows < here;
        const i64 outer = by_row ? piece.rows : here, inner = by_row ? here : piece.rows;
        for (i64 k = 0; k < outer; ++k) {
          const i64 s = k * (by_row ? down : plane_src);
          Row at[8];
          for (i64 t = 0; t < piece.taps; ++t) at[t] = from[t] + s;
          merge_rows<C>(to + k * (by_row ? pitch : plane_dst), by_row ? plane_dst : pitch, at,
                        by_row ? plane_src : down, int(piece.taps), inner, width, tail);
        }
      }
  }
  // The same through io, where planes have no gap.
  bool planes_through_io(i64 begin, i64 end) {
    const i64 cells = g.axes[0].size * g.axes[g.rank - 1].size, out = g.axes[0].out * g.axes[g.rank - 1].out;
    if (io == nullptr || components > 1 || !io->takes_planes() || !together() || g.src[1] != 1 || g.dst[1] != 1 ||
        g.src[0] != g.axes[1].size || g.plane_src[0] != cells || g.dst[0] != g.axes[1].out)
      return false;
    const i64 most = std::max<i64>(1, (i64(1) << 12) / cells);
    for (i64 p = begin; p < end; p += most) {
      const i64 n = std::min(most, end - p);
      const Spot spot{place(g, p), {}};
      const Row in = loaded_.take(n * cells), to = folded_[0].take(n * out);
      io->load(0, spot, n * cells, in);
      source = in.v, source_end = in.v + (n * cells + 4 * L);
      target = to.v, target_end = to.v + n * out;
      const bool done = planes_together(0, n);
      source = target = target_end = nullptr, source_end = nullptr;
      if (!done) return false;
      io->finish(&to, spot, n * out);
    }
    return true;
  }
  bool planes_together(i64 begin, i64 end) {
    const i64 rows = g.axes[0].out, out = g.axes[1].out;
    const Span cols = span(g.axes[1], 0, out, 0), lines = span(g.axes[0], 0, rows, 0);
    const i64 width = cols.to - cols.from, lead = cols.from - cols.origin, pitch = cols.size;
    if (rows * pitch > 4096) return false;
    const i64 batch = std::max<i64>(1, 2048 / (rows * pitch));
    row_base_ = 0, rows_in_block_ = rows;
    const Row block = padded_rows(lead, width, pitch, rows * batch);
    const Paired pairs = whole_from_ == 0 && whole_to_ >= rows ? pairs_at(1, 0, out) : Paired{};
    const i64 pieces = find_pieces(lines.from);
    // Larger planes are better read in the order in which they lie.
    const i64 planes_at_once = std::clamp<i64>(1024 / std::max<i64>(1, std::abs(g.plane_src[0])), 1, 16);
    for (i64 p = begin; p < end; p += batch) {
      const i64 n = std::min(batch, end - p);
      const Row first = raw(source + p * g.plane_src[0] + lines.from * g.src[0] + cols.from);
      const Place plane{p * g.plane_src[0], p * g.plane_dst[0], p};
      if (pairs.fits) {
        for (i64 k = 0; k < n; ++k) {
          const Stack stack{first + k * g.plane_src[0], 1, 0, g.src[0], lines.from, width, p + k, true};
          pair(stack, {raw(target + (p + k) * g.plane_dst[0]), g.dst[0]}, 0, rows, pairs);
        }
        divided(output(plane, 0, 0, 0, out, 0), plane, 0, 0, n * rows, 0, out);
        continue;
      }
      i64 k = pieces == 0 ? 0 : n;
      // A row shorter than a vector is read as one, and planes may lie backwards.
      const i64 reach = std::max<i64>(0, (lines.to - lines.from - 1) * g.src[0]) + L;
      const auto fits = [&](i64 q) { return first.v + (q * g.plane_src[0] + reach) <= source_end; };
      while (k > 0 && width < L && !(fits(0) && fits(k - 1))) --k;
      for (i64 q = 0; q < k; q += planes_at_once)
        join_pieces(pieces, block + (q * rows * pitch + lead), pitch, first + q * g.plane_src[0],
                    std::min(planes_at_once, k - q), width);
      for (; k < n; ++k) {
        const Stack stack{first + k * g.plane_src[0], 1, 0, g.src[0], lines.from, width, p + k, true};
        stacked(stack, block + (k * rows * pitch + lead), pitch, 0, rows);
      }
      outputs(plane, 0, 0, n * rows, 0, out, cols, block, pitch, 0);
    }
    return true;
  }

  // Where row r of outputs [c0, c1) goes.
  Lines<C> output(const Place& plane, i64 slice, i64 r, i64 c0, i64 c1, int component) {
    const int R = g.rank;
    const i64 len = (c1 - c0) * g.run;
    if (target == nullptr) return {folded_[component].take(len * rows_in_block_) + (r - row_base_) * len, len};
    i64 at = plane.dst + c0 * g.dst[R - 1];
    if (R >= 2) at += r * g.dst[R - 2];
    if (R == 3) at += slice * g.dst[0];
    return {raw(target + at), R >= 2 ? g.dst[R - 2] : 0};
  }
  void divided(const Lines<C>& o, const Place& plane, i64 slice, i64 r, i64 n, i64 c0, i64 c1) {
    if (divide != nullptr) (*divide)(o.row.v, o.pitch, plane, slice, r, n, c0, c1);
  }

  // From padded rows to outputs [c0, c1) of rows r .. r + n.
  void outputs(const Place& plane, i64 slice, i64 r, i64 n, i64 c0, i64 c1, const Span& cols, Row block, i64 pitch,
               int component) {
    const Lines<C> to = output(plane, slice, r, c0, c1, component);
    last_axis_(to, target != nullptr ? target_end : nullptr, {block, pitch}, cols, plane.window, n, c0, c1);
    divided(to, plane, slice, r, n, c0, c1);
  }

  Rows<C> loaded_, sliced_, tall_, padded_, spare_, folded_[2];
  Doubling<C> tall_doubled_;
  LastAxis<C> last_axis_;
  i64 padding_[4] = {-1, 0, 0, 0};
  i64 row_base_ = 0, rows_in_block_ = 1;
};

}  // namespace poolkit::POOLKIT_ISA_NS

// Which tap a maximum or minimum was: looked for after the fold, plane by plane while the plane is in cache. Values
// alone go through the fold, and neither size of window nor type of position slows it down.
#pragma once

#include "blocks.hpp"
#include "intervals.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// A part of a call: samples n0 ..., channels c0 ...
static inline View part_of(View v, i64 n0, i64 samples, i64 c0, i64 channels, i64 itemsize) {
  v.data = static_cast<char*>(v.data) + (n0 * v.stride[0] + c0 * v.stride[1]) * itemsize;
  v.shape[0] = samples, v.shape[1] = channels;
  return v;
}

static inline Problem problem_of_part(Problem pr, i64 first_plane) {
  for (int i = 0; i < pr.rank; ++i)
    if (pr.axes[i].kind == AxisKind::starts) pr.axes[i].starts += first_plane * pr.axes[i].plane_stride;
  return pr;
}

static inline i64 itemsize_of(DType t) {
  static constexpr i64 sizes[] = {4, 8, 2, 2, 1, 1, 2, 4, 8};
  return sizes[int(t)];
}

// Calls fn(problem, x, y, offsets, indices, exec) for parts of a call that stay in the second cache. The two last views
// may be missing, and may be any of y's shape.
template <class Fn>
static void each_part(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                      const Exec& exec, Fn&& fn) {
  constexpr i64 bytes = i64(1) << 18;
  const i64 N = x.shape[0], C = x.shape[1], item = itemsize_of(x.dtype);
  i64 plane = item;
  for (int i = 0; i < pr.rank; ++i) plane *= x.shape[2 + i];
  const bool whole_samples = x.stride[1] == 1 || plane * C <= bytes;
  const i64 samples = whole_samples ? std::max<i64>(1, bytes / (plane * C)) : 1;
  const i64 channels = whole_samples ? C : std::max<i64>(1, bytes / plane);
  const i64 per_sample = (C + channels - 1) / channels, parts = (N + samples - 1) / samples * per_sample;
  if (parts == 1) return fn(pr, x, y, offsets, indices, exec);
  parallel(exec, parts, 1, [&](i64 begin, i64 end) {
    for (i64 part = begin; part < end; ++part) {
      const i64 n0 = part / per_sample * samples, c0 = part % per_sample * channels;
      const i64 n = std::min(samples, N - n0), c = std::min(channels, C - c0);
      const auto cut = [&](const View& v) { return part_of(v, n0, n, c0, c, itemsize_of(v.dtype)); };
      const View off = offsets ? cut(*offsets) : View{}, idx = indices ? cut(*indices) : View{};
      fn(problem_of_part(pr, n0 * C + c0), cut(x), cut(y), offsets ? &off : nullptr, indices ? &idx : nullptr, Exec{});
    }
  });
}

// What the last axis gave already, when x holds its extremes: where in its window each of them was, as int32.
struct AlongLast {
  const View& places;
  const Axis& axis;
};

// The first tap in row-major order that is y, or the first NaN where y is one. Magnitude: that is y but for its sign.
template <class T, bool Magnitude>
static void find_chosen(const Problem& pr, View x, View y, const View* offsets_, const View* indices_, const Exec& exec,
                        const AlongLast* done = nullptr) {
  using A = whole_t<T>;
  using V = vec<A>;
  using I = index_t<A>;
  constexpr int L = lanes<A>;
  using Bytes = vec<std::uint8_t, L>;
  const int R = pr.rank;
  View offsets = offsets_ ? *offsets_ : View{}, indices = indices_ ? *indices_ : View{};
  View places = done ? done->places : View{};
  Views views;
  views.add(x), views.add(y), views.add(offsets), views.add(indices), views.add(places);
  bool starts = false;
  for (int i = 0; i < R; ++i) starts |= pr.axes[i].kind == AxisKind::starts;
  if (!starts) views.join_planes();
  const Blocks blocks(pr, x, y, L, most_vectors);
  i64 box[3] = {1, 1, 1};
  for (int i = 0; i < R; ++i) box[i] = longest(pr.axes[i]);
  const T* const end = static_cast<const T*>(x.data) + end_of(x, R);
  const T* const y_end = static_cast<const T*>(y.data) + end_of(y, R);
  const std::int32_t* const places_end = static_cast<const std::int32_t*>(places.data) + end_of(places, R);
  const i64 channels = y.shape[1];
  const bool same_places = !done || done->axis.plane_stride == 0;
  const i64 side = done ? longest(done->axis) : 1;
  parallel(exec, blocks.units(), unit_grain(pr, y, blocks), [&](i64 from, i64 to) {
    TapTables tables;
    const Taps* of_form = nullptr;
    const auto form = [&](const Blocks::Place& p) { of_form = &tables.find(pr, x, places, p, box); };
    for (i64 unit = from; unit < to; ++unit)
      blocks.each(unit, true, form, [&](const Blocks::Place& p) {
        const Taps& taps = *of_form;
        i64 first[3] = {}, cell = 0;
        for (int i = 0; i < R; ++i) first[i] = p.box[i].start, cell = cell * pr.axes[i].size + first[i];
        const T* const at = static_cast<const T*>(x.data) + place_of(x, R, p.n, p.c, first);
        const i64 stride = p.step * x.stride[p.lane];
        T* const to = static_cast<T*>(y.data) + place_of(y, R, p.n, p.c, p.o);
        const V wanted = gather<A>(to, y.stride[p.lane], p.count, y_end);
        // From the last tap back to the first: the first one found is the one that stays, and is what y is.
        V value = wanted;
        vec<I> found{}, along{};
        const std::int32_t* const place =
            done == nullptr ? nullptr
                            : static_cast<const std::int32_t*>(places.data) + place_of(places, R, p.n, p.c, first);
        const i64 place_stride = p.step * places.stride[p.lane];
        const auto search = [&](auto&& get, auto&& is) {
          for (i64 t = taps.n - 1; t >= 0; --t) {
            const V v = get(at + taps.shift[t]), size = Magnitude ? (v < V{} ? -v : v) : v;
            found = is(size) ? vec<I>{} + I(t) : found;
            if constexpr (!Magnitude) value = is(size) ? v : value;
            if (done != nullptr)
              along = is(size) ? gather<I>(place + taps.second[t], place_stride, p.count, places_end) : along;
          }
        };
        const auto equal = [&](V v) { return v == wanted; };
        const auto any = [&](const T* q) { return gather<A>(q, stride, p.count, end); };
        if (any_lane(wanted != wanted))
          search(any, [&](V v) { return (v == wanted) | ((v != v) & (wanted != wanted)); });
        else if (std::is_same_v<A, T> && stride == 1 && at + taps.furthest + L <= end)
          search([](const T* q) { return load<V>(reinterpret_cast<const A*>(q)); }, equal);
        else
          search(any, equal);
        if constexpr (!Magnitude) scatter<A>(to, y.stride[p.lane], p.count, value);
        if (offsets.data != nullptr) {
          const i64 off = place_of(offsets, R, p.n, p.c, p.o), next = offsets.stride[p.lane];
          const vec<I> number = found * I(side) + along;
          if (taps.whole && offsets.dtype == DType::u8 && next == 1 && p.count == L) {
            store(static_cast<std::uint8_t*>(offsets.data) + off, __builtin_convertvector(number, Bytes));
          } else {
            I tap[L], last[L];
            store(tap, found), store(last, along);
            for (i64 l = 0; l < p.count; ++l) put_offset(offsets, off + l * next, taps.offset[tap[l]] * side + last[l]);
          }
        }
        if (indices.data != nullptr) {
          I tap[L], last[L];
          store(tap, found), store(last, along);
          i64* const to_index = static_cast<i64*>(indices.data) + place_of(indices, R, p.n, p.c, p.o);
          for (i64 l = 0; l < p.count; ++l) {
            i64 at_cell = cell + l * p.cell_step + taps.position[tap[l]];
            if (done != nullptr) {
              // From the plane of extremes, one for each window of the last axis, to the plane of cells.
              const i64 window = at_cell % done->axis.out;
              at_cell = at_cell / done->axis.out * done->axis.size +
                        interval(done->axis, window, same_places ? 0 : p.n * channels + p.c).start +
                        last[l] * step_of(done->axis);
            }
            to_index[l * indices.stride[p.lane]] = at_cell;
          }
        }
      });
  });
}

// Whether every window is looked through by itself: those that lie far apart share no vectors with their neighbours.
static inline bool windows_apart(const Problem& pr, const View& x) {
  const Axis& a = pr.axes[pr.rank - 1];
  const i64 step = a.out == 1 ? a.size : a.kind == AxisKind::sliding ? a.stride : a.size / a.out;
  return x.stride[1 + pr.rank] == 1 && x.stride[1] != 1 && step_of(a) == 1 && step > 2 && longest(a) >= 3;
}

// The first of n elements that is `wanted`, or a NaN where that is one; -1 for none.
template <class T>
static inline i64 first_equal(const T* p, i64 n, acc_t<T> wanted) {
  using A = acc_t<T>;
  if constexpr (std::is_floating_point_v<A>) {
    constexpr i64 L = lanes<A>;
    const bool nan = wanted != wanted;
    for (i64 from = 0; from < n; from += L) {
      const i64 count = std::min(L, n - from);
      vec<A> v;
      if constexpr (std::is_same_v<A, T>) {
        v = count == L ? load<vec<A>>(p + from) : load_first(p + from, count);
      } else {
        A lane[L] = {};
        widen_all(p + from, lane, count);
        v = load<vec<A>>(lane);
      }
      const i64 at = first_lane(nan ? v != v : v == vec<A>{} + wanted);
      if (at < count) return from + at;
    }
  } else {
    for (i64 k = 0; k < n; ++k)
      if (p[k] == wanted) return k;
  }
  return -1;
}

// As find_chosen, window by window and line by line; lines that a window has whole are one.
template <class T>
static void find_apart(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                       const Exec& exec) {
  const int R = pr.rank;
  // The missing axes come first, so that the last is always 2.
  i64 box[3] = {1, 1, 1}, size[3] = {1, 1, 1}, step[3] = {1, 1, 1}, pitch[3] = {};
  i64 y_step[3] = {}, tag_step[3] = {}, index_step[3] = {};
  for (int i = 0; i < R; ++i) {
    const int k = 3 - R + i;
    box[k] = longest(pr.axes[i]), size[k] = x.shape[2 + i], step[k] = step_of(pr.axes[i]);
    pitch[k] = x.stride[2 + i], y_step[k] = y.stride[2 + i];
    if (offsets != nullptr) tag_step[k] = offsets->stride[2 + i];
    if (indices != nullptr) index_step[k] = indices->stride[2 + i];
  }
  const bool joined = box[2] == size[2] && pitch[1] == size[2] && step[1] == 1;
  i64 outs = 1;
  for (int i = 0; i < R; ++i) outs *= y.shape[2 + i];
  const i64 C = x.shape[1], grain = std::max<i64>(1, whole_grain / std::max<i64>(1, outs * box[0] * box[1]));
  parallel(exec, x.shape[0] * C, grain, [&](i64 begin, i64 end) {
    Intervals windows(pr);
    for (i64 plane = begin; plane < end; ++plane) {
      windows.turn_to(plane);
      const i64 n = plane / C, c = plane % C;
      const auto first = [&](const View& v) { return n * v.stride[0] + c * v.stride[1]; };
      const T* const cells = static_cast<const T*>(x.data) + first(x);
      T* const values = static_cast<T*>(y.data) + first(y);
      const i64 tags = offsets != nullptr ? first(*offsets) : 0, places = indices != nullptr ? first(*indices) : 0;
      const auto cell_of = [&](i64 slice, i64 line) { return (slice * size[1] + line) * size[2]; };
      const auto window = [&](i64 a, i64 b, i64 j) {
        const Interval kd = windows[0][a], kh = windows[1][b], kw = windows[2][j];
        const bool one_line = joined && kw.n == size[2];
        const i64 lines = one_line ? 1 : kh.n, length = one_line ? kh.n * kw.n : kw.n;
        T* const to = values + a * y_step[0] + b * y_step[1] + j * y_step[2];
        const acc_t<T> wanted = widen(*to);
        // The slice and line that it is in, and where in that.
        i64 slice = 0, line = 0, at = -1;
        const T* found = to;
        for (i64 d = 0; d < kd.n && at < 0; ++d)
          for (i64 h = 0; h < lines && at < 0; ++h) {
            const i64 row = kd.start + d * step[0], column = kh.start + h * step[1];
            const T* const p = cells + row * pitch[0] + column * pitch[1] + kw.start;
            at = first_equal(p, length, wanted);
            if (at >= 0) found = p + at, line = h, slice = d;
          }
        *to = *found;
        const i64 column = std::max<i64>(at, 0), tap = (slice * box[1] + line) * box[2] + column;
        if (offsets != nullptr) put_offset(*offsets, tags + a * tag_step[0] + b * tag_step[1] + j * tag_step[2], tap);
        if (indices != nullptr)
          static_cast<i64*>(indices->data)[places + a * index_step[0] + b * index_step[1] + j * index_step[2]] =
              at < 0 ? 0 : cell_of(kd.start + slice * step[0], kh.start + line * step[1]) + kw.start + column;
      };
      for (i64 a = 0; a < windows.out(0); ++a)
        for (i64 b = 0; b < windows.out(1); ++b)
          for (i64 j = 0; j < windows.out(2); ++j) window(a, b, j);
    }
  });
}

// Large windows axis by axis: the last axis' own extremes with their places in a line, then the first line among those.
// Looking costs the sum of the window's sides, as the fold does, and not their product.
static inline bool by_axis_pays(const Problem& pr) {
  i64 lines = 1;
  for (int i = 0; i + 1 < pr.rank; ++i) lines *= longest(pr.axes[i]);
  const i64 along = longest(pr.axes[pr.rank - 1]);
  constexpr i64 few = 16;
  return lines >= 2 && along >= 2 && lines * along >= few;
}

// A view like y in memory, over a Scratch.
template <class T>
static View dense_like(const View& y, int rank, bool channels_last, DType dtype, Scratch<T>& memory) {
  View v = y;
  i64 next = 1;
  const auto place = [&](int axis) { v.stride[axis] = next, next *= v.shape[axis]; };
  if (channels_last) place(1);
  for (int i = rank + 1; i >= 2; --i) place(i);
  if (!channels_last) place(1);
  place(0);
  v.data = memory.take(next), v.dtype = dtype;
  return v;
}

// fold(problem, x, y, exec, magnitude) gives the values.
template <class T, bool Magnitude, class FoldValues>
static void choose_by_axis(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                           const Exec& exec, FoldValues&& fold) {
  const int R = pr.rank, w = R - 1;
  const bool last = x.stride[1] == 1 && x.shape[1] > 1;
  const auto keep = [](i64 size) { return Axis{AxisKind::sliding, size, size, 1, 1, 0, 0, 1, nullptr, 0}; };
  Problem along = pr, up = pr;
  for (int i = 0; i < w; ++i) along.axes[i] = keep(pr.axes[i].size);
  up.axes[w] = keep(pr.axes[w].out);
  Scratch<T> line_memory;
  Scratch<std::int32_t> place_memory;
  View form = x;
  form.shape[2 + w] = pr.axes[w].out;
  const View lines = dense_like(form, R, last, x.dtype, line_memory);
  const View places = dense_like(form, R, last, DType::i32, place_memory);
  fold(along, x, lines, exec, std::bool_constant<Magnitude>{});
  find_chosen<T, Magnitude>(along, x, lines, &places, nullptr, exec);
  fold(up, lines, y, exec, std::false_type{});
  const AlongLast done{places, pr.axes[w]};
  find_chosen<T, false>(up, lines, y, offsets, indices, exec, &done);
}

}  // namespace poolkit::POOLKIT_ISA_NS

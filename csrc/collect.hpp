// The gradient of chosen taps the other way round: every cell collects from the windows that see it what they send to
// it. Vectors of cells beside each other, where the loop of route.hpp adds to one place after the other: for windows of
// few taps that follow each other cell by cell. Where outputs are fewer than cells, adding them one by one is quicker.
#pragma once

#include <atomic>

#include "back.hpp"
#include "blocks.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Which offsets are taps of a clipped window.
template <class A>
class Inside {
 public:
  using I = vec<index_t<A>>;

  explicit Inside(const i64 box[3]) : width_(box[2]), height_(box[1]), depth_(box[0]) {}
  index_t<A> taps() const { return index_t<A>(width_ * height_ * depth_); }
  bool whole(i64 d, i64 h) const { return d == depth_ && h == height_; }
  // Lanes that are not, of windows with n[i] taps along each axis, columns differing from lane to lane.
  auto wrong(I tap, i64 d, i64 h, I columns) const {
    const I row = divided(tap, width_), in_row = tap - row * index_t<A>(width_);
    if (depth_ == 1) return (in_row >= columns) | (row >= I{} + index_t<A>(h));
    const I slice = divided(row, height_), in_slice = row - slice * index_t<A>(height_);
    return (in_row >= columns) | (in_slice >= I{} + index_t<A>(h)) | (slice >= I{} + index_t<A>(d));
  }

 private:
  i64 width_, height_, depth_;
  // Exact for numbers of one byte.
  static I divided(I v, i64 by) { return by == 1 ? v : (v * index_t<A>(65536 / by + 1)) >> 16; }
};

// As three axes, the missing ones in front.
struct Sides {
  Axis axes[3] = {}, turned[3] = {};
  i64 box[3] = {1, 1, 1};
  i64 dx[3] = {}, dy[3] = {}, tags[3] = {};  // strides

  Sides(const Problem& pr, const View& cells, const View& grads, const View& offsets) {
    for (int i = 0; i < 3; ++i) turned[i] = transpose(axes[i], false);
    for (int i = 0; i < pr.rank; ++i) {
      const int k = 3 - pr.rank + i;
      axes[k] = pr.axes[i], turned[k] = transpose(pr.axes[i], false), box[k] = longest(pr.axes[i]);
      dx[k] = cells.stride[2 + i], dy[k] = grads.stride[2 + i], tags[k] = offsets.stride[2 + i];
    }
  }
  // Most windows that see one cell.
  double sharing() const {
    double n = 1;
    for (int i = 0; i < 3; ++i)
      n *= axes[i].kind == AxisKind::sliding ? double(ceil_div(axes[i].kernel, axes[i].stride))
                                             : 1 + double(box[i]) * double(axes[i].out) / double(axes[i].size);
    return n;
  }
};

// Cells side by side in a plane.
template <class T>
class CollectRows {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  using J = index_t<A>;
  using I = vec<J>;
  static constexpr i64 L = lanes<A>;

  static bool takes(const Sides& s, const View& dx, int rank) {
    for (int i = 0; i < 3; ++i)
      if (s.axes[i].kind != AxisKind::sliding || s.box[i] != s.axes[i].kernel) return false;
    constexpr double few = 12;
    return s.axes[2].stride == 1 && s.axes[2].out >= 4 && dx.stride[1 + rank] == 1 && s.sharing() <= few;
  }

  CollectRows(const Sides& sides, const View& grads, const View& cells, const View& offsets)
      : s(sides), dy(grads), dx(cells), tags(offsets), inside_(sides.box) {
    const Axis& a = s.axes[2];
    // A cell gets tap c of the window at its own column plus before - c * dilation.
    const i64 low = a.before - (a.kernel - 1) * a.dilation;
    front_ = std::max<i64>(0, -low);
    pitch_ = front_ + std::max(a.out, a.size + a.before) + L;
    skip_ = skip_memory_.take(2 * (a.out + L));
    taps_ = skip_ + a.out + L;
    full_[0] = a.out, full_[1] = 0;
    for (i64 j = 0; j < a.out; ++j) {
      const Interval k = interval(a, j, 0);
      skip_[j] = J((k.start - window_origin(a, j)) / a.dilation), taps_[j] = J(k.n);
      if (k.n == a.kernel) full_[0] = std::min(full_[0], j), full_[1] = j + 1;
    }
    for (i64 j = a.out; j < a.out + L; ++j) skip_[j] = 0, taps_[j] = J(a.kernel);
    dense_ = s.dx[1] == a.size;
    constexpr i64 few = i64(1) << 13;
    if (s.axes[0].out * s.axes[1].out * pitch_ <= 2 * few) {
      slices_ = s.axes[0].size, rows_ = s.axes[1].size, blocks_ = 1;
    } else {
      const Axis& down = s.axes[1];
      const i64 reach = (down.kernel - 1) * down.dilation, depth = ceil_div(s.axes[0].kernel, s.axes[0].stride);
      rows_ = std::max<i64>({few / (pitch_ * depth) * down.stride, 2 * reach, down.stride});
      rows_ = std::min(rows_, down.size), slices_ = std::min(s.axes[0].size, s.axes[0].stride);
      blocks_ = ceil_div(s.axes[0].size, slices_) * ceil_div(down.size, rows_);
    }
    for (int i = 0; i < 2; ++i) {
      windows_[i] = windows_memory_[i].take(s.axes[i].out);
      for (i64 o = 0; o < s.axes[i].out; ++o) {
        const Interval k = interval(s.axes[i], o, 0);
        windows_[i][o] = {(k.start - window_origin(s.axes[i], o)) / s.axes[i].dilation, k.n};
      }
    }
    most_ = longest(s.turned[0]) * longest(s.turned[1]) * a.kernel;
    const i64 rows = slices_ * rows_;
    listed_ = blocks_ == 1 && rows * most_ <= few;
    sources_ = sources_memory_.take(listed_ ? rows * most_ : most_);
    if (blocks_ > 1) return;
    slice_span_ = seen_by(s.turned[0], 0, slices_), row_span_ = seen_by(s.turned[1], 0, rows_);
    if (!listed_) return;
    counts_ = counts_memory_.take(rows);
    for (i64 d = 0, row = 0; d < slices_; ++d)
      for (i64 h = 0; h < rows_; ++h, ++row) counts_[row] = find_sources(d, h, sources_ + row * most_);
  }
  i64 blocks() const { return blocks_; }

  // False: an offset is no tap.
  bool unit(i64 n, i64 c, i64 block) {
    const i64 per_slice = ceil_div(s.axes[1].size, rows_);
    const i64 d0 = block / per_slice * slices_, h0 = block % per_slice * rows_;
    const i64 d1 = std::min(s.axes[0].size, d0 + slices_), h1 = std::min(s.axes[1].size, h0 + rows_);
    if (blocks_ > 1) slice_span_ = seen_by(s.turned[0], d0, d1), row_span_ = seen_by(s.turned[1], h0, h1);
    const bool good = load(n, c, slice_span_, row_span_);
    T* const to = static_cast<T*>(dx.data) + n * dx.stride[0] + c * dx.stride[1];
    cells(to, d0, d1, h0, h1);
    return good;
  }

 private:
  // Where the windows are that may have chosen a cell, counted from the cell's column, and as which tap.
  struct Source {
    i64 at;
    J tap;
  };
  const Sides& s;
  const View &dy, &dx, &tags;
  Inside<A> inside_;
  Scratch<Source> sources_memory_;
  Scratch<Interval> windows_memory_[2];
  Scratch<i64> counts_memory_;
  Scratch<J> skip_memory_, tags_memory_;
  Scratch<A> grads_memory_;
  Source* sources_;
  Interval* windows_[2];  // of the first two axes: the first tap that is there, and how many are
  i64* counts_ = nullptr;
  J *skip_, *taps_, *row_tags_ = nullptr;
  A* row_grads_ = nullptr;
  i64 front_, pitch_, full_[2], slices_, rows_, blocks_, most_, clean_ = 0;
  bool dense_, listed_;
  Interval slice_span_, row_span_;

  // Windows that cells [begin, end) are seen by.
  static Interval seen_by(const Axis& turned, i64 begin, i64 end) {
    i64 from = turned.size, to = 0;
    for (i64 i = begin; i < end; ++i) {
      const Interval k = interval(turned, i, 0);
      if (k.n == 0) continue;
      from = std::min(from, k.start), to = std::max(to, k.start + (k.n - 1) * step_of(turned) + 1);
    }
    return {from, std::max<i64>(0, to - from)};
  }

  bool load(i64 n, i64 c, Interval slices, Interval rows) {
    const i64 needed = slices.n * rows.n * pitch_ + L;
    J* const row_tags = tags_memory_.take(needed);
    row_grads_ = grads_memory_.take(needed), row_tags_ = row_tags;
    if (needed > clean_) {
      // Beside the windows no tap is ever chosen.
      std::fill(row_tags, row_tags + needed, J(-1));
      std::fill(row_grads_, row_grads_ + needed, A(0));
      clean_ = needed;
    }
    const T* const grads = static_cast<const T*>(dy.data) + n * dy.stride[0] + c * dy.stride[1];
    const std::uint8_t* const bytes =
        static_cast<const std::uint8_t*>(tags.data) + n * tags.stride[0] + c * tags.stride[1];
    using M = decltype(I{} < I{});
    M wrong{};
    const i64 out = s.axes[2].out;
    i64 at = front_;
    for (i64 d = 0; d < slices.n; ++d)
      for (i64 h = 0; h < rows.n; ++h, at += pitch_) {
        const i64 od = slices.start + d, oh = rows.start + h;
        const Interval kd = windows_[0][od], kh = windows_[1][oh];
        const J first = J((kd.start * s.box[1] + kh.start) * s.box[2]);
        const bool whole = inside_.whole(kd.n, kh.n);
        const T* const from = grads + od * s.dy[0] + oh * s.dy[1];
        const std::uint8_t* const tag = bytes + od * s.tags[0] + oh * s.tags[1];
        if (s.dy[2] == 1)
          widen_some(from, row_grads_ + at, out);
        else
          for (i64 j = 0; j < out; ++j) row_grads_[at + j] = widen(from[j * s.dy[2]]);
        for (i64 j = 0; j < out; j += L) {
          const i64 k = out >= L ? std::min(j, out - L) : 0, count = std::min(L, out);
          vec<std::uint8_t, int(L)> chosen{};
          if (s.tags[2] != 1)
            for (i64 l = 0; l < count; ++l) chosen[l] = tag[(k + l) * s.tags[2]];
          else if (count == L)
            chosen = POOLKIT_ISA_NS::load<vec<std::uint8_t, int(L)>>(tag + k);
          else
            std::memcpy(&chosen, tag, count);
          const I taps = __builtin_convertvector(chosen, I);
          if (whole && k >= full_[0] && k + count <= full_[1])
            wrong = wrong | (taps >= I{} + inside_.taps());
          else
            wrong = wrong | inside_.wrong(taps, kd.n, kh.n, POOLKIT_ISA_NS::load<I>(taps_ + k));
          const I number = taps + POOLKIT_ISA_NS::load<I>(skip_ + k) + first;
          if (count == L)
            store(row_tags + at + k, number);
          else
            std::memcpy(row_tags + at, &number, count * sizeof(J));
        }
      }
    return !any_lane(wrong);
  }
  static void widen_some(const T* from, A* to, i64 n) {
    if constexpr (std::is_same_v<A, T>) {
      if (n < L) return std::memcpy(to, from, n * sizeof(A)), void();
      for (i64 i = 0; i < n; i += L) {
        const i64 at = std::min(i, n - L);
        store(to + at, POOLKIT_ISA_NS::load<V>(from + at));
      }
    } else {
      widen_all(from, to, n);
    }
  }

  // What U vectors of cells get from n sources.
  template <int U>
  [[gnu::always_inline]] void sum(V* all, const Source* sources, i64 n, i64 q) const {
    const auto add = [&](const Source& from) {
      const i64 at = from.at + q;
      for (int u = 0; u < U; ++u) {
        const V grad = POOLKIT_ISA_NS::load<V>(row_grads_ + at + u * L);
        all[u] += POOLKIT_ISA_NS::load<I>(row_tags_ + at + u * L) == I{} + from.tap ? grad : V{};
      }
    };
    const auto known = [&]<int N>(std::integral_constant<int, N>) {
#pragma GCC unroll 9
      for (int k = 0; k < N; ++k) add(sources[k]);
    };
    for (int u = 0; u < U; ++u) all[u] = V{};
    switch (n) {
      case 4:
        return known(std::integral_constant<int, 4>{});
      case 6:
        return known(std::integral_constant<int, 6>{});
      case 9:
        return known(std::integral_constant<int, 9>{});
      default:
        for (i64 k = 0; k < n; ++k) add(sources[k]);
    }
  }
  void cells(T* plane, i64 d0, i64 d1, i64 h0, i64 h1) {
    const i64 size = s.axes[2].size;
    for (i64 d = d0; d < d1; ++d)
      for (i64 h = h0; h < h1; ++h) {
        const i64 known = d * s.axes[1].size + h;
        const Source* const sources = listed_ ? sources_ + known * most_ : sources_;
        const i64 n = listed_ ? counts_[known] : find_sources(d, h, sources_);
        T* const row = plane + d * s.dx[0] + h * s.dx[1];
        // Rows that follow in memory are written later.
        const i64 later = dense_ ? (h1 - 1 - h) * size : 0;
        V all[2];
        i64 q = 0;
        for (; q + 2 * L <= size; q += 2 * L) {
          sum<2>(all, sources, n, q);
          put(row + q, all[0], L, L), put(row + q + L, all[1], L, L);
        }
        for (; q < size; q += L) {
          const i64 at = size >= L ? std::min(q, size - L) : 0;
          sum<1>(all, sources, n, at);
          put(row + at, all[0], std::min(L, size), size - at + later);
        }
      }
  }
  // `count` cells, of which `room` may be overwritten.
  [[gnu::always_inline]] static void put(T* to, V v, i64 count, i64 room) {
    if constexpr (std::is_same_v<A, T>) {
      if (room >= L)
        store(to, v);
      else
        store_first<A>(to, v, count);
    } else {
      A lane[L];
      store(lane, v);
      narrow_all(lane, to, count);
    }
  }

  // How many windows see the cells of a row, in order.
  i64 find_sources(i64 d, i64 h, Source* to) const {
    const Axis& a = s.axes[2];
    const Interval kd = interval(s.turned[0], d, 0), kh = interval(s.turned[1], h, 0);
    const i64 step_d = step_of(s.turned[0]), step_h = step_of(s.turned[1]);
    i64 n = 0;
    for (i64 i = 0; i < kd.n; ++i)
      for (i64 k = 0; k < kh.n; ++k) {
        const i64 od = kd.start + i * step_d, oh = kh.start + k * step_h;
        const i64 td = (d - window_origin(s.axes[0], od)) / s.axes[0].dilation;
        const i64 th = (h - window_origin(s.axes[1], oh)) / s.axes[1].dilation;
        const i64 line = (od - slice_span_.start) * row_span_.n + oh - row_span_.start;
        for (i64 c = a.kernel - 1; c >= 0; --c)
          to[n++] = {line * pitch_ + front_ + a.before - c * a.dilation, J((td * s.box[1] + th) * s.box[2] + c)};
      }
    return n;
  }
};

// dx of chosen taps; false where it does not pay, or does not know the windows. wrong: set when an offset is no tap.
template <class T>
static bool collect(const Problem& pr, const View& dy, const View& dx, const View& offsets, std::atomic<bool>& wrong,
                    const Exec& exec) {
  if (offsets.dtype != DType::u8 || pr.params.sample || pr.reducer == Reducer::Lp) return false;
  for (int i = 0; i < pr.rank; ++i)
    if (pr.axes[i].plane_stride != 0) return false;
  const Sides s(pr, dx, dy, offsets);
  i64 taps = 1, cells = 1;
  for (int i = 0; i < 3; ++i) taps *= s.box[i], cells *= s.axes[i].size;
  if (taps > 255) return false;
  if ((dx.stride[1] == 1 && dx.shape[1] > 1) || !CollectRows<T>::takes(s, dx, pr.rank)) return false;
  constexpr i64 grain = i64(1) << 14;
  CollectRows<T> first(s, dy, dx, offsets);
  const i64 blocks = first.blocks(), units = dx.shape[0] * dx.shape[1] * blocks;
  const auto run = [&](CollectRows<T>& rows, i64 begin, i64 end) {
    for (i64 u = begin; u < end; ++u)
      if (!rows.unit(u / blocks / dx.shape[1], u / blocks % dx.shape[1], u % blocks))
        wrong.store(true, std::memory_order_relaxed);
  };
  parallel(exec, units, std::max<i64>(1, grain * blocks / cells), [&](i64 begin, i64 end) {
    if (end - begin == units) return run(first, begin, end);
    CollectRows<T> own(s, dy, dx, offsets);
    run(own, begin, end);
  });
  return true;
}

}  // namespace poolkit::POOLKIT_ISA_NS

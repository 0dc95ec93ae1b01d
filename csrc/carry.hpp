// Which tap a maximum was, carried beside its value from tap to tap: for windows of so few taps that looking
// for the value afterwards would take longer.
#pragma once

#include "find.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Values and the taps they were found at, of vectors of windows.
template <class A>
struct Found {
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr A identity = -std::numeric_limits<A>::infinity();
  V value;
  I tap;

  // The next tap in order: the first of equal ones stays, and of NaNs where there may be some.
  template <bool Nan>
  [[gnu::always_inline]] void meet(V v, I t) {
    if constexpr (Nan) {
      const auto better = (v > value) | ((v != v) & (value == value));
      tap = better ? t : tap, value = better ? v : value;
    } else {
      tap = v > value ? t : tap, value = pick<false>(v, value);
    }
  }
};

// Where outputs of one plane go, vector by vector.
template <class T>
struct Chosen {
  using A = acc_t<T>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;
  T* y = nullptr;
  std::uint8_t* offsets = nullptr;  // or nullptr
  i64* indices = nullptr;           // or nullptr; `next` apart
  i64 next = 1;

  // `count` lanes to place `at`, of which `room` may be overwritten.
  [[gnu::always_inline]] void put(i64 at, vec<A> value, I offset, i64 count, i64 room) const {
    if constexpr (std::is_same_v<A, T>) {
      if (room >= L)
        store(y + at, value);
      else
        store_first<A>(y + at, value, count);
    } else {
      A lane[L];
      store(lane, value);
      narrow_all(lane, y + at, count);
    }
    if (offsets == nullptr) return;
    const auto bytes = __builtin_convertvector(offset, vec<std::uint8_t, int(L)>);
    if (room >= L)
      store(offsets + at, bytes);
    else
      std::memcpy(offsets + at, &bytes, count);
  }
};

// Windows side by side in a plane. Rows are copied between columns of the identity, so that every window has all its
// columns; rows that are not there are left out.
template <class T>
class CarryRows {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;
  using Best = Found<A>;

  static bool takes(const Problem& pr, const View& y, const View* offsets) {
    const int w = pr.rank - 1;
    i64 taps = 1;
    for (int i = 0; i < pr.rank; ++i) {
      const Axis& a = pr.axes[i];
      if (a.kind != AxisKind::sliding || longest(a) != a.kernel) return false;
      taps *= a.kernel;
    }
    const i64 columns = pr.axes[w].out;
    return taps <= 255 && pr.axes[w].stride <= 3 && columns >= 4 && y.stride[2 + w] == 1 &&
           (offsets == nullptr || (offsets->dtype == DType::u8 && offsets->stride[2 + w] == 1));
  }

  CarryRows(const Problem& problem, const View& in, const View& out, const View* tags, const View* places)
      : pr(problem), x(in), y(out), offsets(tags), indices(places) {
    const int R = pr.rank;
    for (int i = 0; i < R; ++i) {
      const int k = 3 - R + i;
      axes_[k] = pr.axes[i];
      x_step_[k] = x.stride[2 + i], y_step_[k] = y.stride[2 + i];
      if (offsets != nullptr) tag_step_[k] = offsets->stride[2 + i];
      if (indices != nullptr) index_step_[k] = indices->stride[2 + i];
    }
    const Axis& a = axes_[2];
    width_ = (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1;
    cells_ = std::min(a.size, width_ - a.before);
    pitch_ = (width_ + L - 1) / L * L;
    out_pitch_ = (a.out + L - 1) / L * L;
    taps_ = axes_[0].kernel * axes_[1].kernel * a.kernel;
    lines_first_ = taps_ > 12 && a.kernel > 2 && axes_[0].kernel * axes_[1].kernel > 2 * axes_[0].stride;
    dense_ = y_step_[1] == a.out && (offsets == nullptr || tag_step_[1] == a.out);
    index_t<A>* const skip = skip_memory_.take(out_pitch_);
    skip_ = skip;
    for (i64 j = 0; j < out_pitch_; ++j)
      skip[j] = index_t<A>(std::max<i64>(0, ceil_div(a.before - j * a.stride, a.dilation)));
    // Whole volumes where they are small; else blocks of rows.
    constexpr i64 few = i64(1) << 13;
    if (axes_[0].size * axes_[1].size * pitch_ <= few * 2) {
      blocks_ = 1, rows_ = axes_[1].out, slices_ = axes_[0].out;
    } else {
      const i64 reach = (axes_[1].kernel - 1) * axes_[1].dilation, depth = axes_[0].kernel;
      const i64 lines = std::max<i64>(1, few / (pitch_ * depth));
      rows_ = std::max<i64>({(lines - reach) / axes_[1].stride, ceil_div(2 * reach, axes_[1].stride), 1});
      rows_ = std::min(rows_, axes_[1].out), slices_ = 1;
      blocks_ = axes_[0].out * ceil_div(axes_[1].out, rows_);
    }
    for (int i = 0; i < 2; ++i) {
      windows_[i] = windows_memory_[i].take(axes_[i].out);
      for (i64 o = 0; o < axes_[i].out; ++o) windows_[i][o] = interval(axes_[i], o, 0);
    }
    const i64 forms = (axes_[0].kernel + 1) * (axes_[1].kernel + 1);
    list_memory_.take(forms * taps_);
    known_ = known_memory_.take(forms);
    if (blocks_ == 1) slice_span_ = span_of(axes_[0], 0, slices_), row_span_ = span_of(axes_[1], 0, rows_);
    if (indices != nullptr) {
      i64* const where = where_memory_.take(taps_);
      where_ = where;
      for (i64 t = 0; t < taps_; ++t) {
        const i64 c = t % a.kernel, h = t / a.kernel % axes_[1].kernel, d = t / a.kernel / axes_[1].kernel;
        where[t] = (d * axes_[0].dilation * axes_[1].size + h * axes_[1].dilation) * a.size + c * a.dilation;
      }
    }
  }
  i64 blocks() const { return blocks_; }

  void unit(i64 n, i64 c, i64 block) {
    const i64 per_slice = ceil_div(axes_[1].out, rows_);
    const i64 d0 = slices_ == 1 ? block / per_slice : 0, h0 = block % per_slice * rows_;
    const i64 d1 = d0 + slices_, h1 = std::min(axes_[1].out, h0 + rows_);
    const T* const cells = static_cast<const T*>(x.data) + n * x.stride[0] + c * x.stride[1];
    Chosen<T> to;
    to.y = static_cast<T*>(y.data) + n * y.stride[0] + c * y.stride[1];
    if (offsets != nullptr)
      to.offsets = static_cast<std::uint8_t*>(offsets->data) + n * offsets->stride[0] + c * offsets->stride[1];
    if (indices != nullptr)
      to.indices = static_cast<i64*>(indices->data) + n * indices->stride[0] + c * indices->stride[1];
    if (blocks_ > 1) slice_span_ = span_of(axes_[0], d0, d1), row_span_ = span_of(axes_[1], h0, h1);
    load(cells, slice_span_, row_span_);
    const auto all = [&](auto nan) {
      with_stride([&](auto s) { outputs<s.value, decltype(nan)::value>(to, d0, d1, h0, h1); });
    };
    if (nan_)
      all(std::true_type{});
    else
      all(std::false_type{});
  }

 private:
  // A tap, from a window's first one that is there, and its number.
  struct Tap {
    i64 at;
    index_t<A> number;
  };

  const Problem& pr;
  const View &x, &y;
  const View *offsets, *indices;
  Axis axes_[3] = {};
  i64 x_step_[3] = {}, y_step_[3] = {}, tag_step_[3] = {}, index_step_[3] = {};
  i64 width_, cells_, pitch_, out_pitch_, taps_, blocks_, rows_, slices_;
  bool lines_first_, dense_, nan_ = false;
  Scratch<A> rows_memory_, values_memory_;
  Scratch<index_t<A>> skip_memory_, taps_memory_;
  Scratch<i64> where_memory_;
  Scratch<Interval> windows_memory_[2];
  Scratch<Tap> list_memory_;
  Scratch<bool> known_memory_;
  const index_t<A>* skip_;
  const i64* where_ = nullptr;
  Interval* windows_[2];  // of the first two axes
  bool* known_;           // which lists of taps are made
  i64 clean_ = 0, listed_rows_ = -1;
  A *lines_ = nullptr, *values_ = nullptr;
  index_t<A>* line_taps_ = nullptr;
  Interval slice_span_, row_span_;  // what lies at lines_, by its first one and how many there are

  // Positions that windows [begin, end) see.
  static Interval span_of(const Axis& a, i64 begin, i64 end) {
    const i64 from = std::max<i64>(0, window_origin(a, begin));
    const i64 to = std::min(a.size, window_origin(a, end - 1) + (a.kernel - 1) * a.dilation + 1);
    return {from, std::max<i64>(0, to - from)};
  }

  template <class Fn>
  void with_stride(Fn&& fn) const {
    switch (axes_[2].stride) {
      case 1:
        return fn(std::integral_constant<int, 1>{});
      case 2:
        return fn(std::integral_constant<int, 2>{});
      default:
        return fn(std::integral_constant<int, 3>{});
    }
  }
  // Every S-th element from p on.
  template <int S>
  [[gnu::always_inline]] static V every(const A* p) {
    if constexpr (S == 1) return POOLKIT_ISA_NS::load<V>(p);
    if constexpr (S == 2) return evens(POOLKIT_ISA_NS::load<V>(p), POOLKIT_ISA_NS::load<V>(p + L));
    if constexpr (S == 3)
      return third<0>(POOLKIT_ISA_NS::load<V>(p), POOLKIT_ISA_NS::load<V>(p + L), POOLKIT_ISA_NS::load<V>(p + 2 * L));
  }

  void load(const T* cells, Interval slices, Interval rows) {
    // The lists count in lines of a block; the last one may have fewer.
    if (rows.n != listed_rows_) std::fill(known_, known_ + (axes_[0].kernel + 1) * (axes_[1].kernel + 1), false);
    listed_rows_ = rows.n;
    const i64 lines = slices.n * rows.n, before = axes_[2].before;
    const i64 needed = lines * pitch_ + 4 * L;
    lines_ = rows_memory_.take(needed);
    if (needed > clean_) {
      // Beside the cells the identity stays for all planes.
      std::fill(lines_, lines_ + needed, Best::identity);
      clean_ = needed;
    }
    decltype(V{} < V{}) odd{};
    A* to = lines_ + before;
    const T* const end = static_cast<const T*>(x.data) + end_of(x, pr.rank);
    for (i64 d = 0; d < slices.n; ++d)
      for (i64 h = 0; h < rows.n; ++h, to += pitch_) {
        const T* const from = cells + (slices.start + d) * x_step_[0] + (rows.start + h) * x_step_[1];
        const i64 n = cells_;
        if (!std::is_same_v<A, T> || x_step_[2] != 1) widen_row(from, to);
        const A* const in = std::is_same_v<A, T> && x_step_[2] == 1 ? reinterpret_cast<const A*>(from) : to;
        if (n < L) {
          // What spills over is written again, or is the identity already.
          const bool room = in == to || from + L <= end;
          const V v =
              first_lanes<A>(n) ? (room ? POOLKIT_ISA_NS::load<V>(in) : load_first(in, n)) : V{} + Best::identity;
          odd = odd | (v != v);
          store(to, v);
          continue;
        }
        for (i64 i = 0; i < n; i += L) {
          const i64 at = std::min(i, n - L);
          const V v = POOLKIT_ISA_NS::load<V>(in + at);
          odd = odd | (v != v);
          store(to + at, v);
        }
      }
    nan_ = any_lane(odd);
    if (!lines_first_) return;
    values_ = values_memory_.take(lines * out_pitch_ + 4 * L);
    line_taps_ = taps_memory_.take(lines * out_pitch_ + 4 * L);
    with_stride([&](auto s) {
      if (nan_)
        reduce_lines<s.value, true>(lines);
      else
        reduce_lines<s.value, false>(lines);
    });
  }
  void widen_row(const T* from, A* to) const {
    if (x_step_[2] == 1) return widen_all(from, to, cells_);
    for (i64 j = 0; j < cells_; ++j) to[j] = widen(from[j * x_step_[2]]);
  }

  [[gnu::always_inline]] Best none(i64 j) const { return {V{} + Best::identity, POOLKIT_ISA_NS::load<I>(skip_ + j)}; }

  // U vectors of windows from column j on. N: how many taps there are, 0: not known before.
  template <int U, int N, class Meet>
  [[gnu::always_inline]] void windows(Best* best, i64 j, const Tap* taps, i64 n, Meet&& meet) const {
    for (int u = 0; u < U; ++u) best[u] = none(j + u * L);
    if constexpr (N > 0) {
#pragma GCC unroll 9
      for (int k = 0; k < N; ++k)
        for (int u = 0; u < U; ++u) meet(best[u], taps[k], j + u * L);
    } else {
      for (i64 k = 0; k < n; ++k)
        for (int u = 0; u < U; ++u) meet(best[u], taps[k], j + u * L);
    }
  }
  template <class Meet, class Put>
  [[gnu::always_inline]] void row(const Tap* taps, i64 n, Meet&& meet, Put&& put) const {
    const i64 out = axes_[2].out;
    const auto along = [&]<int N>(std::integral_constant<int, N>) {
      Best best[2];
      i64 j = 0;
      for (; j + 2 * L <= out; j += 2 * L) {
        windows<2, N>(best, j, taps, n, meet);
        put(best[0], j), put(best[1], j + L);
      }
      for (; j < out; j += L) {
        const i64 at = out >= L ? std::min(j, out - L) : 0;
        windows<1, N>(best, at, taps, n, meet);
        put(best[0], at);
      }
    };
    if (n == 9)
      along(std::integral_constant<int, 9>{});
    else if (n == 4)
      along(std::integral_constant<int, 4>{});
    else if (n == 2)
      along(std::integral_constant<int, 2>{});
    else if (n == 3)
      along(std::integral_constant<int, 3>{});
    else
      along(std::integral_constant<int, 0>{});
  }

  template <int S, bool Nan>
  void reduce_lines(i64 lines) {
    const Tap* const taps = list(1, 1, true);
    for (i64 q = 0; q < lines; ++q) {
      const A* const from = lines_ + q * pitch_;
      A* const value = values_ + q * out_pitch_;
      index_t<A>* const tap = line_taps_ + q * out_pitch_;
      // The last vector of a short line runs into the next one, which comes later.
      row(
          taps, axes_[2].kernel,
          [&](Best& best, const Tap& t, i64 j) {
            best.template meet<Nan>(every<S>(from + t.at + j * S), I{} + t.number);
          },
          [&](const Best& best, i64 j) { store(value + j, best.value), store(tap + j, best.tap); });
    }
  }

  // The taps of windows with so many slices and rows; along: those of a line alone. Made once.
  const Tap* list(i64 slices, i64 rows, bool along) {
    const i64 form = along ? 0 : slices * (axes_[1].kernel + 1) + rows;
    Tap* const to = list_memory_.take(0) + form * taps_;
    if (known_[form]) return to;
    known_[form] = true;
    const i64 columns = lines_first_ && !along ? 1 : axes_[2].kernel,
              pitch = lines_first_ && !along ? out_pitch_ : pitch_;
    const i64 slice_lines = axes_[0].dilation * row_span_.n;
    i64 n = 0;
    for (i64 a = 0; a < slices; ++a)
      for (i64 b = 0; b < rows; ++b)
        for (i64 c = 0; c < columns; ++c, ++n)
          to[n] = {(a * slice_lines + b * axes_[1].dilation) * pitch + c * axes_[2].dilation,
                   index_t<A>((a * axes_[1].kernel + b) * axes_[2].kernel + c)};
    return to;
  }

  template <int S, bool Nan>
  void outputs(const Chosen<T>& plane, i64 d0, i64 d1, i64 h0, i64 h1) {
    const i64 out = axes_[2].out, count = std::min(L, out);
    for (i64 d = d0; d < d1; ++d) {
      const Interval kd = windows_[0][d];
      for (i64 h = h0; h < h1; ++h) {
        const Interval kh = windows_[1][h];
        const i64 first = (kd.start - slice_span_.start) * row_span_.n + kh.start - row_span_.start;
        Chosen<T> to = plane;
        to.y += d * y_step_[0] + h * y_step_[1];
        if (to.offsets != nullptr) to.offsets += d * tag_step_[0] + h * tag_step_[1];
        // Rows that follow in memory are written later.
        const i64 later = dense_ ? (h1 - 1 - h) * out : 0;
        const auto put = [&](const Best& best, i64 j) {
          to.put(j, best.value, best.tap - POOLKIT_ISA_NS::load<I>(skip_ + j), count, out - j + later);
          if (to.indices != nullptr)
            put_indices(to.indices + d * index_step_[0] + h * index_step_[1], best.tap, kd, kh, j);
        };
        const Tap* const taps = list(kd.n, kh.n, false);
        if (lines_first_) {
          const A* const values = values_ + first * out_pitch_;
          const index_t<A>* const chosen = line_taps_ + first * out_pitch_;
          row(
              taps, kd.n * kh.n,
              [&](Best& best, const Tap& t, i64 j) {
                best.template meet<Nan>(POOLKIT_ISA_NS::load<V>(values + t.at + j),
                                        POOLKIT_ISA_NS::load<I>(chosen + t.at + j) + t.number);
              },
              put);
        } else {
          const A* const from = lines_ + first * pitch_;
          row(
              taps, kd.n * kh.n * axes_[2].kernel,
              [&](Best& best, const Tap& t, i64 j) {
                best.template meet<Nan>(every<S>(from + t.at + j * S), I{} + t.number);
              },
              put);
        }
      }
    }
  }
  void put_indices(i64* to, I chosen, const Interval& kd, const Interval& kh, i64 j) const {
    index_t<A> tap[L];
    store(tap, chosen);
    const i64 cell = (kd.start * axes_[1].size + kh.start) * axes_[2].size - axes_[2].before;
    for (i64 l = 0; l < std::min(L, axes_[2].out); ++l)
      to[(j + l) * index_step_[2]] = cell + (j + l) * axes_[2].stride + where_[tap[l]];
  }
};

// Channels side by side.
template <class T>
class CarryChannels {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;
  using Best = Found<A>;

  static bool takes(const Problem& pr, const View& x, const View& y, const View* offsets) {
    i64 taps = 1;
    for (int i = 0; i < pr.rank; ++i) {
      if (pr.axes[i].plane_stride != 0) return false;
      taps *= longest(pr.axes[i]);
    }
    return taps <= 100 && x.shape[1] >= 4 && x.stride[1] == 1 && y.stride[1] == 1 &&
           (offsets == nullptr || (offsets->dtype == DType::u8 && offsets->stride[1] == 1));
  }

  CarryChannels(const Problem& problem, const View& in, const View& out, const View* tags, const View* places)
      : pr(problem), x(in), y(out), offsets(tags), indices(places) {
    for (int i = 0; i < pr.rank; ++i) box_[i] = longest(pr.axes[i]);
  }

  // The outputs of one row: o holds its place on the axes before the last one.
  void row(i64 n, i64 o[3]) {
    const int R = pr.rank, w = R - 1;
    const i64 channels = x.shape[1];
    Blocks::Place p{};
    for (int i = 0; i < w; ++i) p.o[i] = o[i], p.box[i] = interval(pr.axes[i], o[i], 0);
    for (i64 j = 0; j < pr.axes[w].out; ++j) {
      p.o[w] = j, p.box[w] = interval(pr.axes[w], j, 0);
      taps_.find(pr, x, x, p, box_);
      i64 first[3] = {}, cell = 0;
      for (int i = 0; i < R; ++i) first[i] = p.box[i].start, cell = cell * pr.axes[i].size + first[i];
      const T* const from = static_cast<const T*>(x.data) + place_of(x, R, n, 0, first);
      Chosen<T> to;
      to.y = static_cast<T*>(y.data) + place_of(y, R, n, 0, p.o);
      if (offsets != nullptr) to.offsets = static_cast<std::uint8_t*>(offsets->data) + place_of(*offsets, R, n, 0, p.o);
      for (i64 c = 0; c < channels; c += L) {
        const i64 at = channels >= L ? std::min(c, channels - L) : 0, count = std::min(L, channels);
        const auto in = [&](i64 t) { return load(from + taps_.shift[t] + at, count); };
        Best best{V{} + Best::identity, I{}};
        V sum{};
        for (i64 t = 0; t < taps_.n; ++t) {
          const V v = in(t);
          sum += v;
          best.template meet<false>(v, I{} + index_t<A>(t));
        }
        // A NaN among the taps, or infinities of both signs.
        if (any_lane(sum != sum)) {
          best = {V{} + Best::identity, I{}};
          for (i64 t = 0; t < taps_.n; ++t) best.template meet<true>(in(t), I{} + index_t<A>(t));
        }
        index_t<A> tap[L];
        if (!taps_.whole || indices != nullptr) store(tap, best.tap);
        if (indices != nullptr) {
          i64* const index = static_cast<i64*>(indices->data) + place_of(*indices, R, n, at, p.o);
          for (i64 l = 0; l < count; ++l) index[l * indices->stride[1]] = cell + taps_.position[tap[l]];
        }
        if (!taps_.whole) {
          for (i64 l = 0; l < count; ++l) tap[l] = index_t<A>(taps_.offset[tap[l]]);
          best.tap = POOLKIT_ISA_NS::load<I>(tap);
        }
        to.put(at, best.value, best.tap, count, count);
      }
    }
  }

 private:
  const Problem& pr;
  const View &x, &y;
  const View *offsets, *indices;
  i64 box_[3] = {1, 1, 1};
  Taps taps_;

  static V load(const T* p, i64 count) {
    if constexpr (std::is_same_v<A, T>) {
      return count == L ? POOLKIT_ISA_NS::load<V>(p) : load_first(p, count);
    } else {
      A lane[L] = {};
      widen_all(p, lane, count);
      return POOLKIT_ISA_NS::load<V>(lane);
    }
  }
};

// Values and places of a maximum or minimum; false where it does not pay.
template <class T>
static bool carry(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                  const Exec& exec) {
  if (CarryChannels<T>::takes(pr, x, y, offsets)) {
    i64 rows = x.shape[0], o_rows = 1, work = x.shape[1] * pr.axes[pr.rank - 1].out;
    for (int i = 0; i + 1 < pr.rank; ++i) o_rows *= pr.axes[i].out;
    for (int i = 0; i < pr.rank; ++i) work *= longest(pr.axes[i]);
    rows *= o_rows;
    parallel(exec, rows, std::max<i64>(1, (i64(1) << 16) / work), [&](i64 begin, i64 end) {
      CarryChannels<T> channels(pr, x, y, offsets, indices);
      for (i64 r = begin; r < end; ++r) {
        i64 o[3] = {}, rest = r % o_rows;
        for (int i = pr.rank - 2; i >= 0; --i) o[i] = rest % pr.axes[i].out, rest /= pr.axes[i].out;
        channels.row(r / o_rows, o);
      }
    });
    return true;
  }
  if ((x.stride[1] == 1 && x.shape[1] > 1) || !CarryRows<T>::takes(pr, y, offsets)) return false;
  CarryRows<T> first(pr, x, y, offsets, indices);
  const i64 blocks = first.blocks(), units = x.shape[0] * x.shape[1] * blocks;
  i64 cells = 1;
  for (int i = 0; i < pr.rank; ++i) cells *= x.shape[2 + i];
  const auto run = [&](CarryRows<T>& rows, i64 begin, i64 end) {
    for (i64 u = begin; u < end; ++u) rows.unit(u / blocks / x.shape[1], u / blocks % x.shape[1], u % blocks);
  };
  parallel(exec, units, std::max<i64>(1, (i64(1) << 14) * blocks / cells), [&](i64 begin, i64 end) {
    if (end - begin == units) return run(first, begin, end);
    CarryRows<T> own(pr, x, y, offsets, indices);
    run(own, begin, end);
  });
  return true;
}

}  // namespace poolkit::POOLKIT_ISA_NS

// Windows of 2x2 and 3x3 along rows, their cells in registers from the first to the last. What becomes of the cells is
// a rule's; the few windows that a rule does not trust itself with go to the code that holds for all.
#pragma once

#include <limits>

#include "atoms.hpp"
#include "direct.hpp"
#include "locals.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// What a rule finds beside the cells of a vector of windows.
template <class A>
struct Beside {
  vec<A> extra;      // of the outputs
  i64 n, c, o;       // the row of outputs
  const A* weights;  // [N][L], of the kernel
};

// Rules. value: of N cells each, of those beyond the edges fill; it says which lanes it does not vouch for, and if
// there are any, exact is asked.
template <class A>
struct RuleBase {
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr int L = lanes<A>;
  static constexpr bool extra = false, weights = false;
  A fill = 0;
  template <int N>
  void exact(const V (&)[N], const Beside<A>&, V&, I&) {}
};

// The cell of a draw by its share.
template <class A>
struct Draw : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr int L = lanes<A>;
  static constexpr bool extra = true;
  const Problem& pr;
  explicit Draw(const Problem& problem) : pr(problem) {}

  template <int N>
  auto value(const V (&x)[N], const Beside<A>& b, V& y, I& place) {
    V sums[N];
    V total{};
    for (int t = 0; t < N; ++t) sums[t] = total = total + pick<false>(x[t], V{});
    const V wanted = b.extra * total;
    // The first whose sum is above what is wanted; none of all where all are 0.
    V drawn{};
    place = I{} - 1;
    for (int t = N - 1; t >= 0; --t) {
      const auto here = sums[t] > wanted;
      drawn = here ? x[t] : drawn, place = here ? I{} + t : place;
    }
    y = with_nans<N>(drawn, x);
    return ((total > V{}) & ~(wanted < total)) | (y != y);
  }
  template <int N>
  void exact(const V (&x)[N], const Beside<A>& b, V& y, I& place) {
    alignas(64) A out[L], beside[L];
    std::int32_t chosen[L];
    store(beside, b.extra);
    Block<A> block;
    block.n = N, block.taps = reinterpret_cast<const A*>(x), block.extra = beside, block.y = out, block.chosen = chosen;
    Stochastic<A>(pr).draw(block);
    y = load<V>(out);
    for (int l = 0; l < L; ++l) place[l] = chosen[l];
  }
};

// Weights by rank. K: only that many of the largest count; 0: any.
template <class A, int K>
struct ByRank : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  double w[9];
  i64 first = -1, last = -1;
  bool one;
  ByRank(const Problem& pr, i64 n) {
    rank_weights(pr, n, w);
    for (i64 r = 0; r < n; ++r)
      if (w[r] != 0) first = first < 0 ? r : first, last = r;
    one = first == last && w[first] == 1;
    this->fill = -std::numeric_limits<A>::infinity();
  }

  template <int N>
  auto value(const V (&x)[N], const Beside<A>&, V& y, I& place) {
    V s[N];
    if constexpr (K > 0) {
      for (int t = 0; t < N; ++t) {
        s[t] = x[t];
        for (int r = std::min(t, K) - 1, at = t; r >= 0; at = r--) order_two(s[r], s[at]);
      }
      y = V{};
      for (int r = 0; r < K; ++r) y = y + s[r] * splat<V, A>(A(w[r]));
    } else {
      for (int t = 0; t < N; ++t) s[t] = x[t];
      Network<N>::sort(s);
      V sorted[N];
      for (int t = 0; t < N; ++t) sorted[t] = s[t];
      y = sorted[first];
      if (!one) {
        y = V{};
        for (i64 r = first; r <= last; ++r)
          if (w[r] != 0) y = y + sorted[r] * splat<V, A>(A(w[r]));
      }
    }
    y = with_nans<N>(y, x);
    for (int t = N - 1; t >= 0; --t) place = (x[t] == y) | ((x[t] != x[t]) & (y != y)) ? I{} + t : place;
    return V{} != V{};
  }
};

// sum of w x.
template <class A>
struct Weighted : RuleBase<A> {
  using typename RuleBase<A>::V;
  using typename RuleBase<A>::I;
  static constexpr bool weights = true;

  template <int N>
  auto value(const V (&x)[N], const Beside<A>& b, V& y, I&) {
    y = V{};
    for (int t = 0; t < N; ++t) y = y + load<V>(b.weights + t * lanes<A>) * x[t];
    return V{} != V{};
  }
};

// Planes of small windows, a vector of outputs at a time.
template <class T, class Rule>
class Small {
 public:
  using A = acc_t<T>;
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;

  Small(const Problem& pr, const View& in, const View& out, const View* offsets, const View* extra, const Rule& rule)
      : lines_(pr.axes[0]), columns_(pr.axes[1]), x(in), y(out), offsets_(offsets), extra_(extra), rule_(rule) {
    K_ = lines_.kernel;
    height_ = (lines_.out - 1) * lines_.stride + K_, width_ = (columns_.out - 1) * columns_.stride + K_;
    inside_ = lines_.before == 0 && columns_.before == 0 && height_ <= lines_.size && width_ <= columns_.size;
    end_ = static_cast<const T*>(x.data) + end_of(x, 2);
    const i64 n = columns_.out;
    index_t<A>* const skipped = skipped_.take(n + L);
    for (i64 j = 0; j < n + L; ++j) {
      const i64 at = std::min(j, n - 1);
      skipped[j] = index_t<A>(interval(columns_, at, 0).start - window_origin(columns_, at));
    }
  }

  void plane(i64 n, i64 c) {
    const T* const from = static_cast<const T*>(x.data) + n * x.stride[0] + c * x.stride[1];
    T* const to = static_cast<T*>(y.data) + n * y.stride[0] + c * y.stride[1];
    beside_.n = n, beside_.c = c;
    if constexpr (Rule::weights) kernel_weights(c);
    i64 pitch = x.stride[2];
    const A* cells = nullptr;
    if constexpr (std::is_same_v<A, T>)
      if (inside_ && x.stride[3] == 1 && columns_.out >= L && from + (height_ - 1) * pitch + width_ + 2 * L <= end_)
        cells = from;
    const bool copied = cells == nullptr;
    if (copied) cells = padded(from), pitch = pitch_;
    for (i64 o = 0; o < lines_.out; ++o) {
      const A* const top = cells + o * lines_.stride * pitch;
      beside_.o = o;
      if (copied) copy_lines(std::min(o * lines_.stride + K_ - lines_.before, cell_lines()));
      if (K_ == 2)
        columns_.stride == 1 ? row<2, 1>(top, pitch, to) : row<2, 2>(top, pitch, to);
      else
        columns_.stride == 1 ? row<3, 1>(top, pitch, to) : row<3, 2>(top, pitch, to);
    }
  }

 private:
  void kernel_weights(i64 c) {
    A* const w = weights_.take(extra_->shape[2] * L);
    const A* const from = static_cast<const A*>(extra_->data) + (extra_->shape[1] == 1 ? 0 : c * extra_->stride[1]);
    for (i64 k = 0; k < extra_->shape[2]; ++k) store(w + k * L, splat<V, A>(from[k * extra_->stride[2]]));
    beside_.weights = w;
  }

  // Where windows find the plane's cells between those beyond the edges, which stay from plane to plane. Its lines are
  // copied when a window needs them.
  const A* padded(const T* from) {
    pitch_ = width_ + 2 * L;
    const i64 size = height_ * pitch_ + 2 * L;
    block_at_ = block_.take(size);
    if (!filled_) std::fill_n(block_at_, size, rule_.fill);
    filled_ = true;
    from_ = from, copied_ = 0;
    return block_at_;
  }
  i64 cell_lines() const { return std::min(lines_.size, height_ - lines_.before); }
  // Many at a time: a vector that overlaps two just written waits until they have left the core.
  void copy_lines(i64 end) {
    const i64 n = std::min(columns_.size, width_ - columns_.before);
    if (end <= copied_) return;
    end += 4096 / width_;
    for (end = std::min(end, cell_lines()); copied_ < end; ++copied_)
      widen_row(from_ + copied_ * x.stride[2], x.stride[3], n, 1,
                block_at_ + (copied_ + lines_.before) * pitch_ + columns_.before);
  }

  // The cells of L windows from `line` on.
  template <int K, int S>
  static void cells_of(const A* line, i64 pitch, V (&v)[K * K]) {
    for (int a = 0; a < K; ++a, line += pitch) {
      if constexpr (S == 1) {
        for (int b = 0; b < K; ++b) v[a * K + b] = load<V>(line + b);
      } else {
        const V low = load<V>(line), high = load<V>(line + L);
        v[a * K] = evens(low, high), v[a * K + 1] = odds(low, high);
        if constexpr (K == 3) v[a * K + 2] = evens(load<V>(line + 2), load<V>(line + 2 + L));
      }
    }
  }

  template <int K, int S>
  void row(const A* top, i64 pitch, T* plane) {
    constexpr int N = K * K;
    const i64 n = columns_.out, o = beside_.o;
    T* const to = plane + o * y.stride[2];
    const i64 skipped_lines = std::max<i64>(0, -window_origin(lines_, o));
    for (i64 j = 0; j < n; j += L) {
      // The last vector of a row overlaps the one before it.
      const i64 at = n >= L ? std::min(j, n - L) : j, count = std::min(L, n - at);
      V v[N];
      cells_of<K, S>(top + at * S, pitch, v);
      if constexpr (Rule::extra) {
        const A* const more = static_cast<const A*>(extra_->data) + beside_.n * extra_->stride[0] +
                              beside_.c * extra_->stride[1] + o * extra_->stride[2] + at * extra_->stride[3];
        if (extra_->stride[3] == 1)
          beside_.extra = count == L ? load<V>(more) : load_first(more, count);
        else
          for (i64 l = 0; l < L; ++l) beside_.extra[l] = more[std::min(l, count - 1) * extra_->stride[3]];
      }
      V value;
      I place{};
      auto doubtful = rule_.template value<N>(v, beside_, value, place);
      if (count < L) doubtful = doubtful & first_lanes<A>(count);
      if (any_lane(doubtful)) [[unlikely]]
        rule_.template exact<N>(v, beside_, value, place);
      scatter<A>(to + at * y.stride[3], y.stride[3], count, value);
      if (offsets_ != nullptr) {
        const I skipped = load<I>(skipped_.take(0) + at) + splat<I, index_t<A>>(index_t<A>(skipped_lines * K));
        put_offsets(place < I{} ? place : place - skipped, at, count);
      }
    }
  }

  void put_offsets(I place, i64 at, i64 count) {
    const View& v = *offsets_;
    const i64 to = beside_.n * v.stride[0] + beside_.c * v.stride[1] + beside_.o * v.stride[2] + at * v.stride[3];
    if (v.dtype == DType::u8 && v.stride[3] == 1) {
      const auto bytes = __builtin_convertvector(place, vec<std::int8_t, int(L)>);
      std::memcpy(static_cast<std::uint8_t*>(v.data) + to, &bytes, std::size_t(count));
      return;
    }
    for (i64 l = 0; l < count; ++l) put_offset(v, to + l * v.stride[3], place[l]);
  }

  const Axis &lines_, &columns_;
  const View &x, &y;
  const View *offsets_, *extra_;
  Rule rule_;
  Beside<A> beside_{};
  i64 K_, height_, width_, pitch_ = 0;  // what the windows reach over
  bool inside_, filled_ = false;
  const T *end_, *from_ = nullptr;
  A* block_at_ = nullptr;
  i64 copied_ = 0;  // lines of the input that are in the block
  Scratch<A> block_, weights_;
  Scratch<index_t<A>> skipped_;
};

}  // namespace poolkit::POOLKIT_ISA_NS

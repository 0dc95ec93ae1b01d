// Windows of a few elements at uneven or wide distances along a row: what a vector of them begins with is permuted out
// of the vectors that hold it, then what comes second, and so on.
#pragma once

#include "merge.hpp"
#include "rows.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class C>
class Picks {
 public:
  using A = typename C::A;
  using Row = typename C::Row;
  using V = vec<A>;
  using I = vec<index_t<A>>;
  static constexpr i64 L = lanes<A>;
  static constexpr bool known_here = tuned && std::is_same_v<A, float>;
  static constexpr i64 most_taps = 8, most_vectors = 4, most_groups = 8;

  // Whether it takes outputs [c0, c1) of rows whose elements begin at `origin`, padding among them or not: windows that
  // begin one after the other, as transposed ones do not, and are the same for all planes.
  bool takes(const Axis& a, i64 origin, bool padded, i64 c0, i64 c1) {
    if (a.kind != AxisKind::sliding && a.kind != AxisKind::adaptive) return false;
    if (begin_ == c0 && end_ == c1) return takes_;
    begin_ = c0, end_ = c1;
    return takes_ = find(a, origin, padded);
  }

  // n rows; those from `exact` on are not written beyond their end. Of each row it reads less than a vector too many.
  void operator()(Row dst, i64 dst_pitch, Row row, i64 pitch, i64 n, i64 exact) const {
    for (i64 i = 0; i < n; ++i, row = row + pitch, dst = dst + dst_pitch)
      for (i64 k = 0; k < groups_; ++k) {
        const Group& g = group_[k];
        const V all = g.vectors == 1 ? joined<1>(row, g) : g.vectors == 2 ? joined<2>(row, g) : joined<4>(row, g);
        if (g.count == L || i < exact)
          store(dst.v + k * L, all);
        else
          store_first<A>(dst.v + k * L, all, g.count);
      }
  }

 private:
  // A vector of outputs: where the first begins, and how many vectors hold their elements.
  struct Group {
    i64 first, count, vectors;
    I place[most_taps], there[most_taps];
  };

  bool find(const Axis& a, i64 origin, bool padded) {
    const i64 out = end_ - begin_, step = step_of(a);
    groups_ = (out + L - 1) / L, taps_ = padded ? a.kernel : longest(a), whole_ = true;
    if (taps_ > std::min(most_taps, 2 * out) || groups_ > most_groups) return false;
    for (i64 k = 0; k < groups_; ++k) {
      Group& g = group_[k];
      g.count = std::min(L, out - k * L);
      i64 reach = 0;
      for (i64 l = 0; l < L; ++l) {
        const i64 j = begin_ + k * L + std::min(l, g.count - 1);
        const Interval w = padded ? Interval{window_origin(a, j), a.kernel} : interval(a, j, 0);
        if (w.n == 0) return false;
        if (l == 0) g.first = w.start - origin;
        for (i64 t = 0; t < taps_; ++t) {
          const i64 at = w.start + std::min(t, w.n - 1) * step - origin - g.first;
          g.place[t][l] = index_t<A>(at), g.there[t][l] = t < w.n ? -1 : 0;
          reach = std::max(reach, at + 1);
        }
        whole_ &= w.n == taps_;
      }
      g.vectors = (reach + L - 1) / L;
      // Out of four vectors of AVX2 an element takes nine instructions.
      if (g.vectors > most_vectors || (g.vectors > 2 && L < 16 && taps_ > 5)) return false;
    }
    return true;
  }

  template <int N>
  [[gnu::always_inline]] V joined(Row row, const Group& g) const {
    V v[N];
    for (int i = 0; i < N; ++i) v[i] = load<V>(row.v + g.first + (i < g.vectors ? i * L : 0));
    const auto pick = [&](i64 t) __attribute__((always_inline)) {
      V p;
      if constexpr (N == 1)
        p = permuted(v[0], g.place[t]);
      else
        p = elements<A>(v[0], v[1], g.place[t]);
      if constexpr (N > 2) p = g.place[t] < 2 * L ? p : elements<A>(v[2], v[3], g.place[t] - 2 * L);
      // A maximum may see its last element again.
      return C::idempotent || whole_ ? p : V(I(p) & g.there[t]);
    };
    typename C::Value all{pick(0)};
    for (i64 t = 1; t < taps_; ++t) all = C::join(all, {pick(t)});
    return all.v;
  }

  Group group_[most_groups];
  i64 begin_ = -1, end_ = -1, groups_ = 0, taps_ = 0;
  bool takes_ = false, whole_ = true;
};

}  // namespace poolkit::POOLKIT_ISA_NS

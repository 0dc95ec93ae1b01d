// Windows of two or three columns, two apart, from their lines in memory to outputs in one pass.
#pragma once

#include "merge.hpp"
#include "plan.hpp"

namespace poolkit::POOLKIT_ISA_NS {

// Windows of 2 or 3 columns, 2 apart, that hold all their columns, but for a first one (`before`) or last one (`after`)
// that is one short.
struct Paired {
  bool fits = false, before = false, after = false;
};
static inline Paired paired(const Axis& a, i64 run, i64 c0, i64 c1) {
  Paired p;
  if (run != 1 || a.kind != AxisKind::sliding || a.dilation != 1 || a.stride != 2 || c0 != 0 || c1 != a.out) return p;
  p.fits = (a.kernel == 2 ? a.before == 0 : a.kernel == 3 && a.before <= 1) && 2 * a.out <= a.size;
  p.before = a.before == 1, p.after = a.kernel == 3 && !p.before && a.size == 2 * a.out;
  return p;
}

// As settle, and not before what was loaded in turn ahead of it.
template <class V>
[[gnu::always_inline]] static inline void in_turn([[maybe_unused]] V& v) {
#if defined(__AVX512F__)
  asm volatile("" : "+v"(v));
#elif defined(__x86_64__)
  asm volatile("" : "+x"(v));
#endif
}

// dst = such windows over the join of N rows, for as many outputs as a vector holds or more. In one pass: a block of
// joined rows in between would leave the memory idle while it is made into outputs.
template <class C, int N, int K, bool Before, bool After>
[[gnu::noinline]] static void pair_rows_n(typename C::Row dst, i64 dst_pitch, const typename C::Row* from,
                                          i64 src_pitch, i64 rows, i64 out) {
  constexpr int L = lanes<typename C::A>;
  using Value = typename C::Value;
  struct Two {
    Value even, odd;
  };
  typename C::Row src[N];
  for (int r = 0; r < N; ++r) src[r] = from[r];
  const Value none = C::identity();
  const i64 end = out - L;  // where the last vector begins: it overlaps the one before
  i64 s = 0;
  // The upper row first: the hardware that fetches memory ahead loses its way where rows are read out of turn.
  const auto join = [&](i64 i) {
    Value v[N];
#pragma GCC unroll 4
    for (int r = 0; r < N; ++r) {
      v[r] = C::get(src[r], i);
      in_turn(v[r].v);
    }
    return C::template join_all<N>(v);
  };
  const auto at = [&](i64 i) -> Two {
    const Value a = join(s + i), b = join(s + i + L);
    return {C::even(a, b), C::odd(a, b)};
  };
  const auto put = [&](i64 j, Value a, Value b, Value c) {
    Value taps[3] = {a, b, c};
    C::put(dst, j, C::template join_all<3>(taps));
  };
  for (i64 row = 0; row < rows; ++row, s += src_pitch, dst = dst + dst_pitch) {
    if constexpr (K == 2) {
      for (i64 j = 0; j < out; j += L) {
        const i64 k = std::min(j, end);
        const Two two = at(2 * k);
        C::put(dst, k, C::join(two.even, two.odd));
      }
    } else if constexpr (Before) {
      Value left = none;
      for (i64 j = 0; j < end; j += L) {
        const Two two = at(2 * j);
        put(j, C::template shift<L - 1>(left, two.odd), two.even, two.odd);
        left = two.odd;
      }
      const Two two = at(2 * end);
      put(end, end > 0 ? at(2 * end - 2).odd : C::template shift<L - 1>(none, two.odd), two.even, two.odd);
    } else {
      Two two = at(0);
      for (i64 j = 0; j < end; j += L) {
        if (j + L > end) {
          put(j, two.even, two.odd, at(2 * j + 2).even);
          two = at(2 * end);
        } else {
          const Two next = at(2 * j + 2 * L);
          put(j, two.even, two.odd, C::template shift<1>(two.even, next.even));
          two = next;
        }
      }
      // Without After the row holds the last window's third column, and nothing need lie beyond it.
      put(end, two.even, two.odd, After ? C::template shift<1>(two.even, none) : at(2 * end + 1).odd);
    }
  }
}
template <class C, int N>
static void pair_rows_k(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 src_pitch, i64 rows,
                        i64 out, i64 k, const Paired& p) {
  if (k == 2) return pair_rows_n<C, N, 2, false, false>(dst, dst_pitch, from, src_pitch, rows, out);
  if (p.before) return pair_rows_n<C, N, 3, true, false>(dst, dst_pitch, from, src_pitch, rows, out);
  if (p.after) return pair_rows_n<C, N, 3, false, true>(dst, dst_pitch, from, src_pitch, rows, out);
  pair_rows_n<C, N, 3, false, false>(dst, dst_pitch, from, src_pitch, rows, out);
}
// Whether `pair_rows` joins so many rows.
static inline bool pairs_of(i64 n) { return n >= 2 && n <= 4; }
template <class C>
static void pair_rows(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 n, i64 src_pitch, i64 rows,
                      i64 out, i64 k, const Paired& p) {
  if (n == 2) return pair_rows_k<C, 2>(dst, dst_pitch, from, src_pitch, rows, out, k, p);
  if (n == 3) return pair_rows_k<C, 3>(dst, dst_pitch, from, src_pitch, rows, out, k, p);
  pair_rows_k<C, 4>(dst, dst_pitch, from, src_pitch, rows, out, k, p);
}

}  // namespace poolkit::POOLKIT_ISA_NS

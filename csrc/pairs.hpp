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

// The upper row first: the hardware that fetches memory ahead loses its way where rows are read out of turn.
template <class C, int N>
[[gnu::always_inline]] static inline typename C::Value join_in_turn(const typename C::Row* src, i64 i) {
  typename C::Value v[N];
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
    v[r] = C::get(src[r], i);
    in_turn(v[r].v);
  }
  return C::template join_all<N>(v);
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
  const auto at = [&](i64 i) -> Two {
    const Value a = join_in_turn<C, N>(src, s + i), b = join_in_turn<C, N>(src, s + i + L);
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
// Windows of two columns, fewer than a vector holds: half a vector of them at each end of a row, or two rows at once.
// Of rows shorter than that a vector is read and half a one written, but for the last `exact` ones.
template <class C, int N>
[[gnu::noinline]] static void short_rows(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 src_pitch,
                                         i64 rows, i64 out, i64 exact) {
  constexpr int L = lanes<typename C::A>, half = L / 2;
  typename C::Row src[N];
  for (int r = 0; r < N; ++r) src[r] = from[r];
  const auto put = [&](typename C::Row low, typename C::Row high, i64 a, i64 b) __attribute__((always_inline)) {
    const auto left = join_in_turn<C, N>(src, a), right = join_in_turn<C, N>(src, b);
    C::put(low, high, C::join(C::even(left, right), C::odd(left, right)));
  };
  i64 row = 0, s = 0;
  if (out >= half)
    for (; row < rows; ++row, s += src_pitch, dst = dst + dst_pitch) put(dst, dst + (out - half), s, s + 2 * out - L);
  for (; row + 2 <= rows - exact; row += 2, s += 2 * src_pitch, dst = dst + 2 * dst_pitch)
    put(dst, dst + dst_pitch, s, s + src_pitch);
  for (; row < rows; ++row, s += src_pitch, dst = dst + dst_pitch)
    for (i64 j = 0; j < out; ++j) {
      C::copy1(dst, j, src[0], s + 2 * j);
      for (int r = 1; r < 2 * N; ++r) C::join1(dst, j, src[r / 2], s + 2 * j + r % 2);
    }
}

template <class C, int N>
static void pair_rows_k(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 src_pitch, i64 rows,
                        i64 out, i64 k, const Paired& p, i64 exact) {
  if (out < lanes<typename C::A>) return short_rows<C, N>(dst, dst_pitch, from, src_pitch, rows, out, exact);
  if (k == 2) return pair_rows_n<C, N, 2, false, false>(dst, dst_pitch, from, src_pitch, rows, out);
  if (p.before) return pair_rows_n<C, N, 3, true, false>(dst, dst_pitch, from, src_pitch, rows, out);
  if (p.after) return pair_rows_n<C, N, 3, false, true>(dst, dst_pitch, from, src_pitch, rows, out);
  pair_rows_n<C, N, 3, false, false>(dst, dst_pitch, from, src_pitch, rows, out);
}
// Whether `pair_rows` joins so many rows.
static inline bool pairs_of(i64 n) { return n >= 2 && n <= 4; }
template <class C>
static void pair_rows(typename C::Row dst, i64 dst_pitch, const typename C::Row* from, i64 n, i64 src_pitch, i64 rows,
                      i64 out, i64 k, const Paired& p, i64 exact) {
  if (n == 2) return pair_rows_k<C, 2>(dst, dst_pitch, from, src_pitch, rows, out, k, p, exact);
  if (n == 3) return pair_rows_k<C, 3>(dst, dst_pitch, from, src_pitch, rows, out, k, p, exact);
  pair_rows_k<C, 4>(dst, dst_pitch, from, src_pitch, rows, out, k, p, exact);
}

}  // namespace poolkit::POOLKIT_ISA_NS

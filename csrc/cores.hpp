// What a fold carries along an axis and how two pieces of it join. A core is a monoid over vectors:
//   Row       pointers to the state of consecutive elements      Value     one vector of states
//   identity  the state of no tap                                join(a, b) the state of a's taps followed by b's
//                                                                join_all   the same of N values
#pragma once

#include <limits>

#include "simd.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class A>
struct Sum {
  static constexpr bool idempotent = false;
  static constexpr A identity = A(0);
  template <class V>
  static V join(V a, V b) {
    return a + b;
  }
  template <int N, class V>
  [[gnu::always_inline]] static V join_all(const V* v) {
    V a = v[0];
    for (int i = 1; i < N; ++i) a += v[i];
    return a;
  }
};

// NaN beats everything; of equal taps the earlier one, a, stays.
template <class A, bool Min>
struct Extreme {
  static constexpr bool idempotent = true;
  using limits = std::numeric_limits<A>;
  static constexpr A lowest = limits::has_infinity ? -limits::infinity() : limits::lowest();
  static constexpr A highest = limits::has_infinity ? limits::infinity() : limits::max();
  static constexpr A identity = Min ? highest : lowest;
  template <class V>
  static V join(V a, V b) {
    if constexpr (std::is_floating_point_v<A>)
      return b != b ? b : pick<Min>(b, a);
    else
      return (Min ? b < a : b > a) ? b : a;
  }
  // pick lets a NaN of its second operand through: only those of v[1] and after have to be put back, in one go.
  template <int N, class V>
  [[gnu::always_inline]] static V join_all(V* v) {
    V a = v[0];
    for (int i = 1; i < N; ++i) {
      if constexpr (std::is_floating_point_v<A>) settle(v[i]);
      a = pick<Min>(v[i], a);
    }
    if constexpr (std::is_floating_point_v<A> && N > 1) a = with_nans<N - 1>(a, v + 1);
    return a;
  }
};

// Joins where no tap is a NaN: one step, where maxima take three.
template <class Op>
struct Ordered {
  static constexpr bool idempotent = Op::idempotent;
  template <class V>
  [[gnu::always_inline]] static V join(V a, V b) {
    if constexpr (idempotent)
      return pick<(Op::identity > 0)>(b, a);
    else
      return Op::join(a, b);
  }
};

// State: one array of A.
template <class A_, template <class> class Op_>
struct Plain {
  using A = A_;
  using Op = Op_<A>;
  static constexpr bool idempotent = Op::idempotent;
  struct Row {
    A* v = nullptr;
    Row operator+(i64 n) const { return {v + n}; }
  };
  struct Value {
    vec<A> v;
  };
  // One state.
  struct Cell {
    A v;
    Row row() { return {&v}; }
  };
  static Value get(Row r, i64 k) { return {load<vec<A>>(r.v + k)}; }
  static void put(Row r, i64 k, Value s) { store(r.v + k, s.v); }
  // Half of the lanes each.
  static void put(Row low, Row high, Value s) { store_halves(low.v, high.v, s.v); }
  static Value join(Value a, Value b) {
    vec<A> v[] = {a.v, b.v};
    return {Op::template join_all<2>(v)};
  }
  template <int N>
  [[gnu::always_inline]] static Value join_all(const Value* s) {
    vec<A> v[N];
    for (int i = 0; i < N; ++i) v[i] = s[i].v;
    return {Op::template join_all<N>(v)};
  }
  static Value identity() { return {splat<vec<A>, A>(Op::identity)}; }
  static Value keep(i64 n, Value s) { return {first_lanes<A>(n) ? s.v : identity().v}; }
  static Value drop(i64 n, Value s) { return {first_lanes<A>(n) ? identity().v : s.v}; }
  template <int W>
  static Value shift(Value a, Value b) {
    return {shifted<W>(a.v, b.v)};
  }
  template <int T>
  static Value third(Value a, Value b, Value c) {
    return {POOLKIT_ISA_NS::third<T>(a.v, b.v, c.v)};
  }
  static Value even(Value a, Value b) { return {evens(a.v, b.v)}; }
  static Value odd(Value a, Value b) { return {odds(a.v, b.v)}; }
  // Lane i of the result: all lanes of s[i] joined. s is used up.
  template <int W = lanes<A> / 2>
  static Value fold_each(Value* s) {
    for (int k = 0; k < W; ++k) s[k] = join({clear_bit<W>(s[k].v, s[k + W].v)}, {set_bit<W>(s[k].v, s[k + W].v)});
    if constexpr (W > 1)
      return fold_each<W / 2>(s);
    else
      return s[0];
  }
  // All lanes joined, in lane 0.
  template <int W = lanes<A> / 2>
  static Value fold_lanes(Value a) {
    const Value b = join(a, {from_lane<W>(a.v)});
    if constexpr (W > 1)
      return fold_lanes<W / 2>(b);
    else
      return b;
  }
  static void copy1(Row d, i64 i, Row s, i64 k) { d.v[i] = s.v[k]; }
  static void join1(Row d, i64 i, Row s, i64 k) { d.v[i] = Op::join(d.v[i], s.v[k]); }
  static void clear(Row d, i64 n) {
    for (i64 i = 0; i < n; ++i) d.v[i] = Op::identity;
  }
};

template <class A>
using Max = Extreme<A, false>;
template <class A>
using Min = Extreme<A, true>;

}  // namespace poolkit::POOLKIT_ISA_NS

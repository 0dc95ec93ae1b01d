#include "kernels.hpp"

#include "carry.hpp"
#include "collect.hpp"
#include "route.hpp"
#include "spread.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class Fn>
static void each_output(const View& y, int rank, i64 plane, Fn&& fn) {
  const i64 n = plane / y.shape[1], c = plane % y.shape[1];
  i64 total = 1;
  for (int i = 0; i < rank; ++i) total *= y.shape[2 + i];
  for (i64 k = 0; k < total; ++k) {
    i64 o[3] = {}, rest = k;
    for (int i = rank - 1; i >= 0; --i) o[i] = rest % y.shape[2 + i], rest /= y.shape[2 + i];
    fn(n, c, o, place_of(y, rank, n, c, o));
  }
}

// The largest of T, for Min the least.
template <class T, bool Min, bool Magnitude>
static void fold_extreme(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  if constexpr (sizeof(T) == 2 && !std::is_same_v<T, acc_t<T>>) {
    const Grid g = make_grid(pr, x, y, Merge::all);
    if constexpr (Min)
      fold_io<Plain<std::int16_t, poolkit::POOLKIT_ISA_NS::Min>>(
          g, 1, nullptr, exec, [&] { return Keys<T, poolkit::POOLKIT_ISA_NS::Min, Magnitude>(g, x, y); });
    else
      fold_io<Plain<std::int16_t, Max>>(g, 1, nullptr, exec, [&] { return Keys<T, Max, Magnitude>(g, x, y); });
  } else if constexpr (Min) {
    fold_simple<Plain<T, poolkit::POOLKIT_ISA_NS::Min>, T, T, Magnitude>(pr, x, y, nullptr, exec);
  } else {
    fold_simple<Plain<T, Max>, T, T, Magnitude>(pr, x, y, nullptr, exec);
  }
}

template <class T, bool Min, bool Magnitude = false>
static const char* choose(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                          const Exec& exec) {
  if (offsets == nullptr && indices == nullptr) {
    fold_extreme<T, Min, Magnitude>(pr, x, y, exec);
    return nullptr;
  }
  // What networks train with; every form of it is compiled anew.
  if constexpr (tuned && std::is_same_v<acc_t<T>, float> && !Min && !Magnitude)
    if (carry<T>(pr, x, y, offsets, indices, exec)) return nullptr;
  const auto fold = [](const Problem& problem, const View& in, const View& out, const Exec& threads, auto magnitude) {
    fold_extreme<T, Min, decltype(magnitude)::value>(problem, in, out, threads);
  };
  const bool apart = !Magnitude && windows_apart(pr, x), by_axis = !apart && by_axis_pays(pr);
  each_part(pr, x, y, offsets, indices, exec,
            [&](const Problem& problem, const View& in, const View& out, const View* off, const View* idx,
                const Exec& threads) {
              if (by_axis) return choose_by_axis<T, Magnitude>(problem, in, out, off, idx, threads, fold);
              fold(problem, in, out, threads, std::bool_constant<Magnitude>{});
              if (apart) return find_apart<T>(problem, in, out, off, idx, threads);
              find_chosen<T, Magnitude>(problem, in, out, off, idx, threads);
            });
  return nullptr;
}

// Whether sums of these windows stay within 32 bits, and so does what they are divided by.
template <class T>
static bool sums_are_short(const Problem& pr) {
  double most = double(pr.params.divisor);
  double cells = 1;
  for (int i = 0; i < pr.rank; ++i) {
    const Axis& a = pr.axes[i];
    cells *= double(a.kind == AxisKind::adaptive ? a.size : std::max(a.kernel, a.size));
  }
  most = std::max(most, cells * double(1 << (8 * sizeof(T))));
  return most < 2147483648.0;
}

template <class T>
static void mean(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  using A = acc_t<T>;
  using S = std::conditional_t<std::is_floating_point_v<A>, A, i64>;
  std::atomic<bool> not_finite{false};
  const Counts counts{&pr, pr.params.include_pad, pr.params.divisor, &not_finite};
  if constexpr (std::is_integral_v<T> && sizeof(T) <= 2)
    if (sums_are_short<T>(pr)) return fold_simple<Plain<std::int32_t, Sum>, T, T>(pr, x, y, &counts, exec);
  fold_simple<Plain<S, Sum>, T, T>(pr, x, y, &counts, exec);
  if constexpr (std::is_floating_point_v<A> && !std::is_same_v<T, f16>)
    if (not_finite.load()) {
      const Grid g = make_grid(pr, x, y, Merge::joins);
      fold_io<Plain<A, Sum>>(g, 1, &counts, exec, [&] { return Rescale<T>(g, x, y); });
    }
}

template <class T>
static const char* forward_t(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                             const View* lse, const Exec& exec) {
  using A = acc_t<T>;
  constexpr bool real = std::is_floating_point_v<A>;
  using S = std::conditional_t<real, A, i64>;
  const Counts counts{&pr};
  switch (pr.reducer) {
    case Reducer::Max:
      return choose<T, false>(pr, x, y, offsets, indices, exec);
    case Reducer::Min:
      return choose<T, true>(pr, x, y, offsets, indices, exec);
    case Reducer::Sum:
      fold_simple<Plain<S, Sum>, T, std::conditional_t<real, T, i64>>(pr, x, y, nullptr, exec);
      break;
    case Reducer::Mean:
      mean<T>(pr, x, y, exec);
      break;
    default:
      if constexpr (real) {
        if (selects(pr)) return choose<T, false, true>(pr, x, y, offsets, indices, exec);
        const Grid g = make_grid(pr, x, y, Merge::joins);
        const bool soft = pr.reducer == Reducer::Soft;
        if (soft || pr.reducer == Reducer::LogSumExp)
          fold_io<Plain<A, Sum>>(g, soft ? 2 : 1, soft || !pr.params.mean ? nullptr : &counts, exec,
                                 [&] { return Softmax<T>(pr, g, x, y, lse); });
        else
          fold_io<Plain<A, Sum>>(g, 1, pr.reducer == Reducer::Lp ? nullptr : &counts, exec,
                                 [&] { return Power<T>(pr, g, x, y); });
      }
  }
  return nullptr;
}

// The sums behind softmax weights, again: a view over `memory`, like dy.
template <class T>
static View logsumexp(const Problem& pr, const View& x, const View& dy, Scratch<acc_t<T>>& memory, const Exec& exec) {
  using A = acc_t<T>;
  Problem sums = pr;
  sums.reducer = Reducer::LogSumExp, sums.params.mean = false;
  const View lse =
      dense_like(dy, pr.rank, x.stride[1] == 1 && x.shape[1] > 1, sizeof(A) == 8 ? DType::f64 : DType::f32, memory);
  const View nothing;
  const Grid g = make_grid(sums, x, lse, Merge::joins);
  fold_io<Plain<A, Sum>>(g, 1, nullptr, exec, [&] { return Softmax<T>(sums, g, x, nothing, &lse); });
  return lse;
}

template <class T>
static const char* backward_t(const Problem& pr, const View& dy, const View& dx, const View* x, const View* y,
                              const View* lse, const View* offsets, const Exec& exec) {
  if (offsets != nullptr) {
    std::atomic<bool> outside{false};
    bool done = false;
    if constexpr (tuned) done = collect<T>(pr, dy, dx, *offsets, outside, exec);
    if (!done) route<T>(pr, dy, dx, x, *offsets, outside, exec);
    return outside.load() ? "indices hold an offset outside its window" : nullptr;
  }
  if constexpr (tuned)
    if (spread<T>(pr, dy, dx, exec)) return nullptr;
  Problem turned = pr;
  i64 gaps[3] = {1, 1, 1};
  const int last = pr.rank - 1;
  for (int i = 0; i < pr.rank; ++i) turned.axes[i] = transpose(pr.axes[i], false);
  if (!make_grid(turned, dy, dx, Merge::none).channels_last && pr.axes[last].kind == AxisKind::sliding) {
    turned.axes[last] = transpose(pr.axes[last], true);
    gaps[last] = pr.axes[last].stride;
  }
  Scratch<acc_t<T>> memory;
  View found;
  if (facts(pr.reducer).lse && lse == nullptr) found = logsumexp<T>(pr, *x, dy, memory, exec), lse = &found;
  const Grid g = make_grid(turned, dy, dx, Merge::none);
  fold_io<Plain<acc_t<T>, Sum>>(g, pr.reducer == Reducer::Soft ? 2 : 1, nullptr, exec,
                                [&] { return Gradient<T>(pr, g, dy, dx, x, y, lse, gaps); });
  return nullptr;
}

// kernels_whole.cpp
bool small_mean(const Problem&, const View& x, const View& y, const Exec&);
bool small_window(const Problem&, const View& x, const View& y, const View* offsets, const View* indices,
                  const View* extra, const Exec&);
const char* whole_window(const Problem&, const View& x, const View& y, const View* offsets, const View* indices,
                         const View* extra, const Exec&);
const char* whole_window_backward(const Problem&, const View& dy, const View& dx, const View& x, const View* extra,
                                  const View* dextra, const Exec&);

// y = a y + (1 - a) mean, a from `weight` or everywhere `level`; a weight of 0 or 1 leaves a side out altogether.
template <class A>
static void blend(const View& y, const View& mean, const View* weight, double level, int rank) {
  using V = vec<A>;
  constexpr i64 L = lanes<A>;
  const int inner = y.stride[1] == 1 && y.shape[1] > 1 ? 1 : 1 + rank;
  const i64 n = y.shape[inner];
  const A fixed = A(level);
  const auto mix = [](V a, V top, V low) { return a == V{} ? low : a == V{} + 1 ? top : a * top + (1 - a) * low; };
  i64 o[5] = {}, lines = 1;
  for (int i = 0; i < 2 + rank; ++i) lines *= i == inner ? 1 : y.shape[i];
  for (i64 line = 0; line < lines; ++line) {
    const auto at = [&](const View& v) {
      i64 offset = 0;
      for (int i = 0; i < 2 + rank; ++i) offset += o[i] * v.stride[i];
      return static_cast<A*>(v.data) + offset;
    };
    A* const to = at(y);
    const A *const low = at(mean), *const a = weight ? at(*weight) : &fixed;
    const i64 next = weight ? weight->stride[inner] : 0;
    i64 i = 0;
    if (y.stride[inner] == 1 && mean.stride[inner] == 1 && next <= 1)
      for (; i + L <= n; i += L)
        store(to + i, mix(next == 1 ? load<V>(a + i) : splat<V, A>(*a), load<V>(to + i), load<V>(low + i)));
    for (; i < n; ++i) {
      A& top = to[i * y.stride[inner]];
      top = mix(splat<V, A>(a[i * next]), splat<V, A>(top), splat<V, A>(low[i * mean.stride[inner]]))[0];
    }
    for (int k = 1 + rank; k >= 0; --k) {
      if (k == inner) continue;
      if (++o[k] < y.shape[k]) break;
      o[k] = 0;
    }
  }
}

// Maximum and mean, folded one after the other while their part of the input is in cache.
template <class T>
static void mixed(const Problem& pr, const View& x, const View& y, const View* extra, const Exec& exec) {
  Problem plain = pr;
  plain.params.include_pad = false, plain.params.divisor = 0;
  each_part(plain, x, y, extra, nullptr, exec,
            [&](const Problem& problem, const View& in, const View& out, const View* weight, const View*,
                const Exec& threads) {
              fold_simple<Plain<T, Max>, T, T>(problem, in, out, nullptr, threads);
              Scratch<T> memory;
              const View low = dense_like(out, pr.rank, out.stride[1] == 1 && out.shape[1] > 1, x.dtype, memory);
              mean<T>(problem, in, low, threads);
              blend<T>(out, low, weight, pr.params.level, pr.rank);
            });
}

// A reducer whose array beside x holds one value for all outputs, or one for each channel, is one whose parameter that
// is. False: there is no such reducer.
static bool as_parameter(const Problem& pr, double value, Problem& to) {
  to = pr;
  if (!(std::fabs(value) < HUGE_VAL)) return false;
  if (pr.reducer == Reducer::GeM && value > 0) {
    to.reducer = Reducer::PowerMean, to.params.p = value;
    return true;
  }
  if (pr.reducer == Reducer::Boltzmann && value != 0) {
    to.reducer = Reducer::Soft, to.params.beta = value;
    return true;
  }
  return false;
}

// Whether all values of channels [c, c + n) are the first of them: whoever spreads one value out gets the same bits.
template <class A>
static bool even(const View& extra, int rank, i64 c, i64 n) {
  const View part = part_of(extra, 0, extra.shape[0], c, n, sizeof(A));
  const A* const values = static_cast<const A*>(part.data);
  i64 o[5] = {}, total = 1;
  for (int i = 0; i < 2 + rank; ++i) total *= part.stride[i] == 0 ? 1 : part.shape[i];
  for (i64 k = 0; k < total; ++k) {
    i64 at = 0;
    for (int i = 0; i < 2 + rank; ++i) at += o[i] * part.stride[i];
    if (values[at] != values[0]) return false;
    for (int i = 1 + rank; i >= 0; --i) {
      if (part.stride[i] == 0) continue;
      if (++o[i] < part.shape[i]) break;
      o[i] = 0;
    }
  }
  return true;
}

template <class T>
static bool by_parameter(const Problem& pr, const View& x, const View& y, const View& extra, const Exec& exec) {
  using A = acc_t<T>;
  const i64 C = y.shape[1];
  const bool one = even<A>(extra, pr.rank, 0, C);
  if (!one && x.stride[1] == 1) return false;
  const i64 channels = one ? 1 : C;
  Problem each;
  const auto parameter = [&](i64 c) {
    return as_parameter(pr, double(static_cast<A*>(extra.data)[c * extra.stride[1]]), each);
  };
  for (i64 c = 0; c < channels; ++c)
    if (!parameter(c) || (!one && !even<A>(extra, pr.rank, c, 1))) return false;
  for (i64 c = 0; c < channels; ++c) {
    parameter(c);
    const auto cut = [&](const View& v) { return one ? v : part_of(v, 0, v.shape[0], c, 1, itemsize_of(v.dtype)); };
    const View in = cut(x), out = cut(y);
    if (!small_window(each, in, out, nullptr, nullptr, nullptr, exec))
      forward_t<T>(each, in, out, nullptr, nullptr, nullptr, exec);
  }
  return true;
}

static const char* forward(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                           const View* lse, const View* extra, const Exec& exec) {
  if (lse == nullptr && x.dtype < DType::i8 && small_window(pr, x, y, offsets, indices, extra, exec)) return nullptr;
  if (pr.reducer == Reducer::Mean && small_mean(pr, x, y, exec)) return nullptr;
  if (pr.reducer == Reducer::Mixed && x.dtype == DType::f32) return mixed<float>(pr, x, y, extra, exec), nullptr;
  if (pr.reducer == Reducer::Mixed && x.dtype == DType::f64) return mixed<double>(pr, x, y, extra, exec), nullptr;
  if ((pr.reducer == Reducer::GeM || pr.reducer == Reducer::Boltzmann) &&
      with_float_type(x.dtype, [&](auto t) { return by_parameter<decltype(t)>(pr, x, y, *extra, exec); }))
    return nullptr;
  if (whole(pr.reducer)) return whole_window(pr, x, y, offsets, indices, extra, exec);
  return with_type(x.dtype, [&](auto t) { return forward_t<decltype(t)>(pr, x, y, offsets, indices, lse, exec); });
}

static const char* backward(const Problem& pr, const View& dy, const View& dx, const View* x, const View* y,
                            const View* lse, const View* offsets, const View* extra, const View* dextra,
                            const Exec& exec) {
  const bool chosen = selects(pr);
  if (whole(pr.reducer) && !chosen) return whole_window_backward(pr, dy, dx, *x, extra, dextra, exec);
  return with_float_type(dx.dtype, [&](auto t) {
    return backward_t<decltype(t)>(pr, dy, dx, x, y, lse, chosen ? offsets : nullptr, exec);
  });
}

// Writes (or reads) through flat plane indices. Sequential in a plane, so that the last writer is the last in order.
template <class T, bool Back>
static const char* unpool_t(const View& small, const View& indices, const View& large, int rank, const Exec& exec) {
  i64 size = 1;
  for (int i = 0; i < rank; ++i) size *= large.shape[2 + i];
  const char* wrong = nullptr;
  parallel(exec, large.shape[0] * large.shape[1], 1, [&](i64 begin, i64 end) {
    i64* writer = Back ? new i64[size] : nullptr;
    for (i64 plane = begin; plane < end; ++plane) {
      const i64 n = plane / large.shape[1], c = plane % large.shape[1];
      const auto place = [&](i64 flat) {
        i64 q[3] = {};
        for (int i = rank - 1; i >= 0; --i) q[i] = flat % large.shape[2 + i], flat /= large.shape[2 + i];
        return place_of(large, rank, n, c, q);
      };
      const auto index_at = [&](i64 at_index) { return static_cast<i64*>(indices.data)[at_index]; };
      bool inside = true;
      each_output(indices, rank, plane,
                  [&](i64, i64, const i64*, i64 k) { inside &= index_at(k) >= 0 && index_at(k) < size; });
      if (!inside) {
        wrong = "indices hold a position outside the output plane";
        continue;
      }
      for (i64 i = 0; i < size; ++i) {
        if constexpr (Back)
          writer[i] = -1;
        else
          static_cast<T*>(large.data)[place(i)] = T{};
      }
      each_output(indices, rank, plane, [&](i64, i64, const i64 o[3], i64 k) {
        if constexpr (Back)
          writer[index_at(k)] = k;
        else
          static_cast<T*>(large.data)[place(index_at(k))] = static_cast<T*>(small.data)[place_of(small, rank, n, c, o)];
      });
      if constexpr (Back)
        each_output(indices, rank, plane, [&](i64, i64, const i64 o[3], i64 k) {
          const i64 to = index_at(k);
          static_cast<T*>(small.data)[place_of(small, rank, n, c, o)] =
              writer[to] == k ? static_cast<T*>(large.data)[place(to)] : T{};
        });
    }
    delete[] writer;
  });
  return wrong;
}

static const char* unpool(const View& x, const View& indices, const View& out, int rank, const Exec& exec) {
  return with_type(x.dtype, [&](auto t) { return unpool_t<decltype(t), false>(x, indices, out, rank, exec); });
}
static const char* unpool_backward(const View& dout, const View& indices, const View& dx, int rank, const Exec& exec) {
  return with_type(dx.dtype, [&](auto t) { return unpool_t<decltype(t), true>(dx, indices, dout, rank, exec); });
}

template <class A>
static void elementary(Elementary f, double p, const A* x, A* y, i64 n) {
  map_row(x, y, n, [&](vec<A> v) {
    return f == Elementary::exp    ? exp_v(v)
           : f == Elementary::log  ? log_v(v)
           : f == Elementary::pow  ? pow_v(v, p)
           : f == Elementary::cbrt ? cbrt_v(v)
                                   : exp_same(v);
  });
}

extern const KernelTable kernels;
const KernelTable kernels = {forward, backward, unpool, unpool_backward, elementary<float>, elementary<double>};

}  // namespace poolkit::POOLKIT_ISA_NS

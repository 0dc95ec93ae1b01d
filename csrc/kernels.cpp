#include "kernels.hpp"

#include "direct.hpp"
#include "exec.hpp"
#include "fold.hpp"

namespace poolkit::POOLKIT_ISA_NS {

static i64 at(const View& v, int rank, i64 n, i64 c, const i64 o[3]) {
  i64 p = n * v.stride[0] + c * v.stride[1];
  for (int i = 0; i < rank; ++i) p += o[i] * v.stride[2 + i];
  return p;
}

template <class Fn>
static void each_output(const View& y, int rank, i64 plane, Fn&& fn) {
  const i64 n = plane / y.shape[1], c = plane % y.shape[1];
  i64 total = 1;
  for (int i = 0; i < rank; ++i) total *= y.shape[2 + i];
  for (i64 k = 0; k < total; ++k) {
    i64 o[3] = {}, rest = k;
    for (int i = rank - 1; i >= 0; --i) o[i] = rest % y.shape[2 + i], rest /= y.shape[2 + i];
    fn(n, c, o, at(y, rank, n, c, o));
  }
}

static void put_offset(const View& v, i64 at, i64 value) {
  if (v.dtype == DType::u8) static_cast<std::uint8_t*>(v.data)[at] = std::uint8_t(value);
  else if (v.dtype == DType::i16) static_cast<std::uint16_t*>(v.data)[at] = std::uint16_t(value);
  else static_cast<std::int32_t*>(v.data)[at] = std::int32_t(value);
}
static i64 get_offset(const View& v, i64 at) {
  if (v.dtype == DType::u8) return static_cast<std::uint8_t*>(v.data)[at];
  if (v.dtype == DType::i16) return static_cast<std::uint16_t*>(v.data)[at];
  return static_cast<std::int32_t*>(v.data)[at];
}

template <class T>
static void forward_t(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                      const View* lse, const Exec& exec) {
  i64 box[3] = {1, 1, 1};
  offset_box(pr, box + (3 - pr.rank));
  parallel(exec, x.shape[0] * x.shape[1], 1, [&](i64 begin, i64 end) {
    for (i64 plane = begin; plane < end; ++plane)
      each_output(y, pr.rank, plane, [&](i64 n, i64 c, const i64 o[3], i64 out) {
        const Window<T> w(pr, x, n, c, o);
        T* dst = static_cast<T*>(y.data) + out;
        using A = acc_t<T>;
        switch (pr.reducer) {
          case Reducer::Max:
          case Reducer::Min:
          case Reducer::Lp: {
            if (pr.reducer == Reducer::Lp && pr.params.p != HUGE_VAL) {
              if constexpr (std::is_floating_point_v<A>) *dst = narrow<T>(A(norm(w, pr.params.p, false, 0, false)));
              break;
            }
            A best{};
            i64 where[3] = {};
            bool first = true;
            for (i64 a = 0; a < w.box[0].n; ++a)
              for (i64 b = 0; b < w.box[1].n; ++b)
                for (i64 t = 0; t < w.box[2].n; ++t) {
                  A v = widen(w.base[w.position(0, a) + w.position(1, b) + w.position(2, t)]);
                  if (pr.reducer == Reducer::Lp) v = v < 0 ? A(-v) : v;
                  const bool better = pr.reducer == Reducer::Min ? v < best : v > best;
                  if (first || (best == best && (better || v != v))) best = v, where[0] = a, where[1] = b, where[2] = t;
                  first = false;
                }
            *dst = narrow<T>(best);
            if (offsets != nullptr)
              put_offset(*offsets, at(*offsets, pr.rank, n, c, o), (where[0] * box[1] + where[1]) * box[2] + where[2]);
            if (indices != nullptr) {
              i64 index = 0;
              for (int i = 0; i < pr.rank; ++i) {
                const int k = i + 3 - pr.rank;
                index = index * x.shape[2 + i] + w.box[k].start + where[k] * w.step[k];
              }
              static_cast<i64*>(indices->data)[at(*indices, pr.rank, n, c, o)] = index;
            }
            break;
          }
          case Reducer::Sum:
          case Reducer::Mean:
            if constexpr (std::is_floating_point_v<A>) {
              double s = 0;
              w.each([&](T v) { s += double(widen(v)); });
              *dst = narrow<T>(A(pr.reducer == Reducer::Sum ? s : s / mean_divisor(pr, plane, o)));
            } else {
              i64 s = 0;
              w.each([&](T v) { s += i64(v); });
              if (pr.reducer == Reducer::Sum) {
                static_cast<i64*>(y.data)[out] = s;
              } else {
                const i64 d = i64(mean_divisor(pr, plane, o));
                i64 q = s / d, r = s % d;
                if (r < 0) r += d, --q;
                if (2 * r > d || (2 * r == d && (q & 1))) ++q;
                *dst = T(q);
              }
            }
            break;
          case Reducer::PowerMean:
            if constexpr (std::is_floating_point_v<A>)
              *dst = narrow<T>(A(norm(w, pr.params.p, true, pr.params.eps, true)));
            break;
          case Reducer::RMS:
            if constexpr (std::is_floating_point_v<A>) *dst = narrow<T>(A(norm(w, 2, false, 0, true)));
            break;
          case Reducer::LogSumExp:
          case Reducer::Soft:
            if constexpr (std::is_floating_point_v<A>) {
              const SoftmaxState s = softmax(w, pr.params.beta);
              const double l = s.lse - (pr.params.mean ? std::log(double(w.taps())) : 0);
              *dst = narrow<T>(A(pr.reducer == Reducer::Soft ? s.value : l / pr.params.beta));
              if (lse != nullptr) static_cast<A*>(lse->data)[at(*lse, pr.rank, n, c, o)] = A(s.lse);
            }
            break;
        }
      });
  });
}

template <class T>
static const char* backward_t(const Problem& pr, const View& dy, const View& dx, const View* x, const View* y,
                              const View* lse, const View* offsets, const Exec& exec) {
  using A = acc_t<T>;
  i64 box[3] = {1, 1, 1};
  offset_box(pr, box + (3 - pr.rank));
  i64 size = 1;
  for (int i = 0; i < pr.rank; ++i) size *= dx.shape[2 + i];
  const char* wrong = nullptr;
  parallel(exec, dx.shape[0] * dx.shape[1], 1, [&](i64 begin, i64 end) {
    A* sum = new A[size];
    for (i64 plane = begin; plane < end; ++plane) {
      for (i64 i = 0; i < size; ++i) sum[i] = 0;
      each_output(dy, pr.rank, plane, [&](i64 n, i64 c, const i64 o[3], i64 out) {
        View flat = dx;  // positions in the plane's scratch, row-major
        i64 s = 1;
        for (int i = pr.rank - 1; i >= 0; --i) flat.stride[2 + i] = s, s *= dx.shape[2 + i];
        flat.stride[0] = flat.stride[1] = 0;
        const Window<T> w(pr, flat, n, c, o);
        const double g = double(widen(static_cast<T*>(dy.data)[out]));
        const auto yv = [&] { return double(widen(static_cast<T*>(y->data)[at(*y, pr.rank, n, c, o)])); };
        const auto route = [&](auto&& weight) {
          for (i64 a = 0; a < w.box[0].n; ++a)
            for (i64 b = 0; b < w.box[1].n; ++b)
              for (i64 t = 0; t < w.box[2].n; ++t) {
                const i64 p = w.position(0, a) + w.position(1, b) + w.position(2, t);
                i64 q[3], rest = p;
                for (int i = pr.rank - 1; i >= 0; --i) q[i] = rest % dx.shape[2 + i], rest /= dx.shape[2 + i];
                sum[p] += A(g * weight(x == nullptr ? 0.0 : double(widen(static_cast<T*>(x->data)[at(*x, pr.rank, n, c, q)]))));
              }
        };
        const double p = pr.params.p;
        switch (pr.reducer) {
          case Reducer::Sum: route([](double) { return 1.0; }); break;
          case Reducer::Mean: {
            const double d = mean_divisor(pr, plane, o);
            route([&](double) { return 1 / d; });
            break;
          }
          case Reducer::RMS: {
            const double v = yv(), k = double(w.taps());
            route([&](double xi) { return v == 0 ? 0 : xi / v / k; });
            break;
          }
          case Reducer::PowerMean: {
            const double v = yv(), k = double(w.taps());
            route([&](double xi) { return xi < pr.params.eps || v == 0 ? 0 : std::pow(xi / v, p - 1) / k; });
            break;
          }
          case Reducer::LogSumExp:
          case Reducer::Soft: {
            const double l = double(static_cast<A*>(lse->data)[at(*lse, pr.rank, n, c, o)]), b = pr.params.beta;
            const double v = pr.reducer == Reducer::Soft ? yv() : 0;
            route([&](double xi) {
              const double e = std::exp(b * xi - l);
              return pr.reducer == Reducer::Soft ? (e == 0 ? 0 : e * (1 + b * (xi - v))) : e;
            });
            break;
          }
          default:
            if (pr.reducer == Reducer::Lp && p != HUGE_VAL) {
              const double v = yv();
              route([&](double xi) {
                return v == 0 || xi == 0 ? 0 : std::copysign(std::pow(std::fabs(xi) / v, p - 1), xi);
              });
              break;
            }
            i64 off = get_offset(*offsets, at(*offsets, pr.rank, n, c, o)), t[3];
            t[2] = off % box[2], off /= box[2], t[1] = off % box[1], t[0] = off / box[1];
            if (off < 0 || t[0] >= w.box[0].n || t[1] >= w.box[1].n || t[2] < 0 || t[2] >= w.box[2].n) {
              wrong = "indices hold an offset outside its window";
              return;
            }
            const i64 where = w.position(0, t[0]) + w.position(1, t[1]) + w.position(2, t[2]);
            double sign = 1;
            if (pr.reducer == Reducer::Lp) {
              i64 q[3], rest = where;
              for (int i = pr.rank - 1; i >= 0; --i) q[i] = rest % dx.shape[2 + i], rest /= dx.shape[2 + i];
              const double xi = double(widen(static_cast<T*>(x->data)[at(*x, pr.rank, n, c, q)]));
              sign = xi > 0 ? 1 : xi < 0 ? -1 : 0;
            }
            sum[where] += A(g * sign);
        }
      });
      const i64 n = plane / dx.shape[1], c = plane % dx.shape[1];
      for (i64 i = 0; i < size; ++i) {
        i64 q[3], rest = i;
        for (int k = pr.rank - 1; k >= 0; --k) q[k] = rest % dx.shape[2 + k], rest /= dx.shape[2 + k];
        static_cast<T*>(dx.data)[at(dx, pr.rank, n, c, q)] = narrow<T>(sum[i]);
      }
    }
    delete[] sum;
  });
  return wrong;
}

static i64 furthest(const View& v, int rank) {
  i64 end = 1;
  for (int i = 0; i < 2 + rank; ++i)
    if (v.stride[i] > 0) end += (v.shape[i] - 1) * v.stride[i];
  return end;
}

// Whether y is one gapless block in logical order.
static bool dense_view(const View& v, int rank) {
  i64 next = 1;
  for (int i = 1 + rank; i >= 0; --i) {
    if (v.shape[i] != 1 && v.stride[i] != next) return false;
    next *= v.shape[i];
  }
  return true;
}

template <class C>
static void fold_direct(const Problem& pr, const Grid& g, const View& x, const View& y, const Counts* divide,
                        const Exec& exec) {
  using A = typename C::A;
  i64 work = 1;
  for (int i = 0; i < g.rank; ++i) work *= g.axes[i].size;
  const i64 per_plane = Fold<C>::blocks(g);
  const i64 cost = std::max<i64>(1, work * g.run / per_plane);
  const bool ordered = dense_view(y, pr.rank);
  A* const out = static_cast<A*>(y.data);
  parallel(exec, g.planes() * per_plane, std::max<i64>(1, (i64(1) << 15) / cost), [&](i64 begin, i64 end) {
    Fold<C> fold(g);
    fold.source = static_cast<A*>(x.data);
    fold.source_end = fold.source + furthest(x, pr.rank);
    fold.target = out;
    fold.target_end = out;
    if (ordered) {
      i64 whole = 1;
      for (int i = 0; i < 2 + pr.rank; ++i) whole *= y.shape[i];
      fold.target_end = out + (end == g.planes() * per_plane ? whole : place(g, end / per_plane).dst);
    }
    fold.divide = divide;
    fold.units(begin, end);
  });
}

template <class A>
static bool forward_fast(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  const Grid g = make_grid(pr, x, y, false);
  if (g.src[g.rank - 1] != g.run || g.dst[g.rank - 1] != g.run) return false;
  if (pr.reducer == Reducer::Max) return fold_direct<Plain<A, Max>>(pr, g, x, y, nullptr, exec), true;
  if (pr.reducer == Reducer::Min) return fold_direct<Plain<A, Min>>(pr, g, x, y, nullptr, exec), true;
  if constexpr (std::is_floating_point_v<A>) {
    if (pr.reducer == Reducer::Sum) return fold_direct<Plain<A, Sum>>(pr, g, x, y, nullptr, exec), true;
    if (pr.reducer == Reducer::Mean) {
      const Counts counts{&pr, pr.params.include_pad, pr.params.divisor};
      return fold_direct<Plain<A, Sum>>(pr, g, x, y, &counts, exec), true;
    }
  }
  return false;
}

static const char* forward(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                           const View* lse, const Exec& exec) {
  with_type(x.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (std::is_same_v<T, acc_t<T>>)
      if (offsets == nullptr && indices == nullptr && forward_fast<T>(pr, x, y, exec)) return;
    forward_t<T>(pr, x, y, offsets, indices, lse, exec);
  });
  return nullptr;
}

static const char* backward(const Problem& pr, const View& dy, const View& dx, const View* x, const View* y,
                            const View* lse, const View* offsets, const Exec& exec) {
  return with_float_type(dx.dtype, [&](auto t) { return backward_t<decltype(t)>(pr, dy, dx, x, y, lse, offsets, exec); });
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
        i64 q[3];
        for (int i = rank - 1; i >= 0; --i) q[i] = flat % large.shape[2 + i], flat /= large.shape[2 + i];
        return at(large, rank, n, c, q);
      };
      const auto index_at = [&](i64 at_index) { return static_cast<i64*>(indices.data)[at_index]; };
      bool inside = true;
      each_output(indices, rank, plane, [&](i64, i64, const i64*, i64 k) { inside &= index_at(k) >= 0 && index_at(k) < size; });
      if (!inside) {
        wrong = "indices hold a position outside the output plane";
        continue;
      }
      for (i64 i = 0; i < size; ++i) {
        if constexpr (Back) writer[i] = -1;
        else static_cast<T*>(large.data)[place(i)] = T{};
      }
      each_output(indices, rank, plane, [&](i64, i64, const i64 o[3], i64 k) {
        if constexpr (Back) writer[index_at(k)] = k;
        else static_cast<T*>(large.data)[place(index_at(k))] = static_cast<T*>(small.data)[at(small, rank, n, c, o)];
      });
      if constexpr (Back)
        each_output(indices, rank, plane, [&](i64, i64, const i64 o[3], i64 k) {
          const i64 to = index_at(k);
          static_cast<T*>(small.data)[at(small, rank, n, c, o)] = writer[to] == k ? static_cast<T*>(large.data)[place(to)] : T{};
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

extern const KernelTable kernels;
const KernelTable kernels = {forward, backward, unpool, unpool_backward};

}  // namespace poolkit::POOLKIT_ISA_NS

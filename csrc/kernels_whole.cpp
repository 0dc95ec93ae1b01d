// The table of reducers that see a window whole, compiled once per instruction set.
#include "kernels.hpp"
#include "locals.hpp"
#include "median.hpp"
#include "small_forward.hpp"

namespace poolkit::POOLKIT_ISA_NS {

template <class A>
static Atom<A>* make_atom(const Problem& pr, const View* extra) {
  if constexpr (std::is_floating_point_v<A>) switch (pr.reducer) {
      case Reducer::RankStochastic:
      case Reducer::MaxDrop:
        if (pr.params.sample) return new RankDraw<A>(pr);
        break;
      case Reducer::Ordinal:
        return new Ordinal<A>(pr, extra->shape[2]);
      case Reducer::Stochastic:
        return new Stochastic<A>(pr);
      case Reducer::Mixed:
        return new Mixed<A>(pr);
      case Reducer::Var:
        return new Moment<A, false>(pr);
      case Reducer::Std:
        return new Moment<A, true>(pr);
      case Reducer::Ada:
        return new Ada<A>(pr);
      case Reducer::Boltzmann:
        return new Boltzmann<A>();
      case Reducer::GeM:
        return new GeM<A>(pr);
      case Reducer::Filter:
        return new Filter<A>();
      default:
        break;
    }
  (void)extra;
  return new RankSum<A>(pr);
}

// Whether it was done.
bool small_window(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                  const View* extra, const Exec& exec) {
  return with_float_type(x.dtype,
                         [&](auto t) { return small_forward<decltype(t)>(pr, x, y, offsets, indices, extra, exec); });
}

// The same, of means of narrow types.
bool small_mean(const Problem& pr, const View& x, const View& y, const Exec& exec) {
  if constexpr (tuned) switch (x.dtype) {
      case DType::f16:
        return joined_mean<f16>(pr, x, y, exec);
      case DType::bf16:
        return joined_mean<bf16>(pr, x, y, exec);
      case DType::i8:
        return joined_mean<std::int8_t>(pr, x, y, exec);
      case DType::u8:
        return joined_mean<std::uint8_t>(pr, x, y, exec);
      default:
        break;
    }
  return false;
}

const char* whole_window(const Problem& pr, const View& x, const View& y, const View* offsets, const View* indices,
                         const View* extra, const Exec& exec) {
  const Extra kind = extra == nullptr ? Extra::none : facts(pr.reducer).extra;
  with_type(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (offsets == nullptr && indices == nullptr && Medians<T>::takes(pr, x, y)) return medians<T>(pr, x, y, exec);
    whole_forward<T>(pr, x, y, offsets, indices, extra, kind, exec, make_atom<whole_t<T>>);
  });
  return nullptr;
}

const char* whole_window_backward(const Problem& pr, const View& dy, const View& dx, const View& x, const View* extra,
                                  const View* dextra, const Exec& exec) {
  const Extra kind = extra == nullptr ? Extra::none : facts(pr.reducer).extra;
  with_float_type(dx.dtype, [&](auto t) {
    using T = decltype(t);
    whole_backward<T>(pr, dy, dx, x, extra, dextra, kind, exec, make_atom<acc_t<T>>);
  });
  return nullptr;
}

}  // namespace poolkit::POOLKIT_ISA_NS

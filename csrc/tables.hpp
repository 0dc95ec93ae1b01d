// exp and log of single precision where one instruction looks up sixteen numbers: a table takes the leading bits, and a
// polynomial half as long the rest. The numbers are this project's own (tools/fit_polynomials.py); what the functions
// promise is what those of vmath.hpp do.
#pragma once

#include "simd.hpp"

#if defined(__AVX512F__)
namespace poolkit::POOLKIT_ISA_NS {

// 2^(j / 16).
alignas(64) inline constexpr float powers[16] = {1.0f,           1.04427378243f, 1.09050773267f, 1.13878863476f,
                                                 1.189207115f,   1.24185781207f, 1.29683955465f, 1.35425554694f,
                                                 1.41421356237f, 1.47682614594f, 1.54221082541f, 1.61049033195f,
                                                 1.68179283051f, 1.75625216037f, 1.83400808641f, 1.9152065614f};
// About 1 / m for m from 3/4 to 3/2, by the leading four bits of its fraction, and minus their logarithms. On both
// sides of 1 they are 1 and 0, so that a logarithm near 0 keeps its digits.
alignas(64) inline constexpr float inverses[16] = {1.0f,
                                                   0.91428565979f,
                                                   0.864864826202f,
                                                   0.820512771606f,
                                                   0.780487775803f,
                                                   0.744186043739f,
                                                   0.711111068726f,
                                                   0.680851101875f,
                                                   1.30612242222f,
                                                   1.2549020052f,
                                                   1.20754718781f,
                                                   1.16363632679f,
                                                   1.12280702591f,
                                                   1.08474576473f,
                                                   1.04918026924f,
                                                   1.0f};
alignas(64) inline constexpr float logarithms[16] = {0.0f,
                                                     0.0896122182943f,
                                                     0.145182054548f,
                                                     0.197825802935f,
                                                     0.247836201157f,
                                                     0.295464216619f,
                                                     0.340926646575f,
                                                     0.384411643031f,
                                                     -0.26706276476f,
                                                     -0.227057486026f,
                                                     -0.188591184709f,
                                                     -0.151549866462f,
                                                     -0.115831822976f,
                                                     -0.0813456413166f,
                                                     -0.048009163307f,
                                                     0.0f};

// Element index[i] modulo 16, for each i.
static inline __m512 looked_up(const float* table, __m512i index) {
  return _mm512_maskz_permutexvar_ps(0xffff, index, _mm512_load_ps(table));
}

// exp(x): infinity from where it overflows, 0 below `lowest`. NaN stays.
static inline vec<float> exp_by_table(vec<float> x, float lowest) {
  // (exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 32.
  constexpr double rest[] = {0.50000977491803010301, 0.1666686216459047718};
  using V = vec<float>;
  // An infinity would be NaN before the last step overflows.
  const V t = pick<true>(V{} + 89, x), shifter = V{} + 0x1.8p19f;  // which leaves sixteenths
  const V sixteenths = fused(t, V{} + 1.44269504088896340736f, shifter), n = sixteenths - shifter;
  const V r = fused(n, V{} - 1.428606765330187e-6f, fused(n, V{} - 0.693145751953125f, t));
  const V p = fused(r * r, fused(r, V{} + float(rest[1]), V{} + float(rest[0])), r);
  const V power = V(looked_up(powers, __m512i(sixteenths)));
  const __mmask16 seen = _mm512_cmp_ps_mask(__m512(x), _mm512_set1_ps(lowest), _CMP_NLT_UQ);
  return V(_mm512_maskz_scalef_ps(seen, __m512(fused(power, p, power)), __m512(n)));
}

// log(x): -inf of 0, NaN below.
static inline vec<float> log_by_table(vec<float> x) {
  // (log(1 + r) - r) / r^2 for r from -1/32 to 1/16.
  constexpr double rest[] = {-0.4999999799512332067, 0.33334176967024989949, -0.2501231570155121223,
                             0.19021256813028238339};
  using V = vec<float>;
  const __m512 m = _mm512_maskz_getmant_ps(0xffff, __m512(x), _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
  const V n = V(_mm512_maskz_getexp_ps(0xffff, __m512(x))) - V(_mm512_maskz_getexp_ps(0xffff, m));
  const __m512i index = _mm512_maskz_srli_epi32(0xffff, __m512i(m), 19);
  const V r = fused(V(m), V(looked_up(inverses, index)), V{} - 1);
  V p = fused(r, V{} + float(rest[3]), V{} + float(rest[2]));
  p = fused(r, p, V{} + float(rest[1]));
  p = fused(r, p, V{} + float(rest[0]));
  const V high = fused(n, V{} + 0.693145751953125f, V(looked_up(logarithms, index)));
  return high + fused(r * r, p, fused(n, V{} + 1.428606765330187e-6f, r));
}

}  // namespace poolkit::POOLKIT_ISA_NS
#endif

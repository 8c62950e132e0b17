// `half`, as far as TVM uses it.
#pragma once
#include "fake_half.h"

typedef fake_short_float<fake_half_bits> half;
typedef half __half;
struct alignas(4) __half2 { half x, y; };
typedef __half2 half2;
FAKE_FUNCTIONS(half)
static inline half2 make_half2(half x, half y) { return {x, y}; }
static inline half2 __halves2half2(half x, half y) { return {x, y}; }
static inline float __half2float(half value) { return value; }
static inline half __float2half(float value) { return value; }
static inline half __float2half_rn(float value) { return value; }
#if !defined(__CUDA_ARCH__)
// TVM writes these itself, but for the device alone.
static inline half hpow(half a, half b) { return powf(a, b); }
static inline half htan(half a) { return tanf(a); }
static inline half hatan(half a) { return atanf(a); }
static inline half herf(half a) { return erff(a); }
#endif

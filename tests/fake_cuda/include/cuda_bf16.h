// `nv_bfloat16`, as far as TVM uses it.
#pragma once
#include "fake_half.h"

typedef fake_short_float<fake_bfloat_bits> nv_bfloat16;
typedef nv_bfloat16 __nv_bfloat16;
struct alignas(4) nv_bfloat162 {
    nv_bfloat16 x, y;
    nv_bfloat162() = default;
    nv_bfloat162(nv_bfloat16 x, nv_bfloat16 y) : x(x), y(y) {}
};
typedef nv_bfloat162 __nv_bfloat162;
FAKE_FUNCTIONS(nv_bfloat16)
static inline float __bfloat162float(nv_bfloat16 value) { return value; }
static inline nv_bfloat16 __float2bfloat16(float value) { return value; }
static inline nv_bfloat16 __float2bfloat16_rn(float value) { return value; }

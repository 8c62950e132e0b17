// Sixteen-bit floats: kept in two bytes, computed with in float and rounded after each operation.
#pragma once
#include <cuda.h>

struct fake_half_bits {
    static uint16_t from(float value) {
        _Float16 half = (_Float16)value;
        uint16_t bits;
        std::memcpy(&bits, &half, 2);
        return bits;
    }
    static float to(uint16_t bits) {
        _Float16 half;
        std::memcpy(&half, &bits, 2);
        return (float)half;
    }
};

struct fake_bfloat_bits {
    static uint16_t from(float value) {
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        if (value != value) return 0x7fff;
        return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
    static float to(uint16_t bits) {
        uint32_t wide = (uint32_t)bits << 16;
        float value;
        std::memcpy(&value, &wide, 4);
        return value;
    }
};

template <class Bits>
struct fake_short_float {
    uint16_t bits;
    fake_short_float() = default;
    fake_short_float(const fake_short_float&) = default;
    fake_short_float& operator=(const fake_short_float&) = default;
    // TVM's reductions over threads go through volatile shared memory.
    fake_short_float(const volatile fake_short_float& other) : bits(other.bits) {}
    void operator=(const fake_short_float& other) volatile { bits = other.bits; }
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    fake_short_float(T value) : bits(Bits::from((float)value)) {}
    operator float() const { return Bits::to(bits); }
    operator float() const volatile { return Bits::to(bits); }
    fake_short_float operator-() const { return -(float)*this; }
#define FAKE_OPERATOR(OP)                                                                            \
    friend fake_short_float operator OP(fake_short_float a, fake_short_float b) { return (float)a OP(float) b; } \
    fake_short_float& operator OP##=(fake_short_float b) { return *this = *this OP b; }
    FAKE_OPERATOR(+)
    FAKE_OPERATOR(-)
    FAKE_OPERATOR(*)
    FAKE_OPERATOR(/)
#undef FAKE_OPERATOR
#define FAKE_COMPARISON(OP) \
    friend bool operator OP(fake_short_float a, fake_short_float b) { return (float)a OP(float) b; }
    FAKE_COMPARISON(<)
    FAKE_COMPARISON(<=)
    FAKE_COMPARISON(>)
    FAKE_COMPARISON(>=)
    FAKE_COMPARISON(==)
    FAKE_COMPARISON(!=)
#undef FAKE_COMPARISON
};

#define FAKE_FUNCTIONS(T)                                                       \
    static inline bool __hgt(T a, T b) { return a > b; }                        \
    static inline bool __hlt(T a, T b) { return a < b; }                        \
    static inline T __hfma(T a, T b, T c) { return fmaf(a, b, c); }             \
    static inline T __habs(T a) { return fabsf(a); }                            \
    static inline T hexp(T a) { return expf(a); }                               \
    static inline T hexp2(T a) { return exp2f(a); }                             \
    static inline T hlog(T a) { return logf(a); }                               \
    static inline T hlog2(T a) { return log2f(a); }                             \
    static inline T hsqrt(T a) { return sqrtf(a); }                             \
    static inline T hrsqrt(T a) { return 1.0f / sqrtf(a); }                     \
    static inline T hsin(T a) { return sinf(a); }                               \
    static inline T hcos(T a) { return cosf(a); }                               \
    static inline T htanh(T a) { return tanhf(a); }                             \
    static inline T hfloor(T a) { return floorf(a); }                           \
    static inline T hceil(T a) { return ceilf(a); }                             \
    static inline T hrint(T a) { return rintf(a); }                             \
    static inline T htrunc(T a) { return truncf(a); }

// CUDA C++, as far as TVM writes it, for g++: what a kernel finds around it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include "../device.h"

#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after another.
#define __shared__ static

extern "C" {
extern const device_api_t* fake_device;
}
#define threadIdx (fake_device->thread)
#define blockIdx (fake_device->block)
#define blockDim (fake_device->block_extent)
#define gridDim (fake_device->grid_extent)
#define warpSize 32

static inline void __syncthreads() { fake_device->barrier(); }
static inline void __syncwarp(unsigned = 0xffffffff) { fake_device->warp_barrier(); }
static inline unsigned __activemask() { return fake_device->active(); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// Whole addresses here: the fake nvcc makes room for them.
static inline uint64_t __cvta_generic_to_shared(const void* pointer) { return (uint64_t)pointer; }

template <class T>
static inline T fake_shuffle(T value, int source) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = fake_device->shuffle(bits, source);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// A lane outside of the segment of `width` lanes hears itself.
static inline int fake_source(int source, int width) {
    int lane = fake_device->lane(), segment = lane / width * width;
    return source >= segment && source < segment + width ? source : lane;
}

template <class T>
static inline T __shfl_sync(unsigned, T value, int source, int width = 32) {
    return fake_shuffle(value, fake_device->lane() / width * width + source % width);
}
template <class T>
static inline T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
    return fake_shuffle(value, fake_source(fake_device->lane() + (int)delta, width));
}
template <class T>
static inline T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
    return fake_shuffle(value, fake_source(fake_device->lane() - (int)delta, width));
}
template <class T>
static inline T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
    return fake_shuffle(value, fake_source(fake_device->lane() ^ mask, width));
}

template <class T>
static inline T __ldg(const T* pointer) { return *pointer; }

using std::max;
using std::min;
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline float min(float a, float b) { return fminf(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }

#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __powf powf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }

#define FAKE_VECTORS(T, NAME)                                                                     \
    struct alignas(2 * sizeof(T)) NAME##2 { T x, y; };                                            \
    struct NAME##3 { T x, y, z; };                                                                \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) NAME##4 { T x, y, z, w; };            \
    static inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                             \
    static inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                     \
    static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
FAKE_VECTORS(signed char, char)
FAKE_VECTORS(unsigned char, uchar)
FAKE_VECTORS(short, short)
FAKE_VECTORS(unsigned short, ushort)
FAKE_VECTORS(int, int)
FAKE_VECTORS(unsigned, uint)
FAKE_VECTORS(long long, longlong)
FAKE_VECTORS(unsigned long long, ulonglong)
FAKE_VECTORS(float, float)
FAKE_VECTORS(double, double)
typedef longlong2 long2;
typedef longlong4 long4;

// What the fake nvcc writes for each kernel at the end of its source.
template <class... A, std::size_t... I>
static void fake_call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)arguments[I]...);
}
template <class... A>
struct fake_signature {
    static constexpr int sizes[] = {(int)sizeof(A)..., 0};
    static constexpr char pointers[] = {(char)std::is_pointer_v<A>..., 0};
};
template <class... A>
static constexpr fake_signature<A...> fake_signature_of(void (*)(A...)) { return {}; }
template <class... A>
static constexpr int fake_count_of(void (*)(A...)) { return sizeof...(A); }
template <class... A>
static void fake_apply(void (*kernel)(A...), void** arguments) {
    fake_call(kernel, arguments, std::index_sequence_for<A...>());
}

#define FAKE_KERNEL(NAME)                                                                         \
    extern "C" __attribute__((visibility("default"))) const kernel_t fake_kernel_##NAME = {       \
        [](void** arguments) { fake_apply(&NAME, arguments); }, fake_count_of(&NAME),             \
        decltype(fake_signature_of(&NAME))::sizes, decltype(fake_signature_of(&NAME))::pointers};

#define __align__(n) __attribute__((aligned(n)))
// g++ takes the standard one only at the beginning of a declaration; TVM writes it after __shared__.
#define alignas(n) __attribute__((aligned(n)))

// Warp matrix functions: the first lane of a warp holds whole fragments and does the warp's work, the others only meet it.
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision {
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

template <class T>
struct fake_element { typedef T type; };
template <>
struct fake_element<precision::tf32> { typedef float type; };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
    static constexpr int rows = std::is_same_v<Use, matrix_b> ? K : M;
    static constexpr int columns = std::is_same_v<Use, matrix_a> ? K : N;
    static constexpr int num_elements = rows * columns;
    typename fake_element<T>::type x[rows * columns];
};

static inline bool fake_leads() {
    fake_device->warp_barrier();
    return fake_device->lane() == 0;
}

template <class F, class T>
static inline void fill_fragment(F& fragment, T value) {
    if (fake_leads())
        for (auto& each : fragment.x) each = value;
}

template <class F, class T>
static inline void fake_load(F& fragment, const T* from, unsigned step, bool by_rows) {
    if (!fake_leads()) return;
    for (int i = 0; i < F::rows; i++)
        for (int j = 0; j < F::columns; j++)
            fragment.x[i * F::columns + j] = by_rows ? from[i * step + j] : from[j * step + i];
}

template <class Use, int M, int N, int K, class E, class Layout, class T>
static inline void load_matrix_sync(fragment<Use, M, N, K, E, Layout>& fragment, const T* from, unsigned step) {
    fake_load(fragment, from, step, std::is_same_v<Layout, row_major>);
}
template <int M, int N, int K, class E, class T>
static inline void load_matrix_sync(fragment<accumulator, M, N, K, E>& fragment, const T* from, unsigned step, layout_t layout) {
    fake_load(fragment, from, step, layout == mem_row_major);
}

template <int M, int N, int K, class E, class T>
static inline void store_matrix_sync(T* to, const fragment<accumulator, M, N, K, E>& fragment, unsigned step, layout_t layout) {
    if (fake_leads())
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) to[layout == mem_row_major ? i * step + j : j * step + i] = fragment.x[i * N + j];
    fake_device->warp_barrier();
}

template <class D, class A, class B, class C>
static inline void mma_sync(D& d, const A& a, const B& b, const C& c) {
    if (!fake_leads()) return;
    for (int i = 0; i < D::rows; i++)
        for (int j = 0; j < D::columns; j++) {
            float sum = (float)c.x[i * D::columns + j];
            for (int k = 0; k < A::columns; k++) sum += (float)a.x[i * A::columns + k] * (float)b.x[k * B::columns + j];
            d.x[i * D::columns + j] = sum;
        }
}

// The ten upper bits of the fraction, rounded to the nearest.
static inline float __float_to_tf32(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits = (bits + 0x1000) & 0xffffe000u;
    std::memcpy(&value, &bits, 4);
    return value;
}

}  // namespace wmma
}  // namespace nvcuda

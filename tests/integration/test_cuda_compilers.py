"""The two CUDA compilers, on a machine without a GPU: what one takes the other takes, and neither needs luck."""

import shutil

import pytest

from tunefarm_coordinator.engines.cuda import nvcc, nvrtc
from tunefarm_coordinator.engines.cuda.compiler import Compiler

OPTIONS = ("--std=c++17",)
NAMES = (
    "nvrtc",
    pytest.param("nvcc", marks=pytest.mark.skipif(shutil.which("nvcc") is None, reason="waits for nvcc on PATH")),
)
# As TVM 0.27 begins its CUDA source.
TVM_BEGINS = """
#ifdef __CUDACC_RTC__
  #include <cuda/std/cstdint>
  using cuda::std::uint8_t;
  using cuda::std::uint16_t;
  using cuda::std::uint32_t;
  using cuda::std::uint64_t;
  using cuda::std::int8_t;
  using cuda::std::int16_t;
  using cuda::std::int32_t;
  using cuda::std::int64_t;
  #include <cuda/std/type_traits>
  namespace std {
    using cuda::std::is_same;
    using cuda::std::is_same_v;
    using cuda::std::is_integral;
    using cuda::std::is_signed;
    using cuda::std::is_unsigned;
    using cuda::std::is_floating_point;
    using cuda::std::enable_if;
    using cuda::std::conditional;
  }
#else
  #include <cstdint>
  #include <type_traits>
#endif
"""


@pytest.fixture(params=NAMES)
def compiler(request: pytest.FixtureRequest) -> Compiler:
    found: Compiler | None = nvrtc.find() if request.param == "nvrtc" else nvcc.find()
    assert found is not None
    return found


def test_the_same_source_gives_the_same_image(compiler: Compiler) -> None:
    source = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'
    image = compiler.compile(source, "sm_90", OPTIONS)
    assert image.startswith(b"\x7fELF")
    assert b"twice" in image
    assert image == compiler.compile(source, "sm_90", OPTIONS)
    assert image != compiler.compile(source, "sm_80", OPTIONS)


def test_an_architecture_of_one_generation_only(compiler: Compiler) -> None:
    only_there = 'extern "C" __global__ void k() { asm volatile("wgmma.fence.sync.aligned;"); }'
    assert compiler.compile(only_there, "sm_90a", OPTIONS).startswith(b"\x7fELF")
    with pytest.raises(RuntimeError, match="wgmma"):
        compiler.compile(only_there, "sm_90", OPTIONS)


def test_what_is_wrong_is_said(compiler: Compiler) -> None:
    with pytest.raises(RuntimeError, match='error: identifier "missing" is undefined'):
        compiler.compile('extern "C" __global__ void k(float* x) { x[0] = missing; }', "sm_90", OPTIONS)


def test_types_mean_the_same_to_both(compiler: Compiler) -> None:
    source = """
    static_assert(sizeof(int8_t) == 1 && sizeof(int16_t) == 2 && sizeof(int32_t) == 4 && sizeof(int64_t) == 8);
    static_assert(std::is_same<uint64_t, unsigned long>::value && std::is_same_v<int64_t, long>);
    static_assert(std::is_integral<int>::value && !std::is_integral<float>::value);
    static_assert(std::is_signed<float>::value && std::is_unsigned<uint8_t>::value);
    static_assert(std::is_floating_point<double>::value && !std::is_floating_point<bool>::value);
    static_assert(std::is_same<std::conditional<true, int, float>::type, int>::value);
    static_assert(std::is_integral<bool>::value && !std::is_integral<double>::value);
    template <class T> __device__ typename std::enable_if<std::is_integral<T>::value, float>::type kind(T) { return 1; }
    extern "C" __global__ void k(float* x) { x[0] = INFINITY; x[1] = kind(2); }
    """
    assert compiler.compile(TVM_BEGINS + source, "sm_90", OPTIONS)


@pytest.mark.parametrize(
    ("header", "statement"),
    [
        ("cuda_fp16.h", "reinterpret_cast<__half2*>(x)[0] = __hfma2(__half2{}, __half2{}, __half2{});"),
        ("cuda_bf16.h", "reinterpret_cast<__nv_bfloat16*>(x)[0] = __float2bfloat16(x[1]);"),
        ("mma.h", "nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> tile; x[0] = tile.x[0];"),
        ("math_constants.h", "x[0] = CUDART_INF_F;"),
        ("cuda/barrier", "__shared__ cuda::barrier<cuda::thread_scope_block> all; init(&all, 1);"),
    ],
)
def test_headers_of_kernels(compiler: Compiler, header: str, statement: str) -> None:
    kernel = f'extern "C" __global__ void k(float* x) {{ {statement} }}'
    assert compiler.compile(f"#include <{header}>\n{TVM_BEGINS}{kernel}", "sm_90", OPTIONS)

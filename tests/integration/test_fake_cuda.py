"""The fake GPU itself: that it refuses what a real one refuses, or the tests on it would prove nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_cuda import GONE, FakeCuda

# What each of these begins with: the device, through CUDA's runtime and driver.
_BEGIN = """
import ctypes, sys
cuda, driver = ctypes.CDLL("libcudart.so.13"), ctypes.CDLL("libcuda.so.1")
TO_DEVICE, FROM_DEVICE, ON_DEVICE = 1, 2, 3
INVALID_VALUE, OUT_OF_MEMORY, ILLEGAL_ADDRESS, CAPTURING = 1, 2, 700, 900

def allocated(size):
    pointer = ctypes.c_void_p()
    assert cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(size)) == 0
    return pointer

def copy(to, source, size, kind):
    return cuda.cudaMemcpyAsync(to, source, ctypes.c_size_t(size), kind, None)

def launched(kernel, blocks, threads, *arguments):
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    image = open(sys.argv[1], "rb").read()
    assert driver.cuModuleLoadData(ctypes.byref(module), image) == 0
    assert driver.cuModuleGetFunction(ctypes.byref(function), module, kernel) == 0
    config = (ctypes.c_uint * 14)(blocks, 1, 1, threads, 1, 1)
    values = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
    return driver.cuLaunchKernelEx(config, function, values, None)

host = (ctypes.c_float * 256)(*range(256))
back = (ctypes.c_float * 256)()
"""
_SOURCE = """
#define uchar unsigned char
extern "C" __global__ void __launch_bounds__(256) total_kernel(float* __restrict__ out, float* __restrict__ in);
extern "C" __global__ void __launch_bounds__(256) total_kernel(float* __restrict__ out, float* __restrict__ in) {
  __shared__ alignas(64) float parts[8];
  extern __shared__ alignas(64) uchar rest[];
  float sum = in[(int)threadIdx.x];
  for (int delta = 16; delta > 0; delta >>= 1) sum += __shfl_down_sync(__activemask(), sum, delta, 32);
  if (((int)threadIdx.x & 31) == 0) parts[(int)threadIdx.x >> 5] = sum;
  __syncthreads();
  if ((int)threadIdx.x < 8) {
    sum = parts[(int)threadIdx.x];
    for (int delta = 4; delta > 0; delta >>= 1) sum += __shfl_xor_sync(__activemask(), sum, delta, 8);
    ((float*)rest)[(int)threadIdx.x] = sum;
  }
  __syncthreads();
  out[(int)blockIdx.x * 256 + (int)threadIdx.x] = ((float*)rest)[(int)threadIdx.x & 7] + (float)blockIdx.x;
}
"""
# As TVM writes it. In shared memory lies what came when the copies were waited for, or before that.
_COPIES = """
#include <cstdint>
__forceinline__ __device__ void wait_0() {
  asm volatile("cp.async.wait_group 0;" :  :  : "memory");
}
__forceinline__ __device__ void commit() {
  asm volatile("cp.async.commit_group;" :  : );
}
__forceinline__ __device__ void copy_16(void* dst, int dst_off, void* src, int src_off) {
  uint8_t* dst_p = (uint8_t*)dst + dst_off * 4;
  uint8_t* src_p = (uint8_t*)src + src_off * 4;
  unsigned int dst_addr = __cvta_generic_to_shared(dst_p);
  asm volatile("cp.async.cg.shared.global [%0], [%1], %2;"
    :: "r"(dst_addr), "l"(src_p), "n"(16));
}
extern "C" __global__ void __launch_bounds__(64) copies_kernel(float* out, float* in, int waits) {
  __shared__ alignas(64) float tile[256];
  for (int i = 0; i < 4; ++i) tile[(int)threadIdx.x * 4 + i] = -1.0f;
  copy_16(tile, (int)threadIdx.x * 4, in, (int)threadIdx.x * 4);
  commit();
  if (waits) wait_0();
  __syncthreads();
  for (int i = 0; i < 4; ++i) out[(int)threadIdx.x * 4 + i] = tile[(int)threadIdx.x * 4 + i];
}
"""
_FRAGMENTS = """
#include <cuda_fp16.h>
#include <mma.h>
extern "C" __global__ void __launch_bounds__(32) product_kernel(float* __restrict__ out, float* __restrict__ in) {
  __shared__ alignas(64) half tile[256];
  for (int i = 0; i < 8; ++i) tile[(int)threadIdx.x * 8 + i] = (half)(in[(int)threadIdx.x * 8 + i] / 16.0f);
  __syncthreads();
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, half, nvcuda::wmma::row_major> a[1];
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, half, nvcuda::wmma::col_major> b[1];
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> c[1];
  nvcuda::wmma::fill_fragment(c[0], 1.0f);
  nvcuda::wmma::load_matrix_sync(a[0], (&(tile[0])), 16);
  nvcuda::wmma::load_matrix_sync(b[0], (&(tile[0])), 16);
  nvcuda::wmma::mma_sync(c[0], a[0], b[0], c[0]);
  nvcuda::wmma::store_matrix_sync((&(out[0])), c[0], 16, nvcuda::wmma::mem_row_major);
}
"""


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> FakeCuda:
    return FakeCuda(tmp_path_factory.mktemp("host") / "gpu")


@pytest.fixture(scope="module")
def kernel(gpu: FakeCuda, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module with `total_kernel`."""
    return compiled(gpu, tmp_path_factory.mktemp("kernel"), _SOURCE)


def compiled(gpu: FakeCuda, folder: Path, text: str) -> Path:
    """The image of a source, as TVM has it compiled."""
    source, out = folder / "kernel.cu", folder / "kernel.cubin"
    source.write_text(text)
    command = ("nvcc", "--cubin", "--gpu-architecture=sm_90", "--std=c++17", "-o", str(out), str(source))
    subprocess.run(command, env=gpu.environment(), check=True)
    return out


def run(gpu: FakeCuda, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, on the device in good health but for what was set since."""
    command = [sys.executable, "-c", _BEGIN + script, *arguments]
    return subprocess.run(command, env=gpu.environment(), capture_output=True, text=True, check=False, timeout=60)


def passes(gpu: FakeCuda, script: str, *arguments: str) -> None:
    done = run(gpu, script, *arguments)
    assert done.returncode == 0, done.stderr


def test_a_host_that_touches_the_devices_memory_dies_of_it(gpu: FakeCuda) -> None:
    touch = "pointer = allocated(64)\nprint('allocated', flush=True)\nctypes.c_float.from_address(pointer.value).value"
    done = run(gpu, touch)
    assert done.stdout == "allocated\n", done.stderr
    assert done.returncode == -signal.SIGSEGV


def test_copies_go_where_they_say(gpu: FakeCuda) -> None:
    passes(
        gpu,
        """
first, second = allocated(1024), allocated(1024)
assert copy(first, host, 1024, TO_DEVICE) == 0
assert copy(second, first, 1024, ON_DEVICE) == 0
assert copy(back, second, 1024, FROM_DEVICE) == 0
assert list(back) == list(host)
for to, source, kind in (
    (host, first, TO_DEVICE), (first, host, FROM_DEVICE), (host, back, TO_DEVICE), (first, second, TO_DEVICE),
    (first, host, ON_DEVICE), (back, host, FROM_DEVICE),
):
    assert copy(to, source, 1024, kind) == INVALID_VALUE
# Over the end, and after it was freed.
assert copy(first, host, 1025, TO_DEVICE) == INVALID_VALUE
assert cuda.cudaFree(second) == 0
assert copy(second, host, 1024, TO_DEVICE) == INVALID_VALUE
assert cuda.cudaFree(second) == INVALID_VALUE
""",
    )


def test_threads_of_a_block_meet_and_tell_each_other(gpu: FakeCuda, kernel: Path) -> None:
    passes(
        gpu,
        """
inputs, outputs = allocated(1024), allocated(2048)
assert copy(inputs, host, 1024, TO_DEVICE) == 0
assert launched(b"total_kernel", 2, 256, outputs, inputs) == 0
both = (ctypes.c_float * 512)()
assert copy(both, outputs, 2048, FROM_DEVICE) == 0
total = sum(range(256))
assert list(both) == [total] * 256 + [total + 1] * 256
""",
        str(kernel),
    )


def test_copies_ahead_are_there_when_they_were_waited_for(gpu: FakeCuda, tmp_path: Path) -> None:
    passes(
        gpu,
        """
inputs, outputs = allocated(1024), allocated(1024)
assert copy(inputs, host, 1024, TO_DEVICE) == 0
def came(waits):
    assert launched(b"copies_kernel", 1, 64, outputs, inputs, ctypes.c_int(waits)) == 0
    assert copy(back, outputs, 1024, FROM_DEVICE) == 0
    return list(back)

assert came(1) == list(host)
late = came(0)
assert late != list(host) and set(late) - set(host) == {-1.0}
""",
        str(compiled(gpu, tmp_path, _COPIES)),
    )


def test_a_warp_multiplies_fragments(gpu: FakeCuda, tmp_path: Path) -> None:
    passes(
        gpu,
        """
import numpy as np
inputs, outputs = allocated(1024), allocated(1024)
assert copy(inputs, host, 1024, TO_DEVICE) == 0
assert launched(b"product_kernel", 1, 32, outputs, inputs) == 0
assert copy(back, outputs, 1024, FROM_DEVICE) == 0
tile = np.array(host).reshape(16, 16) / 16
np.testing.assert_array_equal(np.array(back).reshape(16, 16), tile @ tile.T + 1)
""",
        str(compiled(gpu, tmp_path, _FRAGMENTS)),
    )


def test_a_kernel_that_touches_the_hosts_memory_breaks_the_process_for_the_device(gpu: FakeCuda, kernel: Path) -> None:
    passes(
        gpu,
        """
outputs = allocated(1024)
pointer = ctypes.c_void_p(ctypes.addressof(host))
assert launched(b"total_kernel", 1, 256, outputs, pointer) == 0
assert cuda.cudaStreamSynchronize(None) == ILLEGAL_ADDRESS
assert cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(64)) == ILLEGAL_ADDRESS
""",
        str(kernel),
    )


def test_memory_is_the_devices_for_all_processes(gpu: FakeCuda) -> None:
    gpu.mend()
    gpu["memory"], gpu["others"] = 1 << 20, 1 << 18
    passes(
        gpu,
        """
import subprocess
def free():
    values = (ctypes.c_size_t * 2)()
    assert cuda.cudaMemGetInfo(ctypes.byref(values), ctypes.byref(values, 8)) == 0
    return values[0]

pointer = ctypes.c_void_p()
if len(sys.argv) > 1:
    assert free() == (1 << 18), free()
    sys.exit(0)
assert free() == (1 << 20) - (1 << 18)
assert cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(1 << 20)) == OUT_OF_MEMORY
held = allocated(1 << 19)
subprocess.run([sys.executable, "-c", sys.orig_argv[2], "other"], check=True)
assert cuda.cudaFree(held) == 0
assert free() == (1 << 20) - (1 << 18)
""",
    )
    gpu.mend()


def test_what_is_captured_is_done_when_the_graph_is_launched(gpu: FakeCuda, kernel: Path) -> None:
    passes(
        gpu,
        """
inputs, outputs, stream, graph = allocated(1024), allocated(1024), ctypes.c_void_p(), ctypes.c_void_p()
zeros = (ctypes.c_float * 256)()
assert copy(inputs, zeros, 1024, TO_DEVICE) == 0
assert copy(outputs, zeros, 1024, TO_DEVICE) == 0
assert cuda.cudaStreamCreate(ctypes.byref(stream)) == 0
assert cuda.cudaStreamBeginCapture(stream, 0) == 0
assert launched(b"total_kernel", 1, 256, outputs, inputs) == 0
assert cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(64)) == CAPTURING
assert cuda.cudaStreamSynchronize(None) == CAPTURING
assert cuda.cudaStreamEndCapture(stream, ctypes.byref(graph)) == 0
assert copy(inputs, host, 1024, TO_DEVICE) == 0
assert copy(back, outputs, 1024, FROM_DEVICE) == 0
assert list(back) == [0] * 256
executable = ctypes.c_void_p()
assert cuda.cudaGraphInstantiate(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)) == 0
assert cuda.cudaGraphLaunch(executable, stream) == 0
assert copy(back, outputs, 1024, FROM_DEVICE) == 0
assert list(back) == [sum(range(256))] * 256
""",
        str(kernel),
    )


def test_the_same_work_takes_the_same_time(gpu: FakeCuda, kernel: Path) -> None:
    passes(
        gpu,
        """
inputs, outputs = allocated(1024), allocated(2048)
def milliseconds(blocks):
    start, end, passed = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
    assert cuda.cudaEventCreate(ctypes.byref(start)) == cuda.cudaEventCreate(ctypes.byref(end)) == 0
    cuda.cudaEventRecord(start, None)
    assert launched(b"total_kernel", blocks, 256, outputs, inputs) == 0
    cuda.cudaEventRecord(end, None)
    assert cuda.cudaEventElapsedTime(ctypes.byref(passed), start, end) == 0
    return passed.value

assert 0 < milliseconds(1) == milliseconds(1) < milliseconds(2)
""",
        str(kernel),
    )


def test_once_off_its_bus_it_answers_nothing_else(gpu: FakeCuda) -> None:
    gpu["error"] = GONE
    passes(
        gpu,
        f"""
count = ctypes.c_int()
assert cuda.cudaGetDeviceCount(ctypes.byref(count)) == {GONE}
assert cuda.cudaMalloc(ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(64)) == {GONE}
assert cuda.cudaStreamSynchronize(None) == {GONE}
""",
    )
    gpu.mend()
    passes(gpu, "allocated(64)")

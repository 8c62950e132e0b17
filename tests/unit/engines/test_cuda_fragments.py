"""What is declared for TVM in its CUDA source, and what is left alone."""

import pytest

from tunefarm_coordinator.engines.cuda.fragments import as_meant

_SOURCE = """extern "C" __global__ void kernel() {{
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, {shape}, {sums}> c[1];
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, {shape}, {type}, nvcuda::wmma::row_major> a[1];
  nvcuda::wmma::load_matrix_sync(a[0], from, 8);
}}
"""


def _source(shape: str, type_: str, sums: str = "float") -> str:
    return _SOURCE.format(shape=shape, type=type_, sums=sums)


def test_bfloat16_is_declared() -> None:
    assert as_meant(_source("16, 16, 16", "uchar")) == _source("16, 16, 16", "__nv_bfloat16")


def test_tf32_is_declared_and_rounded_when_loaded() -> None:
    made = as_meant(_source("16, 16, 8", "uchar"))
    assert "matrix_a, 16, 16, 8, nvcuda::wmma::precision::tf32, nvcuda::wmma::row_major> a[1]" in made
    kernel = made[made.index("__global__") :]
    assert "tunefarm_load_rounded(a[0], from, 8);" in kernel
    assert "load_matrix_sync" not in kernel
    assert made.index("__float_to_tf32") < made.index("__global__")


@pytest.mark.parametrize(
    "source", [_source("16, 16, 16", "half"), _source("16, 16, 16", "uchar", "int"), "extern void nothing();"]
)
def test_what_tvm_can_declare_stays(source: str) -> None:
    assert as_meant(source) == source

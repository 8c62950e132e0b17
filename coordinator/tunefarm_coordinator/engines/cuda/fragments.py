"""Fragments that TVM can't declare: bfloat16's and TF32's.

TVM's code generator refuses to declare them, but loads, multiplies and stores whatever fragment there is. Schedules
(`gpu.fragments`) therefore have it declare fragments of `unsigned char`; in its source, before it is compiled, each
becomes what its shape says. With sums of float32, or in the shape of TF32, CUDA has none of `unsigned char`, so nothing
else is written like this.
"""

import re

_DECLARED = re.compile(r"(nvcuda::wmma::fragment<nvcuda::wmma::matrix_[ab], 16, 16, (8|16), )(?:uchar|unsigned char),")
_MEANT = {"8": "nvcuda::wmma::precision::tf32", "16": "__nv_bfloat16"}
_SUMS = re.compile(r"nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, (?:8|16), float>")
_LOAD = "nvcuda::wmma::load_matrix_sync("
_KERNEL = 'extern "C" __global__'
# What is loaded for a product of TF32 has to be rounded to it (CUDA C++ programming guide, alternate floating point).
_ROUNDED_LOAD = """
template <class Fragment>
static __forceinline__ __device__ void tunefarm_load_rounded(Fragment& fragment, const float* from, unsigned step) {
  nvcuda::wmma::load_matrix_sync(fragment, from, step);
#pragma unroll
  for (int i = 0; i < fragment.num_elements; i++) fragment.x[i] = nvcuda::wmma::__float_to_tf32(fragment.x[i]);
}

"""


def as_meant(source: str) -> str:
    """CUDA source with fragments of the types that the schedule means."""
    depths = {found[2] for found in _DECLARED.finditer(source)}
    if not depths or not _SUMS.search(source):
        return source
    source = _DECLARED.sub(lambda found: f"{found[1]}{_MEANT[found[2]]},", source)
    if "8" in depths:
        source = source.replace(_LOAD, "tunefarm_load_rounded(")
        source = source.replace(_KERNEL, _ROUNDED_LOAD + _KERNEL, 1)
    return source

"""Tensor intrinsics for products of 16 x 16 x 16 fragments on tensor cores (CUDA C++ programming guide, warp matrix
functions), for just what the schedules here tensorize: TVM's own module of them takes six seconds to import.

Operands lie in shared memory row by row; sums are float32.
"""

from functools import cache, partial
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.tirx import Cast

# Edge of a fragment.
EDGE = 16
_SHARED = "shared.dyn"


LOAD_FIRST = "wmma_load_16x16x16_f16_a_shared_dyn"
LOAD_SECOND = "wmma_load_16x16x16_f16_b_shared_dyn"
FILL = "wmma_fill_16x16x16_f32"
PRODUCT = "wmma_sync_16x16x16_f16f16f32"
STORE = "wmma_store_16x16x16_f32_shared_dyn"


@cache
def register() -> None:
    """Makes the intrinsics known, once in a process. They have the names and the meaning of TVM's own, so that traces
    which name them replay in any TVM; where TVM's are known already, those stay."""
    for name, made in (
        (LOAD_FIRST, partial(_load, "float16", "wmma.matrix_a")),
        (LOAD_SECOND, partial(_load, "float16", "wmma.matrix_b")),
        (FILL, _fill),
        (PRODUCT, partial(_product, "float16")),
        (STORE, _store),
    ):
        if TensorIntrin.get(name, allow_missing=True) is None:
            TensorIntrin.register(name, *made())


def _place(buffer: Any, stride: Any) -> Any:
    """Which fragment of an array of them a buffer is."""
    per_row = stride // EDGE
    return buffer.elem_offset // stride // EDGE * per_row + buffer.elem_offset % stride // EDGE


def _load(dtype: str, scope: str) -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(source: T.handle, fragment: T.handle) -> None:
        S = T.match_buffer(source, (16, 16), dtype, align=64, offset_factor=16, scope=_SHARED)
        F = T.match_buffer(fragment, (16, 16), dtype, align=64, offset_factor=16, scope=scope)
        with T.sblock("root"):
            T.reads(S[0:16, 0:16])
            T.writes(F[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("load"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    F[vi, vj] = S[vi, vj]

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(source: T.handle, fragment: T.handle) -> None:
        s1 = T.int32()
        s0 = T.int32()
        f1 = T.int32()
        f0 = T.int32()
        S = T.match_buffer(source, (16, 16), dtype, align=64, offset_factor=16, scope=_SHARED, strides=[s1, s0])
        F = T.match_buffer(fragment, (16, 16), dtype, align=64, offset_factor=16, scope=scope, strides=[f1, f0])
        with T.sblock("root"):
            T.reads(S[0:16, 0:16])
            T.writes(F[0:16, 0:16])
            T.evaluate(
                T.tvm_load_matrix_sync(
                    F.data, 16, 16, 16, _place(F, f1), S.access_ptr("r", ptr_type=dtype), s1, "row_major", dtype="void"
                )
            )

    return meaning, call


def _fill() -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(sums: T.handle) -> None:
        C = T.match_buffer(sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("fill"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = T.float32(0)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(sums: T.handle) -> None:
        c1 = T.int32()
        c0 = T.int32()
        C = T.match_buffer(
            sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:16, 0:16])
            T.evaluate(T.tvm_fill_fragment(C.data, 16, 16, 16, _place(C, c1), T.float32(0), dtype="void"))

    return meaning, call


def _product(dtype: str) -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(first: T.handle, second: T.handle, sums: T.handle) -> None:
        A = T.match_buffer(first, (16, 16), dtype, align=64, offset_factor=16, scope="wmma.matrix_a")
        B = T.match_buffer(second, (16, 16), dtype, align=64, offset_factor=16, scope="wmma.matrix_b")
        C = T.match_buffer(sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j, k in T.grid(16, 16, 16):
                with T.sblock("product"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + Cast("float32", A[vi, vk]) * Cast("float32", B[vk, vj])

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(first: T.handle, second: T.handle, sums: T.handle) -> None:
        a1 = T.int32()
        a0 = T.int32()
        b1 = T.int32()
        b0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(first, (16, 16), dtype, align=64, offset_factor=16, scope="wmma.matrix_a", strides=[a1, a0])
        B = T.match_buffer(second, (16, 16), dtype, align=64, offset_factor=16, scope="wmma.matrix_b", strides=[b1, b0])
        C = T.match_buffer(
            sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(
                T.tvm_mma_sync(
                    C.data,
                    _place(C, c1),
                    A.data,
                    _place(A, a1),
                    B.data,
                    _place(B, b1),
                    C.data,
                    _place(C, c1),
                    dtype="void",
                )
            )

    return meaning, call


def _store() -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(sums: T.handle, target: T.handle) -> None:
        C = T.match_buffer(sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
        D = T.match_buffer(target, (16, 16), "float32", align=64, offset_factor=16, scope=_SHARED)
        with T.sblock("root"):
            T.reads(C[0:16, 0:16])
            T.writes(D[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("store"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    D[vi, vj] = C[vi, vj]

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(sums: T.handle, target: T.handle) -> None:
        c1 = T.int32()
        c0 = T.int32()
        d1 = T.int32()
        d0 = T.int32()
        C = T.match_buffer(
            sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[c1, c0]
        )
        D = T.match_buffer(target, (16, 16), "float32", align=64, offset_factor=16, scope=_SHARED, strides=[d1, d0])
        with T.sblock("root"):
            T.reads(C[0:16, 0:16])
            T.writes(D[0:16, 0:16])
            T.evaluate(
                T.tvm_store_matrix_sync(
                    C.data,
                    16,
                    16,
                    16,
                    _place(C, c1),
                    D.access_ptr("w", ptr_type="float32"),
                    d1,
                    "row_major",
                    dtype="void",
                )
            )

    return meaning, call

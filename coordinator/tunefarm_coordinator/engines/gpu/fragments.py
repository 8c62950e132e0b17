"""Tensor intrinsics for products of fragments on tensor cores (CUDA C++ programming guide, warp matrix functions), for
just what the schedules here tensorize: TVM's own module of them takes six seconds to import.

Operands lie in shared memory row by row; sums are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.tirx import Cast

# Edges of a fragment, but for that of the reduction.
EDGE = 16
_SHARED = "shared.dyn"
# TVM declares no fragments of bfloat16 and TF32. Here they are fragments of a type that never goes with sums of
# float32, by which `cuda.fragments` knows what to declare in its source.
_STAND_IN = "uint8"


@dataclass(frozen=True)
class Fragments:
    """A kind of fragments.

    Attributes:
        dtype: of the operands in shared memory.
        held: of their fragments, as far as TVM knows.
        depth: edge along the reduction, in elements.
        load_first, load_second, fill, product, store: names of the intrinsics.
    """

    dtype: str
    held: str
    depth: int
    load_first: str
    load_second: str
    fill: str
    product: str
    store: str


# The first have the names and the meaning of TVM's own.
_HALF = Fragments(
    "float16",
    "float16",
    16,
    "wmma_load_16x16x16_f16_a_shared_dyn",
    "wmma_load_16x16x16_f16_b_shared_dyn",
    "wmma_fill_16x16x16_f32",
    "wmma_sync_16x16x16_f16f16f32",
    "wmma_store_16x16x16_f32_shared_dyn",
)
_BFLOAT = Fragments(
    "bfloat16",
    _STAND_IN,
    16,
    "wmma_load_16x16x16_bf16_a_shared_dyn",
    "wmma_load_16x16x16_bf16_b_shared_dyn",
    _HALF.fill,
    "wmma_sync_16x16x16_bf16bf16f32",
    _HALF.store,
)
_TF32 = Fragments(
    "float32",
    _STAND_IN,
    8,
    "wmma_load_16x16x8_tf32_a_shared_dyn",
    "wmma_load_16x16x8_tf32_b_shared_dyn",
    "wmma_fill_16x16x8_f32",
    "wmma_sync_16x16x8_tf32tf32f32",
    "wmma_store_16x16x8_f32_shared_dyn",
)
_KINDS = {kind.dtype: kind for kind in (_HALF, _BFLOAT, _TF32)}


def fragments_of(dtype: str) -> Fragments:
    """The kind for operands of `dtype`: float16, bfloat16, float32 (TF32)."""
    return _KINDS[dtype]


@cache
def register() -> None:
    """Makes the intrinsics known, once in a process, so that traces which name them replay. Where TVM's own are known
    already, those stay."""
    for kind in _KINDS.values():
        made: tuple[tuple[str, Callable[[], tuple[Any, Any]]], ...] = (
            (kind.load_first, partial(_load, kind, "wmma.matrix_a", EDGE, kind.depth)),
            (kind.load_second, partial(_load, kind, "wmma.matrix_b", kind.depth, EDGE)),
            (kind.fill, partial(_fill, kind.depth)),
            (kind.product, partial(_product, kind)),
            (kind.store, partial(_store, kind.depth)),
        )
        for name, intrinsic in made:
            if TensorIntrin.get(name, allow_missing=True) is None:
                TensorIntrin.register(name, *intrinsic())


def _cast(value: Any, before: str, after: str) -> Any:
    return value if before == after else Cast(after, value)


def _factor(kind: Fragments, value: Any) -> Any:
    """What is multiplied, of what TVM takes out of a fragment."""
    return _cast(_cast(value, kind.held, kind.dtype), kind.dtype, "float32")


def _place(buffer: Any, stride: Any, rows: int = EDGE, columns: int = EDGE) -> Any:
    """Which fragment of an array of them a buffer is."""
    per_row = stride // columns
    return buffer.elem_offset // stride // rows * per_row + buffer.elem_offset % stride // columns


def _load(kind: Fragments, scope: str, rows: int, columns: int) -> tuple[Any, Any]:
    dtype, held, depth = kind.dtype, kind.held, kind.depth
    edge = min(rows, columns)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(source: T.handle, fragment: T.handle) -> None:
        S = T.match_buffer(source, (rows, columns), dtype, align=64, offset_factor=edge, scope=_SHARED)
        F = T.match_buffer(fragment, (rows, columns), held, align=64, offset_factor=edge, scope=scope)
        with T.sblock("root"):
            T.reads(S[0:rows, 0:columns])
            T.writes(F[0:rows, 0:columns])
            for i, j in T.grid(rows, columns):
                with T.sblock("load"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    F[vi, vj] = _cast(S[vi, vj], dtype, held)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(source: T.handle, fragment: T.handle) -> None:
        s1 = T.int32()
        s0 = T.int32()
        f1 = T.int32()
        f0 = T.int32()
        S = T.match_buffer(
            source, (rows, columns), dtype, align=64, offset_factor=edge, scope=_SHARED, strides=[s1, s0]
        )
        F = T.match_buffer(fragment, (rows, columns), held, align=64, offset_factor=edge, scope=scope, strides=[f1, f0])
        with T.sblock("root"):
            T.reads(S[0:rows, 0:columns])
            T.writes(F[0:rows, 0:columns])
            T.evaluate(
                T.tvm_load_matrix_sync(
                    F.data,
                    16,
                    16,
                    depth,
                    _place(F, f1, rows, columns),
                    S.access_ptr("r", ptr_type=dtype),
                    s1,
                    "row_major",
                    dtype="void",
                )
            )

    return meaning, call


def _fill(depth: int) -> tuple[Any, Any]:
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
            T.evaluate(T.tvm_fill_fragment(C.data, 16, 16, depth, _place(C, c1), T.float32(0), dtype="void"))

    return meaning, call


def _product(kind: Fragments) -> tuple[Any, Any]:
    held, depth = kind.held, kind.depth

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(first: T.handle, second: T.handle, sums: T.handle) -> None:
        A = T.match_buffer(first, (16, depth), held, align=64, offset_factor=depth, scope="wmma.matrix_a")
        B = T.match_buffer(second, (depth, 16), held, align=64, offset_factor=depth, scope="wmma.matrix_b")
        C = T.match_buffer(sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:depth], B[0:depth, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j, k in T.grid(16, 16, depth):
                with T.sblock("product"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + _factor(kind, A[vi, vk]) * _factor(kind, B[vk, vj])

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def call(first: T.handle, second: T.handle, sums: T.handle) -> None:
        a1 = T.int32()
        a0 = T.int32()
        b1 = T.int32()
        b0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = T.match_buffer(
            first, (16, depth), held, align=64, offset_factor=depth, scope="wmma.matrix_a", strides=[a1, a0]
        )
        B = T.match_buffer(
            second, (depth, 16), held, align=64, offset_factor=depth, scope="wmma.matrix_b", strides=[b1, b0]
        )
        C = T.match_buffer(
            sums, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:depth], B[0:depth, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(
                T.tvm_mma_sync(
                    C.data,
                    _place(C, c1),
                    A.data,
                    _place(A, a1, EDGE, depth),
                    B.data,
                    _place(B, b1, depth, EDGE),
                    C.data,
                    _place(C, c1),
                    dtype="void",
                )
            )

    return meaning, call


def _store(depth: int) -> tuple[Any, Any]:
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
                    depth,
                    _place(C, c1),
                    D.access_ptr("w", ptr_type="float32"),
                    d1,
                    "row_major",
                    dtype="void",
                )
            )

    return meaning, call

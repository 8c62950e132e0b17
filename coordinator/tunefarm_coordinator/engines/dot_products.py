"""Instructions that add four products of 8-bit integers to each 32-bit lane: x86's vpdpbusd (uint8 by int8), ARM's sdot
(int8 by int8).

The intrinsics are ours: those of TVM 0.27 give LLVM 22 vectors of 32-bit integers, which it refuses (it wants the bytes
themselves), and there are none for 256 and 128 bits.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.target import Target, codegen

# Products that a lane adds up at once.
STEPS = 4


@dataclass(frozen=True)
class Dots:
    """What a target has.

    Attributes:
        first: dtype of the operand that is the same for all lanes; that of the other one is int8.
        instructions: LLVM's intrinsic by its number of lanes, the most lanes first.
    """

    first: str
    instructions: tuple[tuple[int, str], ...]

    def lanes(self, extent: int) -> int | None:
        """The most lanes that `extent` is a multiple of; None where it is of none."""
        return next((lanes for lanes, _ in self.instructions if extent % lanes == 0), None)

    def intrinsic(self, lanes: int) -> str:
        """Name of the tensor intrinsic, for schedules."""
        return f"tunefarm_dot_{self.first}_{lanes}x{STEPS}"


_VNNI = tuple((lanes, f"llvm.x86.avx512.vpdpbusd.{32 * lanes}") for lanes in (16, 8, 4))
_SDOT = ((4, "llvm.aarch64.neon.sdot.v4i32.v16i8"),)


@cache
def dots_of(target_json: str) -> Dots | None:
    """Of a CPU; None where it has no such instruction."""
    target = Target(target_json)
    if target.kind.name != "llvm":
        return None
    if codegen.llvm_cpu_has_features("avx512vnni", target):
        return Dots("uint8", _VNNI)
    if codegen.llvm_cpu_has_features("avxvnni", target):
        return Dots("uint8", _VNNI[1:])
    return Dots("int8", _SDOT) if codegen.llvm_cpu_has_features("dotprod", target) else None


def register(dots: Dots) -> None:
    """Enters the tensor intrinsics, each once in a process."""
    for lanes, instruction in dots.instructions:
        _enter(dots.intrinsic(lanes), dots.first, lanes, instruction)


@cache
def _enter(name: str, first: str, lanes: int, instruction: str) -> None:
    TensorIntrin.register(name, _described(first, lanes), _implemented(first, lanes, instruction))


def _described(first: str, lanes: int) -> Any:
    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def described(
        A: T.Buffer((4,), first, offset_factor=1),  # type: ignore[valid-type]
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),  # type: ignore[valid-type]
        C: T.Buffer((lanes,), "int32", offset_factor=1),  # type: ignore[valid-type]
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, 4):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")

    return described


def _implemented(first: str, lanes: int, instruction: str) -> Any:
    sums, packed = f"int32x{lanes}", f"int8x{4 * lanes}"

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implemented(
        A: T.Buffer((4,), first, offset_factor=1),  # type: ignore[valid-type]
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),  # type: ignore[valid-type]
        C: T.Buffer((lanes,), "int32", offset_factor=1),  # type: ignore[valid-type]
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(instruction),
                C.vload([0], dtype=sums),
                T.reinterpret(
                    T.broadcast(T.reinterpret(A.vload([0], f"{first}x4"), dtype="int32"), lanes), dtype=packed
                ),
                B.vload([0, 0], dtype=packed),
                dtype=sums,
            )

    return implemented

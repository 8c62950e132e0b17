"""How large the tile is that a core works on in its registers: arithmetic over the target's vector unit."""

from dataclasses import dataclass
from functools import cache

from tvm.target import Target, codegen

# TVM puts a larger temporary on the heap, where LLVM can't keep it in registers (kMaxStackAlloca, 1 KiB).
STACK_ELEMENTS = 256


@dataclass(frozen=True)
class Vectors:
    """What the target's vector unit offers: 32-bit lanes of a register, and how many hold accumulators."""

    lanes: int
    accumulators: int


def register_tile(rows: int, lanes: int, vectors: Vectors) -> tuple[int, int]:
    """Sizes (divisors of `rows` and `lanes`) of the tile that does most work per cycle (`step_cycles`)."""

    def work_per_cycle(tile: tuple[int, int]) -> float:
        cycles = step_cycles(tile[0], -(-tile[1] // vectors.lanes), vectors)
        return tile[0] * tile[1] * regularity(tile[1], vectors.lanes) / cycles

    tiles = [
        (row, lane)
        for row in _divisors(rows, vectors.accumulators)
        for lane in _divisors(lanes, 4 * vectors.lanes)
        if row * -(-lane // vectors.lanes) <= vectors.accumulators
    ]
    return max(tiles, key=lambda tile: (work_per_cycle(tile), tile[0] * tile[1]))


def window_tile(rows: int, lanes: int, vectors: Vectors) -> tuple[int, int] | None:
    """The tile of a depthwise convolution, where every step loads a vector for each row: rows share what they load once
    the window's steps are written out. One or two whole registers in so many rows that accumulators, loads and weights
    find room together (measured: 10 to 14 of 24 were a third faster than 16, or than tiles that don't divide). None
    where no divisor is one."""
    most = window_accumulators(vectors)
    tiles = [
        (row, count * vectors.lanes)
        for count in (1, 2)
        for row in _divisors(rows, most // count)
        if lanes % (count * vectors.lanes) == 0 and 2 * row * count >= most
    ]
    return max(tiles, key=lambda tile: (tile[0] * tile[1], tile[1]), default=None)


def window_accumulators(vectors: Vectors) -> int:
    """How many registers of accumulators leave room for the vectors that the rows of a depthwise convolution share."""
    return vectors.accumulators * 7 // 12


def step_cycles(rows: int, registers: int, vectors: Vectors) -> float:
    """Cycles that a tile of r rows and v registers each needs for one step of its reduction: r*v multiply-adds, two a
    cycle; v loads and r broadcasts, two a cycle; weights from the second cache, 20 bytes a cycle, as it takes in the
    next ones at the same time; and at least the four of the chain through an accumulator."""
    return max(rows * registers / 2, (rows + registers) / 2, registers * vectors.lanes / 5, 4.0)


def lane_tile(extent: int, lanes: int) -> int:
    """The divisor of `extent`, up to four registers wide, that fills its registers best."""
    return max(_divisors(extent, 4 * lanes), key=lambda size: (_filled(size, lanes), size))


def lanes_filled(extent: int, lanes: int) -> float:
    """The part of its registers' lanes that the best divisor of `extent` makes use of."""
    return _filled(lane_tile(extent, lanes), lanes)


def _filled(size: int, lanes: int) -> float:
    return size * regularity(size, lanes) / (-(-size // lanes) * lanes)


def regularity(size: int, lanes: int) -> float:
    """How well LLVM keeps a vector of `size` in registers: powers of two best, a part of one register almost,
    anything else is cut up and spilled (measured on Zen 4, AVX-512: 10 GFLOP/s against 50 and 110)."""
    if size & (size - 1) == 0:
        return 1.0
    return 0.75 if size < lanes else 0.15


def _divisors(extent: int, limit: int) -> list[int]:
    return [size for size in range(1, min(extent, limit) + 1) if extent % size == 0]


@cache
def vectors_of(target_json: str) -> Vectors:
    """Of a CPU; of what is none, the least there is, which nobody asks for."""
    target = Target(target_json)
    if target.kind.name != "llvm":
        return Vectors(lanes=1, accumulators=1)
    if codegen.llvm_cpu_has_features("avx512f", target):
        return Vectors(lanes=16, accumulators=24)
    if codegen.llvm_cpu_has_features("avx2", target):
        return Vectors(lanes=8, accumulators=12)
    return Vectors(lanes=4, accumulators=16)

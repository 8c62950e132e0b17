"""Whether a GPU can take the thread blocks of a generated schedule, told as early as it can be.

It takes blocks of some 32 to 1024 threads, with so much shared memory, and random tiles seldom make that: of twenty
schedules drawn, one can be run. To finish one and have it refused costs 30 ms, to multiply its tiles next to nothing.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm_ffi
from tvm.s_tir.schedule import Trace

_LEAST = "meta_schedule.thread_extent_low_inclusive"
_MOST = "meta_schedule.thread_extent_high_inclusive"
_FETCH = "meta_schedule.cooperative_fetch"
_THREADS, _VIRTUAL = "threadIdx.x", "vthread.x"
# Of more, VerifyGPUCode takes few, and those keep too many values in a thread to be fast.
_MOST_VIRTUAL = 8
# Draws of tiles until some fit; those of a kernel for which none do are left to MetaSchedule.
_DRAWS = 400

# Factor of a tile: (which of the schedule's tiles, position in it).
_Factor = tuple[int, int]


@dataclass(frozen=True)
class ThreadBlock:
    """The tiles that a schedule divides its loops by, and which of their factors become threads.

    Attributes:
        tiles: the instructions that draw them; `longest_inner`: of each, what its last factor may be.
    """

    tiles: tuple[Any, ...]
    longest_inner: tuple[int, ...]
    threads: tuple[_Factor, ...]
    virtual: tuple[_Factor, ...]
    least: int
    most: int

    def fits(self, decisions: Sequence[Sequence[int]]) -> bool:
        """Whether a GPU may take the block, with these factors of each tile."""
        threads = prod(decisions[tile][position] for tile, position in self.threads)
        virtual = prod(decisions[tile][position] for tile, position in self.virtual)
        return self.least <= threads <= self.most and virtual <= _MOST_VIRTUAL


def thread_block(instructions: Sequence[Any]) -> ThreadBlock | None:
    """The block of a schedule's instructions; None where its size does not follow from tiles alone."""
    tiles: list[Any] = []
    # Which factors the extent of a loop is the product of, by the loop; a variable, by its identity in this process.
    made_of: dict[int, list[_Factor]] = {}
    bound: dict[str, list[_Factor] | None] = {}
    limits: dict[str, int] = {}
    for instruction in instructions:
        given, made = instruction.inputs, instruction.outputs
        match instruction.kind.name:
            case "SamplePerfectTile":
                made_of |= {hash(factor): [(len(tiles), position)] for position, factor in enumerate(made)}
                tiles.append(instruction)
            case "Split":
                parts = zip(made, given[1:], strict=True)
                made_of |= {
                    hash(loop): made_of[hash(by)] for loop, by in parts if by is not None and hash(by) in made_of
                }
            case "Fuse" if all(hash(loop) in made_of for loop in given):
                made_of[hash(made[0])] = [factor for loop in given for factor in made_of[hash(loop)]]
            case "Bind":
                bound[str(instruction.attrs[0])] = made_of.get(hash(given[0]))
            case "EnterPostproc":  # which binds loops of its own making
                break
            case "Annotate" if str(instruction.attrs[0]) in (_LEAST, _MOST):
                limits[str(instruction.attrs[0])] = int(given[1])
    threads = bound.get(_THREADS)
    if threads is None or len(limits) < 2:
        return None
    longest = tuple(int(tile.attrs[1]) for tile in tiles)
    return ThreadBlock(
        tuple(tiles), longest, tuple(threads), tuple(bound.get(_VIRTUAL) or ()), limits[_LEAST], limits[_MOST]
    )


def may_fit(trace: Trace) -> bool:
    """Whether a GPU may take the blocks of a schedule whose tiles are all decided."""
    block = thread_block(trace.insts)
    if block is None:
        return True
    decided = [trace.decisions.get(tile) for tile in block.tiles]
    return None in decided or block.fits([[int(factor) for factor in tile] for tile in decided])


def shared_bytes(schedule: Any) -> int:
    """What a block of the schedule fetches into shared memory, before its postprocessing splits that among threads."""
    total = 0
    for instruction in schedule.trace.insts:
        if instruction.kind.name == "Annotate" and str(instruction.attrs[0]) == _FETCH:
            fetch = schedule.get_sref(instruction.inputs[0])
            buffer = fetch.stmt.writes[0].source
            total += int(fetch.parent.stmt.extent) * tvm_ffi.dtype(buffer.dtype).itemsize
    return total


class TileSampler:
    """Draws the tiles of one sketch, as MetaSchedule does (each prime factor to a position at random), until they make
    a block that a GPU takes."""

    def __init__(self, trace: Trace) -> None:
        """`trace`: the sketch, with decisions, of which only the extents that they multiply to are used."""
        self.instructions = trace.insts
        self._block = thread_block(trace.insts)
        tiles = () if self._block is None else self._block.tiles
        self._shapes = [(prod(map(int, trace.decisions[tile])), len(trace.decisions[tile])) for tile in tiles]

    def decisions(self, rng: random.Random) -> Mapping[Any, list[int]]:
        """Factors for each tile; none, which leaves them to MetaSchedule, where the block is not made of tiles."""
        if self._block is None:
            return {}
        for _ in range(_DRAWS):
            drawn = [
                _factors(extent, parts, longest, rng)
                for (extent, parts), longest in zip(self._shapes, self._block.longest_inner, strict=True)
            ]
            if self._block.fits(drawn):
                return dict(zip(self._block.tiles, drawn, strict=True))
        return {}


def _factors(extent: int, parts: int, longest: int, rng: random.Random) -> list[int]:
    """`parts` factors of `extent`, the last at most `longest`."""
    factors = [1] * parts
    divisor = 2
    while extent > 1:
        if divisor * divisor > extent:
            divisor = extent
        while extent % divisor == 0:
            extent //= divisor
            position = rng.randrange(parts)
            if position == parts - 1 and factors[-1] * divisor > longest:
                position = rng.randrange(parts - 1)
            factors[position] *= divisor
        divisor += 1
    return factors

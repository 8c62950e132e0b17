"""What a tile is estimated to take, so that the default schedule and the first trials are decent before anything ran.

A block's step either waits for its tiles to arrive, the less the more stages are on their way, or is bound by
arithmetic and by what is read from shared memory (a roofline in one step; Williams et al., CACM 2009); blocks run in
waves. The six constants of each kind were fitted to 1,314 kernels of ResNet-18 and a text encoder on an H100 (mean
error on these very kernels 13% and 18%; the tile estimated best was 11% and 9% slower than the best of its kernel),
those of fragments to float16's alone. Only the order counts.
"""

from dataclasses import dataclass
from math import ceil

from tunefarm_coordinator.engines.gpu.contraction import Contraction
from tunefarm_coordinator.engines.gpu.limits import Limits
from tunefarm_coordinator.engines.gpu.simt import SimtTile
from tunefarm_coordinator.engines.gpu.tensor_core import FragmentTile

_MICROSECOND = 1e-6
_CYCLES_PER_MICROSECOND = 1700.0
_THREADS, _REGISTERS, _BLOCKS, _REGISTERS_OF_A_THREAD = 2048, 65536, 32, 255
# What the driver keeps of shared memory for each block (CUDA C++ programming guide).
_RESERVED_BYTES = 1024


@dataclass(frozen=True)
class _Fit:
    """Microseconds, but for `rate` (of peak, for each unit of reuse) and `load` (cycles for each byte of a tile)."""

    launch: float
    latency: float
    rate: float
    load: float
    split: float
    part: float


_SIMT = _Fit(launch=2.53, latency=0.57, rate=0.439, load=0.046, split=2.97, part=0.01)
_FRAGMENTS = _Fit(launch=3.28, latency=0.404, rate=0.063, load=0.030, split=2.99, part=0.135)
# Multiply-adds of a multiprocessor in a cycle, and the threads it takes to keep its four schedulers busy.
_SIMT_PEAK, _FRAGMENT_PEAK = 128, 1024
_BUSY_THREADS = 128
_HALF_BYTES = 2


def estimated_seconds(product: Contraction, tile: SimtTile | FragmentTile, limits: Limits, element: int) -> float:
    """Time of a kernel; `element`: bytes of an operand's."""
    fit = _SIMT if isinstance(tile, SimtTile) else _FRAGMENTS
    blocks = product.batches * ceil(product.rows / tile.rows) * ceil(product.columns / tile.columns) * tile.splits
    steps = product.window * ceil(product.depth / tile.depth) / tile.splits
    resident = min(_resident(tile, limits, element), ceil(blocks / limits.processors))
    waves = ceil(blocks / (limits.processors * resident))
    arithmetic = _arithmetic_cycles(tile, fit, element) * max(1.0, _BUSY_THREADS / _threads(tile) / resident)
    loads = (tile.rows + tile.columns) * tile.depth * element * fit.load
    busy = (arithmetic + loads) / _CYCLES_PER_MICROSECOND * resident
    step = max(fit.latency / tile.stages, busy)
    total = fit.launch + waves * (steps * step + fit.latency)
    if tile.splits > 1:
        partial = tile.splits * product.batches * product.rows * product.columns * 4 / 1e6
        total += fit.split + fit.part * partial
    return total * _MICROSECOND


def _arithmetic_cycles(tile: SimtTile | FragmentTile, fit: _Fit, element: int) -> float:
    """Of a multiprocessor for one step of one block."""
    products = tile.rows * tile.columns * tile.depth
    if isinstance(tile, SimtTile):
        reuse = tile.thread_rows * tile.thread_columns / (tile.thread_rows + tile.thread_columns)
        return products / (_SIMT_PEAK * min(1.0, fit.rate * reuse))
    rows, columns = tile.rows / tile.warp_rows, tile.columns / tile.warp_columns
    peak = _FRAGMENT_PEAK * _HALF_BYTES / element  # TF32 takes twice the time of float16 (NVIDIA H100 white paper)
    return products / (peak * min(1.0, fit.rate * rows * columns / (rows + columns)))


def _threads(tile: SimtTile | FragmentTile) -> int:
    return tile.threads if isinstance(tile, SimtTile) else 32 * tile.warps


def _resident(tile: SimtTile | FragmentTile, limits: Limits, element: int) -> int:
    """Blocks that a multiprocessor holds at once."""
    threads = _threads(tile)
    if isinstance(tile, SimtTile):
        registers = 40 + 1.3 * tile.thread_rows * tile.thread_columns
    else:
        registers = 64 + tile.rows * tile.columns / threads
    fitting = int(_REGISTERS / (threads * min(registers, _REGISTERS_OF_A_THREAD)))
    shared = limits.processor_shared_bytes // (tile.shared_bytes(element) + _RESERVED_BYTES)
    return max(1, min(fitting, shared, _THREADS // threads, _BLOCKS))

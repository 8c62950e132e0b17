"""Which tiles there are for a product, best estimated first to last by `estimate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product as combinations
from math import ceil, gcd

from tvm.runtime import DataType

from tunefarm_coordinator.engines.gpu.contraction import Contraction
from tunefarm_coordinator.engines.gpu.estimate import estimated_seconds
from tunefarm_coordinator.engines.gpu.fragments import EDGE
from tunefarm_coordinator.engines.gpu.limits import Limits
from tunefarm_coordinator.engines.gpu.simt import LEAST_THREADS, MOST_THREADS, SimtTile
from tunefarm_coordinator.engines.gpu.tensor_core import MOST_WARPS, FragmentTile

Tile = SimtTile | FragmentTile
Fields = tuple[tuple[int, ...], ...]

_SPLITS = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32)
_STAGES = (1, 2, 3, 4)
# What each field of a tile may be.
_SIMT_FIELDS: Fields = (
    (1, 2, 4, 8, 16, 32, 64, 128),
    (32, 64, 128),
    (8, 16, 32),
    (1, 2, 4, 8),
    (4, 8),
    _SPLITS,
    _STAGES,
)
_FRAGMENT_FIELDS: Fields = ((16, 32, 64, 128), (16, 32, 64, 128), (16, 32, 64), (1, 2, 4), (1, 2, 4), _SPLITS, _STAGES)
# Of a tile at most this share may be padding, if a smaller one is there.
_LARGEST_PADDING = 2
# More blocks than this for each multiprocessor are not worth splitting a sum for.
_ENOUGH_BLOCKS = 4
_WIDEST_ELEMENT = 4


@dataclass(frozen=True)
class TileOptions:
    """The tiles of one product.

    Attributes:
        fields: what each field of a tile may be, in the order of the tile's fields.
        seconds: by the values of its fields, each tile that fits, and what it is estimated to take.
        best: the one that is estimated to take the least.
        kind: of the tiles.
    """

    fields: Fields
    seconds: dict[tuple[int, ...], float]
    best: tuple[int, ...]
    kind: type[SimtTile] | type[FragmentTile]

    def tile(self, values: Sequence[int]) -> Tile:
        """The tile with these values in its fields."""
        return self.kind(*values)


@lru_cache(maxsize=256)
def tile_options(product: Contraction, limits: Limits) -> TileOptions | None:
    """What fits `product` on a device with these limits; None where nothing does."""
    element = int(DataType(product.dtype).itemsize)
    if element > _WIDEST_ELEMENT:
        return None
    kind: type[SimtTile] | type[FragmentTile] = SimtTile
    fields = _SIMT_FIELDS
    if on_tensor_cores(product, limits):
        kind, fields = FragmentTile, _FRAGMENT_FIELDS
    stages = fields[-1] if limits.copies_ahead else (1,)
    fields = (_near(fields[0], product.rows), _near(fields[1], product.columns), *fields[2:-1], stages)
    seconds: dict[tuple[int, ...], float] = {}
    for values in combinations(*fields):
        tile = kind(*values)
        if _fits(product, tile, limits, element):
            seconds[values] = estimated_seconds(product, tile, limits, element)
    if not seconds:
        return None
    return TileOptions(fields, seconds, min(seconds, key=seconds.__getitem__), kind)


def on_tensor_cores(product: Contraction, limits: Limits) -> bool:
    """Whether `product` is made on tensor cores. One row would be one in sixteen of a fragment's."""
    there = {"float16": limits.tensor_cores, "bfloat16": limits.more_tensor_cores}
    there["float32"] = limits.more_tensor_cores and product.tf32
    suitable = product.accumulator == "float32" and not product.swapped and product.rows > 1
    return suitable and there.get(product.dtype, False)


def _near(sizes: tuple[int, ...], extent: int) -> tuple[int, ...]:
    """Sizes of tiles that are not mostly padding; the smallest where all are."""
    return tuple(size for size in sizes if size < _LARGEST_PADDING * extent) or sizes[:1]


def _fits(product: Contraction, tile: Tile, limits: Limits, element: int) -> bool:
    if tile.shared_bytes(element) > limits.shared_bytes:
        return False
    if isinstance(tile, SimtTile):
        if tile.rows % tile.thread_rows or tile.columns % tile.thread_columns:
            return False
        if not LEAST_THREADS <= tile.threads <= MOST_THREADS:
            return False
        threads = tile.threads
    else:
        if tile.rows % (EDGE * tile.warp_rows) or tile.columns % (EDGE * tile.warp_columns):
            return False
        if tile.warps > MOST_WARPS:
            return False
        threads = 32 * tile.warps
    shared_evenly = not (tile.rows * tile.depth % threads or tile.depth * tile.columns % threads)
    return shared_evenly and _splits(product, tile, limits)


def _splits(product: Contraction, tile: Tile, limits: Limits) -> bool:
    """Whether the reduction comes apart into that many parts, each with a step to do, and a device gains by it."""
    if tile.splits == 1:
        return True
    steps = ceil(product.depth / tile.depth)
    of_channels = gcd(tile.splits, steps)
    if product.window % (tile.splits // of_channels):
        return False
    tiles = product.batches * ceil(product.rows / tile.rows) * ceil(product.columns / tile.columns)
    return tiles <= _ENOUGH_BLOCKS * limits.processors

"""What there is to choose in the program of a convolution, and what each choice is estimated to cost."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from math import prod

from tunefarm_coordinator.engines import uneven_tiles
from tunefarm_coordinator.engines.register_tiles import Vectors, step_cycles
from tunefarm_coordinator.engines.uneven_tiles import Shape
from tunefarm_coordinator.engines.winograd.convolution import Convolution
from tunefarm_coordinator.engines.winograd.minimal import ALGORITHMS, Minimal, operations

# What a core's second cache is taken to hold, in bytes; what it delivers in a cycle, and what comes from behind it. A
# model's other kernels have always been there before, so that weights come from behind it once in any case.
_CACHE = 1 << 20
_FROM_CACHE, _FROM_MEMORY = 20.0, 2.8
# Vector instructions that are done in a cycle, of those that have nothing else to wait for.
_PER_CYCLE = 1.4
_TILE_CYCLES = 30
# The direct sum's registers against what they could do; and bytes of its weights in a cycle, as they are fetched ahead.
_DIRECT, _FETCHED_AHEAD = 1.2, 20.0
_PANELS = (1, 2, 4)
# No CPU has more.
_MOST_REGISTERS = 64
_MOST_ROWS_OF_TILES = 8


@dataclass(frozen=True)
class Settings:
    """One program of a convolution.

    Attributes:
        outputs: rows and columns of results in a tile of the image: F(outputs x outputs, 3 x 3).
        tiles: that are worked on together; what lies between the steps is so large.
        rows, registers: of the products that accumulate in registers: tiles of the image by vectors of filters.
        lanes: of a vector.
        parts: that the filters are divided into, each worked on by itself.
    """

    outputs: int
    tiles: int
    rows: int
    registers: int
    lanes: int
    parts: int

    @property
    def columns(self) -> int:
        """Filters of a register tile."""
        return self.registers * self.lanes

    @property
    def text(self) -> str:
        """What `parsed` reads."""
        return " ".join(str(value) for value in astuple(self))


def parsed(text: str) -> Settings:
    """Settings out of their text. Raises ValueError."""
    values = [int(word) for word in text.split()]
    if len(values) != len(astuple(Settings(*[1] * 6))) or min(values) < 1 or values[0] not in ALGORITHMS:
        raise ValueError(f"no settings of a Winograd convolution: {text!r}")
    return Settings(*values)


def fit(convolution: Convolution, settings: Settings) -> bool:
    """Whether there is such a program of a convolution: what comes out of a record may be of another kernel."""
    whole = convolution.filters % (settings.columns * settings.parts) == 0 and settings.tiles % settings.rows == 0
    most = prod(tiles_of(convolution, settings.outputs)) + settings.rows
    return whole and settings.tiles <= most and settings.rows * settings.registers <= _MOST_REGISTERS


def differences(one: Settings, other: Settings) -> int:
    """In how many things two settings differ."""
    # Asked of a thousand settings for each draft; `astuple` copies what it finds, and took most of the search.
    return sum(a != b for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def tiles_of(convolution: Convolution, outputs: int) -> tuple[int, int, int]:
    """Tiles that the images of a convolution are cut into: images, down, across."""
    return convolution.images, -(-convolution.height // outputs), -(-convolution.width // outputs)


def options(convolution: Convolution, vectors: Vectors) -> list[Settings]:
    """All programs there are; none where the channels fill no vectors."""
    lanes = widest(convolution.filters, vectors.lanes)
    if lanes < vectors.lanes // 2 or widest(convolution.inputs, vectors.lanes) < vectors.lanes // 2:
        return []
    return [
        Settings(outputs, per * rows, rows, registers, lanes, parts)
        for outputs in ALGORITHMS
        for registers in _PANELS
        if convolution.filters % (registers * lanes) == 0
        for rows in range(1, vectors.accumulators // registers + 1)
        for per in _together(-(-prod(tiles_of(convolution, outputs)) // rows))
        for parts in _parts(convolution.filters // (registers * lanes))
    ]


def cycles(convolution: Convolution, settings: Settings, vectors: Vectors, threads: int) -> float:
    """Until the last thread is done: parts of the filters, for each of them blocks of tiles."""
    algorithm = ALGORITHMS[settings.outputs]
    blocks = -(-prod(tiles_of(convolution, settings.outputs)) // settings.tiles)
    turns = -(-blocks * settings.parts // threads)
    part = 4.0 * algorithm.points**2 * convolution.inputs * convolution.filters / settings.parts
    between = _between(convolution, settings, algorithm)
    loaded = turns if part + between > _CACHE else -(-turns // blocks)
    return turns * _block_cycles(convolution, settings, algorithm, vectors) + loaded * part / _FROM_MEMORY


def direct_cycles(shape: Shape, vectors: Vectors) -> float:
    """The same of the direct sum, whose sizes are `shape`. (Both were fitted to convolutions of 7 x 7 to 80 x 80 pixels
    and 16 to 512 channels, their weights not in the cache: within a sixth of what was measured.)"""
    weights = 4.0 * shape.steps * shape.lanes
    sums = uneven_tiles.cycles(shape, uneven_tiles.best_tile(shape, vectors), vectors)
    return _DIRECT * sums + weights / _FETCHED_AHEAD


def widest(channels: int, lanes: int) -> int:
    """The power of two up to `lanes` that divides a number of channels."""
    while channels % lanes:
        lanes //= 2
    return lanes


def _block_cycles(convolution: Convolution, settings: Settings, algorithm: Minimal, vectors: Vectors) -> float:
    filters = convolution.filters // settings.parts
    points = algorithm.points**2
    inputs = convolution.inputs // widest(convolution.inputs, vectors.lanes)
    # Copied with its padding, read, turned over, stored.
    each_input = (4 * points + operations(algorithm.inputs)) / _PER_CYCLE
    each_output = (points + 2 * algorithm.outputs**2 + operations(algorithm.results)) / _PER_CYCLE
    transforms = settings.tiles * (inputs * each_input + filters // settings.lanes * each_output)
    one = convolution.inputs * step_cycles(settings.rows, settings.registers, vectors) + _TILE_CYCLES
    one += 2 * settings.rows * settings.registers
    products = points * (settings.tiles // settings.rows) * (filters // settings.columns) * one
    between = _between(convolution, settings, algorithm)
    # Written and read again.
    return transforms + products + 2 * between / (_FROM_CACHE if between < _CACHE else _FROM_MEMORY)


def _between(convolution: Convolution, settings: Settings, algorithm: Minimal) -> float:
    """Bytes that lie between the steps of a block of tiles."""
    channels = convolution.inputs + convolution.filters // settings.parts
    return 4.0 * algorithm.points**2 * settings.tiles * channels


def _together(rows_of_tiles: int) -> Iterator[int]:
    """Into how many register tiles' rows a block of tiles may be cut, so that blocks are of like size."""
    found = {-(-rows_of_tiles // blocks) for blocks in range(1, rows_of_tiles + 1)}
    yield from sorted(count for count in found if count <= _MOST_ROWS_OF_TILES)


def _parts(panels: int) -> list[int]:
    return [parts for parts in (1, 2, 4, 8) if panels % parts == 0]

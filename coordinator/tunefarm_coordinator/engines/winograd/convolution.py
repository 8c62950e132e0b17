"""Which kernels are convolutions of 3 x 3 that minimal filtering is for, and what they consist of."""

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import TensorLoad
from tvm.tirx import IterVar

from tunefarm_coordinator.engines import loop_nests as nests

_WINDOW = 3


@dataclass(frozen=True)
class Convolution:
    """A kernel of one such convolution, channels last, in float32, its padding before it and its epilogue behind.

    Attributes:
        block, epilogue: names of the blocks that convolve and that follow ("" for nothing).
        padding: name of the block that pads; None where nothing does.
        images, height, width: of the output, in images and pixels.
        inputs, filters: channels of input and output.
    """

    block: str
    epilogue: str
    padding: str | None
    images: int
    height: int
    width: int
    inputs: int
    filters: int


@dataclass(frozen=True)
class Image:
    """What is convolved: a buffer (images, height, width, channels), with so many rows of zeros above and columns on
    the left."""

    buffer: Any
    top: int
    left: int


def recognised(schedule: Any) -> Convolution | None:
    """What an unscheduled kernel, its spatial blocks inlined, computes; None for any other."""
    names = nests.leaf_names(schedule)
    reducing = [name for name in names if nests.reduces(schedule, name)]
    if len(reducing) != 1 or not _convolves(schedule, reducing[0]):
        return None
    block = schedule.get_sblock(reducing[0])
    before = [str(schedule.get(each).name_hint) for each in schedule.get_producers(block)]
    epilogue = nests.epilogue(schedule, reducing[0])
    if epilogue is None or not _follows(schedule, block, epilogue) or len(before) > 1:
        return None
    if any(name not in (reducing[0], epilogue, *before) for name in names):
        return None
    if any(_offsets(schedule, name) is None for name in before):
        return None
    images, height, width, filters = nests.extents(schedule, reducing[0], IterVar.DataPar)
    inputs = nests.extents(schedule, reducing[0], IterVar.CommReduce)[-1]
    padding = before[0] if before else None
    return Convolution(reducing[0], epilogue, padding, images, height, width, inputs, filters)


def image_of(schedule: Any, convolution: Convolution) -> Image:
    """Where the convolution's values come from, before they are padded."""
    if convolution.padding is None:
        return Image(schedule.get(schedule.get_sblock(convolution.block)).reads[0].source, 0, 0)
    top, left = _offsets(schedule, convolution.padding) or (0, 0)
    return Image(schedule.get(schedule.get_sblock(convolution.padding)).reads[0].source, top, left)


def _convolves(schedule: Any, name: str) -> bool:
    """Whether a block adds up image[n, y + i, x + j, c] * weights[i, j, c, f], the weights' layout being free."""
    block = schedule.get(schedule.get_sblock(name))
    if len(block.iter_vars) != 7 or len(block.reads) != 2:
        return False
    n, y, x, f, i, j, c = (axis.var for axis in block.iter_vars)
    image, weights = block.reads
    window = nests.extents(schedule, name, IterVar.CommReduce)[:-1]
    free = schedule.mod["main"].attrs.get("layout_free_buffers") or ()
    return (
        window == [_WINDOW, _WINDOW]
        and all(str(region.source.dtype) == "float32" for region in (*block.reads, *block.writes))
        and _is_at(weights, [i, j, c, f])
        and any(weights.source.same_as(schedule.mod["main"].params[int(index)]) for index in free)
        and _is_at(image, [n, (y, i), (x, j), c])
        and _is_at(block.writes[0], [n, y, x, f])
        and _multiplies(block.body)
    )


def _multiplies(store: Any) -> bool:
    total = getattr(store, "value", None)
    if not isinstance(total, tirx.Add) or not isinstance(total.b, tirx.Mul):
        return False
    return all(isinstance(side, TensorLoad) for side in (total.a, total.b.a, total.b.b))


def _is_at(region: Any, places: list[Any]) -> bool:
    """Whether a region is the one element at `places`: variables, or pairs of which it is the sum."""
    if len(region.region) != len(places) or any(int(part.extent) != 1 for part in region.region):
        return False
    return all(_is_sum(part.min, place) for part, place in zip(region.region, places, strict=True))


def _is_sum(value: Any, place: Any) -> bool:
    if not isinstance(place, tuple):
        return bool(value.same_as(place))
    return isinstance(value, tirx.Add) and value.a.same_as(place[0]) and value.b.same_as(place[1])


def _follows(schedule: Any, block: Any, epilogue: str) -> bool:
    """Whether the epilogue reads what is convolved element by element."""
    if not epilogue:
        return True
    output = schedule.get(block).writes[0].source
    after = schedule.get(schedule.get_sblock(epilogue))
    regions = [region for region in after.reads if region.source.same_as(output)]
    return len(regions) == 1 and _is_at(regions[0], [axis.var for axis in after.iter_vars])


def _offsets(schedule: Any, name: str) -> tuple[int, int] | None:
    """Rows above and columns on the left that a block adds, all of them zero; None for a block that does more."""
    block = schedule.get(schedule.get_sblock(name))
    if not nests.is_padding(schedule, name) or len(block.iter_vars) != 4:
        return None
    condition, _, outside = block.body.value.args
    n, y, x, c = (axis.var for axis in block.iter_vars)
    places = [part.min for part in block.reads[0].region]
    above, left = _offset(places[1], y), _offset(places[2], x)
    if above is None or left is None or not (places[0].same_as(n) and places[3].same_as(c)):
        return None
    _, height, width, _ = (int(size) for size in block.reads[0].source.shape)
    spans = [(y, above, above + height), (x, left, left + width)]
    asks_where_it_is = all(_is_bound(each, spans) for each in _conjuncts(condition))
    return (above, left) if asks_where_it_is and float(outside.value) == 0.0 else None


def _offset(place: Any, variable: Any) -> int | None:
    """What is subtracted from `variable`; None for anything else."""
    if place.same_as(variable):
        return 0
    if isinstance(place, tirx.Sub) and place.a.same_as(variable) and isinstance(place.b, tirx.IntImm):
        return int(place.b.value)
    return None


def _conjuncts(condition: Any) -> list[Any]:
    if isinstance(condition, tirx.And):
        return [*_conjuncts(condition.a), *_conjuncts(condition.b)]
    return [condition]


def _is_bound(condition: Any, spans: list[tuple[Any, int, int]]) -> bool:
    """Whether a condition is one end of a span: `begin <= variable` or `variable < end`."""
    for variable, begin, end in spans:
        if isinstance(condition, tirx.LE) and isinstance(condition.a, tirx.IntImm) and condition.b.same_as(variable):
            return int(condition.a.value) == begin
        if isinstance(condition, tirx.LT) and isinstance(condition.b, tirx.IntImm) and condition.a.same_as(variable):
            return int(condition.b.value) == end
    return False

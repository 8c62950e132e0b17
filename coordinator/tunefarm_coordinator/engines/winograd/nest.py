"""The program of a convolution by minimal filtering, as loops over its kernel's own buffers.

For a block of tiles of the image, all in one core's caches: each tile's values, padded, are turned over (`inputs`);
for each of their points the tiles' values and the weights' are multiplied as matrices (`products`); the products are
turned into results, and those go through the kernel's epilogue. Weights are turned over beforehand, in a nest that
`prepack` takes out.

It is written out and not scheduled step by step: TVM's primitives refuse to move blocks whose tiles overlap the edge.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule, renew_defs
from tvm.tirx import ForKind, IterVar, PrimFunc, SeqStmt

from tunefarm_coordinator.engines import fetch_ahead
from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.prepack import LAID_OUT_BEFORE
from tunefarm_coordinator.engines.winograd import statements as tir
from tunefarm_coordinator.engines.winograd.convolution import Convolution, image_of
from tunefarm_coordinator.engines.winograd.minimal import ALGORITHMS, along_both_axes
from tunefarm_coordinator.engines.winograd.settings import Settings, tiles_of, widest

# Weights that more blocks of tiles read lie in the cache but for the first of them: to fetch them cost more (measured).
_FEW_BLOCKS = 4


def program(schedule: Schedule, convolution: Convolution, settings: Settings) -> tvm.IRModule:
    """The module that computes what the unscheduled kernel of `schedule` does, with the same parameters. `schedule` is
    changed. Raises what TVM raises where the settings don't fit."""
    block = schedule.get_sblock(convolution.block)
    epilogue = convolution.epilogue
    if not epilogue:
        schedule.cache_write(block, 0, "global")
        epilogue = str(nests.epilogue(schedule, convolution.block))
    size = settings.outputs
    # Now the epilogue reads whole tiles, whose last rows and columns the image may not have.
    schedule.transform_layout(block, ("write", 0), nests.index_map(_by_tiles(size), 4), pad_value=0.0)
    nest = _Nest(schedule, convolution, settings, schedule.get(schedule.get_sblock(epilogue)))
    function = schedule.mod["main"]
    root = function.body.block
    body = SeqStmt([nest.weights(), nest.tiles()])
    results = schedule.get(block).writes[0].source
    whole = SBlock([], root.reads, root.writes, root.name_hint, body, None, [results, nest.turned_weights])
    kernel = PrimFunc(function.params, SBlockRealize([], True, whole), function.ret_type, function.attrs)
    return tvm.IRModule({"main": renew_defs(kernel)})


def _by_tiles(size: int) -> Callable[..., list[Any]]:
    def order(*indices: Any) -> list[Any]:
        n, y, x, f = indices
        return [n, y // size, y % size, x // size, x % size, f]

    return order


class _Nest:
    """The two nests; buffers of what lies between the steps are made where they are needed."""

    def __init__(self, schedule: Schedule, convolution: Convolution, settings: Settings, epilogue: SBlock) -> None:
        block = schedule.get(schedule.get_sblock(convolution.block))
        self._convolution, self._settings, self._epilogue = convolution, settings, epilogue
        self._algorithm = ALGORITHMS[settings.outputs]
        self._image = image_of(schedule, convolution)
        self._weights, self._results = block.reads[1].source, block.writes[0].source
        self._points = self._algorithm.points
        self._filters = convolution.filters // settings.parts
        panels = convolution.filters // settings.columns
        self.turned_weights = tir.buffer(
            "turned_weights", self._points**2, panels, convolution.inputs, settings.columns
        )
        self._inputs = tir.buffer("inputs", self._points**2, settings.tiles, convolution.inputs)
        self._products = tir.buffer("products", self._points**2, settings.tiles, self._filters)
        self._images, self._down, self._across = tiles_of(convolution, settings.outputs)

    def weights(self) -> Any:
        """The nest that turns weights over, in panels of a register tile's filters."""
        columns, lanes = self._settings.columns, self._settings.lanes
        c, f = tir.variable("c"), tir.variable("f")
        statements, turned = along_both_axes(
            self._algorithm.weights, [[tir.at(self._weights, i, j, c, f) for j in range(3)] for i in range(3)]
        )
        panel, place = tirx.floordiv(f, tir.number(columns)), tirx.floormod(f, tir.number(columns))
        stores = self._stores(self.turned_weights, turned, lambda point: (point, panel, c, place))
        axes = [(c, self._convolution.inputs), (f, self._convolution.filters)]
        block = SBlock(
            [
                IterVar(tvm.ir.Range(tir.number(0), tir.number(extent)), variable, IterVar.DataPar)
                for variable, extent in axes
            ],
            [tir.region(self._weights, (0, 3), (0, 3), c, f)],
            [tir.region(self.turned_weights, (0, self._points**2), panel, c, place)],
            "turn_weights",
            SeqStmt([*statements, *stores]),
            annotations={LAID_OUT_BEFORE: True},
        )

        def vector(c: Any, outer: Any) -> Any:
            return tir.vector(lanes, lambda lane: SBlockRealize([c, outer * tir.number(lanes) + lane], True, block))

        outer = self._convolution.filters // lanes
        return tir.loop(self._convolution.inputs, lambda c: tir.loop(outer, lambda f: vector(c, f)))

    def tiles(self) -> Any:
        """The nest over blocks of tiles, and parts of the filters."""
        settings = self._settings
        count = self._images * self._down * self._across
        blocks = -(-count // settings.tiles)

        def block(index: Any) -> Any:
            # A thread goes through the tiles with a part of the weights, which stays in its cache.
            first = tirx.floormod(index, tir.number(blocks)) * tir.number(settings.tiles)
            part = tirx.floordiv(index, tir.number(blocks))

            def place(tile: Any) -> tuple[Any, Any, Any]:
                # The last block does its last tile again instead of what would come after it.
                at = first + tile
                return self._place(at if count % settings.tiles == 0 else tirx.min(at, tir.number(count - 1)))

            steps = [
                tir.loop(settings.tiles, lambda tile: self._turn_inputs(tile, place(tile))),
                self._multiply(part),
                tir.loop(settings.tiles, lambda tile: self._turn_products(tile, place(tile), part)),
            ]
            return tir.scope("tiles", steps, [self._inputs, self._products])

        turns = blocks * settings.parts
        return tir.loop(turns, block, ForKind.PARALLEL if turns > 1 else ForKind.SERIAL)

    def _place(self, tile: Any) -> tuple[Any, Any, Any]:
        """Image, row and column of tiles."""
        across, down = tir.number(self._across), tir.number(self._down)
        row = tirx.floordiv(tile, across)
        return tirx.floordiv(row, down), tirx.floormod(row, down), tirx.floormod(tile, across)

    def _turn_inputs(self, tile: Any, place: tuple[Any, Any, Any]) -> Any:
        channels, points = self._convolution.inputs, self._points
        lanes = widest(channels, self._settings.lanes)
        patch = tir.buffer("patch", points, points, channels)
        n, row, column = place
        size = tir.number(self._settings.outputs)
        y, x = row * size - tir.number(self._image.top), column * size - tir.number(self._image.left)

        def turn(c: Any) -> Any:
            values = [[tir.at(patch, i, j, c) for j in range(points)] for i in range(points)]
            statements, turned = along_both_axes(self._algorithm.inputs, values)
            return SeqStmt([*statements, *self._stores(self._inputs, turned, lambda point: (point, tile, c))])

        def copy(i: Any, j: Any) -> Any:
            return tir.vectors(channels, lanes, lambda c: tir.store(patch, self._padded(n, y + i, x + j, c), i, j, c))

        copied = tir.loop(points, lambda i: tir.loop(points, lambda j: copy(i, j)))
        return tir.scope("turn_inputs", [copied, tir.vectors(channels, lanes, turn)], [patch])

    def _padded(self, n: Any, y: Any, x: Any, c: Any) -> Any:
        """A value of the image, or zero beside it."""
        _, height, width, _ = (int(size) for size in self._image.buffer.shape)
        size = self._settings.outputs
        asked = []
        for place, before, extent, tiles in (
            (y, self._image.top, height, self._down),
            (x, self._image.left, width, self._across),
        ):
            asked += [place >= tir.number(0)] if before else []
            asked += [place < tir.number(extent)] if tiles * size + 2 - before > extent else []
        value = tir.at(self._image.buffer, n, y, x, c)
        return tirx.if_then_else(tir.conjunction(asked), value, tirx.FloatImm("float32", 0.0)) if asked else value

    def _multiply(self, part: Any) -> Any:
        settings = self._settings
        panels = self._filters // settings.columns
        rows = settings.tiles // settings.rows

        def tile(point: Any, panel: Any, row: Any) -> Any:
            first = part * tir.number(panels)
            last = panel + 1 >= tir.number(panels)
            following = (
                tirx.min(tirx.Select(last, point + 1, point), tir.number(self._points**2 - 1)),
                tirx.Select(last, first, first + panel + 1),
            )
            ahead = fetch_ahead.Panels(self.turned_weights, following, row, rows)
            return self._accumulate(point, (first + panel, panel), row * tir.number(settings.rows), ahead)

        return tir.loop(
            self._points**2,
            lambda point: tir.loop(panels, lambda panel: tir.loop(rows, lambda row: tile(point, panel, row))),
        )

    def _accumulate(self, point: Any, panel: tuple[Any, Any], row: Any, ahead: fetch_ahead.Panels) -> Any:
        """One register tile of products, which fetches weights ahead. `panel`: of all weights, and of this part's."""
        settings, columns = self._settings, tir.number(self._settings.columns)
        sums = tir.buffer("sums", settings.rows, settings.columns)

        def each(statement: Callable[[Any, Any], Any]) -> Any:
            def vector(i: Any, register: Any) -> Any:
                return tir.vector(
                    settings.lanes, lambda lane: statement(i, register * tir.number(settings.lanes) + lane)
                )

            return tir.unrolled(settings.rows, lambda i: tir.unrolled(settings.registers, lambda r: vector(i, r)))

        def add(c: Any, i: Any, f: Any) -> Any:
            product = tir.at(self._inputs, point, row + i, c) * tir.at(self.turned_weights, point, panel[0], c, f)
            return tir.store(sums, tir.at(sums, i, f) + product, i, f)

        channels = self._convolution.inputs
        size = fetch_ahead.group_of(channels)

        def group(number: Any) -> Any:
            first = number * tir.number(size)
            added = tir.unrolled(size, lambda step: each(lambda i, f: add(first + step, i, f)))
            return SeqStmt([fetch_ahead.fetches(ahead, first, size), added])

        if -(-self._images * self._down * self._across // settings.tiles) > _FEW_BLOCKS:
            added = tir.loop(channels, lambda c: each(lambda i, f: add(c, i, f)))
        else:
            added = tir.loop(channels // size, group)
        steps = [
            each(lambda i, f: tir.store(sums, tirx.FloatImm("float32", 0.0), i, f)),
            added,
            each(lambda i, f: tir.store(self._products, tir.at(sums, i, f), point, row + i, panel[1] * columns + f)),
        ]
        return tir.scope("multiply", steps, [sums])

    def _turn_products(self, tile: Any, place: tuple[Any, Any, Any], part: Any) -> Any:
        size, lanes, points = self._settings.outputs, self._settings.lanes, self._points
        n, row, column = place

        def turn(f: Any) -> Any:
            values = [[tir.at(self._products, i * points + j, tile, f) for j in range(points)] for i in range(points)]
            statements, turned = along_both_axes(self._algorithm.results, values)
            filters = part * tir.number(self._filters) + f
            stores = [
                tir.store(self._results, turned[i][j], n, row, i, column, j, filters)
                for i in range(size)
                for j in range(size)
            ]
            return SeqStmt([*statements, *stores])

        def finish(i: Any, j: Any, f: Any) -> Any:
            y, x = row * tir.number(size) + i, column * tir.number(size) + j
            inside = [y < tir.number(self._convolution.height)] if self._convolution.height % size else []
            inside += [x < tir.number(self._convolution.width)] if self._convolution.width % size else []
            filters = part * tir.number(self._filters) + f
            finished = SBlockRealize([n, y, x, filters], True, self._epilogue)
            # As the block's own condition TVM would cut the loops around it, and wrongly (`tails`).
            return tirx.IfThenElse(tir.conjunction(inside), finished, None) if inside else finished

        def vector(outer: Any) -> Any:
            first = outer * tir.number(lanes)
            turned = tir.vector(lanes, lambda lane: turn(first + lane))
            rows = tir.loop(
                size, lambda i: tir.loop(size, lambda j: tir.vector(lanes, lambda lane: finish(i, j, first + lane)))
            )
            return SeqStmt([turned, rows])

        return tir.loop(self._filters // lanes, vector)

    def _stores(self, buffer: Any, table: list[list[Any]], at: Callable[[int], Sequence[Any]]) -> list[Any]:
        values = [value for row in table for value in row]
        return [tir.store(buffer, value, *at(point)) for point, value in enumerate(values)]

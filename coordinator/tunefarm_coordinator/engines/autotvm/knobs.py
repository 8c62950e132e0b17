"""Knobs of a template: what it lets search decide, each recorded in the schedule's trace as a sampling decision."""

import random
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

Decision = int | tuple[int, ...]

# Of several knobs one is changed, and now and then a second along with it.
_SECOND_CHANGE = 0.3
# Of so many settings drawn together the one that is estimated to be the fastest is taken.
_DRAWN_TOGETHER = 6


class Chooser:
    """Where the decisions of a template come from. This one: the template's defaults."""

    def decide(self, options: Sequence[Decision], default: Decision) -> Decision:  # noqa: ARG002
        """One of `options` (which hold `default`) for the next knob."""
        return default

    def pick(
        self,
        fields: Sequence[Sequence[int]],  # noqa: ARG002
        costs: Mapping[tuple[int, ...], float],  # noqa: ARG002
        default: tuple[int, ...],
    ) -> tuple[int, ...]:
        """One of the settings that have a cost, for the next knobs, one for each field."""
        return default


class Drawn(Chooser):
    """Decisions drawn at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def decide(self, options: Sequence[Decision], default: Decision) -> Decision:  # noqa: ARG002
        """See `Chooser.decide`."""
        return self._rng.choice(options)

    def pick(
        self,
        fields: Sequence[Sequence[int]],  # noqa: ARG002
        costs: Mapping[tuple[int, ...], float],
        default: tuple[int, ...],  # noqa: ARG002
    ) -> tuple[int, ...]:
        """See `Chooser.pick`."""
        return _promising(self._rng, list(costs), costs)


class Recorded(Chooser):
    """The decisions of a trace, knob by knob; the default where the trace has none that fits."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._left = list(decisions)

    def decide(self, options: Sequence[Decision], default: Decision) -> Decision:
        """See `Chooser.decide`."""
        decision = self._left.pop(0) if self._left else default
        return decision if decision in options else default

    def pick(
        self,
        fields: Sequence[Sequence[int]],
        costs: Mapping[tuple[int, ...], float],
        default: tuple[int, ...],
    ) -> tuple[int, ...]:
        """See `Chooser.pick`."""
        decisions, self._left = self._left[: len(fields)], self._left[len(fields) :]
        if len(decisions) < len(fields) or any(not isinstance(index, int) for index in decisions):
            return default
        indexed = zip(fields, decisions, strict=True)
        setting = tuple(field[index] for field, index in indexed if isinstance(index, int) and index < len(field))
        return setting if setting in costs else default


class Changed(Recorded):
    """The decisions of a trace, one or two of them changed."""

    def __init__(self, decisions: Sequence[Decision], rng: random.Random) -> None:
        super().__init__(decisions)
        self._rng = rng
        self._position = 0
        changes = 2 if rng.random() < _SECOND_CHANGE else 1
        self._places = sorted(rng.randrange(max(1, len(decisions))) for _ in range(changes))

    def decide(self, options: Sequence[Decision], default: Decision) -> Decision:
        """See `Chooser.decide`. A knob with nothing to choose passes the change on to the next."""
        kept = super().decide(options, default)
        due = bool(self._places) and self._position >= self._places[0]
        self._position += 1
        others = [option for option in options if option != kept] if due else []
        if not others:
            return kept
        self._places.pop(0)
        return self._rng.choice(others)

    def pick(
        self,
        fields: Sequence[Sequence[int]],
        costs: Mapping[tuple[int, ...], float],
        default: tuple[int, ...],
    ) -> tuple[int, ...]:
        """See `Chooser.pick`: a setting that differs in as many fields as are due, or in few more."""
        kept = super().pick(fields, costs, default)
        self._position += len(fields)
        due = sum(place < self._position for place in self._places)
        self._places = self._places[due:]
        for differences in range(due, len(fields) + 1) if due else ():
            near = [each for each in costs if _differences(each, kept) == differences]
            if near:
                return _promising(self._rng, near, costs)
        return kept


class Knobs:
    """The knobs of one schedule that is being made by a template. `count`: how many it has had so far."""

    def __init__(self, schedule: Schedule, chooser: Chooser) -> None:
        self._schedule = schedule
        self._chooser = chooser
        self.count = 0

    def choice(self, options: Sequence[int], default: int) -> int:
        """One of `options`, such as the position of a loop order or a number of steps to unroll."""
        self.count += 1
        index = self._chooser.decide(range(len(options)), list(options).index(default))
        assert isinstance(index, int)
        self._schedule.sample_categorical(list(options), [1.0 / len(options)] * len(options), decision=index)
        return options[index]

    def pick(
        self, fields: Sequence[Sequence[int]], costs: Mapping[tuple[int, ...], float], default: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Values for several knobs at once, one out of each of `fields`, that go together: one of the settings in
        `costs`, which says what each is estimated to cost."""
        self.count += len(fields)
        setting = self._chooser.pick(fields, costs, default)
        for field, value in zip(fields, setting, strict=True):
            even = [1.0 / len(field)] * len(field)
            self._schedule.sample_categorical(list(field), even, decision=list(field).index(value))
        return setting

    def tile(self, loop: Any, options: Sequence[tuple[int, ...]], default: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes, outermost first, that `loop` is split into; the caller splits with `split`."""
        self.count += 1
        sizes = self._chooser.decide(options, default)
        assert isinstance(sizes, tuple)
        self._schedule.sample_perfect_tile(loop, n=len(sizes), max_innermost_factor=max(sizes), decision=list(sizes))
        return sizes


def _promising(
    rng: random.Random, settings: Sequence[tuple[int, ...]], costs: Mapping[tuple[int, ...], float]
) -> tuple[int, ...]:
    """The cheapest of a few settings drawn at random."""
    return min((rng.choice(settings) for _ in range(_DRAWN_TOGETHER)), key=costs.__getitem__)


def _differences(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def decisions_of(trace: Trace) -> list[Decision]:
    """The decisions of a trace in the order in which they were made."""
    decisions = trace.decisions
    return [_plain(decisions[instruction]) for instruction in trace.insts if instruction in decisions]


def tilings(extent: int, inner: Sequence[tuple[int, ...]], outer: int) -> list[tuple[int, ...]]:
    """All ways to split `extent` into `outer` outer sizes, and inner sizes that are one of `inner`."""
    found = []
    for sizes in inner:
        left, rest = divmod(extent, prod(sizes))
        if not rest:
            found += [(*factors, *sizes) for factors in _factorings(left, outer)]
    return found


def divisors(extent: int, limit: int) -> list[int]:
    """Divisors of `extent` up to `limit`."""
    return [size for size in range(1, min(extent, limit) + 1) if extent % size == 0]


def _factorings(extent: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(extent,)]
    return [(size, *rest) for size in divisors(extent, extent) for rest in _factorings(extent // size, parts - 1)]


def _plain(decision: Any) -> Decision:
    try:
        return tuple(int(size) for size in decision)
    except TypeError:
        return int(decision)

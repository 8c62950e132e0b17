"""Knobs: where decisions come from, what they may be, and that a trace holds them all."""

import random
from math import prod

import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import te
from tvm.s_tir import Schedule

from tunefarm_coordinator.engines.autotvm.knobs import (
    Changed,
    Chooser,
    Decision,
    Drawn,
    Knobs,
    Recorded,
    decisions_of,
    divisors,
    tilings,
)

_SIZES = st.integers(1, 96)
# Settings of knobs that go together: sizes whose product is at most 64, the larger the cheaper.
_FIELDS = ((1, 2, 4, 8, 16), (1, 2, 4, 8, 16), (1, 2, 3))
_COSTS: dict[tuple[int, ...], float] = {
    (a, b, c): 1.0 / (a * b * c) for a in _FIELDS[0] for b in _FIELDS[1] for c in _FIELDS[2] if a * b * c <= 64
}
_BEST = (4, 16, 1)


def _schedule() -> Schedule:
    data = te.placeholder((24, 36), name="data")
    doubled = te.compute((24, 36), lambda i, j: data[i, j] + data[i, j], name="doubled")
    return Schedule(tvm.IRModule({"main": te.create_prim_func([data, doubled])}))


def _turned(chooser: Chooser) -> tuple[list[Decision], Schedule]:
    """What three knobs of a small schedule were set to, and the schedule."""
    schedule = _schedule()
    knobs = Knobs(schedule, chooser)
    rows, columns = schedule.get_loops(schedule.get_sblock("doubled"))
    order = knobs.choice((0, 1, 2), 1)
    first = knobs.tile(rows, tilings(24, [(size,) for size in divisors(24, 8)], 2), (6, 1, 4))
    second = knobs.tile(columns, tilings(36, [(1,), (4,), (12,)], 1), (3, 12))
    schedule.split(columns, list(second))
    return [order, first, second], schedule


@given(_SIZES, st.lists(st.integers(1, 16), min_size=1, max_size=4, unique=True), st.integers(1, 3))
def test_tilings_are_all_the_splits_of_an_extent(extent: int, inner: list[int], outer: int) -> None:
    found = tilings(extent, [(size,) for size in inner], outer)
    assert all(prod(sizes) == extent and len(sizes) == outer + 1 and sizes[-1] in inner for sizes in found)
    assert len(set(found)) == len(found)
    assert {sizes[-1] for sizes in found} == {size for size in inner if extent % size == 0}
    if outer == 2:
        wanted = {
            (a, extent // size // a, size)
            for size in inner
            if extent % size == 0
            for a in divisors(extent, extent)
            if extent // size % a == 0
        }
        assert set(found) == wanted


@given(_SIZES, _SIZES)
def test_divisors_up_to_a_limit(extent: int, limit: int) -> None:
    assert divisors(extent, limit) == [size for size in range(1, limit + 1) if extent % size == 0]


def test_defaults_unless_told_otherwise() -> None:
    assert _turned(Chooser())[0] == [1, (6, 1, 4), (3, 12)]


@given(st.integers(0, 1000))
def test_a_trace_holds_every_decision(seed: int) -> None:
    """Replayed, whoever replays it gets the same schedule; recorded, the template gets the same knobs."""
    drawn, schedule = _turned(Drawn(random.Random(seed)))
    recorded, again = _turned(Recorded(decisions_of(schedule.trace)))
    assert recorded == drawn
    tvm.ir.assert_structural_equal(again.mod, schedule.mod)
    replayed = _schedule()
    schedule.trace.apply_to_schedule(replayed, remove_postproc=False)
    tvm.ir.assert_structural_equal(replayed.mod, schedule.mod)


def test_draws_reach_every_option() -> None:
    rng = random.Random(0)
    settings = [_turned(Drawn(rng))[0] for _ in range(200)]
    assert {order for order, _, _ in settings} == {0, 1, 2}
    assert {columns for _, _, columns in settings} == {(36, 1), (9, 4), (3, 12)}


@pytest.mark.parametrize(
    "recorded", [[], [7, (5, 5), (1, 2, 3)], [(6, 1, 4)], [2, (6, 1, 4), (3, 12), 4, (1, 1)]], ids=str
)
def test_decisions_of_another_template_are_replaced_by_defaults(recorded: list[Decision]) -> None:
    order, rows, columns = _turned(Recorded(recorded))[0]
    assert order == (2 if recorded[:1] == [2] else 1)
    assert (rows, columns) == ((6, 1, 4), (3, 12))


def test_a_change_is_of_one_knob_or_two() -> None:
    before = decisions_of(_turned(Chooser())[1].trace)
    rng = random.Random(0)
    changes = []
    for _ in range(300):
        after = _turned(Changed(before, rng))[0]
        changes.append(sum(old != new for old, new in zip(_turned(Chooser())[0], after, strict=True)))
    assert set(changes) == {1, 2}
    assert changes.count(1) > changes.count(2)


def _picked(chooser: Chooser) -> tuple[tuple[int, ...], Schedule]:
    """What knobs that go together were set to, and the schedule, in which two ordinary knobs surround them."""
    schedule = _schedule()
    knobs = Knobs(schedule, chooser)
    knobs.choice((0, 1), 0)
    setting = knobs.pick(_FIELDS, _COSTS, _BEST)
    knobs.choice((5, 6), 6)
    assert knobs.count == 2 + len(_FIELDS)
    return setting, schedule


def test_settings_that_go_together_are_the_defaults_unless_told_otherwise() -> None:
    assert _picked(Chooser())[0] == _BEST


@given(st.integers(0, 1000))
def test_a_trace_holds_settings_that_go_together(seed: int) -> None:
    drawn, schedule = _picked(Drawn(random.Random(seed)))
    decisions = decisions_of(schedule.trace)
    assert [field[index] for field, index in zip(_FIELDS, decisions[1:4], strict=True) if isinstance(index, int)] == [
        *drawn
    ]
    again, replayed = _picked(Recorded(decisions))
    assert again == drawn
    assert decisions_of(replayed.trace) == decisions


def test_settings_are_drawn_from_all_that_go_together_and_cheap_ones_more_often() -> None:
    rng = random.Random(0)
    drawn = [_picked(Drawn(rng))[0] for _ in range(300)]
    assert set(drawn) <= set(_COSTS)
    assert len(set(drawn)) > 20
    mean = sum(_COSTS[setting] for setting in drawn) / len(drawn)
    assert mean < 0.5 * sum(_COSTS.values()) / len(_COSTS)


@pytest.mark.parametrize("recorded", [[], [0, 4, 4], [0, 9, 0, 0, 0], [0, (1, 2), 0, 0, 0], [0, 4, 4, 2, 0]], ids=str)
def test_settings_that_do_not_go_together_are_replaced_by_the_default(recorded: list[Decision]) -> None:
    """There are too few, one is no option, one is a tiling, together they are too large."""
    assert _picked(Recorded(recorded))[0] == _BEST


def test_what_follows_recorded_settings_is_still_recorded() -> None:
    setting, schedule = _picked(Recorded([1, 0, 1, 2, 0]))
    assert setting == (1, 2, 3)
    assert decisions_of(schedule.trace) == [1, 0, 1, 2, 0]


def test_changed_settings_differ_in_one_knob_or_two_and_still_go_together() -> None:
    before = decisions_of(_picked(Chooser())[1].trace)
    rng = random.Random(0)
    changes = []
    for _ in range(300):
        setting, schedule = _picked(Changed(before, rng))
        assert setting in _COSTS
        after = decisions_of(schedule.trace)
        changes.append(sum(old != new for old, new in zip(before, after, strict=True)))
    assert set(changes) == {1, 2}
    assert changes.count(1) > changes.count(2)

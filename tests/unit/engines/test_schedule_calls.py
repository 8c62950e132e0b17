"""Schedules that are written without TVM's check of each argument."""

from typing import Any

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule

from tunefarm_coordinator.engines.schedule_calls import without_type_checks
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The methods are put back, whatever the test does with them."""
    for name, method in list(vars(Schedule).items()):
        if hasattr(method, "__wrapped__"):
            monkeypatch.setattr(Schedule, name, method)


def _schedule() -> Any:
    x = te.placeholder((16,))
    return Schedule(tvm.IRModule({"main": te.create_prim_func([x, te.compute((16,), lambda i: x[i] + 1.0, "y")])}))


def _split() -> Any:
    schedule = _schedule()
    outer, inner = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, 4])
    schedule.reorder(inner, outer)
    return schedule.mod


def test_schedules_come_out_the_same() -> None:
    checked = _split()
    without_type_checks()
    tvm.ir.assert_structural_equal(_split(), checked)


@pytest.mark.parametrize(("method", "arguments"), [("get_loops", (7,)), ("split", ("i", [4])), ("vectorize", ([],))])
def test_a_wrong_argument_is_refused_all_the_same(method: str, arguments: tuple[Any, ...]) -> None:
    schedule = _schedule()
    without_type_checks()
    with pytest.raises(TVM_ERRORS):
        getattr(schedule, method)(*arguments)

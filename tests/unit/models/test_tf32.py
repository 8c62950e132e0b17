"""Which kernels may round to TF32, and what that changes about them."""

import contextlib
from pathlib import Path

import pytest
import tvm
from tvm.s_tir import Schedule

from tests import gpu_products
from tests.unit.models import graphs
from tunefarm_coordinator.compute.messages import ExpectedOf
from tunefarm_coordinator.compute.model_work import expected_of
from tunefarm_coordinator.engines.gpu.contraction import NoContraction, is_marked
from tunefarm_coordinator.engines.gpu.tensor_core import FragmentTile, schedule_fragments
from tunefarm_coordinator.models.matching import tolerance
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.target import host_target

_SIZES: dict[str, tuple[int, ...]] = {"x": (1, 32, 10, 10)}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[PreparedModel]:
    """Without TF32 and with it."""
    folder = tmp_path_factory.mktemp("tf32")
    model = graphs.save_conv_pair(folder / "m.onnx")
    return [prepare(model, _SIZES, gpu_products.TARGET, folder / str(tf32), allow_tf32=tf32) for tf32 in (False, True)]


def _marked(prepared: PreparedModel) -> set[bool]:
    return {is_marked(tvm.ir.load_json(task.module)) for task in prepared.tasks}


def test_marked_kernels_are_other_workloads(both: list[PreparedModel]) -> None:
    exact, rounded = both
    assert (_marked(exact), _marked(rounded)) == ({False}, {True})
    assert not {task.workload for task in exact.tasks} & {task.workload for task in rounded.tasks}
    assert [task.name for task in exact.tasks] == [task.name for task in rounded.tasks]


def test_marked_kernels_are_checked_by_the_tolerance_of_tf32(both: list[PreparedModel]) -> None:
    found = [expected_of(ExpectedOf(prepared.tasks[0], (0,))).rtol for prepared in both]
    assert found == [tolerance("float32").relative, tolerance("float32", tf32=True).relative]


def test_kernels_without_a_mark_never_use_it() -> None:
    tile = FragmentTile(16, 16, 32, 1, 1)
    for module, taken in ((gpu_products.KERNELS["dense"](), False), (gpu_products.KERNELS["tf32: long sums"](), True)):
        schedule = Schedule(module)
        with contextlib.nullcontext() if taken else pytest.raises(NoContraction, match="TF32"):
            schedule_fragments(schedule, schedule.get_sblock("matmul"), tile)
        assert ("tf32" in str(schedule.trace)) is taken


@pytest.mark.parametrize("kernel", ["one row", "half: dense", "bfloat: dense"])
def test_what_does_not_round_to_tf32_is_not_marked(kernel: str) -> None:
    module = gpu_products.KERNELS[kernel]()
    assert not is_marked(gpu_products.marked(module))


def test_other_targets_have_no_marks(tmp_path: Path) -> None:
    model = graphs.save_conv_pair(tmp_path / "m.onnx")
    assert _marked(prepare(model, _SIZES, host_target(), tmp_path / "prepared", allow_tf32=True)) == {False}

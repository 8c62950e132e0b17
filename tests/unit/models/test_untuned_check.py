"""What is prepared is checked before anything is spent, on the path that jobs take; and what once failed late."""

import io
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relax

from tests.unit.models import graphs
from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.compute.check_desk import STEP_FILE
from tunefarm_coordinator.compute.messages import Checked, CheckModel, Package, PrepareModel, Reference
from tunefarm_coordinator.compute.model_check import RESULT_FILE, check_model
from tunefarm_coordinator.compute.model_work import package_model, prepare_model, reference_of
from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models import package, untuned_check, wrong_node
from tunefarm_coordinator.models.compare import compare_outputs
from tunefarm_coordinator.models.operators.families import CONVERSIONS
from tunefarm_coordinator.models.operators.family import Operator
from tunefarm_coordinator.models.target import host_target, runs_here

Shapes = dict[str, tuple[int, ...]]

_SIZES: Shapes = {"x": (4, 16)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], "first"),
        helper.make_node("HardSwish", ["m1"], ["s"], "swish"),
        helper.make_node("MatMul", ["s", "w2"], ["m2"], "second"),
        helper.make_node("Tanh", ["m2"], ["y"], "tanh"),
    ]
    weights = {"w1": graphs.random_weights(16, 16), "w2": graphs.random_weights(16, 8)}
    return graphs.save(tmp_path / "model.onnx", nodes, {"x": [4, 16]}, ["y"], weights, opset=14)


def check(path: Path, target: str = "host", shapes: Shapes = _SIZES) -> Checked:
    folder = path.parent / "prepared"
    prepare_model(PrepareModel(path, shapes, target, folder))
    return check_model(CheckModel(folder, Reference(path, shapes, (0, 1))))


def broken(change: Callable[[Any], Any]) -> Callable[[Operator], Any]:
    """An importer's rule that changes what it converts."""
    return lambda operator: change(operator.inputs[0])


def test_a_right_model_passes_and_is_packaged_untuned_without_compiling_again(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = check(model)
    assert checked.notes == ()
    assert [bound.relative for bound in checked.bounds] == [1e-3]
    monkeypatch.setattr("tunefarm_coordinator.compute.model_work.build_packages", None)
    packaged = package_model(Package((model.parent / "prepared",), {}, (), model.parent / "package", {}))
    assert packaged.library.stat().st_size > 0
    # Asked again, as by a job after a plan: nothing runs.
    monkeypatch.setattr("tunefarm_coordinator.compute.model_check.check_untuned", None)
    assert check(model) == checked


def test_ids_that_are_floats_are_no_reason_to_check_less(tmp_path: Path) -> None:
    """Keras gives tables ids that are floats: a last digit less, and they are other ids."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    weights = {"table": graphs.random_weights(12, 16), "w": graphs.random_weights(16, 8)}
    path = graphs.save(tmp_path / "model.onnx", nodes, {"ids": [1, 20]}, ["y"], weights, opset=14)
    checked = check(path, shapes={"ids": (1, 20)})
    assert checked.notes == ()
    assert [bound.relative for bound in checked.bounds] == [1e-3]


def test_a_kernel_that_runs_as_it_is_written_is_told_of(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM takes a GPU's threads into a schedule, and compiles none of them for a CPU."""

    def bound(kernel: Any, _target: str) -> Any:
        schedule = tvm.s_tir.Schedule(kernel)
        block = schedule.get_sblock(nests.leaf_names(schedule)[-1])
        schedule.bind(schedule.get_loops(block)[-1], "threadIdx.x")
        return schedule

    monkeypatch.setattr(package, "default_schedule", bound)
    (note,) = check(model).notes
    assert "run as they are written" in note


def test_a_model_for_a_gpu_is_refused_where_its_package_can_not_be_compiled(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outputs are compared as this machine's CPU computes them: that they are right says nothing of CUDA's code."""

    def fails(directory: Path, _package: Path) -> None:
        assert "cuda" in json.loads((directory / "prepared.json").read_text())["target"]
        raise BuildError("ptxas: too many resources requested")

    monkeypatch.setattr(untuned_check, "build_untuned", fails)
    with pytest.raises(InvalidInput, match=r"TVM can't compile the model: .*ptxas: too many resources"):
        check(model, '{"kind":"cuda","arch":"sm_80"}')


def test_a_broken_rule_of_the_importer_is_caught_with_its_node(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERSIONS, ("", "HardSwish"), broken(relax.op.nn.silu))
    with pytest.raises(
        InvalidInput, match=r"first value that differs is that of HardSwish at node swish, .* off by 0\."
    ):
        check(model)
    # Nothing is said to be under way, and nothing kept: it may be mended when the model comes again.
    assert not {STEP_FILE, RESULT_FILE} & {path.name for path in (model.parent / "prepared").iterdir()}


def test_a_wrong_dtype_is_caught(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERSIONS, ("", "Tanh"), broken(lambda x: relax.op.astype(relax.op.tanh(x), "float64")))
    with pytest.raises(InvalidInput, match=r"output y is float64 instead of float32; .* Tanh at node tanh"):
        check(model)


def test_a_fault_that_shows_only_where_nodes_are_one_is_found_by_bisection(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONVERSIONS, ("", "HardSwish"), broken(relax.op.nn.silu))
    monkeypatch.setattr(wrong_node._Search, "all_at_once", lambda _: "")
    with pytest.raises(InvalidInput, match="HardSwish at node swish"):
        check(model)


def test_a_model_for_a_gpu_is_checked_on_the_cpu(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERSIONS, ("", "HardSwish"), broken(relax.op.nn.silu))
    with pytest.raises(InvalidInput, match="node swish"):
        check(model, "nvidia/nvidia-h100")


def test_what_onnx_runtime_does_not_take_is_said_in_a_sentence(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "same"), helper.make_node("Tanh", ["r"], ["y"], "same")]
    path = graphs.save(tmp_path / "twins.onnx", nodes, {"x": [2, 3]}, ["y"])
    with pytest.raises(InvalidInput, match=r"can't load this model: .*two nodes with same node name \(same\)"):
        check(path, shapes={"x": (2, 3)})


def test_without_a_reference_others_or_nobody_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"], "same"), helper.make_node("Tanh", ["r"], ["y"], "same")]
    path = graphs.save(tmp_path / "twins.onnx", nodes, {"x": [2, 3]}, ["y"])
    asked = Reference(path, {"x": (2, 3)}, (0, 1), dispensable=True)
    prepare_model(PrepareModel(path, {"x": (2, 3)}, "host", tmp_path / "prepared"))
    (note,) = check_model(CheckModel(tmp_path / "prepared", asked)).notes
    assert note.startswith("outputs are compared with those of ONNX's reference evaluator: ONNX Runtime")
    with np.load(io.BytesIO(reference_of(asked)[1])) as outputs:
        assert outputs.files == ["s0_out0", "s1_out0"]
    monkeypatch.setattr("tunefarm_coordinator.models.best_reference._evaluated", _refuses)
    prepare_model(PrepareModel(path, {"x": (2, 3)}, "host", tmp_path / "again"))
    (note,) = check_model(CheckModel(tmp_path / "again", asked)).notes
    assert note.startswith("outputs are compared with nothing: ONNX Runtime")
    inputs, nothing = reference_of(asked)
    assert compare_outputs(inputs, nothing, dispensable=True).max_rel_error is None
    assert not compare_outputs(inputs, nothing).ok


def _refuses(*_: Any) -> list[Any]:
    raise NotImplementedError


_CASES: dict[str, Callable[[], tuple[onnx.ModelProto, dict[str, Any]]]] = {
    "identity alone: no kernel is left": lambda: (
        model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": _floats(4, 8)}, {"y": TensorProto.FLOAT}),
        {"x": _floats(4, 8)},
    ),
    "no input": lambda: (
        model_of(
            [helper.make_node("MatMul", ["a", "b"], ["y"])],
            {},
            {"y": TensorProto.FLOAT},
            {"a": _floats(16, 64), "b": _floats(64, 16)},
        ),
        {},
    ),
    "inputs that nothing reads": lambda: (
        model_of(
            [helper.make_node("Gemm", ["x", "w"], ["y"]), helper.make_node("Shape", ["never"], ["s"])],
            {"never": _floats(2), "x": _floats(4, 64), "last": np.arange(3)},
            {"y": TensorProto.FLOAT},
            {"w": _floats(64, 16)},
        ),
        {"never": _floats(2), "x": _floats(4, 64), "last": np.arange(3)},
    ),
    "constants alone": lambda: (
        model_of(
            [helper.make_node("Shape", ["x"], ["y"]), helper.make_node("Shape", ["x"], ["z"])],
            {"x": _floats(2, 3)},
            {"y": TensorProto.INT64, "z": TensorProto.INT64},
        ),
        {"x": _floats(2, 3)},
    ),
    "sorting after weights": lambda: (
        model_of(
            [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("TopK", ["m", "k"], ["y", "at"])],
            {"x": _floats(2, 64)},
            {"y": TensorProto.FLOAT, "at": TensorProto.INT64},
            {"w": _floats(64, 32), "k": np.array([5])},
        ),
        {"x": _floats(2, 64)},
    ),
}


def _floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", _CASES)
def test_models_with_little_in_them(name: str, tmp_path: Path) -> None:
    assert_same(*_CASES[name](), tmp_path)


def test_what_a_device_says_of_this_cpu_runs_here_and_other_architectures_do_not() -> None:
    here = json.loads(host_target())
    assert runs_here(json.dumps({**here, "mtriple": f"{platform.machine()}-linux-gnu", "num-cores": 64}))
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    assert not runs_here(json.dumps({"kind": "llvm", "mtriple": f"{other}-linux-gnu", "num-cores": 2}))

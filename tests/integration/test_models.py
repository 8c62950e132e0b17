"""Whole models: ONNX in, a package out that answers as ONNX Runtime does, here and over TVM RPC."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from onnx import NodeProto, helper
from tvm import relax, rpc
from tvm.runtime.vm import VirtualMachine
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.model_zoo import ZOO, ModelUnavailable, model_path
from tests.unit.models import graphs
from tunefarm_coordinator.engines import programs, trace_text
from tunefarm_coordinator.models import package, packed_weights
from tunefarm_coordinator.models.compare import OutputComparison, compare_outputs
from tunefarm_coordinator.models.default_schedule import default_schedule, default_trace
from tunefarm_coordinator.models.package import PackagedModel, build_package, build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare
from tunefarm_coordinator.models.reference import reference_outputs
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.tasks import workload_of


@dataclass(frozen=True)
class Case:
    """A prepared model with ONNX Runtime's answers."""

    prepared: PreparedModel
    inputs: dict[str, Any]
    reference: bytes

    @classmethod
    def of(cls, path: Path, shapes: dict[str, tuple[int, ...]], folder: Path) -> "Case":
        prepared = prepare(path, shapes, host_target(), folder)
        with np.load(io.BytesIO(reference_outputs(path, shapes))) as archive:
            arrays = {name: archive[name] for name in archive.files}
        outputs = {name: value for name, value in arrays.items() if "_out" in name}
        return cls(prepared, {n: v for n, v in arrays.items() if "_in" in n}, _archive(outputs))

    def compare(self, packaged: PackagedModel) -> OutputComparison:
        """The package's outputs on all seeds against ONNX Runtime's."""
        machine = VirtualMachine(tvm.runtime.load_module(str(packaged.library)), tvm.cpu())
        arrays: dict[str, Any] = {}
        for seed in sorted({name.partition("_")[0] for name in self.inputs}):
            values = [self.inputs[f"{seed}_in{i}"] for i in range(len(self.prepared.inputs))]
            outputs = machine["main"](*[tvm.runtime.tensor(value) for value in values])
            for i, output in enumerate([outputs] if hasattr(outputs, "shape") else outputs):
                arrays[f"{seed}_out{i}"] = output.numpy()
        return compare_outputs(_archive(arrays), self.reference)


def _archive(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _zoo_path(name: str) -> Path:
    try:
        return model_path(name)
    except ModelUnavailable as error:
        pytest.skip(f"waits for a package index: {error}")


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("squeezenet")
    return Case.of(_zoo_path("squeezenet"), ZOO["squeezenet"].shapes, folder)


@pytest.fixture(scope="module")
def squeezenet_package(squeezenet: Case, tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    """Every task with its own trace and record; the other kernels with the default schedule."""
    prepared = squeezenet.prepared
    traces = {task.workload: default_trace(task.module, prepared.target) for task in prepared.tasks}
    records = [(workload, trace, 1e-3) for workload, trace in traces.items()]
    out = tmp_path_factory.mktemp("package")
    return build_package(prepared.directory, traces, out, {"job": "test"}, records)


def test_squeezenet_answers_as_onnxruntime(squeezenet: Case, squeezenet_package: PackagedModel) -> None:
    comparison = squeezenet.compare(squeezenet_package)
    assert comparison.ok, comparison.message
    assert comparison.max_rel_error is not None
    assert 0 < comparison.max_rel_error < 1e-3
    assert set(squeezenet_package.tuned) == {task.workload for task in squeezenet.prepared.tasks}


def test_seeded_logits_are_sensible(squeezenet: Case) -> None:
    with np.load(io.BytesIO(squeezenet.reference)) as outputs:
        for name in outputs.files:
            assert np.isfinite(outputs[name]).all()
            assert outputs[name].std() > 1e-3
            assert outputs[name].max() < 0.9


def test_run_script_needs_the_runtime_alone(squeezenet_package: PackagedModel) -> None:
    environment = {**os.environ, "TVM_USE_RUNTIME_LIB": "1", "TVM_NUM_THREADS": "1"}
    command = [sys.executable, str(squeezenet_package.directory / "run.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "softmaxout_1: float32 (1, 1000, 1, 1)" in done.stdout
    assert "latency: " in done.stdout


def test_manifest(squeezenet_package: PackagedModel) -> None:
    manifest = json.loads((squeezenet_package.directory / "manifest.json").read_text())
    assert manifest["job"] == "test"
    assert manifest["inputs"] == [{"name": "data_0", "dtype": "float32", "shape": [1, 3, 224, 224]}]
    assert manifest["target"] == json.loads(host_target())
    assert manifest["layout"] == "NHWC"
    assert manifest["precision"] == {"tf32": False, "exact_math": False, "vector_functions": ["exp"]}
    assert {t["workload"] for t in manifest["tasks"] if t["tuned"]} == set(squeezenet_package.tuned)


@pytest.fixture
def rpc_server() -> Iterator[Any]:
    server = rpc.Server(host="127.0.0.1", port=19190, port_end=19290)
    yield server
    server.terminate()


def test_package_runs_over_rpc(squeezenet: Case, squeezenet_package: PackagedModel, rpc_server: Any) -> None:
    session = rpc.connect("127.0.0.1", rpc_server.port)
    session.upload(bytearray(squeezenet_package.library.read_bytes()), "squeezenet-test.so")
    device = session.cpu()
    machine = VirtualMachine(session.load_module("squeezenet-test.so"), device)
    machine.set_input("main", tvm.runtime.tensor(squeezenet.inputs["0_in0"], device))
    machine.invoke_stateful("main")
    with np.load(io.BytesIO(squeezenet.reference)) as reference:
        expected = _archive({"0_out0": reference["0_out0"]})
    actual = _archive({"0_out0": machine.get_outputs("main").numpy()})
    assert compare_outputs(actual, expected).ok
    seconds = machine.time_evaluator("invoke_stateful", device, number=1, repeat=3)("main").results
    assert len(seconds) == 3
    assert all(0 < s < 10 for s in seconds)


def test_plain_tvm_finds_the_records(squeezenet: Case, squeezenet_package: PackagedModel) -> None:
    folder, target = squeezenet_package.directory, Target(host_target())
    files = [str(folder / "database_workload.json"), str(folder / "database_tuning_record.json")]
    database = ms.database.JSONDatabase(*files)
    module = tvm.ir.load_json((folder / "prepared_module.json").read_text())
    with target, database:
        applied = relax.transform.MetaScheduleApplyDatabase()(module)
    scheduled = [f for f in applied.functions.values() if f.attrs and f.attrs.get("tirx.is_scheduled")]
    # Plain TVM can't write down another algorithm than the kernel's own.
    traces = [default_trace(task.module, host_target()) for task in squeezenet.prepared.tasks]
    own = [trace for trace in traces if programs.named_in(json.loads(trace)[0]) is None]
    assert len(scheduled) == len(own) > len(traces) / 2

    executable = ms.relax_integration.compile_relax(database, module, target, None)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    with np.load(folder / "weights.npz") as archive:
        weights = [tvm.runtime.tensor(archive[f"w{i}"]) for i in range(len(archive.files))]
    output = machine["main"](tvm.runtime.tensor(squeezenet.inputs["1_in0"]), *weights).numpy()
    with np.load(io.BytesIO(squeezenet.reference)) as reference:
        assert compare_outputs(_archive({"o": output}), _archive({"o": reference["1_out0"]})).ok


# The check has to fail where something is wrong.


@pytest.fixture(scope="module")
def conv_pair(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("conv_pair")
    path = graphs.save_conv_pair(folder / "m.onnx")
    return Case.of(path, {"x": (1, 32, 10, 10)}, folder / "prepared")


def _prepacking_trace(module: Any) -> str:
    """A schedule that reads its weight in blocks of sixteen output channels, as RewriteLayout makes them."""
    schedule = Schedule(module)
    packing = schedule.cache_read("conv2d_nhwc", 1, "global")
    schedule.transform_layout("conv2d_nhwc", ("read", 1), lambda h, w, i, o: (o // 16, h, w, i, o % 16), pad_value=None)
    schedule.annotate(packing, "meta_schedule.layout_rewrite_preproc", True)
    return trace_text.encode(schedule.trace)


def test_weights_are_prepacked(conv_pair: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = conv_pair.prepared
    packed: list[tuple[int, ...]] = []

    def recording(module: Any, weights: Any, objects: Any) -> list[Any]:
        result = prepacked(module, weights, objects)
        packed.extend(tuple(int(size) for size in value.shape) for value in result)
        return result

    prepacked = packed_weights.prepacked
    monkeypatch.setattr(packed_weights, "prepacked", recording)
    traces = {task.workload: _prepacking_trace(tvm.ir.load_json(task.module)) for task in prepared.tasks}
    packaged = build_package(prepared.directory, traces, tmp_path)
    assert packed.count((2, 3, 3, 32, 16)) == 2
    assert conv_pair.compare(packaged).ok


def test_a_permuted_weight_is_noticed(conv_pair: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mutated(module: Any, weights: Any, objects: Any) -> list[Any]:
        values = prepacked(module, weights, objects)
        largest = max(range(len(values)), key=lambda i: int(np.prod(values[i].shape)))
        array = values[largest].numpy()
        values[largest] = tvm.runtime.tensor(np.roll(array, 1, axis=array.ndim - 1))
        return values

    prepacked = packed_weights.prepacked
    traces = {t.workload: _prepacking_trace(tvm.ir.load_json(t.module)) for t in conv_pair.prepared.tasks}
    assert conv_pair.compare(build_package(conv_pair.prepared.directory, traces, tmp_path / "right")).ok
    monkeypatch.setattr(packed_weights, "prepacked", mutated)
    comparison = conv_pair.compare(build_package(conv_pair.prepared.directory, traces, tmp_path / "wrong"))
    assert not comparison.ok
    assert comparison.max_rel_error is None or comparison.max_rel_error > 1e-3


def test_a_permuted_weight_of_squeezenet_is_noticed(
    squeezenet: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mutated(module: Any, weights: Any, objects: Any) -> list[Any]:
        values = prepacked(module, weights, objects)
        index = next(i for i, v in enumerate(values) if np.prod(v.shape) == 64 * 256)
        values[index] = tvm.runtime.tensor(np.roll(values[index].numpy(), 1, axis=-1))
        return values

    prepacked = packed_weights.prepacked
    monkeypatch.setattr(packed_weights, "prepacked", mutated)
    assert not squeezenet.compare(build_untuned(squeezenet.prepared.directory, tmp_path)).ok


def test_a_swapped_kernel_is_noticed(conv_pair: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(*arguments: Any) -> Any:
        module, *others = scheduled(*arguments)
        first, second = [g for g in module.get_global_vars() if g.name_hint.startswith("fused_conv2d")]
        module[first], module[second] = module[second], module[first]
        return module, *others

    scheduled = package._scheduled
    assert conv_pair.compare(build_untuned(conv_pair.prepared.directory, tmp_path / "right")).ok
    monkeypatch.setattr(package, "_scheduled", swapped)
    assert not conv_pair.compare(build_untuned(conv_pair.prepared.directory, tmp_path / "wrong")).ok


def test_a_trace_that_no_longer_fits_costs_its_kernel_alone(
    conv_pair: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = conv_pair.prepared.tasks
    good = default_trace(first.module, conv_pair.prepared.target)
    stale = good.replace("conv2d_nhwc", "conv2d_of_yesterday")
    packaged = build_package(conv_pair.prepared.directory, {first.workload: good, second.workload: stale}, tmp_path)
    assert packaged.tuned == (first.workload,)
    assert second.workload in packaged.untuned
    assert second.workload in caplog.text
    assert conv_pair.compare(packaged).ok


@pytest.mark.parametrize("default_too", [False, True])
def test_a_schedule_that_tvm_can_not_compile_costs_its_kernel_alone(
    conv_pair: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    default_too: bool,
) -> None:
    """A GPU's threads, on a CPU."""

    def bound(module: Any) -> Any:
        schedule = Schedule(module)
        block = schedule.get_sblock("conv2d_nhwc")
        schedule.bind(schedule.get_loops(block)[1], "threadIdx.x")
        return schedule

    first, second = conv_pair.prepared.tasks
    good = default_trace(first.module, conv_pair.prepared.target)
    bad = trace_text.encode(bound(tvm.ir.load_json(second.module)).trace)
    if default_too:
        monkeypatch.setattr(
            package,
            "default_schedule",
            lambda kernel, target: (
                bound(kernel) if workload_of(kernel) == second.workload else default_schedule(kernel, target)
            ),
        )
    traces = {first.workload: good, second.workload: bad}
    packaged = build_package(conv_pair.prepared.directory, traces, tmp_path)
    assert packaged.tuned == (first.workload,)
    assert second.workload in packaged.untuned
    assert caplog.text.count("can't be compiled") == 1 + default_too
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest.get("as_written", {})) == default_too
    assert conv_pair.compare(packaged).ok


# Operators: layout conversion, constants and schedules together.


def _node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def _after_conv(*nodes: NodeProto) -> list[NodeProto]:
    return [_node("Conv", "x", "w", output="c", pads=[1] * 4), *nodes]


_W = {"w": graphs.random_weights(24, 16, 3, 3)}
_SCALARS = {"six": np.array([6.0], np.float32), "low": np.float32(-0.5), "high": np.float32(0.5)}
OPERATORS: dict[str, tuple[list[NodeProto], dict[str, Any], int]] = {
    "hard_swish": (_after_conv(_node("HardSwish", "c")), {}, 14),
    "clip": (_after_conv(_node("Clip", "c", "low", "high")), _SCALARS, 13),
    "old_clip": (_after_conv(_node("Clip", "c", min=-0.5, max=0.5)), {}, 9),
    "scalars": (_after_conv(_node("Div", "c", "six", output="d"), _node("Max", "d", "low")), _SCALARS, 13),
    "sum_of_three": (_after_conv(_node("Relu", "c", output="r"), _node("Sum", "c", "r", "c")), {}, 13),
    "channel_bias": (_after_conv(_node("Add", "c", "v")), {"v": graphs.random_weights(24, 1, 1)}, 13),
    "concat": (
        _after_conv(_node("Tanh", "c", output="t"), _node("Concat", "c", "x", "t", axis=1)),
        {},
        13,
    ),
    "squeeze_excite": (
        _after_conv(
            _node("GlobalAveragePool", "c", output="g"),
            _node("Sigmoid", "g", output="s"),
            _node("Mul", "c", "s"),
        ),
        {},
        13,
    ),
    "pools": (
        _after_conv(
            _node("MaxPool", "c", output="m", kernel_shape=[3, 3], strides=[2, 2]),
            _node("AveragePool", "m", kernel_shape=[2, 2], pads=[1, 0, 0, 1]),
        ),
        {},
        13,
    ),
    "batch_norm": (
        [
            _node("BatchNormalization", "x", "s", "z", "z", "s", output="n"),
            _node("Conv", "n", "w", output="y"),
        ],
        {"s": np.linspace(0.5, 1.5, 16).astype(np.float32), "z": np.linspace(-1, 1, 16).astype(np.float32)},
        13,
    ),
    "channel_shuffle": (
        _after_conv(
            _node("Reshape", "c", "split", output="r"),
            _node("Transpose", "r", output="t", perm=[0, 2, 1, 3, 4]),
            _node("Reshape", "t", "joined"),
        ),
        {"split": np.array([1, 4, 6, 9, 11]), "joined": np.array([1, 24, 9, 11])},
        13,
    ),
    "to_channels_last": (_after_conv(_node("Transpose", "c", perm=[0, 2, 3, 1])), {}, 13),
    "resize": (
        _after_conv(_node("Resize", "c", "", "by", mode="nearest", coordinate_transformation_mode="asymmetric")),
        {"by": np.array([1, 1, 2, 2], np.float32)},
        13,
    ),
    "unfolding_transposed_conv": (
        _after_conv(_node("ConvTranspose", "c", "u", "b", strides=[2, 2])),
        {"u": graphs.random_weights(24, 5, 2, 2), "b": graphs.random_weights(5)},
        13,
    ),
    "overlapping_transposed_conv": (
        _after_conv(_node("ConvTranspose", "c", "u", strides=[2, 2])),
        {"u": graphs.random_weights(24, 5, 3, 3)},
        13,
    ),
    "depthwise_and_grouped": (
        _after_conv(
            _node("Conv", "c", "d", output="e", group=24, pads=[1] * 4),
            _node("Conv", "e", "g", group=4),
        ),
        {"d": graphs.random_weights(24, 1, 3, 3), "g": graphs.random_weights(24, 6, 1, 1)},
        13,
    ),
    "flatten_and_dense": (
        _after_conv(
            _node("GlobalMaxPool", "c", output="g"),
            _node("Flatten", "g", output="f"),
            _node("Gemm", "f", "m", output="l", transB=1),
            _node("Softmax", "l", axis=-1),
        ),
        {"m": graphs.random_weights(50, 24)},
        13,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, tmp_path: Path) -> None:
    nodes, weights, opset = OPERATORS[name]
    used = {i for node in nodes for i in node.input}
    weights = {key: value for key, value in {**_W, **weights}.items() if key in used}
    path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 16, 9, 11]}, ["y"], weights, opset)
    case = Case.of(path, {"x": (1, 16, 9, 11)}, tmp_path / "prepared")
    assert case.prepared.layout == "NHWC"
    comparison = case.compare(build_untuned(case.prepared.directory, tmp_path / "package"))
    assert comparison.ok, comparison.message


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if name != "squeezenet"])
def test_real_models_answer_as_onnxruntime(name: str, tmp_path: Path) -> None:
    case = Case.of(_zoo_path(name), ZOO[name].shapes, tmp_path / "prepared")
    assert case.prepared.layout == "NHWC"
    assert len(case.prepared.tasks) >= 20
    comparison = case.compare(build_untuned(case.prepared.directory, tmp_path / "package"))
    assert comparison.ok, comparison.message
    with np.load(io.BytesIO(case.reference)) as outputs:
        assert all(np.isfinite(outputs[n]).all() and outputs[n].std() > 0 for n in outputs.files)

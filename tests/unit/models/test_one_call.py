"""A model as one call: the kernels' answers, in memory of which nothing is overwritten that is still read."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from onnx import TensorProto, helper
from tvm import relax
from tvm.runtime.vm import VirtualMachine

from tests.unit.models.operators.answers import model_of, theirs
from tunefarm_coordinator.models.gpu_executable import ENTRY, ENTRY_BY_KERNEL
from tunefarm_coordinator.models.one_call import KernelCall, Line, Memory
from tunefarm_coordinator.models.one_call_code import MODEL, as_one_call
from tunefarm_coordinator.models.one_call_memory import place
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

node = helper.make_node
ROW = np.random.default_rng(0).standard_normal((2, 24)).astype(np.float32)
WEIGHTS = {
    "w": np.random.default_rng(1).standard_normal((24, 24)).astype(np.float32),
    "flat": np.array([48], np.int64),
    "five": np.full((3,), 5, np.float32),
}
# Outputs that are made by no kernel, twice the same memory, and a view of a value that is an output too.
NODES = [
    node("MatMul", ["x", "w"], ["product"]),
    node("Softmax", ["product"], ["probabilities"]),
    node("Reshape", ["probabilities", "flat"], ["seen"]),
    node("Identity", ["x"], ["same"]),
    node("Reshape", ["x", "flat"], ["same_seen"]),
    node("Identity", ["five"], ["constant"]),
]
OUTPUTS = ("probabilities", "seen", "same", "same_seen", "constant")


def _machine(model: onnx.ModelProto, inputs: dict[str, Any], folder: Path) -> Any:
    onnx.save(model, folder / "model.onnx")
    shapes = {name: value.shape for name, value in inputs.items()}
    prepare(folder / "model.onnx", shapes, host_target(), folder / "prepared")
    package = build_untuned(folder / "prepared", folder / "package")
    return VirtualMachine(tvm.runtime.load_module(str(package.library)), tvm.cpu())


def _kernels(machine: Any, entry: str, *tensors: Any) -> list[str]:
    """What a run of the entry calls beside the virtual machine's own functions."""
    called: list[str] = []

    def note(_: Any, name: str, before: bool, *__: Any) -> int:
        if before and not name.startswith("vm.builtin."):
            called.append(name)
        return 0

    machine.set_input(entry, *tensors)
    machine.module["set_instrument"](note)
    machine.invoke_stateful(entry)
    return called


def test_both_entries_give_what_onnx_runtime_does(tmp_path: Path) -> None:
    model = model_of(NODES, {"x": ROW}, dict.fromkeys(OUTPUTS, TensorProto.FLOAT), WEIGHTS)
    machine, tensor = _machine(model, {"x": ROW}, tmp_path), tvm.runtime.tensor(ROW)
    for entry in (ENTRY, ENTRY_BY_KERNEL):
        for _ in range(2):
            for found, expected in zip(machine[entry](tensor), theirs(model, {"x": ROW}), strict=True):
                assert found.shape == expected.shape
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert _kernels(machine, ENTRY, tensor) == [MODEL]
    assert len(_kernels(machine, ENTRY_BY_KERNEL, tensor)) == 2


def test_a_library_is_no_part_of_the_process_that_loads_it(tmp_path: Path) -> None:
    """Of two that were, the second would take the first one's place."""
    model = model_of(NODES[:2], {"x": ROW}, {"probabilities": TensorProto.FLOAT}, WEIGHTS)
    _machine(model, {"x": ROW}, tmp_path)
    assert b"RegisterSystemLibSymbol" not in (tmp_path / "package" / "model.so").read_bytes()


def test_what_calls_more_than_kernels_stays_as_it_is() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            found = builder.emit_output(relax.op.call_pure_packed("anything", x, ty_args=[x.ty]))
        builder.emit_func_output(found)
    module = builder.get()
    assert as_one_call(module) == (module, {})


def test_values_that_are_needed_at_once_share_no_byte() -> None:
    chance = random.Random(0)
    for _ in range(20):
        given = Memory((4,), "float32", given=0)
        values, steps = [given], []
        for _ in range(30):
            made = Memory((chance.randrange(1, 400),), "float32")
            steps.append(KernelCall("kernel", (*chance.sample(values, min(2, len(values))), made)))
            values.append(made)
        line = Line("line", [given], [], list(steps), [], is_tuple=True)
        place(line)
        for at, step in enumerate(steps):
            alive = {
                memory
                for before in steps[: at + 1]
                for memory in before.operands
                if memory.given is None and any(memory in later.operands for later in steps[at:])
            }
            ends = sorted((line.offsets[memory], line.offsets[memory] + memory.size) for memory in alive)
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends)), step
            assert ends[-1][1] <= line.workspace

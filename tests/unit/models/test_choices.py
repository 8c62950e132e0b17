"""Branches that are decided while the model runs: ONNX Runtime's answers, and only the branch asked for is computed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tvm.runtime.vm import VirtualMachine

from tests.unit.models.operators.answers import model_of, theirs
from tunefarm_coordinator.models.gpu_executable import ENTRY_BY_KERNEL
from tunefarm_coordinator.models.importer import importable_form
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import load_prepared, prepare
from tunefarm_coordinator.models.target import host_target

node = helper.make_node
HIDDEN = 32
_random = np.random.default_rng(0)
WEIGHTS = {name: _random.standard_normal((HIDDEN, HIDDEN)).astype(np.float32) for name in ("shared", "w1", "w2", "w3")}
ROW = _random.standard_normal((1, HIDDEN)).astype(np.float32)


def _branch(name: str, nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.GraphProto:
    values = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(nodes, name, [], values)


def _model(condition_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Both branches read `s`; one gives it back as it is, beside two products, the other one product twice."""
    then = [node("MatMul", ["s", "w1"], ["t1"]), node("MatMul", ["t1", "w2"], ["t2"]), node("Identity", ["s"], ["t3"])]
    other = [node("MatMul", ["s", "w3"], ["e1"]), node("Relu", ["e1"], ["e2"])]
    return model_of(
        [
            node("MatMul", ["x", "shared"], ["s"]),
            node(
                "If",
                ["asked"],
                ["a", "b"],
                then_branch=_branch("then", then, ["t2", "t3"]),
                else_branch=_branch("else", other, ["e1", "e2"]),
            ),
            node("Add", ["a", "b"], ["sum"]),
        ],
        {"x": ROW, "asked": np.zeros(condition_shape, np.bool_)},
        {"sum": TensorProto.FLOAT, "b": TensorProto.FLOAT},
        WEIGHTS,
    )


def _products(machine: Any, tensors: list[Any]) -> int:
    """How many products a run of the kernels one by one calls."""
    called: list[str] = []

    def note(_: Any, name: str, before: bool, *__: Any) -> int:
        if before and "matmul" in name:
            called.append(name)
        return 0

    machine.set_input(ENTRY_BY_KERNEL, *tensors)
    machine.module["set_instrument"](note)
    machine.invoke_stateful(ENTRY_BY_KERNEL)
    return len(called)


@pytest.fixture(scope="module", params=[(), (1,)])
def built(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, Any, tuple[int, ...]]:
    folder, shape = tmp_path_factory.mktemp("choices"), request.param
    model = _model(shape)
    onnx.save(model, folder / "model.onnx")
    prepare(folder / "model.onnx", {"x": ROW.shape, "asked": shape}, host_target(), folder / "prepared")
    package = build_untuned(folder / "prepared", folder / "package")
    return model, VirtualMachine(tvm.runtime.load_module(str(package.library)), tvm.cpu()), shape


@pytest.mark.parametrize(("asked", "products"), [(True, 3), (False, 2)])
def test_only_the_branch_that_is_asked_for_is_computed(
    built: tuple[onnx.ModelProto, Any, tuple[int, ...]], asked: bool, products: int
) -> None:
    model, machine, shape = built
    inputs = {"x": ROW, "asked": np.full(shape, asked)}
    tensors = list(map(tvm.runtime.tensor, inputs.values()))
    for one, reference in zip(machine["main"](*tensors), theirs(model, inputs), strict=True):
        np.testing.assert_allclose(one.numpy(), reference, rtol=1e-4, atol=1e-4)
    assert _products(machine, tensors) == products
    for one, reference in zip(machine.get_outputs(ENTRY_BY_KERNEL), theirs(model, inputs), strict=True):
        np.testing.assert_allclose(one.numpy(), reference, rtol=1e-4, atol=1e-4)


def test_both_branches_are_prepared_as_one_graph(tmp_path: Path) -> None:
    onnx.save(_model(()), tmp_path / "model.onnx")
    prepare(tmp_path / "model.onnx", {"x": ROW.shape, "asked": ()}, host_target(), tmp_path / "prepared")
    main = load_prepared(tmp_path / "prepared").module()["main"]
    assert [type(block).__name__ for block in main.body.blocks] == ["DataflowBlock"]


def test_branches_of_different_sizes_stay_branches() -> None:
    then = [node("MatMul", ["x", "w1"], ["t"])]
    other = [node("Transpose", ["x"], ["e"])]
    model = model_of(
        [node("If", ["asked"], ["y"], then_branch=_branch("t", then, ["t"]), else_branch=_branch("e", other, ["e"]))],
        {"x": ROW, "asked": np.array(True)},
        {"y": TensorProto.FLOAT},
        WEIGHTS,
    )
    assert "If" in [it.op_type for it in importable_form(Path("model.onnx"), model).graph.node]


NESTED = [(first, second) for first in (True, False) for second in (True, False)]


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, Any]:
    """A branch with a branch in it, which reads what the outer one made."""
    folder = tmp_path_factory.mktemp("nested")
    inner = node(
        "If",
        ["second"],
        ["chosen"],
        then_branch=_branch("inner then", [node("MatMul", ["t1", "w2"], ["i"])], ["i"]),
        else_branch=_branch("inner else", [node("Neg", ["t1"], ["j"])], ["j"]),
    )
    then = [node("MatMul", ["x", "w1"], ["t1"]), inner, node("MatMul", ["chosen", "shared"], ["t2"])]
    other = [node("MatMul", ["x", "w3"], ["e"])]
    model = model_of(
        [node("If", ["first"], ["y"], then_branch=_branch("a", then, ["t2"]), else_branch=_branch("b", other, ["e"]))],
        {"x": ROW, "first": np.array(True), "second": np.array(True)},
        {"y": TensorProto.FLOAT},
        WEIGHTS,
    )
    onnx.save(model, folder / "model.onnx")
    shapes = {"x": ROW.shape, "first": (), "second": ()}
    prepare(folder / "model.onnx", shapes, host_target(), folder / "prepared")
    package = build_untuned(folder / "prepared", folder / "package")
    return model, VirtualMachine(tvm.runtime.load_module(str(package.library)), tvm.cpu())


@pytest.mark.parametrize(("first", "second"), NESTED)
def test_a_branch_within_a_branch(nested: tuple[onnx.ModelProto, Any], first: bool, second: bool) -> None:
    model, machine = nested
    inputs = {"x": ROW, "first": np.array(first), "second": np.array(second)}
    tensors = list(map(tvm.runtime.tensor, inputs.values()))
    (expected,) = theirs(model, inputs)
    np.testing.assert_allclose(machine["main"](*tensors).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert _products(machine, tensors) == (1 if not first else 3 if second else 2)


def test_a_branch_that_sizes_decide_within_one_that_values_decide() -> None:
    """Only outside of the outer branch does it show that the inner one's condition is known."""
    inner = [
        node("Shape", ["t"], ["sizes"]),
        node("ReduceProd", ["sizes"], ["count"], keepdims=0),
        node("Equal", ["count", "many"], ["known"]),
        node(
            "If",
            ["known"],
            ["i"],
            then_branch=_branch("of a row", [node("Neg", ["t"], ["i1"])], ["i1"]),
            else_branch=_branch("of others", [node("Unsqueeze", ["t", "axis"], ["i2"])], ["i2"]),
        ),
    ]
    then, other = [node("MatMul", ["x", "w1"], ["t"]), *inner], [node("MatMul", ["x", "w3"], ["e"])]
    model = model_of(
        [node("If", ["asked"], ["y"], then_branch=_branch("a", then, ["i"]), else_branch=_branch("b", other, ["e"]))],
        {"x": ROW, "asked": np.array(True)},
        {"y": TensorProto.FLOAT},
        {**WEIGHTS, "many": np.array(HIDDEN), "axis": np.array([0])},
    )
    assert [it.op_type for it in importable_form(Path("model.onnx"), model).graph.node].count("Neg") == 1
    assert not {"If", "Unsqueeze"} & {it.op_type for it in importable_form(Path("model.onnx"), model).graph.node}

"""How operators become such as can be imported; the families' own tests are beside this one."""

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.models.operators.answers import assert_same, model_of
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.importer import importable, importable_form
from tunefarm_coordinator.models.onnx_graph import Unimportable, refuse_unsupported, unsupported
from tunefarm_coordinator.models.operators.family import key_of

NUMBERS = np.random.default_rng(0).uniform(-1, 1, (2, 8)).astype(np.float32)


def test_functions_of_the_models_own_are_expanded(tmp_path: Path) -> None:
    inner = helper.make_node("Twice", ["a"], ["b"], domain="mine")
    body = [helper.make_node("Add", ["v", "v"], ["w"])]
    imports = [helper.make_opsetid("", 21)]
    function = helper.make_function("mine", "Twice", ["v"], ["w"], body, imports)
    nodes = [helper.make_node("Relu", ["x"], ["a"]), inner, helper.make_node("Tanh", ["b"], ["y"])]
    model = model_of(nodes, {"x": NUMBERS}, {"y": TensorProto.FLOAT}, functions=[function])
    assert_same(model, {"x": NUMBERS}, tmp_path)


def test_what_onnx_defines_by_other_operators_is_expanded(tmp_path: Path) -> None:
    query = np.random.default_rng(1).uniform(-1, 1, (1, 6, 16)).astype(np.float32)
    node = helper.make_node("Attention", ["q", "q", "q"], ["y"], q_num_heads=4, kv_num_heads=2, is_causal=1)
    narrow = np.random.default_rng(2).uniform(-1, 1, (1, 6, 8)).astype(np.float32)
    node.input[1] = node.input[2] = "k"
    model = model_of([node], {"q": query, "k": narrow}, {"y": TensorProto.FLOAT}, opset=23)
    assert_same(model, {"q": query, "k": narrow}, tmp_path)


def test_an_operator_that_nobody_knows_is_named_with_its_domain_and_place() -> None:
    nodes = [helper.make_node("Secret", ["x"], ["y"], "hidden", domain="acme")]
    model = model_of(nodes, {"x": NUMBERS}, {"y": TensorProto.FLOAT})
    form = importable_form(Path("model.onnx"), model)
    with pytest.raises(Unimportable, match="acme::Secret at hidden") as caught:
        refuse_unsupported(Path("model.onnx"), unsupported(form, importable))
    crossed = pickle.loads(pickle.dumps(caught.value))  # as out of the worker that prepares
    assert (type(crossed), str(crossed)) == (InvalidInput, str(caught.value))


@pytest.mark.parametrize(
    ("domain", "name", "known"),
    [
        ("", "Conv", True),
        ("ai.onnx", "Conv", True),
        ("com.microsoft", "Conv", False),
        ("", "BiasGelu", False),
        ("com.microsoft", "BiasGelu", True),
        ("", "Gelu", True),
        ("com.microsoft", "Gelu", True),
    ],
)
def test_operators_are_known_by_their_domain(domain: str, name: str, known: bool) -> None:
    node: onnx.NodeProto = helper.make_node(name, ["x"], ["y"], domain=domain)
    assert importable(key_of(node)) is known

"""Kernels know the ONNX nodes that they compute."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from onnx import helper

from tests.tiny_models import save_tiny_cnn
from tests.unit.models.graphs import random_weights, save
from tunefarm_coordinator.models.importer import import_onnx
from tunefarm_coordinator.models.parallel_products import join_products
from tunefarm_coordinator.models.prepare import _lowered, load_prepared, prepare
from tunefarm_coordinator.models.provenance import Origins, namer
from tunefarm_coordinator.models.target import host_target

node = helper.make_node


def _origins(path: Path, shapes: dict[str, tuple[int, ...]], *, join: bool = False) -> Origins:
    module = import_onnx(path, shapes)
    return _lowered(join_products(module) if join else module, tvm.target.Target(host_target()))[1]


def test_a_task_has_its_nodes_through_folding_layout_and_fusion(tmp_path: Path) -> None:
    path = save_tiny_cnn(tmp_path / "tiny.onnx")
    prepared = prepare(path, {"image": (1, 3, 16, 16)}, host_target(), tmp_path / "prepared")
    # A batch norm that was folded into its convolution has no kernel of its own.
    assert {task.nodes for task in prepared.tasks} == {("conv1", "relu1"), ("conv2", "relu2")}
    assert load_prepared(tmp_path / "prepared").tasks == prepared.tasks


def test_arguments_of_kernels_have_names_that_a_c_compiler_takes(tmp_path: Path) -> None:
    """CUDA's source is made of them."""
    nodes = [
        node("MaxPool", ["x"], ["p"], "/pool|1 (größte)", kernel_shape=[2, 2]),
        node("Softmax", ["p"], ["y"], "\N{SNOWMAN}", axis=1),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 8, 8]}, ["y"])
    module, origins = _lowered(import_onnx(path, {"x": (1, 4, 8, 8)}), tvm.target.Target(host_target()))
    kernels = [function for function in module.functions.values() if isinstance(function, tvm.tirx.PrimFunc)]
    names = [str(parameter.name) for kernel in kernels for parameter in kernel.params]
    assert names
    assert [name for name in names if not (name.isascii() and name.isidentifier())] == []
    assert origins.of(origins.nodes) == ("/pool|1 (größte)", "\N{SNOWMAN}")


def test_kernels_that_are_called_several_times_and_nodes_without_names(tmp_path: Path) -> None:
    weights = {f"w{at}": random_weights(32, 32, seed=at) for at in range(3)}
    ones = np.ones(32, np.float32)
    nodes = [
        node("MatMul", ["x", "w0"], ["p0"], "first"),
        node("Tanh", ["p0"], ["t0"], "tanh"),
        node("LayerNormalization", ["t0", "scale", "shift"], ["n"], "norm"),
        node("MatMul", ["n", "w1"], ["p1"]),
        node("Tanh", ["p1"], ["t1"]),
        node("MatMul", ["t1", "w2"], ["p2"], "last"),
        node("Softmax", ["p2"], ["y"], "softmax"),
    ]
    values = {**weights, "scale": ones, "shift": ones}
    origins = _origins(save(tmp_path / "m.onnx", nodes, {"x": [4, 32]}, ["y"], values, opset=17), {"x": (4, 32)})
    found = [origins.of([function]) for function in origins.nodes]
    assert ("first", "tanh", "p1", "t1") in found
    assert ("last",) in found
    assert ("softmax",) in found
    assert {names for names in found if "norm" in names} == {("norm",)}
    assert origins.of(origins.nodes) == ("first", "tanh", "norm", "p1", "t1", "last", "softmax")


def test_joined_products_are_all_of_them(tmp_path: Path) -> None:
    weights = {name: random_weights(16, 16, seed=at) for at, name in enumerate(("wq", "wk", "wv"))}
    nodes = [node("MatMul", ["x", f"w{which}"], [which], f"to_{which}") for which in "qkv"]
    nodes += [node("Add", ["q", "k"], ["s"], "sum"), node("Mul", ["s", "v"], ["y"], "product")]
    path = save(tmp_path / "m.onnx", nodes, {"x": [4, 16]}, ["y"], weights)
    origins = _origins(path, {"x": (4, 16)}, join=True)
    assert [origins.of([name]) for name in origins.nodes if "matmul" in name] == [("to_q", "to_k", "to_v")]


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (node("Conv", ["x"], ["b"], "conv"), "conv"),
        (node("Conv", ["x"], ["b"], "a"), "conv"),  # called after what it gave before another was folded into it
        (node("Conv", ["x"], ["b"]), "b"),
        (node("Conv", ["x"], ["new"], "new"), ""),
    ],
)
def test_nodes_of_a_simplified_graph_are_called_as_in_the_file(made: onnx.NodeProto, name: str) -> None:
    original = helper.make_graph([node("Conv", ["x"], ["a"], "conv"), node("Relu", ["a"], ["b"])], "g", [], [])
    assert namer(original)(made) == name


def test_functions_with_other_names_are_followed_by_their_calls() -> None:
    origins = Origins({"a": 0, "b": 1}, {"f": frozenset("a"), "g": frozenset("b")})
    renamed = origins.renamed(["f", "", "g"], ["one", "", "one"])
    assert renamed.of(["one"]) == ("a", "b")
    assert origins.renamed(["f"], ["one", "two"]).of(["one"]) == ()

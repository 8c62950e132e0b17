"""Models with seeded random weights, made from the architectures that the `onnx` wheel ships.

The wheel's `light_*.onnx` files have every weight at 0.02 and answer the same for every class, whatever the
input: good for speed, worthless for correctness. Here their weights become He-normal (He et al. 2015,
section 2.2), and batch norm statistics the kind a trained model has, so that outputs depend on every weight.

    python -m tunefarm_coordinator.models.seeded squeezenet OUT.onnx
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

ARCHITECTURES = ("resnet50", "shufflenet", "squeezenet")

# Residual branches are scaled down, or the variance would double at every one of ResNet-50's sixteen sums.
_BRANCH_GAIN = 0.5


def seeded_model(architecture: str, seed: int = 0) -> onnx.ModelProto:
    """The named light model with seeded weights; the same (architecture, seed) gives the same bytes.

    Raises:
        ValueError: not one of `ARCHITECTURES`.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no architecture {architecture!r}; choose from {', '.join(ARCHITECTURES)}")
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(data / f"light_{architecture}.onnx")
    graph = model.graph
    weights = _weight_shapes(graph)
    consumers = _consumers(graph)
    normalised = {node.output[0] for node in graph.node if node.op_type == "BatchNormalization"}
    for name, shape in weights.items():
        values = _values(name, shape, consumers, normalised, seed)
        graph.initializer.append(numpy_helper.from_array(values, name))
    return _tidy(model)


def _weight_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all float weights, which are taken out of the graph: `ConstantOfShape` nodes, initializers."""
    initializers = {t.name: t for t in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in list(graph.node):
        if node.op_type == "ConstantOfShape":
            shape_name = node.input[0]
            shapes[node.output[0]] = tuple(int(d) for d in numpy_helper.to_array(initializers.pop(shape_name)))
            graph.node.remove(node)
    for name, tensor in list(initializers.items()):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            shapes[name] = tuple(tensor.dims)
            del initializers[name]
    kept = list(initializers.values())
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return shapes


def _consumers(graph: onnx.GraphProto) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
    consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            consumers.setdefault(name, []).append((node, index))
    return consumers


def _values(
    name: str,
    shape: tuple[int, ...],
    consumers: dict[str, list[tuple[onnx.NodeProto, int]]],
    normalised: set[str],
    seed: int,
) -> NDArray[np.float32]:
    """Values for a weight by the part it plays in its first consumer."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    node, index = consumers.get(name, [(onnx.NodeProto(), 0)])[0]
    values = 0.05 * rng.standard_normal(shape)
    if node.op_type == "Conv" and index == 1:
        fan_in = int(np.prod(shape[1:]))
        # The 2 of He's formula makes up for the half that a ReLU takes away.
        gain = 1.0 if node.input[0] in normalised else 2.0
        values = rng.standard_normal(shape) * np.sqrt(gain / fan_in)
    elif node.op_type == "Gemm" and index == 1:
        values = rng.standard_normal(shape) * 0.5 / np.sqrt(shape[1])
    elif node.op_type == "BatchNormalization" and index == 1:
        into_sum = any(user.op_type == "Sum" for user, _ in consumers.get(node.output[0], []))
        values = rng.uniform(0.8, 1.2, shape) * (_BRANCH_GAIN if into_sum else 1.0)
    elif node.op_type == "BatchNormalization" and index == 4:
        values = rng.uniform(0.7, 1.3, shape)
    return np.asarray(values, dtype=np.float32)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights are no graph inputs (allowed since IR version 4)."""
    initializers = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initializers and "__SHAPE" not in i.name]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    used = {name for node in model.graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a real architecture with seeded random weights.")
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(seeded_model(arguments.architecture, arguments.seed), arguments.out)


if __name__ == "__main__":
    main()

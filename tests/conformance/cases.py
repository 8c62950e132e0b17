"""ONNX's own backend tests as cases: a model of tensors, its inputs, and what must come out."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import node as node_cases

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
# Case folders that hold models of operators; "real" and "light" are whole networks, downloaded or without answers.
FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")
_EXPANDED = "_expanded"


@dataclass(frozen=True)
class Case:
    """One model with one set of inputs.

    Attributes:
        operator: the operator that it is a test of, its domain before it unless it is the standard's.
        inputs: by the name of the graph's input, in the graph's order.
        expected: one for each of the graph's outputs.
        relative, absolute: what ONNX allows an output to be off by.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    expected: list[Any]
    relative: float
    absolute: float


def node_modules() -> list[str]:
    """Names of the modules that make node cases, as `cases_of` takes them."""
    found = []
    for module in pkgutil.walk_packages(node_cases.__path__):
        found.append(module.name)
    for package in ("ai_onnx_ml",):
        inner = importlib.import_module(f"{node_cases.__name__}.{package}")
        found += [f"{package}.{module.name}" for module in pkgutil.iter_modules(inner.__path__)]
    return sorted(set(found))


def cases_of(modules: Sequence[str]) -> list[Case]:
    """The node cases that those modules of ONNX's make; each makes its own once in a process."""
    for module in modules:
        importlib.import_module(f"{node_cases.__name__}.{module}")
    wanted = {f"{node_cases.__name__}.{module}" for module in modules}
    assert wanted <= sys.modules.keys()
    found: dict[str, Case] = {}
    for test in node_cases._NodeTestCases:
        inputs, outputs = test.data_sets[0]
        found[test.name] = _case(test.name, test.model, inputs, outputs, test.rtol, test.atol, found)
    return list(found.values())


def stored_cases() -> Iterator[Case]:
    """The cases that lie as files in the wheel, one for each set of inputs."""
    for folder in FOLDERS:
        for path in sorted((DATA / folder).iterdir()):
            model = onnx.load(path / "model.onnx")
            for number, data in enumerate(sorted(path.glob("test_data_set_*"))):
                inputs, outputs = ([*_stored(data, kind, values)] for kind, values in _sides(model))
                yield _case(f"{folder}/{path.name}/{number}", model, inputs, outputs, 1e-3, 1e-7, {})


def all_cases() -> list[Case]:
    """Every case; takes ten seconds or more, since ONNX computes most answers anew."""
    return [*cases_of(node_modules()), *stored_cases()]


def arrays_of(case: Case) -> bool:
    """Whether all of it are tensors of numbers or truth values."""
    values = [*case.inputs.values(), *case.expected]
    types = [value.type for value in (*case.model.graph.input, *case.model.graph.output)]
    return all(it.WhichOneof("value") == "tensor_type" for it in types) and not any(
        value is None or isinstance(value, list | dict) or np.asarray(value).dtype.kind in "OUSM" for value in values
    )


def _case(
    name: str,
    model: onnx.ModelProto,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    relative: float,
    absolute: float,
    before: dict[str, Case],
) -> Case:
    """An expanded case is one of the operator that it was made of; that one comes right before it."""
    base = before.get(name.split(_EXPANDED)[0]) if _EXPANDED in name else None
    names = [value.name for value in model.graph.input]
    values = dict(zip(names, map(_array, inputs), strict=False))
    operator = base.operator if base else _operator(model, name)
    return Case(name, operator, model, values, [_array(value) for value in outputs], relative, absolute)


def _operator(model: onnx.ModelProto, name: str) -> str:
    if "/" in name and len({node.op_type for node in model.graph.node}) > 1:
        return name.split("/")[0]
    node = model.graph.node[-1]
    return f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _sides(model: onnx.ModelProto) -> list[tuple[str, Sequence[onnx.ValueInfoProto]]]:
    return [("input", model.graph.input), ("output", model.graph.output)]


def _stored(data: Path, kind: str, values: Sequence[onnx.ValueInfoProto]) -> Iterator[Any]:
    for index in range(len(list(data.glob(f"{kind}_*.pb")))):
        content = (data / f"{kind}_{index}.pb").read_bytes()
        if index < len(values) and values[index].type.WhichOneof("value") != "tensor_type":
            yield None
        else:
            yield TensorProto.FromString(content)

"""Weights of a loop's kernels: laid out once, beforehand, however often the loop runs its step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.runtime.vm import VirtualMachine
from tvm.s_tir import Schedule

from tests.unit.models.operators.answers import theirs
from tests.unit.models.operators.test_recurrent import ALL_LSTM_OUTPUTS, Case, Layer
from tunefarm_coordinator.engines import trace_text
from tunefarm_coordinator.models import packed_weights
from tunefarm_coordinator.models.package import build_package
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

STEPS, HIDDEN = 75, 64


def _blocked(module: Any) -> str:
    """A schedule that reads its weight in blocks of sixteen columns."""
    schedule = Schedule(module)
    packing = schedule.cache_read("matmul", 1, "global")
    schedule.transform_layout("matmul", ("read", 1), lambda k, n: (n // 16, k, n % 16), pad_value=None)
    schedule.annotate(packing, "meta_schedule.layout_rewrite_preproc", True)
    return trace_text.encode(schedule.trace)


def test_a_loop_finds_its_weights_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case([Layer("LSTM", outputs=ALL_LSTM_OUTPUTS)], length=STEPS, batch=1, hidden=HIDDEN)
    path = tmp_path / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    prepared = prepare(path, {"x": case.inputs["x"].shape}, host_target(), tmp_path / "prepared")
    step = next(task for task in prepared.tasks if task.weight == STEPS)
    shapes: list[tuple[int, ...]] = []
    prepacked = packed_weights.prepacked

    def recording(module: Any, weights: Any, objects: Any) -> list[Any]:
        laid_out = prepacked(module, weights, objects)
        shapes.extend(tuple(int(size) for size in value.shape) for value in laid_out)
        return laid_out

    monkeypatch.setattr(packed_weights, "prepacked", recording)
    traces = {step.workload: _blocked(tvm.ir.load_json(step.module))}
    packaged = build_package(prepared.directory, traces, tmp_path / "package")
    assert shapes.count((HIDDEN // 4, HIDDEN, 16)) == 1
    machine = VirtualMachine(tvm.runtime.load_module(str(packaged.library)), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(case.inputs["x"]))
    for one, other in zip(found, theirs(case.model, case.inputs), strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-4, atol=1e-5)

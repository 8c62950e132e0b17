"""One case: prepared, compiled with default schedules, run, compared."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from tvm.runtime.vm import VirtualMachine

from tests.conformance.cases import Case
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target

PASSED, REFUSED, WRONG, ERROR, CRASH, HANG = "passed", "refused", "wrong", "error", "crash", "hang"
# What a correct float program may be off by, where a case asks for more than its type holds: (relative, absolute).
_LEAST = {"float16": (5e-3, 1e-3), "bfloat16": (2e-2, 1e-2)}
_LEAST_FLOAT = (1e-3, 1e-5)


@dataclass(frozen=True)
class Verdict:
    """`reason`: empty where it passed."""

    outcome: str
    reason: str = ""


def judge(case: Case) -> Verdict:
    """What comes of the case in this process; whatever it raises is an error of ours, but a refusal."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = _answers(case, Path(folder))
        except InvalidInput as refusal:
            return Verdict(REFUSED, str(refusal).removeprefix(f"{folder}/case.onnx: "))
        except Exception as error:  # noqa: BLE001 - this is what the suite is to find
            lines = str(error).strip().splitlines() or [""]
            return Verdict(ERROR, f"{type(error).__name__}: {lines[-1]}")
    faults = _faults(case, found)
    return Verdict(WRONG, faults[0]) if faults else Verdict(PASSED)


def _answers(case: Case, folder: Path) -> list[Any]:
    path = folder / "case.onnx"
    onnx.save(case.model, path)
    shapes = {name: tuple(np.shape(value)) for name, value in case.inputs.items()}
    prepare(path, shapes, host_target(), folder / "prepared")
    packaged = build_untuned(folder / "prepared", folder / "package")
    machine = VirtualMachine(tvm.runtime.load_module(str(packaged.library)), tvm.cpu())
    inputs = [tvm.runtime.tensor(np.asarray(value, order="C")) for value in case.inputs.values()]
    outputs = machine["main"](*inputs)
    return [output.numpy() for output in ([outputs] if hasattr(outputs, "dtype") else outputs)]


def _faults(case: Case, found: list[Any]) -> list[str]:
    if len(found) != len(case.expected):
        return [f"{len(found)} outputs for {len(case.expected)}"]
    pairs = zip(case.model.graph.output, found, case.expected, strict=False)
    faults = [_fault(one, np.asarray(other), case) for _, one, other in pairs]
    return [fault for fault in faults if fault]


def _fault(found: Any, expected: Any, case: Case) -> str:
    if found.dtype != expected.dtype:
        return f"{found.dtype} for {expected.dtype}"
    if found.shape != expected.shape:
        return f"shape {found.shape} for {expected.shape}"
    if expected.dtype.kind in "biu":
        differing = int(np.sum(found != expected))
        return f"{differing} of {expected.size} values differ" if differing else ""
    relative, absolute = _LEAST.get(expected.dtype.name, _LEAST_FLOAT)
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    bounds = (max(relative, case.relative), max(absolute, case.absolute))
    close = np.isclose(found, expected, rtol=bounds[0], atol=bounds[1], equal_nan=True)
    if close.all():
        return ""
    where = tuple(int(index) for index in np.argwhere(~close)[0])
    differing = int((~close).sum())
    return f"{differing} of {expected.size} values differ: {found[where]:.6g} for {expected[where]:.6g}"

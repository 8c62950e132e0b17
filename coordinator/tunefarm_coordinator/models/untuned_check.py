"""Is a prepared model right? Run untuned on this machine, before anything is spent, and compared with ONNX Runtime.

What runs is what will be tuned: the prepared module with default schedules. Prepared for another CPU, it is compiled
for this one; for a GPU, the same graph was lowered for this CPU as well (`prepare`).
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import tvm
from numpy.typing import NDArray
from tvm.runtime.vm import VirtualMachine

from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.linker import LinkError
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.compare import Bound, bound_of, fault_of
from tunefarm_coordinator.models.conditioning import bounds_of, note_of, shaken
from tunefarm_coordinator.models.input_sets import whole_inputs
from tunefarm_coordinator.models.package import (
    AS_WRITTEN,
    LIBRARY_FILE,
    MANIFEST_FILE,
    build_untuned,
    build_untuned_for,
)
from tunefarm_coordinator.models.prepare import PreparedModel
from tunefarm_coordinator.models.reference_session import load_session, run_session
from tunefarm_coordinator.models.target import host_target, runs_here
from tunefarm_coordinator.models.tasks import PIPELINE_VERSION
from tunefarm_coordinator.models.wrong_node import wrong_node

Arrays = Sequence[NDArray[Any]]
Say = Callable[[str], None]

# The untuned package for the target, in the prepared model's folder: a job needs it again at its end.
UNTUNED_FOLDER = f"untuned-{PIPELINE_VERSION}"
# A model that takes longer than this for one set of inputs is checked with that one alone. Seconds.
LONG_RUN = 10.0


@dataclass(frozen=True)
class Check:
    """What the check found. `bounds`: of each output, for the comparison at the job's end too."""

    bounds: tuple[Bound, ...]
    notes: tuple[str, ...]


def check_untuned(
    prepared: PreparedModel, path: Path, sets: Sequence[Arrays], expected: Sequence[Arrays], say: Say
) -> Check:
    """Compiles and runs the untuned model, which stays compiled in `UNTUNED_FOLDER` for its own target.

    `sets`: the inputs, set by set, in the model's order; `expected`: ONNX Runtime's outputs for each. `say` hears what
    is done next: who reads it, should this process die, knows what it died of.

    Raises:
        InvalidInput: the model can't be compiled, fails, or gives other outputs than ONNX Runtime; then the message
            names the first node whose value differs.
    """
    say("ONNX Runtime ran it without optimisations")
    model = onnx.load(path, load_external_data=False)
    whole = whole_inputs(model, {spec.name: spec.shape for spec in prepared.inputs})
    kept = {place for place, spec in enumerate(prepared.inputs) if spec.name in whole}
    bounds = bounds_of(model, expected, _other_programs(path, sets, kept))
    fault = _compared(prepared, path, sets, expected, bounds, say)
    if fault:
        say("the first node that is wrong was looked for")
        place = wrong_node(path, {spec.name: spec.shape for spec in prepared.inputs}, sets[0])
        raise InvalidInput(_refusal(path, fault, place))
    notes = (note_of(model, bounds), _unscheduled(prepared))
    return Check(tuple(bounds), tuple(note for note in notes if note))


def _unscheduled(prepared: PreparedModel) -> str:
    """What there is to say of kernels whose default schedule TVM could not compile; empty where there are none."""
    manifest = json.loads((prepared.directory / UNTUNED_FOLDER / MANIFEST_FILE).read_text())
    kernels = [f"{name} ({reason})" for name, reason in manifest.get(AS_WRITTEN, {}).items()]
    if not kernels:
        return ""
    return (
        f"untuned, {len(kernels)} of its kernels run as they are written, which is slow, as TVM can't compile their "
        f"schedule; please report it: {', '.join(kernels)}"
    )


def check_unmeasured(
    prepared: PreparedModel, path: Path, sets: Sequence[Arrays], expected: Sequence[Arrays], say: Say
) -> None:
    """As `check_untuned`, of a model that ONNX Runtime can't run: `expected` is what others answer, or empty.

    Raises InvalidInput: the model can't be compiled, fails, or answers otherwise.
    """
    fault = _compared(prepared, path, sets, expected, [], say)
    if fault:
        raise InvalidInput(
            f"{path}: untuned already, the compiled model does not answer as ONNX's reference evaluator does: {fault}"
        )


def _other_programs(path: Path, sets: Sequence[Arrays], kept: Container[int]) -> list[list[list[Any]]]:
    """What ONNX Runtime answers without its optimisations: to the inputs, and to others that are all but equal.
    `kept`: places of inputs that hold whole numbers."""
    session = load_session(path, optimised=False)
    return [
        [run_session(session, inputs) for inputs in sets],
        [run_session(session, shaken(inputs, kept)) for inputs in sets],
    ]


def _compared(
    prepared: PreparedModel,
    path: Path,
    sets: Sequence[Arrays],
    expected: Sequence[Arrays],
    bounds: Sequence[Bound],
    say: Say,
) -> str:
    """What is wrong with the first output that is; empty where all are right."""
    with tempfile.TemporaryDirectory(prefix="tunefarm-check-") as folder:
        say("it was compiled untuned")
        library = _library(prepared, path, Path(folder))
        say("it ran untuned")
        return fault_in_answers(prepared, library, path, sets, expected, bounds)


def fault_in_answers(
    prepared: PreparedModel,
    library: Path,
    path: Path,
    sets: Sequence[Arrays],
    expected: Sequence[Arrays],
    bounds: Sequence[Bound],
) -> str:
    """What is wrong with the first output of a library, made of the prepared model for this machine, that is; empty
    where all are right. `expected`: for each set, or empty: then it only has to run."""
    machine = VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    names = [spec.name for spec in prepared.outputs]
    for number, inputs in enumerate(sets):
        started = time.monotonic()
        found = run_library(path, machine, inputs)
        fault = _fault(names, found, expected[number], bounds) if expected else ""
        if fault or time.monotonic() - started > LONG_RUN:
            return fault
    return ""


def _fault(names: Sequence[str], found: Arrays, expected: Arrays, bounds: Sequence[Bound]) -> str:
    for at, (name, actual, right) in enumerate(zip(names, found, expected, strict=True)):
        fault = fault_of(actual, right, bounds[at] if bounds else bound_of(right.dtype.name))
        if fault:
            return f"output {name} {fault}"
    return ""


def _library(prepared: PreparedModel, path: Path, folder: Path) -> Path:
    """The untuned model for this machine, under a name that no library was loaded by yet."""
    library = folder / LIBRARY_FILE
    try:
        # Also what can't run here is compiled now: at the job's end it would be too late to find that it can't be.
        packaged = _packaged(prepared)
        if runs_here(prepared.target):
            shutil.copyfile(packaged, library)
            return library
        build_untuned_for(prepared.host_directory, host_target(), library)
    except (BuildError, LinkError, *TVM_ERRORS) as error:
        raise InvalidInput(f"{path}: imported, but TVM can't compile the model: {first_line(error)}") from error
    return library


def _packaged(prepared: PreparedModel) -> Path:
    """The library of the untuned package for the prepared model's own target."""
    place = prepared.directory / UNTUNED_FOLDER
    if not (place / MANIFEST_FILE).exists():
        with tempfile.TemporaryDirectory(dir=prepared.directory, ignore_cleanup_errors=True) as folder:
            draft = Path(folder) / UNTUNED_FOLDER
            build_untuned(prepared.directory, draft)
            # Another job on the same model may have been quicker.
            with contextlib.suppress(OSError):
                draft.rename(place)
    return place / LIBRARY_FILE


def run_library(path: Path, machine: Any, inputs: Arrays) -> list[NDArray[Any]]:
    """The model's outputs. Raises InvalidInput where TVM's machine does."""
    try:
        outputs = machine["main"](*[tvm.runtime.tensor(value) for value in inputs])
    except TVM_ERRORS as error:
        raise InvalidInput(f"{path}: compiled, but the model fails when it runs: {first_line(error)}") from error
    return [output.numpy() for output in ([outputs] if hasattr(outputs, "shape") else outputs)]


def _refusal(path: Path, fault: str, place: str) -> str:
    seen = f"the first value that differs is that of {place}" if place else "no single node was found at fault"
    return (
        f"{path}: untuned already, the compiled model does not answer as ONNX Runtime does: {fault}; {seen}. "
        "Nothing was spent; please report it with this message"
    )

"""A tuned package beside ONNX Runtime and OpenVINO: the same model, inputs and shapes, each in a process of its own."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from interleaved import Contender, ContenderFailed, Ratio, interleave, ratio
from numpy.typing import NDArray

FARM, AGAIN, ONNXRUNTIME, OPENVINO = "tunefarm", "tunefarm (A/A)", "ONNX Runtime", "OpenVINO"
PEERS = (ONNXRUNTIME, OPENVINO)


@dataclass(frozen=True)
class Case:
    """A model in the folder `work`. `package`: what tunefarm made of it, where it did. The inputs are the package's own
    samples: what the job was benchmarked and checked on."""

    name: str
    model: Path
    package: Path
    work: Path

    @property
    def inputs(self) -> Path:
        """The arrays that all contenders are given, by name."""
        manifest = json.loads((self.package / "manifest.json").read_text())
        library: str = manifest["library"]
        return (self.package / library).with_name("inputs.npz")

    @property
    def static_model(self) -> Path:
        """The ONNX file with its inputs' sizes fixed to those of the inputs: what the peers are given."""
        path = self.work / f"{self.name}.onnx"
        if not path.exists():
            with np.load(self.inputs) as archive:
                write_static(self.model, {name: archive[name].shape for name in archive.files}, path)
        return path


def write_static(model: Path, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """The model with these sizes of its inputs. What it says of other values' sizes goes: it may contradict them."""
    loaded = onnx.load(model)
    for value in loaded.graph.input:
        if value.name in shapes:
            sizes = value.type.tensor_type.shape
            del sizes.dim[:]
            for size in shapes[value.name]:
                sizes.dim.add().dim_value = size
    del loaded.graph.value_info[:]
    for value in loaded.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    onnx.save(loaded, path)


def measure(case: Case, threads: int, rounds: int) -> dict[str, Any]:
    """What each contender took on so many threads, and how the peers compare with tunefarm, as JSON has it.

    `contenders`: by name `seconds` (a median a round), `open_seconds`, `first_seconds` (of a new process) and, but of
    ONNX Runtime, `error`: the greatest difference of its outputs from ONNX Runtime's, over their greatest magnitude.
    `ratios`: a peer's seconds over tunefarm's. `failed`: what a contender that can't run the model said."""
    failed: dict[str, str] = {}
    with _open(case, threads, failed) as contenders:
        errors = _errors(contenders, case.work) if ONNXRUNTIME in contenders else {}
        seconds = interleave(list(contenders.values()), rounds)
        found = {
            name: {
                "seconds": seconds[name],
                "open_seconds": contender.open_seconds,
                "first_seconds": contender.first_seconds,
                **({"error": errors[name]} if name in errors else {}),
            }
            for name, contender in contenders.items()
        }
    return {"contenders": found, "ratios": ratios_of(seconds), "failed": failed}


def ratios_of(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each peer its seconds over tunefarm's, above 1 where tunefarm is faster; of the same package twice A/A's."""
    if FARM not in seconds:
        return {}
    found: dict[str, Ratio] = {name: ratio(seconds[name], seconds[FARM]) for name in PEERS if name in seconds}
    if AGAIN in seconds:
        found["A/A"] = ratio(seconds[AGAIN], seconds[FARM])
    return {name: dict(vars(each)) for name, each in found.items()}


@contextmanager
def _open(case: Case, threads: int, failed: dict[str, str]) -> Iterator[dict[str, Contender]]:
    """The contenders that can run the model, by name; of the others what they said goes into `failed`."""
    package, peer = ("package", str(case.package)), str(case.static_model)
    wanted = {FARM: package, AGAIN: package, ONNXRUNTIME: ("onnxruntime", peer), OPENVINO: ("openvino", peer)}
    opened: dict[str, Contender] = {}
    with ExitStack() as stack:
        for name, arguments in wanted.items():
            try:
                opened[name] = Contender(name, *arguments, str(case.inputs), "--cores", str(threads), cores=threads)
            except ContenderFailed as error:
                failed[name] = str(error)
            else:
                stack.callback(opened[name].close)
        yield opened


def _errors(contenders: Mapping[str, Contender], work: Path) -> dict[str, float]:
    """By contender, but ONNX Runtime: how far its outputs are from ONNX Runtime's."""
    files = {name: work / f"outputs{number}.npz" for number, name in enumerate(contenders) if name != AGAIN}
    for name, file in files.items():
        contenders[name].write_outputs(file)
    wanted = _arrays(files[ONNXRUNTIME])
    return {name: greatest_error(_arrays(file), wanted) for name, file in files.items() if name != ONNXRUNTIME}


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def greatest_error(actual: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> float:
    """The greatest difference over the greatest magnitude, of all outputs. Infinite where one is missing, or of another
    size, or not a number alone here."""
    return max((_error(actual.get(name), value) for name, value in wanted.items()), default=0.0)


def _error(actual: NDArray[Any] | None, wanted: NDArray[Any]) -> float:
    if actual is None or actual.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    there, here = wanted.astype(np.float64), actual.astype(np.float64)
    if not np.array_equal(np.isfinite(there), np.isfinite(here)):
        return float("inf")
    finite = np.isfinite(there)
    difference = float(np.max(np.abs(there - here), where=finite, initial=0.0))
    return difference / (float(np.max(np.abs(there), where=finite, initial=0.0)) or 1.0)

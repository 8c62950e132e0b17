"""What is tuned and timed: ONNX files, each with one set of inputs and the outputs that are right."""

import io
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tunefarm_coordinator.models.onnx_file import read_signature, resolve_shapes
from tunefarm_coordinator.models.reference import reference_outputs

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One model in one precision.

    Attributes:
        name: such as "resnet18-float16".
        dtype: that the model computes in; its tolerance is what outputs are checked to.
        model: the ONNX file.
        arrays: .npz with "in_NAME", and "expected": the first output, float32.
        reference: who computed `expected`.
        torch: whether PyTorch runs it too (`torch_timer.py` makes it anew from its seed).
    """

    name: str
    dtype: str
    model: Path
    arrays: Path
    reference: str
    torch: bool


def missing_from(torch_python: Sequence[str]) -> str:
    """What keeps that Python from exporting models; empty where nothing does."""
    look = "import importlib.util as u; print(*(n for n in ('torch', 'onnx') if u.find_spec(n) is None))"
    try:
        done = subprocess.run([*torch_python, "-c", look], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{torch_python[-1]} does not start ({error.strerror})"
    if done.returncode != 0:
        return f"{torch_python[-1]} does not start ({done.stderr.strip()[-200:]})"
    return f"{torch_python[-1]} has no {' and no '.join(done.stdout.split())}" if done.stdout.split() else ""


def begin_export(
    torch_python: Sequence[str], folder: Path, models: str, dtypes: str, log: Path
) -> subprocess.Popen[bytes]:
    """Starts writing PyTorch's models into `folder`; the process ends when they are there."""
    command = [*torch_python, str(HERE / "export_models.py"), str(folder), "--models", models, "--dtypes", dtypes]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def exported(folder: Path, models: str, dtypes: str) -> list[Case]:
    """The cases that `begin_export` wrote."""
    pairs = [(f"{model}-{dtype}", dtype) for model in models.split(",") for dtype in dtypes.split(",")]
    reference = "PyTorch, float32, CPU"
    return [
        Case(name, dtype, folder / f"{name}.onnx", folder / f"{name}.npz", reference, torch=True)
        for name, dtype in pairs
    ]


def from_onnx(model: Path, folder: Path) -> Case:
    """A case of any ONNX file with fixed sizes; ONNX Runtime says what is right. Raises as `reference_outputs`."""
    signature = read_signature(model)
    shapes = resolve_shapes(signature, {})
    with np.load(io.BytesIO(reference_outputs(model, shapes, (0,)))) as made:
        arrays = {f"in_{tensor.name}": made[f"0_in{index}"] for index, tensor in enumerate(signature.inputs)}
        dtype = made["0_out0"].dtype.name
        arrays["expected"] = made["0_out0"].astype(np.float32)
    path = folder / f"{model.stem}.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return Case(model.stem, dtype, model, path, "ONNX Runtime, CPU", torch=False)


def seeded_squeezenet(folder: Path) -> Path:
    """A real architecture for where no PyTorch is."""
    import onnx

    from tunefarm_coordinator.models.seeded import seeded_model

    path = folder / "squeezenet.onnx"
    onnx.save(seeded_model("squeezenet"), path)
    return path

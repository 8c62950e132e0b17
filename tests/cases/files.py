"""Files: external data, no models at all. Each case writes its own into a folder."""

from collections.abc import Callable
from pathlib import Path

import onnx

from tests.cases.parts import conv_relu, model, value

FILES: dict[str, Callable[[Path], None]] = {}


def file_case(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """Enters a function that writes `NAME.onnx` into a folder, by its name."""
    FILES[write.__name__] = write
    return write


@file_case
def external_data(folder: Path) -> None:
    onnx.save(
        _network(),
        folder / "external_data.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="ext weights.bin",
        size_threshold=0,
    )


@file_case
def external_missing(folder: Path) -> None:
    path = folder / "external_missing.onnx"
    onnx.save(_network(), path, save_as_external_data=True, location="gone.bin", size_threshold=0)
    (folder / "gone.bin").unlink()


@file_case
def not_onnx(folder: Path) -> None:
    (folder / "not_onnx.onnx").write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 10)


@file_case
def truncated(folder: Path) -> None:
    content = _network().SerializeToString()
    (folder / "truncated.onnx").write_bytes(content[: len(content) // 2])


@file_case
def empty_file(folder: Path) -> None:
    (folder / "empty_file.onnx").write_bytes(b"")


def _network() -> onnx.ModelProto:
    nodes, weights = conv_relu(cin=3, cout=64)
    return model(nodes, [value("x", [1, 3, 16, 16])], [value("c", [1, 64, 16, 16])], weights, 13)

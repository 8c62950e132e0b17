"""ONNX Runtime on this machine: the program that a tuned model has to answer like."""

import ctypes
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from tunefarm_coordinator.errors import InvalidInput

# Its exceptions have no base of their own but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    *(kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
_LONGEST_REASON = 300
# What NumPy alone has no type for, by ONNX Runtime's name.
_NARROW = {
    "tensor(bfloat16)": "bfloat16",
    "tensor(float8e4m3fn)": "float8_e4m3fn",
    "tensor(float8e4m3fnuz)": "float8_e4m3fnuz",
    "tensor(float8e5m2)": "float8_e5m2",
    "tensor(float8e5m2fnuz)": "float8_e5m2fnuz",
}
# What it writes before the reason: "[ONNXRuntimeError] : 1 : FAIL : ", and source files of its own.
_MARK = "[ONNXRuntimeError]"
_SOURCE = re.compile(r"\S+\.(?:h|cc):\d+ (?:[\w:<>,&*~ ]+\([^()]*\)(?: const)? )?")


def load_session(model: str | Path | bytes, *, optimised: bool = True) -> Any:
    """A session on the CPU; without `optimised`, every node is computed as the file has it.

    Raises:
        InvalidInput: ONNX Runtime does not take the model; the message says why.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise InvalidInput(
            f"ONNX Runtime, which a tuned model has to answer like, can't load this model: {reason_of(error)}; "
            "--without-reference tunes it all the same"
        ) from error


def run_session(session: Any, inputs: Sequence[Any], names: Sequence[str] | None = None) -> list[Any]:
    """The outputs (all, or those of `names`) for inputs in the model's order.

    Raises:
        InvalidInput: ONNX Runtime can't run the model on them; the message says why.
    """
    feed: Mapping[str, Any] = {tensor.name: value for tensor, value in zip(session.get_inputs(), inputs, strict=True)}
    try:
        return run_arrays(session, names, feed)
    except ORT_ERRORS as error:
        raise InvalidInput(
            f"ONNX Runtime, which a tuned model has to answer like, can't run this model: {reason_of(error)}"
        ) from error


def run_arrays(session: Any, names: Sequence[str] | None, feed: Mapping[str, Any]) -> list[Any]:
    """As `session.run`, for arrays of any type: ONNX Runtime takes and gives bfloat16 and floats of 8 bits only as
    values of its own. Raises `ORT_ERRORS`."""
    tensors = (*session.get_inputs(), *session.get_outputs())
    if not any(tensor.type in _NARROW for tensor in tensors):
        return list(session.run(names, feed))
    values = {name: _value(np.asarray(array, order="C")) for name, array in feed.items()}
    return [_array(value) for value in session.run_with_ort_values(names, values)]


def _value(array: NDArray[Any]) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(_plain(array), kind)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.isbuiltin == 2 else array


def _array(value: Any) -> NDArray[Any]:
    dtype = _NARROW.get(value.data_type())
    if dtype is None:
        plain: NDArray[Any] = value.numpy()
        return plain
    size = math.prod(value.shape()) * np.dtype(dtype).itemsize
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(content, dtype).reshape(value.shape())


def reason_of(error: Exception) -> str:
    """ONNX Runtime's message in one line, without its codes."""
    text = " ".join(str(error).split())
    if _MARK in text:
        text = text.rpartition(_MARK)[2].split(" : ", 3)[-1]
    return _SOURCE.sub("", text)[:_LONGEST_REASON]

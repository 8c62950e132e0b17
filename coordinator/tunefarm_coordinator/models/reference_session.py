"""ONNX Runtime on this machine: the program that a tuned model has to answer like."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
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
        return list(session.run(names, feed))
    except ORT_ERRORS as error:
        raise InvalidInput(
            f"ONNX Runtime, which a tuned model has to answer like, can't run this model: {reason_of(error)}"
        ) from error


def reason_of(error: Exception) -> str:
    """ONNX Runtime's message in one line, without its codes."""
    text = " ".join(str(error).split())
    if _MARK in text:
        text = text.rpartition(_MARK)[2].split(" : ", 3)[-1]
    return _SOURCE.sub("", text)[:_LONGEST_REASON]

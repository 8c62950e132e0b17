"""Times a whole model as its package's user calls it: inputs copied in, outputs copied out.

Runs on the far side of a session, beside TVM's virtual machine, on this host's CPU.
"""

import json
import time
from typing import Any

import numpy as np
import tvm

from tunefarm_agent import steady

FUNCTION = "tunefarm.time_model"


def time_model(machine: Any, entry: str, turn: str, copied: int, *arguments: Any) -> str:
    """A turn of calls of the model's entry.

    Args:
        turn: JSON, a `steady.Turn`; empty for the first call alone, with nothing before it.
        arguments: arrays, of which the first `copied` are inputs; each call copies them anew.

    Returns:
        JSON: seconds of each call.
    """
    function = machine[entry]
    # What comes over RPC is no tensor that the virtual machine could keep. The package's `run.py` does the same.
    tensors = [_own(argument) for argument in arguments]
    windows = [_window(tensor) for tensor in tensors[:copied]]
    places = [(window, window.copy()) for window in windows if window is not None]

    def call() -> None:
        for window, value in places:
            window[...] = value
        _copy_out(function(*tensors))

    if turn:
        return json.dumps(steady.timed(call, steady.Turn(**json.loads(turn))))
    started = time.perf_counter()
    call()
    return json.dumps([time.perf_counter() - started])


def _own(argument: Any) -> Any:
    tensor = tvm.runtime.empty(argument.shape, argument.dtype, tvm.cpu())
    argument.copyto(tensor)
    return tensor


def _copy_out(output: Any) -> None:
    """One output comes by itself, several as an array."""
    for value in [output] if hasattr(output, "shape") else output:
        window = _window(value)
        np.array(value.numpy() if window is None else window)


def _window(tensor: Any) -> Any:
    """The tensor's memory as an array; None of a type that NumPy doesn't know (bfloat16, floats of 8 bits)."""
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError):
        return None

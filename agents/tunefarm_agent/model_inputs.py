"""Seeded inputs of whole models, as the coordinator lays them out in an .npz."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefarm_agent.commands import ModelInput


def named_input(data: Any, tensor: ModelInput, index: int) -> NDArray[np.generic]:
    """Input `tensor` of set `index`, in the dtype that the model takes. Raises KeyError."""
    values: NDArray[np.generic] = data[f"s{index}_in{tensor.name}"]
    return values.astype(tensor.dtype, copy=False) if tensor.dtype else values

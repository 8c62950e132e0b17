"""Checks of prepared models, in processes that may die of them. No TVM here."""

import contextlib
from pathlib import Path
from typing import Protocol

from tunefarm_coordinator.compute.messages import Checked, CheckModel, ComputeFailed
from tunefarm_coordinator.compute.worker_errors import WorkerDied, WorkerHung
from tunefarm_coordinator.errors import InvalidInput

# What is done at the moment, in the prepared model's folder: all that is left of a process that died of it.
STEP_FILE = "checking.txt"
# A model that takes longer is tuned unchecked; its outputs are compared at the end all the same.
CHECK_SECONDS = 900.0
# A process may be killed for what other processes do; twice in a row it is the model.
ATTEMPTS = 2


class Models(Protocol):
    """Where checks are done: `ModelPool`."""

    async def call(self, method: str, request: object, limit: float | None = None) -> Checked:
        """Raises ComputeFailed, caused by WorkerDied where the process died."""


async def check(models: Models, request: CheckModel) -> Checked:
    """See `CheckModel`. A model that ends the process twice is refused, with what was being done."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await models.call("check", request, limit=CHECK_SECONDS)
        except ComputeFailed as error:
            if isinstance(error.__cause__, WorkerHung):
                return Checked(notes=(f"not checked before tuning: that takes longer than {CHECK_SECONDS:g} s",))
            if not isinstance(error.__cause__, WorkerDied):
                raise
            if attempt == ATTEMPTS:
                raise InvalidInput(_refusal(request, str(error.__cause__))) from error
    raise AssertionError("at least one attempt is made")


def _refusal(request: CheckModel, reason: str) -> str:
    step = "it was checked"
    with contextlib.suppress(OSError):
        step = (Path(request.prepared) / STEP_FILE).read_text()
    return (
        f"{request.reference.model}: this model ends the process that checks it, while {step} ({reason}): "
        "a crash in its code (a division by zero among integers, an index out of bounds), or too little memory here"
    )

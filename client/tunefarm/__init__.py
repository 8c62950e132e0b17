"""tunefarm: an ONNX model in, the model with the fastest schedules of a device farm out.

    from tunefarm import AutoschedulerOptions, Client

    with Client() as client:
        workflow = client.upload_model("model.onnx").optimize("host", AutoschedulerOptions(trials_per_kernel=8))
        workflow.wait()
        workflow.save_package("out/")

Names are imported when they are first used, so that `import tunefarm` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunefarm import errors as errors
    from tunefarm.client import Client as Client
    from tunefarm.client import ModelVariant as ModelVariant
    from tunefarm.options import AutoschedulerOptions as AutoschedulerOptions
    from tunefarm.options import AutoTVMOptions as AutoTVMOptions
    from tunefarm.options import BothOptions as BothOptions
    from tunefarm.workflow import Workflow as Workflow

_HOMES = {
    "AutoTVMOptions": "tunefarm.options",
    "AutoschedulerOptions": "tunefarm.options",
    "BothOptions": "tunefarm.options",
    "Client": "tunefarm.client",
    "ModelVariant": "tunefarm.client",
    "Workflow": "tunefarm.workflow",
}

__all__ = ["AutoTVMOptions", "AutoschedulerOptions", "BothOptions", "Client", "ModelVariant", "Workflow", "errors"]


def __getattr__(name: str) -> Any:  # PEP 562
    if name == "errors":
        return importlib.import_module("tunefarm.errors")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tunefarm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

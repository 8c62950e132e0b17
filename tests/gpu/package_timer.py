"""A tuned package in a process of its own, timed on request (`timer_protocol`). Runs under tunefarm's Python.

    python package_timer.py PACKAGE CASE.npz OUTPUT.npy

Its inputs lie on the device; a call is the virtual machine's `main` and a wait for the device. Writes the first output.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timer_protocol


def opened(package: Path, case: Path, output: Path) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """The package's one contender, "package"."""
    import tvm
    from tvm.runtime.vm import VirtualMachine

    manifest = json.loads((package / "manifest.json").read_text())
    device = _run_script(package).device_for(manifest["target"]["kind"])
    machine = VirtualMachine(tvm.runtime.load_module(str(package / manifest["library"])), device)
    with np.load(case) as arrays:
        inputs = [tvm.runtime.tensor(arrays[f"in_{spec['name']}"], device) for spec in manifest["inputs"]]
    main = machine["main"]

    def call() -> Any:
        answer = main(*inputs)
        device.sync()
        return answer

    answer = call()
    np.save(output, (answer if hasattr(answer, "shape") else answer[0]).numpy())
    return {"package": call}, {"package": {"precision": manifest["precision"], "layout": manifest["layout"]}}


def _run_script(package: Path) -> Any:
    """The package's own run.py, as a module: it knows how its device is reached."""
    spec = importlib.util.spec_from_file_location("package_run", package / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("case", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    timer_protocol.serve(lambda: opened(given.package, given.case, given.output))


if __name__ == "__main__":
    main()

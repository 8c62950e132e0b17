"""What this machine has for each part of the farm: findings, nothing is changed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from tunefarm.embedded import default_data_dir
from tunefarm.errors import TunefarmError
from tunefarm.extras import DISTRIBUTION, missing_packages
from tunefarm.formats import size

_IMPORT_SECONDS = 60.0
_LEAST_FREE_BYTES = 2 * 2**30
_COMPILERS = ("cc", "gcc", "clang")

State = Literal["ok", "optional", "missing"]


class Finding(NamedTuple):
    """One check. "optional": not here, and only needed for the purpose that `detail` names."""

    name: str
    state: State
    detail: str


def examine(connect: str | None, *, token: str | None, insecure: bool) -> list[Finding]:
    """All checks; the coordinator's only where an address was given."""
    findings = [
        _python(),
        _importable("tvm", "tuning and measuring on this machine"),
        _importable("ray", "a coordinator on this machine"),
        _importable("onnxruntime", "ONNX Runtime's latency beside the tuned one"),
        *(_extra(extra) for extra in ("coordinator", "agent", "cuda")),
        _cores(),
        _program("compiler", _COMPILERS, "linking kernels on this machine"),
        _program("linker", ("ld", "ld.lld", "ld.gold"), "linking kernels on this machine"),
        _program("nvcc", ("nvcc",), f"CUDA kernels where {DISTRIBUTION}[cuda] is not installed"),
        _gpus(),
        _disk(default_data_dir()),
    ]
    if connect is not None:
        findings.append(_coordinator(connect, token=token, insecure=insecure))
    return findings


def _python() -> Finding:
    supported = sys.version_info[:2] == (3, 11)
    state: State = "ok" if supported else "missing"
    return Finding("python", state, platform.python_version() + ("" if supported else "; 3.11 is needed"))


def _importable(module: str, purpose: str) -> Finding:
    """Imports it for real, elsewhere: an installed TVM may still fail to load, and must not do so here."""
    program = f"import {module}; print(getattr({module}, '__version__', 'unknown version'))"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(module, "missing", f"importing it took more than {_IMPORT_SECONDS:.0f} s")
    if ran.returncode == 0:
        return Finding(module, "ok", ran.stdout.strip().splitlines()[-1])
    last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
    if "ModuleNotFoundError" in last and repr(module) in last:
        return Finding(module, "optional", f"not installed; needed for {purpose}")
    return Finding(module, "missing", f"installed, but can't be imported: {last}")


def _extra(extra: str) -> Finding:
    name = f"{DISTRIBUTION}[{extra}]"
    missing = missing_packages(extra)
    if not missing:
        return Finding(name, "ok", "installed")
    return Finding(name, "optional", f"lacks {', '.join(missing)}: pip install '{name}'")


def _cores() -> Finding:
    return Finding("cores", "ok", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")


def _program(name: str, candidates: tuple[str, ...], purpose: str) -> Finding:
    for candidate in candidates:
        if found := shutil.which(candidate):
            return Finding(name, "ok", found)
    return Finding(name, "optional", f"none of {', '.join(candidates)}; needed for {purpose}")


def _gpus() -> Finding:
    """NVIDIA's, as the driver's own program lists them."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return Finding("GPUs", "optional", "no nvidia-smi; NVIDIA's driver is needed on machines that measure on a GPU")
    command = [found, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPUs", "missing", f"nvidia-smi does not answer: {error}")
    listed = "; ".join(line.strip() for line in told.stdout.splitlines() if line.strip())
    if told.returncode == 0:
        return Finding("GPUs", "ok", f"{listed} (name, driver)" if listed else "none")
    return Finding("GPUs", "missing", f"nvidia-smi fails: {(told.stderr.strip() or listed or 'no word of why')[-200:]}")


def _disk(folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    state: State = "ok" if free >= _LEAST_FREE_BYTES else "missing"
    return Finding("disk", state, f"{size(free)} free for {folder}")


def _coordinator(connect: str, *, token: str | None, insecure: bool) -> Finding:
    from tunefarm.client import Client

    try:
        with Client(connect, token=token, insecure=insecure) as client:
            devices, healthy = client.devices(), client.healthy()
    except TunefarmError as error:
        return Finding("coordinator", "missing", str(error))
    if not healthy:
        why = "but can't write its store, and measures nothing until it can: look at its disk or database, and its log"
        return Finding("coordinator", "missing", f"{connect} answers, {why}")
    return Finding("coordinator", "ok", f"{connect} answers; {len(devices)} device(s)")

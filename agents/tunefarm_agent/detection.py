"""What this host is: its CPU, described so that the same hardware gives the same fingerprint."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path

import psutil

from tunefarm_agent.cpu_models import llvm_cpu
from tunefarm_agent.errors import InvalidInput
from tunefarm_proto.v1 import common_pb2

_CPUINFO = Path("/proc/cpuinfo")
_MACHINE_ID = Path("/etc/machine-id")
# Sensors of the CPU package, by driver.
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")


def cpu_device(cores: tuple[int, ...], target: str, name: str, labels: dict[str, str]) -> common_pb2.Device:
    """The host's CPU with these cores reserved. Raises InvalidInput: cores that are not ours to use.

    Only facts that outlive a reboot take part in the fingerprint.
    """
    usable = os.sched_getaffinity(0)
    if not cores or not set(cores) <= usable:
        raise InvalidInput(f"--cores: this process may use the cores {_list(usable)}, not {_list(cores)}")
    cpu = this_cpu()
    facts = cpu_facts(cpu, cores)
    return common_pb2.Device(
        device_id="cpu0",
        name=name or facts["cpu"],
        fingerprint=fingerprint(facts),
        facts=facts,
        target=target or json.dumps(proposed_target(platform.machine(), cpu, len(cores))),
        labels=labels,
        cores=cores,
        runs_onnxruntime=importlib.util.find_spec("onnxruntime") is not None,
    )


def this_cpu() -> dict[str, str]:
    return cpu_info(_CPUINFO.read_text())


def cpu_info(text: str) -> dict[str, str]:
    """The first block of /proc/cpuinfo."""
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_facts(cpu: dict[str, str], cores: tuple[int, ...]) -> dict[str, str]:
    """What identifies this CPU and our share of it. Memory in whole GiB: its odd bytes vary with the kernel."""
    features = sorted(set(cpu.get("flags", cpu.get("Features", "")).split()))
    facts = {
        "architecture": platform.machine(),
        "cpu": cpu.get("model name") or cpu.get("CPU part") or platform.machine(),
        "vendor": cpu.get("vendor_id", cpu.get("CPU implementer", "")),
        "family": cpu.get("cpu family", cpu.get("CPU architecture", "")),
        "model": cpu.get("model", cpu.get("CPU part", "")),
        "stepping": cpu.get("stepping", cpu.get("CPU revision", "")),
        "features": " ".join(features),
        "cores": str(os.cpu_count()),
        "reserved_cores": _list(cores),
        "memory_gib": str(round(psutil.virtual_memory().total / (1 << 30))),
    }
    if machine := machine_id():
        facts["machine"] = machine
    return facts


def machine_id() -> str:
    """Of this host, for other machines to see, which its own id is not (machine-id(5)); empty: it has none."""
    if not _MACHINE_ID.exists():
        return ""
    return hashlib.sha256(b"tunefarm" + _MACHINE_ID.read_bytes()).hexdigest()[:16]


def fingerprint(facts: dict[str, str]) -> str:
    """The same facts give the same digest, in any order."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def proposed_target(architecture: str, cpu: dict[str, str], cores: int) -> dict[str, object]:
    """A TVM target for the host, found without TVM's compiler."""
    target: dict[str, object] = {
        "kind": "llvm",
        "mtriple": f"{architecture}-linux-gnu",
        "mcpu": llvm_cpu(architecture, cpu),
        "num-cores": cores,
    }
    if architecture == "aarch64":
        target["mattr"] = ["+neon"]
    return target


def cpu_temperature() -> float | None:
    """Degrees Celsius; None where the host does not tell."""
    sensors = psutil.sensors_temperatures()
    readings = [r.current for name in _CPU_SENSORS for r in sensors.get(name, ())]
    return max(readings, default=None)


def program_version() -> common_pb2.ProgramVersion:
    def version(distribution: str) -> str:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return ""

    return common_pb2.ProgramVersion(
        program=version("tunefarm"), tvm=version("apache-tvm"), python=platform.python_version()
    )


def _list(cores: set[int] | tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(cores)))

"""What a benchmark ran on, for whoever reads its figures later."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("tunefarm", "apache-tvm", "onnxruntime", "openvino", "numpy")
# What decides how wide and which products are; the flags of /proc/cpuinfo are a hundred.
FEATURES = ("avx2", "fma", "f16c", "avx512", "avx_vnni", "amx", "asimd", "sve", "i8mm", "bf16")


def machine() -> dict[str, Any]:
    """CPU, memory and system, versions of what was run, and the commit of this source."""
    return {
        "cpu": _line("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "features": sorted(flag for flag in _flags() if flag.startswith(FEATURES)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": _git("status", "--porcelain").splitlines(),
    }


def described(found: dict[str, Any]) -> str:
    """The machine in half a line."""
    features = found["features"]
    widest = next((name for name in ("avx512f", "avx2", "asimd") if name in features), "")
    return f"{found['cpu']}, {found['cores']} cores" + (f", {widest.upper()}" if widest else "")


def _line(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _flags() -> list[str]:
    return (_line("flags") or _line("Features")).split()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()

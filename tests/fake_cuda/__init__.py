"""A fake NVIDIA GPU for machines without one: the driver, CUDA's runtime, NVML and nvcc, under their own names.

With it on LD_LIBRARY_PATH and PATH, everything of ours and TVM's own CUDA runtime are the real thing, in processes of
their own. The device has memory of its own: its addresses are mapped for nobody, so that a host that touches one dies
of it, as a kernel does that touches the host's; copies check their direction. The fake nvcc compiles kernels for this
host's CPU, and the fake device runs them there, block by block. Its times are made up: the same work takes the same
time, always.
"""

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

UUID = "GPU-fa4e0000-0000-0000-0000-000000000000"
NAME = "NVIDIA Fake H100"
CELSIUS = 41
MEMORY = 16 << 30

# cudaErrorDevicesUnavailable: what it answers when it fell off its bus.
GONE = 46

_SOURCES = Path(__file__).resolve().parent
_WORDS = (
    *("memory", "others", "error", "error_at_launch"),
    *("launches", "allocations", "to_device", "from_device", "on_device", "graph_launches"),
)
_CONTROL_BYTES = 4096
_VERSIONS = "libcudart.so.13 { global: *; };"
_DRIVER = ("control.c", "memory.c", "graphs.c", "execution.c", "driver.c")


class FakeCuda:
    """The device whose libraries lie in a folder, and how it fares. One folder is one device, for all processes.

    What can be set, and read: `memory` (bytes), `others` (bytes of it that others hold), `error` (a CUDA error that
    every call answers; 0: it works), `error_at_launch` (launches after which it falls off its bus; 0: never). What it
    counts: `launches`, `allocations`, copies `to_device`, `from_device` and `on_device`, `graph_launches`.
    """

    def __init__(self, folder: Path) -> None:
        """Builds the libraries into `folder`, which is made."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        control = folder / "control"
        control.write_bytes(bytes(_CONTROL_BYTES))
        # A session is another user by the time that it calls the device.
        folder.chmod(0o755)
        control.chmod(0o666)
        _build(folder)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL_BYTES)
        self.mend()

    def __getitem__(self, word: str) -> int:
        value: int = struct.unpack_from("<Q", self._control, 8 * _WORDS.index(word))[0]
        return value

    def __setitem__(self, word: str, value: int) -> None:
        struct.pack_into("<Q", self._control, 8 * _WORDS.index(word), value)

    def mend(self) -> None:
        """It works, all its memory is its own, and it counts from nothing."""
        for word in _WORDS:
            self[word] = MEMORY if word == "memory" else 0

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a host that has the device, and a compiler for it."""
        base = os.environ if base is None else base
        return {
            **base,
            "LD_LIBRARY_PATH": f"{self.folder}:{base.get('LD_LIBRARY_PATH', '')}",
            "PATH": f"{self.folder / 'bin'}:{base.get('PATH', '')}",
            "TUNEFARM_CUDA_COMPILER": "nvcc",
        }


def _build(folder: Path) -> None:
    map_file = folder / "cudart.map"
    map_file.write_text(_VERSIONS)
    _link(folder, "libcuda.so.1", *_DRIVER)
    _link(folder, "libcudart.so.13", "runtime.c", f"-Wl,--version-script={map_file}", "libcuda.so.1")
    _link(folder, "libnvidia-ml.so.1", "nvml.c", "libcuda.so.1")
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("nvcc", "device.h"):
        shutil.copy(_SOURCES / name, folder / "bin" / name)
    shutil.copytree(_SOURCES / "include", folder / "bin" / "include", dirs_exist_ok=True)


def _link(folder: Path, name: str, *parts: str) -> None:
    sources = [str((folder if ".so" in part else _SOURCES) / part) if part[0] != "-" else part for part in parts]
    options = ("-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{name}", "-Wl,-rpath,$ORIGIN")
    subprocess.run(["gcc", *options, "-o", str(folder / name), *sources, "-ldl"], check=True)

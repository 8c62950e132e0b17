"""How CUDA is compiled in this process. No TVM here: the coordinator says it, its workers hold to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

CompilerName = Literal["auto", "nvrtc", "nvcc"]
COMPILER_NAMES: tuple[CompilerName, ...] = get_args(CompilerName)


@dataclass(frozen=True)
class CudaOptions:
    """How, and what is kept of it.

    Attributes:
        compiler: "nvrtc", "nvcc", or "auto", which is NVRTC where it is installed and nvcc else.
        images: folder that keeps what was compiled, for all processes of a host; None: nothing is kept.
        images_bytes: what it may hold.
        threads: that compile at once; None: as many as this process has cores.
    """

    compiler: CompilerName = "auto"
    images: Path | None = None
    images_bytes: int = 2**30
    threads: int | None = None


class _Process:
    options = CudaOptions()


def configure(options: CudaOptions) -> None:
    """Sets the options of this process; its start is the time for it."""
    _Process.options = options


def current() -> CudaOptions:
    """What `configure` was last told; the defaults before."""
    return _Process.options

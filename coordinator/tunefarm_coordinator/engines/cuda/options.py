"""How CUDA is compiled in this process. No TVM here: the coordinator says it, its workers hold to it."""

from dataclasses import dataclass
from typing import Literal, get_args

CompilerName = Literal["auto", "nvrtc", "nvcc"]
COMPILER_NAMES: tuple[CompilerName, ...] = get_args(CompilerName)


@dataclass(frozen=True)
class CudaOptions:
    """`compiler`: "nvrtc", "nvcc", or "auto", which is NVRTC where it is installed and nvcc else."""

    compiler: CompilerName = "auto"


class _Process:
    options = CudaOptions()


def configure(options: CudaOptions) -> None:
    """Sets the options of this process; its start is the time for it."""
    _Process.options = options


def current() -> CudaOptions:
    """What `configure` was last told; the defaults before."""
    return _Process.options

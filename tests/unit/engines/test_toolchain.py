"""What a target takes to be built for is asked for before anything is spent."""

import shutil

import pytest

from tunefarm_coordinator.engines.build import check_toolchain
from tunefarm_coordinator.engines.cuda import nvrtc, options
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.errors import InvalidInput

RISC_V = '{"kind": "llvm", "mtriple": "riscv64-linux-gnu", "num-cores": 4}'
CUDA = '{"kind": "cuda", "arch": "sm_90"}'


def test_this_machine_can_build_for_itself() -> None:
    check_toolchain('{"kind": "llvm", "num-cores": 2}')


def test_no_linker_for_the_architecture() -> None:
    with pytest.raises(InvalidInput, match="binutils-riscv64-linux-gnu"):
        check_toolchain(RISC_V)


@pytest.mark.parametrize(
    ("compiler", "advice"),
    [("auto", r"tunefarm\[cuda\].*nvcc"), ("nvrtc", r"tunefarm\[cuda\]"), ("nvcc", "toolkit")],
)
def test_no_cuda_compiler(monkeypatch: pytest.MonkeyPatch, compiler: CompilerName, advice: str) -> None:
    real = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "nvcc" else real(name))
    monkeypatch.setattr("tunefarm_coordinator.engines.cuda.libraries.load", _not_installed)
    monkeypatch.setattr(options, "current", lambda: CudaOptions(compiler))
    nvrtc.find.cache_clear()
    try:
        with pytest.raises(InvalidInput, match=advice):
            check_toolchain(CUDA)
    finally:
        nvrtc.find.cache_clear()


def _not_installed(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")

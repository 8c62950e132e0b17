"""CUDA up to the device: kernels compiled on a machine without a GPU."""

import shutil
from pathlib import Path

import pytest

from tests.fake_cuda.kernels import TARGET
from tests.tiny_models import save_tiny_cnn
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare

ELF = b"\x7fELF"

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA's toolkit is not installed")


def carries_machine_code(library: bytes) -> bool:
    """For the GPU, in the library for the host; not the source of its kernels."""
    return ELF in library[4:] and b"sm_90" in library and b"__global__" not in library


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("cuda")
    model = save_tiny_cnn(folder / "tiny.onnx")
    return prepare(model, {"image": (1, 3, 16, 16)}, TARGET, folder / "prepared")


@pytest.mark.parametrize("compiler", ["nvrtc", pytest.param("nvcc", marks=needs_nvcc)])
def test_candidates_are_proposed_and_compiled_without_a_gpu(
    prepared: PreparedModel, compiler: CompilerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "current", lambda: CudaOptions(compiler))
    task = prepared.tasks[0]
    search = engine("autoscheduler").open(task.workload, task.module, TARGET, seed=1)
    proposals = search.propose(3, None)
    assert len(proposals) == 3
    for trace in (*(proposal.trace for proposal in proposals), default_trace(task.module, TARGET)):
        built = build_candidate(task.module, trace, TARGET)
        assert carries_machine_code(built.library)
        assert built.library == build_candidate(task.module, trace, TARGET).library


def test_a_package_for_a_gpu(prepared: PreparedModel, tmp_path: Path) -> None:
    package = build_untuned(prepared.directory, tmp_path / "package")
    assert carries_machine_code(package.library.read_bytes())
    assert len(package.untuned) > len(prepared.tasks)

"""CUDA up to the device: kernels compiled on a machine without a GPU."""

import re
import shutil
from pathlib import Path

import pytest
import tvm

from tests import gpu_products
from tests.fake_cuda.kernels import TARGET
from tests.tiny_models import save_tiny_cnn
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.cuda import fragments, options
from tunefarm_coordinator.engines.cuda.options import CompilerName, CudaOptions
from tunefarm_coordinator.engines.engine import engine
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.package import build_package, build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare

_AS_MEANT = fragments.as_meant
_DECLARED = {
    "half: dense": "half",
    "bfloat: dense": "__nv_bfloat16",
    "tf32: long sums": "nvcuda::wmma::precision::tf32",
}
ELF = b"\x7fELF"

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA's toolkit is not installed")


def _declared(sources: list[str]) -> set[str]:
    """Types of the fragments of operands."""
    found = re.findall(r"nvcuda::wmma::matrix_[ab], 16, 16, \d+, ([\w:]+),", "".join(sources))
    return set(found)


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


@pytest.mark.parametrize("compiler", ["nvrtc", pytest.param("nvcc", marks=needs_nvcc)])
def test_tensor_cores_of_every_type(compiler: CompilerName, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compilers take fragments of all three."""
    monkeypatch.setattr(options, "current", lambda: CudaOptions(compiler))
    sources: list[str] = []

    def recorded(source: str) -> str:
        sources.append(_AS_MEANT(source))
        return sources[-1]

    monkeypatch.setattr(fragments, "as_meant", recorded)
    for kernel, declared in _DECLARED.items():
        sources.clear()
        module = gpu_products.KERNELS[kernel]()
        built = build_candidate(str(tvm.ir.save_json(module)), default_trace(module, TARGET), TARGET)
        assert carries_machine_code(built.library)
        assert _declared(sources) == {declared}


def test_a_package_with_tf32(tmp_path: Path) -> None:
    """Records of marked kernels are found again when the model is packaged, and are no records of unmarked ones."""
    model = save_tiny_cnn(tmp_path / "tiny.onnx")
    exact, rounded = (
        prepare(model, {"image": (1, 3, 16, 16)}, TARGET, tmp_path / name, allow_tf32=name == "tf32")
        for name in ("exact", "tf32")
    )
    traces = {task.workload: default_trace(task.module, TARGET) for task in rounded.tasks}
    assert any("tf32" in trace for trace in traces.values())
    package = build_package(rounded.directory, traces, tmp_path / "package")
    assert set(package.tuned) == set(traces)
    assert carries_machine_code(package.library.read_bytes())
    assert not {task.workload for task in exact.tasks} & {w for w, trace in traces.items() if "tf32" in trace}

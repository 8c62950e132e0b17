"""What was compiled for a candidate is not compiled again: not for the next process, not for the package."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tvm
from tvm.target import Target

from tests.fake_cuda.kernels import TARGET
from tests.integration.test_cuda import carries_machine_code
from tests.tiny_models import save_tiny_cnn
from tunefarm_coordinator.engines.build import build_candidate, build_kernels, export_library
from tunefarm_coordinator.engines.cuda import compiler, options
from tunefarm_coordinator.engines.cuda.compiler import Compiler
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.package import build_package, build_untuned
from tunefarm_coordinator.models.prepare import PreparedModel, prepare


class Counted:
    """A compiler whose calls are counted."""

    def __init__(self, real: Compiler) -> None:
        self.name, self.version = real.name, real.version
        self.sources: list[str] = []
        self._real = real

    def compile(self, source: str, arch: str, options: tuple[str, ...]) -> bytes:
        self.sources.append(source)
        return self._real.compile(source, arch, options)


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Counts what is compiled, with an empty folder of images."""
    counted = Counted(compiler.chosen())
    monkeypatch.setattr(compiler, "chosen", lambda: counted)
    options.configure(CudaOptions(images=tmp_path / "images"))
    yield counted
    options.configure(CudaOptions())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("images")
    model = save_tiny_cnn(folder / "tiny.onnx")
    return prepare(model, {"image": (1, 3, 16, 16)}, TARGET, folder / "prepared")


def test_the_same_candidate_is_compiled_once(prepared: PreparedModel, compiled: Counted, tmp_path: Path) -> None:
    task = prepared.tasks[0]
    trace = default_trace(task.module, TARGET)
    first = build_candidate(task.module, trace, TARGET)
    assert len(compiled.sources) == 1
    (tmp_path / "candidate.so").write_bytes(first.library)
    assert tvm.runtime.load_module(str(tmp_path / "candidate.so")).implements_function("main")
    assert build_candidate(task.module, trace, TARGET).library == first.library
    assert len(compiled.sources) == 1
    for image in (tmp_path / "images").glob("??/*"):
        image.write_bytes(b"damaged")
    assert build_candidate(task.module, trace, TARGET).library == first.library
    assert len(compiled.sources) == 2
    other = TARGET.replace("sm_90", "sm_80")
    assert build_candidate(task.module, default_trace(task.module, other), other).library != first.library
    assert len(compiled.sources) == 3


def test_a_package_takes_what_was_compiled_for_its_candidates(
    prepared: PreparedModel, compiled: Counted, tmp_path: Path
) -> None:
    traces = {task.workload: default_trace(task.module, TARGET) for task in prepared.tasks}
    for task in prepared.tasks:
        build_candidate(task.module, traces[task.workload], TARGET)
    candidates = list(compiled.sources)
    package = build_package(prepared.directory, traces, tmp_path / "package")
    assert set(package.tuned) == set(traces)
    library = package.library.read_bytes()
    assert all(symbol in library for source in candidates for symbol in _kernels(source))
    assert len(_kernels(library.decode("latin-1"))) == len(compiled.sources) > len(candidates)
    everything = len(compiled.sources)
    again = build_package(prepared.directory, traces, tmp_path / "again")
    untuned = build_untuned(prepared.directory, tmp_path / "untuned")
    # All of these traces are the default schedules.
    assert len(compiled.sources) == everything
    assert package.library.read_bytes() == again.library.read_bytes()
    assert carries_machine_code(untuned.library.read_bytes())


def test_without_a_folder_nothing_is_kept(prepared: PreparedModel, compiled: Counted) -> None:
    options.configure(CudaOptions())
    task = prepared.tasks[0]
    trace = default_trace(task.module, TARGET)
    assert len({build_candidate(task.module, trace, TARGET).library for _ in range(2)}) == 1
    assert len(compiled.sources) == 2


def test_equal_functions_of_a_module_share_an_image(compiled: Counted, tmp_path: Path) -> None:
    module = tvm.IRModule({"first": _scaled("x", 2), "second": _scaled("other", 2), "third": _scaled("x", 3)})
    built = build_kernels(module, Target(TARGET))
    assert len(compiled.sources) == len(built.imports) == 2
    library = tmp_path / "kernels.so"
    library.write_bytes(export_library(built, Target(TARGET), tmp_path))
    loaded = tvm.runtime.load_module(str(library))
    assert all(loaded.implements_function(name) for name in ("first", "second", "third"))


def _kernels(text: str) -> set[bytes]:
    """Symbols of the kernels in a source or a library."""
    return {name.encode() for name in re.findall(r"\bk[0-9a-f]{16}_kernel\b", text)}


def _scaled(name: str, factor: int) -> tvm.tirx.PrimFunc:
    """Multiplies 64 numbers; `name` is its tensor's."""
    from tvm import te

    tensor = te.placeholder((64,), name=name)
    product = te.compute((64,), lambda i: tensor[i] * factor, name=f"{name}_scaled")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([tensor, product]))
    (loop,) = schedule.get_loops(schedule.get_sblock(f"{name}_scaled"))
    schedule.bind(loop, "threadIdx.x")
    return schedule.mod["main"]

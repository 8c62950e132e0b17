from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.target import Target

from tunefarm_coordinator.engines import linker
from tunefarm_coordinator.engines.build import build_kernels, host_triple
from tunefarm_coordinator.models.kernel_objects import KernelObjects
from tunefarm_coordinator.models.target import quickly_built


def kernel(name: str, addend: float) -> Any:
    x = te.placeholder((4,), name="x")
    y = te.compute((4,), lambda i: x[i] + addend, name="y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)


def answers(modules: list[Any], folder: Path, *names: str) -> list[float]:
    """What the kernels of these names add to zero, linked into one library."""
    folder.mkdir()
    objects = [folder / f"{at}.o" for at in range(len(modules))]
    for module, path in zip(modules, objects, strict=True):
        module.write_to_file(str(path))
    linker.link(objects, folder / "all.so", host_triple(quickly_built()))
    library, found = tvm.runtime.load_module(str(folder / "all.so")), []
    for name in names:
        out = tvm.runtime.empty((4,), "float32")
        library[name](tvm.runtime.tensor(np.zeros(4, "float32")), out)
        found.append(float(out.numpy()[0]))
    return found


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were compiled, in that order."""
    seen: list[str] = []

    def noted(module: Any, target: Any) -> Any:
        seen.extend(str(gvar.name_hint) for gvar in module.get_global_vars())
        return build_kernels(module, target)

    monkeypatch.setattr("tunefarm_coordinator.models.kernel_objects.build_kernels", noted)
    return seen


def test_kernels_are_compiled_once_in_any_order_and_those_that_changed_again(
    tmp_path: Path, compiled: list[str]
) -> None:
    objects, target = KernelObjects(tmp_path / "objects", "1"), quickly_built()
    first = objects.modules({"b": kernel("b", 2.0), "a": kernel("a", 1.0)}, target)
    assert answers(first, tmp_path / "first", "a", "b") == [1.0, 2.0]
    assert sorted(compiled) == ["a", "b"]
    again = KernelObjects(tmp_path / "objects", "1").modules({"a": kernel("a", 1.0), "b": kernel("b", 3.0)}, target)
    assert answers(again, tmp_path / "again", "a", "b") == [1.0, 3.0]
    assert compiled[2:] == ["b"]


def test_another_version_or_target_takes_nothing(tmp_path: Path, compiled: list[str]) -> None:
    for version, target in (("1", quickly_built()), ("2", quickly_built()), ("2", Target("llvm"))):
        KernelObjects(tmp_path, version).modules({"a": kernel("a", 1.0)}, target)
    assert compiled == ["a"] * 3


def test_an_object_that_is_damaged_is_compiled_anew(tmp_path: Path, compiled: list[str]) -> None:
    objects = KernelObjects(tmp_path / "objects", "1")
    objects.modules({"a": kernel("a", 1.0)}, quickly_built())
    (kept,) = (tmp_path / "objects").glob("*.o")
    kept.write_bytes(kept.read_bytes()[:100])
    assert answers(objects.modules({"a": kernel("a", 1.0)}, quickly_built()), tmp_path / "new", "a") == [1.0]
    assert compiled == ["a", "a"]

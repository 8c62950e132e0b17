import pytest
import tvm
from tvm import te

from tunefarm_coordinator.engines import module_text


def _text() -> str:
    x = te.placeholder((4,), name="x")
    kernel = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + 1.0)])
    return str(tvm.ir.save_json(tvm.IRModule({"main": kernel})))


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that went through TVM's own loading."""
    seen: list[str] = []
    load = tvm.ir.load_json

    def noted(text: str) -> object:
        seen.append(text)
        return load(text)

    monkeypatch.setattr(tvm.ir, "load_json", noted)
    return seen


def test_what_this_tvm_wrote_is_read_as_tvm_reads_it(upgraded: list[str]) -> None:
    text = _text()
    loaded = module_text.load(text)
    assert upgraded == []
    tvm.ir.assert_structural_equal(loaded, tvm.ir.load_json(text))


def test_what_another_tvm_wrote_is_brought_up_to_date(upgraded: list[str]) -> None:
    text = _text().replace(tvm.__version__, "0.26.0")
    module_text.load(text)
    assert upgraded == [text]

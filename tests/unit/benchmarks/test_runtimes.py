"""The referee's arithmetic and protocol: what its tables say must follow from what was timed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import runtimes
from contender import steady
from interleaved import Contender, ContenderFailed, Turn
from runtime_contenders import greatest_error, ratios_of, write_static
from runtime_report import BEGIN, END, agreement, fill_readme, markdown, summary

from tests.tiny_models import save_tiny_cnn


def measured(name: str, tuned: float, peers: dict[str, float], job_ms: dict[str, float]) -> dict[str, Any]:
    """A model of the results, every round alike, two threads."""
    seconds = {"tunefarm": [tuned] * 4, "tunefarm (A/A)": [tuned] * 4, **{peer: [it] * 4 for peer, it in peers.items()}}
    contenders = {who: {"seconds": each, "open_seconds": 1.0, "first_seconds": 0.002} for who, each in seconds.items()}
    timed = {"contenders": contenders, "ratios": ratios_of(seconds), "failed": {}}
    return {"name": name, "kind": "", "trials_per_kernel": 16, "job": {"latency_ms": job_ms}, "threads": {"2": timed}}


MODELS = [
    measured("fast", 0.001, {"ONNX Runtime": 0.004, "OpenVINO": 0.002}, {"tuned": 1.0, "onnxruntime": 3.5}),
    measured("slow", 0.010, {"ONNX Runtime": 0.010, "OpenVINO": 0.008}, {}),
]


def results(models: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "features": ["avx2"],
        "commit": "0123456789",
        "versions": {"onnxruntime": "1", "openvino": "2"},
    }
    return {"machine": machine, "settings": {"rounds": 4}, "models": models}


def test_the_summary_is_the_geometric_mean_and_names_what_is_slower_than_the_better_peer() -> None:
    [found] = summary(MODELS)
    assert found["geometric_mean"]["ONNX Runtime"]["mean"] == pytest.approx(2.0)
    assert found["geometric_mean"]["OpenVINO"]["mean"] == pytest.approx((2 * 0.8) ** 0.5)
    assert found["under_0.9"] == {"slow": pytest.approx(0.8)}


def test_the_table_shows_the_jobs_own_ratio_beside_the_referees() -> None:
    lines = markdown(results(MODELS)).splitlines()
    [fast] = [line for line in lines if line.startswith("| fast")]
    assert "| 4.00 (4.00 to 4.00) | 2.00 (2.00 to 2.00) | 2 | 3.50 | 1.00" in fast
    assert "Under 0.9 of the better of the two: 1 (slow 0.80)." in lines


def test_the_jobs_ratio_is_held_against_the_referees() -> None:
    assert agreement(MODELS[0]) == {"job": 3.5, "referee": 4.0, "job_over_referee": pytest.approx(0.875)}
    assert agreement(MODELS[1]) is None


def test_a_model_that_was_not_tuned_is_told_under_the_table_and_fails_the_run() -> None:
    broken = {"name": "broken", "trials_per_kernel": 16, "threads": {}, "error": "the job ended as FAILED"}
    assert "broken: the job ended as FAILED" in markdown(results([*MODELS, broken]))
    assert runtimes.is_wrong(broken)
    assert not any(runtimes.is_wrong(model) for model in MODELS)


def test_other_outputs_fail_the_run() -> None:
    model = measured("wrong", 0.001, {"ONNX Runtime": 0.001}, {})
    model["threads"]["2"]["contenders"]["tunefarm"]["error"] = 0.5
    assert runtimes.is_wrong(model)


def test_outputs_of_another_size_or_that_are_missing_or_no_numbers_differ_without_end() -> None:
    wanted = {"y": np.array([1.0, -4.0])}
    assert greatest_error({"y": np.array([1.0, -4.4])}, wanted) == pytest.approx(0.1)
    for actual in ({}, {"y": np.array([1.0])}, {"y": np.array([1.0, np.nan])}):
        assert greatest_error(actual, wanted) == float("inf")


def test_readmes_place_is_filled_again_and_nothing_else_is_touched(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for table in ("first", "second"):
        fill_readme(readme, table, tmp_path / "docs" / "it.png")
    text = readme.read_text()
    assert text == f"before\n{BEGIN}\nsecond\n\n![Speed beside both](docs/it.png)\n{END}\nafter\n"
    readme.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        fill_readme(readme, "table", tmp_path / "it.png")


def test_readme_has_the_place() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)


def test_a_turn_has_its_calls_after_one_that_warms_up() -> None:
    calls: list[int] = []
    assert len(steady(lambda: calls.append(1), 5, 0.0, 0.0)) == 5
    assert len(calls) == 6


def test_the_peers_sizes_are_fixed(tmp_path: Path) -> None:
    path = save_tiny_cnn(tmp_path / "model.onnx", batch="n")
    write_static(path, {"image": (2, 3, 16, 16)}, tmp_path / "static.onnx")
    [given] = onnx.load(tmp_path / "static.onnx").graph.input
    assert [size.dim_value for size in given.type.tensor_type.shape.dim] == [2, 3, 16, 16]


def test_a_contender_says_what_opening_and_the_first_call_took_and_answers_turns(tmp_path: Path) -> None:
    path, inputs = save_tiny_cnn(tmp_path / "model.onnx"), tmp_path / "inputs.npz"
    np.savez(inputs, image=np.ones((1, 3, 16, 16), np.float32))
    contender = Contender("ONNX Runtime", "onnxruntime", str(path), str(inputs), cores=1)
    try:
        assert contender.first_seconds > 0
        assert contender.time(Turn(calls=3, seconds=0.0, warm_up=0.0)) > 0
        contender.write_outputs(tmp_path / "outputs.npz")
    finally:
        contender.close()
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert outputs["classes"].sum() == pytest.approx(1.0)


def test_a_contender_that_cant_run_the_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    np.savez(tmp_path / "inputs.npz", x=np.zeros(1))
    with pytest.raises(ContenderFailed, match="ONNX Runtime can't run the model"):
        Contender("ONNX Runtime", "onnxruntime", str(tmp_path / "model.onnx"), str(tmp_path / "inputs.npz"), cores=1)


def test_what_is_written_can_be_shown_again() -> None:
    assert markdown(json.loads(json.dumps(results(MODELS)))) == markdown(results(MODELS))

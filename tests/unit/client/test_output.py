"""Documents and folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tuning_stand_in import failing, job_at, succeeding
from tunefarm.cli.exits import code_of_error, code_of_job, error_line
from tunefarm.cli.output import output_folder, print_document
from tunefarm.documents import job_document
from tunefarm.errors import EmbeddedFailed, InvalidInput, JobFailed, TunefarmError, Unavailable, Unreachable
from tunefarm.wire import job_from


def test_the_job_document_has_every_promised_key() -> None:
    document = job_document(job_from(succeeding()[-1]), "/out")
    assert list(document) == [
        "job_id",
        "state",
        "tasks",
        "trials",
        "measurements",
        "latency_ms",
        "latency_mean_ms",
        "first_call_ms",
        "max_rel_error",
        "seconds",
        "package",
    ]
    assert document["trials"] == {"budget": 8, "charged": 8, "valid": 7, "failed": {"RUN_ERROR": 1}, "refunded": 0}
    assert document["latency_ms"] == {"tuned": 2.0, "untuned": 9.0, "onnxruntime": 3.0}
    assert list(document["seconds"]) == ["total", "prepare", "search", "build", "measure", "package"]
    assert (document["state"], document["package"], document["measurements"]) == ("SUCCEEDED", "/out", 5)
    assert len(document["tasks"]) == 3


def test_a_job_with_several_shape_sets_has_them_all() -> None:
    job = succeeding()[-1]
    result = job.shape_sets.add(device="cpu0", max_rel_error=1e-6)
    result.shapes.inputs["x"].dims.extend((1, 16))
    result.latency_ms.tuned = 2.0
    assert job_document(job_from(job))["shape_sets"] == [
        {
            "shapes": {"x": (1, 16)},
            "latency_ms": {"tuned": 2.0, "untuned": None, "onnxruntime": None},
            "latency_mean_ms": {"tuned": None, "untuned": None, "onnxruntime": None},
            "first_call_ms": {"tuned": None, "untuned": None, "onnxruntime": None},
            "max_rel_error": 1e-6,
            "device": "cpu0",
        }
    ]


def test_what_is_absent_is_null_and_a_failure_has_its_error() -> None:
    document = job_document(job_from(failing("NO_VALID_TRIAL", "none ran")[-1]))
    assert document["latency_ms"] == {"tuned": None, "untuned": None, "onnxruntime": None}
    assert document["max_rel_error"] is None
    assert document["package"] is None
    assert document["error"] == {"kind": "NO_VALID_TRIAL", "message": "none ran"}


def test_what_json_cannot_say_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_document({"a": [float("inf"), float("nan"), 1.5], "b": (1,)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 1.5], "b": [1]}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (Unreachable("x"), 2),
        (Unavailable("x"), 1),
        (JobFailed("x", "NO_DEVICE"), 2),
        (JobFailed("x", "INVALID_INPUT"), 2),
        (JobFailed("x", "NO_VALID_TRIAL"), 1),
        (EmbeddedFailed("x"), 1),
    ],
)
def test_exit_codes_of_errors(error: TunefarmError, code: int) -> None:
    assert code_of_error(error) == code


def test_exit_codes_of_jobs() -> None:
    jobs = [succeeding()[-1], failing("INTERNAL", "x")[-1], failing("NO_DEVICE", "x")[-1], job_at("CANCELLED", 1)]
    assert [code_of_job(job_from(job)) for job in jobs] == [0, 1, 2, 1]


def test_errors_are_one_line_but_for_the_log_of_a_program_that_died() -> None:
    assert error_line(InvalidInput("a\n  b")) == "error: a b"
    assert error_line(EmbeddedFailed("a:\nlog")) == "error: a:\nlog"


def test_an_output_folder_that_stayed_empty_is_removed_with_its_parents(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_was_used_or_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with output_folder(tmp_path / "old"):
        pass
    with output_folder(tmp_path / "new" / "deep") as folder:
        (folder / "file").write_text("")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "file", "new", "old"]


def test_an_output_folder_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="output folder"), output_folder(path):
            raise AssertionError("not reached")
    assert (tmp_path / "file").is_file()

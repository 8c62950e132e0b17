"""Several shape sets in a job: asked for in each of the ways, planned as one, kept by it, refused where they err."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_models import save_recogniser, save_tiny_cnn
from tests.tuning_service import TASKS, TuningService
from tunefarm import Client
from tunefarm.cli import main
from tunefarm.errors import InvalidInput

NARROW, WIDE = {"image": (1, 3, 16, 32)}, {"image": (1, 3, 16, 96)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_recogniser(tmp_path / "recogniser.onnx")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TuningService]:
    with TuningService(tmp_path / "service") as service:
        yield service


def test_through_the_sdk(service: TuningService, model: Path) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model, [NARROW, WIDE], input_padding={"image": 0})
        plan = variant.plan(trials_per_kernel=4)
        assert plan.shape_sets == (NARROW, WIDE)
        # The stand-in prepares the same kernels for each set: each is one task, tuned once.
        assert [(task.weight, task.weights) for task in plan.tasks] == [(2, (1, 1))] * len(TASKS)
        assert plan.budget == 4 * len(TASKS)
        workflow = variant.optimize()
        workflow.cancel()
        assert workflow.wait(10, poll_interval=0.01)
        assert [each.shapes for each in workflow.status().shape_sets] == [NARROW, WIDE]
    prepared = service.compute.prepared
    assert [dict(request.shapes) for request in prepared[:2]] == [NARROW, WIDE]
    assert len({request.out_dir for request in prepared}) == 2


def test_sets_outlive_the_coordinator(tmp_path: Path, service: TuningService, model: Path) -> None:
    with Client(service.address) as client:
        job_id = client.upload_model(model, [NARROW, WIDE]).optimize().id
    service.stop()
    with TuningService(tmp_path / "service") as again, Client(again.address) as client:
        assert [each.shapes for each in client.job(job_id).status().shape_sets] == [NARROW, WIDE]


def test_through_the_command_line(service: TuningService, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--shape-set", "image=1,3,16,32", "--shape-set", "image=1,3,16,96", "--pad", "image=0.5"]
    assert main(["plan", str(model), *sets, "--connect", service.address]) == 0
    out = capsys.readouterr().out
    assert "shape sets: image=1,3,16,32; image=1,3,16,96" in out
    assert "1+1" in out
    assert main(["plan", str(model), *sets, "--connect", service.address, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["shape_sets"] == [{"image": [1, 3, 16, 32]}, {"image": [1, 3, 16, 96]}]
    assert document["tasks"][0]["weights"] == [1, 1]
    assert main(["tune", str(model), *sets, "--connect", service.address, "--detach", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["latency_ms"]["tuned"] for each in document["shape_sets"]] == [None, None]


@pytest.mark.parametrize(
    ("sets", "padding", "said"),
    [
        ([NARROW, {}], {}, r"shape set 2: the model leaves input sizes open .* --input image=1,3,16,\?"),
        ([NARROW, {"image": (1, 3, 16)}], {}, "shape set 2: input 'image' has 4 dimensions"),
        ([NARROW, WIDE], {"image": 1e39}, r"padding: input 'image' is float32, which can't be 1e\+39"),
    ],
)
def test_refused(
    service: TuningService,
    model: Path,
    sets: list[dict[str, tuple[int, ...]]],
    padding: dict[str, float],
    said: str,
) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model, sets, input_padding=padding)
        for call in (variant.plan, variant.optimize):
            with pytest.raises(InvalidInput, match=said):
                call()
    assert service.compute.prepared == []


def test_an_unknown_input_can_not_be_padded(service: TuningService, model: Path) -> None:
    with Client(service.address) as client, pytest.raises(InvalidInput, match="--pad: no input is called 'picture'"):
        client.upload_model(model, input_padding={"picture": 0})


def test_sizes_that_are_forced_hold_for_every_set_that_has_no_others(service: TuningService, tmp_path: Path) -> None:
    fixed = save_tiny_cnn(tmp_path / "tiny.onnx")
    with Client(service.address) as client:
        variant = client.upload_model(fixed, [{}, {"image": (2, 3, 16, 16)}], force_inputs={"image": (1, 3, 16, 16)})
        assert variant.plan().shape_sets == ({"image": (1, 3, 16, 16)}, {"image": (2, 3, 16, 16)})


def test_one_set_says_nothing_of_sets(service: TuningService, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(model), "--input", "image=1,3,16,32", "--connect", service.address]
    assert main(["plan", *common]) == 0
    assert "shape set" not in capsys.readouterr().out
    assert main(["tune", *common, "--detach", "--json"]) == 0
    assert "shape_sets" not in json.loads(capsys.readouterr().out)

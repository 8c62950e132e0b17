"""`allow_tf32` and `exact_math`: asked for in each of the ways, kept by the job; TF32 refused where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.tiny_models import save_tiny_cnn
from tests.tuning_service import TARGET, TuningService
from tunefarm import Client
from tunefarm.cli import main
from tunefarm.errors import InvalidInput
from tunefarm_proto.v1 import tuning_pb2, tuning_pb2_grpc


def _gpu(arch: str) -> str:
    return json.dumps({"kind": "cuda", "arch": arch})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_cnn(tmp_path / "tiny.onnx")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TuningService]:
    with TuningService(tmp_path / "service", target=_gpu("sm_80")) as service:
        yield service


def _spec(service: TuningService, job_id: str) -> tuning_pb2.JobSpec:
    with grpc.insecure_channel(service.address) as channel:
        stub = cast(Any, tuning_pb2_grpc).TuningServiceStub(channel)
        return cast(tuning_pb2.JobSpec, stub.GetJob(tuning_pb2.GetJobRequest(job_id=job_id), timeout=10).spec)


def test_through_the_sdk_and_kept_by_a_job_that_goes_on(service: TuningService, model: Path) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model)
        assert variant.plan("cuda", allow_tf32=True).allow_tf32 is True
        assert variant.plan("cuda").allow_tf32 is False
        exact, workflow = variant.optimize("cuda"), variant.optimize("cuda", allow_tf32=True)
        assert _spec(service, exact.id).allow_tf32 is False
        workflow.cancel()
        assert workflow.wait(10, poll_interval=0.01)
        workflow.resume(trials_per_kernel=7)
        spec = _spec(service, workflow.id)
        assert (spec.allow_tf32, spec.autoscheduler.trials_per_kernel) == (True, 7)
    # Each precision is prepared in a folder of its own.
    assert len({(request.out_dir, request.allow_tf32) for request in service.compute.prepared}) == 2


def test_through_the_command_line(service: TuningService, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(model), "--connect", service.address, "--target", "cuda"]
    assert main(["plan", *common, "--json", "--allow-tf32"]) == 0
    assert json.loads(capsys.readouterr().out)["allow_tf32"] is True
    assert main(["plan", *common, "--allow-tf32"]) == 0
    assert "precision: float32 products may use TF32" in capsys.readouterr().out
    assert main(["plan", *common]) == 0
    assert "TF32" not in capsys.readouterr().out
    assert main(["tune", *common, "--json", "--detach", "--allow-tf32"]) == 0
    assert _spec(service, json.loads(capsys.readouterr().out)["job_id"]).allow_tf32 is True


def test_exact_mathematics(service: TuningService, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model)
        assert variant.plan("cuda", exact_math=True).exact_math is True
        assert _spec(service, variant.optimize("cuda", exact_math=True).id).exact_math is True
        assert _spec(service, variant.optimize("cuda").id).exact_math is False
        assert variant.plan("cuda").exact_math is False
        with pytest.raises(InvalidInput, match="exact_math is True or False"):
            variant.plan("cuda", exact_math=1)  # type: ignore[arg-type]
    assert {request.exact_math for request in service.compute.prepared} == {True, False}
    common = [str(model), "--connect", service.address, "--target", "cuda"]
    assert main(["plan", *common, "--exact-math"]) == 0
    assert "precision: exp, tanh and their like are libm's" in capsys.readouterr().out
    assert main(["tune", *common, "--json", "--detach", "--exact-math"]) == 0
    assert _spec(service, json.loads(capsys.readouterr().out)["job_id"]).exact_math is True


@pytest.mark.parametrize(("target", "has"), [(TARGET, "llvm"), (_gpu("sm_75"), "cuda sm_75")])
def test_refused_where_there_is_none(
    tmp_path: Path, model: Path, target: str, has: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = json.loads(target)["kind"] if "cuda" in target else "host"
    with TuningService(tmp_path / "service", target=target) as service:
        with Client(service.address) as client:
            variant = client.upload_model(model)
            for call in (variant.plan, variant.optimize):
                with pytest.raises(InvalidInput, match=rf"compute capability 8\.0.*the target is {has}: leave it out"):
                    call(name, allow_tf32=True)
            assert client.jobs() == []
        assert main(["tune", str(model), "--connect", service.address, "--target", name, "--allow-tf32"]) == 2
        assert f"the target is {has}" in capsys.readouterr().err


def test_yes_or_no(service: TuningService, model: Path) -> None:
    with Client(service.address) as client:
        variant = client.upload_model(model)
        with pytest.raises(InvalidInput, match="allow_tf32 is True or False"):
            variant.plan("cuda", allow_tf32="yes")  # type: ignore[arg-type]

"""What a user says of a model's inputs: by SDK and command line, kept by the job, over restarts, or refused at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.tuning_service import TuningService
from tunefarm import Client
from tunefarm.cli import main
from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_proto.v1 import tuning_pb2, tuning_pb2_grpc


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Ten rows, looked up by ids, folded to a shape that is an input."""
    table = numpy_helper.from_array(np.zeros((30, 4), np.float32), "t")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["t", "ids"], ["g"]), helper.make_node("Reshape", ["g", "shape"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [10, "length"]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [table],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TuningService]:
    with TuningService(tmp_path / "service") as service:
        yield service


def samples(path: Path, *shape: int, sets: int = 2) -> Path:
    arrays: dict[str, Any] = {f"ids/{at}": np.full(shape, at) for at in range(sets)}
    np.savez(path, **arrays)
    return path


def called(service: TuningService, method: str, request: Any) -> Any:
    with grpc.insecure_channel(service.address) as channel:
        return getattr(cast(Any, tuning_pb2_grpc).TuningServiceStub(channel), method)(request, timeout=30)


def test_through_the_sdk(service: TuningService, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "shape.npy", np.array([2, -1]))
    with Client(service.address) as client:
        plain = client.upload_model(model, {"ids": [10, 3]})
        said = client.upload_model(
            model,
            input_samples=samples(tmp_path / "s.npz", 2, 3),
            input_ranges={"ids": (5, 9)},
            freeze={"shape": tmp_path / "shape.npy"},
            force_inputs={"ids": [2, 3]},
        )
        assert plain.id == said.id
        plain.plan()
        said.plan()
    before, after = service.compute.prepared
    assert (before.shapes, after.shapes) == ({"ids": (10, 3), "shape": (2,)}, {"ids": (2, 3)})
    # The model that is prepared is the one without the input, in a folder of its own.
    assert before.out_dir != after.out_dir
    assert [(tensor.name, tensor.dims) for tensor in read_signature(after.model).inputs] == [("ids", (None, None))]
    assert onnx.load(after.model).graph.initializer[1].name == "shape"


def test_through_the_command_line_and_kept_by_the_job(
    service: TuningService, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(model), "--connect", service.address, "--samples", str(samples(tmp_path / "s.npz", 10, 3))]
    wishes = [*common, "--freeze", "shape=10,-1", "--range", "ids=1:3"]
    assert main(["plan", *wishes, "--json"]) == 0
    # The sizes that nobody gave are those of the samples.
    assert service.compute.prepared[-1].shapes == {"ids": (10, 3)}
    capsys.readouterr()
    assert main(["tune", *wishes, "--json", "--detach"]) == 0
    job_id = json.loads(capsys.readouterr().out)["job_id"]
    spec = called(service, "GetJob", tuning_pb2.GetJobRequest(job_id=job_id)).spec
    assert spec.frozen_inputs["shape"].json == "[10, -1]"
    assert (spec.input_ranges["ids"].low, spec.input_ranges["ids"].high) == (1, 3)
    assert spec.input_samples.startswith("values-")
    service.stop()
    with TuningService(tmp_path / "service", leave=True) as again, Client(again.address) as client:
        assert list(again.interrupted) == [job_id]
        client.job(job_id).resume()
        assert called(again, "GetJob", tuning_pb2.GetJobRequest(job_id=job_id)).spec.input_samples == spec.input_samples


def test_a_key_means_the_same_values(service: TuningService, model: Path, tmp_path: Path) -> None:
    with Client(service.address) as client:
        first = client.upload_model(model, {"ids": [10, 3]}, freeze={"shape": [10, 12]})

        def submit(values: Path) -> Any:
            spec = tuning_pb2.JobSpec(model_id=first.id, input_samples=client_upload(service, values))
            spec.frozen_inputs["shape"].json = "[10, 12]"
            return called(service, "SubmitJob", tuning_pb2.SubmitJobRequest(idempotency_key="k", spec=spec))

        job = submit(samples(tmp_path / "a.npz", 10, 3))
        assert submit(samples(tmp_path / "a.npz", 10, 3)).job_id == job.job_id
        with pytest.raises(grpc.RpcError) as refused:
            submit(samples(tmp_path / "b.npz", 10, 4))
        assert cast(grpc.Call, refused.value).code() is grpc.StatusCode.ALREADY_EXISTS


def client_upload(service: TuningService, path: Path, **header: Any) -> str:
    content = path.read_bytes()
    said: dict[str, Any] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | header
    announced = tuning_pb2.FileHeader(**said)
    parts = [tuning_pb2.UploadValuesRequest(header=announced), tuning_pb2.UploadValuesRequest(data=content)]
    return str(called(service, "UploadValues", iter(parts)).values_id)


@pytest.mark.parametrize("header", [{"size": 3}, {"size": 10**6}, {"sha256": "0" * 64}, {"size": 1 << 40}])
def test_values_that_are_not_what_was_announced(service: TuningService, tmp_path: Path, header: dict[str, Any]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client_upload(service, samples(tmp_path / "s.npz", 10, 3), **header)
    assert cast(grpc.Call, refused.value).code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"input_samples": "values-00"}, "NOT_FOUND", "no values 'values-00'"),
        ({"input_samples": "values-../store.db"}, "NOT_FOUND", "upload them first"),
        (
            {"input_ranges": {"id": tuning_pb2.InputRange(low=0, high=1)}},
            "INVALID_ARGUMENT",
            "the model has ids, shape",
        ),
        ({"input_ranges": {"ids": tuning_pb2.InputRange(low=1, high=1)}}, "INVALID_ARGUMENT", "HIGH is above LOW"),
        ({"frozen_inputs": {"id": tuning_pb2.FrozenInput(json="1")}}, "INVALID_ARGUMENT", "no input named 'id'"),
        ({"frozen_inputs": {"shape": tuning_pb2.FrozenInput(json="0.5")}}, "INVALID_ARGUMENT", "does not hold 0.5"),
        ({"frozen_inputs": {"shape": tuning_pb2.FrozenInput(json="[1]")}}, "INVALID_ARGUMENT", "is fixed at 2"),
        ({"forced_inputs": ["shape"]}, "INVALID_ARGUMENT", "'shape' has none in a set of shapes"),
    ],
)
def test_what_does_not_fit_is_refused_by_plan(
    service: TuningService, model: Path, spec: dict[str, Any], code: str, message: str
) -> None:
    with Client(service.address) as client:
        model_id = client.upload_model(model).id
    sizes = tuning_pb2.JobSpec(model_id=model_id, **spec)
    sizes.shape_sets.add().inputs["ids"].dims.extend([10, 3])
    with pytest.raises(grpc.RpcError) as refused:
        called(service, "PlanJob", tuning_pb2.PlanJobRequest(spec=sizes))
    call = cast(grpc.Call, refused.value)
    assert call.code().name == code
    assert message in str(call.details())


def test_refused_with_names_before_anything_is_uploaded(
    service: TuningService, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["plan", str(model), "--connect", service.address]
    assert main([*common, "--samples", str(samples(tmp_path / "s.npz", 9, 3))]) == 2
    assert "'ids/0'" in capsys.readouterr().err
    assert not (tmp_path / "service" / "models").exists()
    assert main([*common, "--input", "ids=9,3"]) == 2
    assert "--force-input ids=9,3 overrides it" in capsys.readouterr().err
    assert main([*common, "--input", "ids=10,4", "--samples", str(samples(tmp_path / "s.npz", 10, 3))]) == 2
    assert "'ids' of set 0 is 10,3, but the job's input is 10,4" in capsys.readouterr().err

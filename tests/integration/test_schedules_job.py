"""What a job leaves in the store, to users: the best schedules of a model, a package without a trial, a second job."""

import json
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.programs import assert_nothing_left, coordinator, document, tunefarm
from tunefarm import Client
from tunefarm_coordinator.engines import programs, trace_text
from tunefarm_coordinator.models.tasks import kernels_of


@pytest.mark.timeout(600)
def test_a_second_time_costs_no_trial(home: Path, model: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    tuned = tunefarm(home, "tune", str(model), "--trials-per-kernel", "4", "--out", str(first), "--json")
    assert tuned.returncode == 0, tuned.stderr
    manifest = json.loads((first / "manifest.json").read_text())
    check_workloads_are_kept(home)
    check_best(home, model, manifest)
    check_top(home, model, manifest)
    check_compiled(home, model, first, tmp_path / "compiled")
    check_stock_tvm(home, model, first)
    check_second_job(home, model, tmp_path / "second")
    check_verifying(home, tmp_path / "other", model)
    assert_nothing_left(home)


def check_workloads_are_kept(home: Path) -> None:
    with sqlite3.connect(home / "data" / "tunefarm" / "tunefarm.db") as store:
        modules = dict(store.execute("select workload, module from workloads"))
        measured = {workload for (workload,) in store.execute("select distinct workload from records")}
    assert measured
    assert measured <= modules.keys()
    assert all(json.loads(zlib.decompress(module)) for module in modules.values())


def check_best(home: Path, model: Path, manifest: dict[str, Any]) -> None:
    """What finals decided, inside the model too, is what the store says."""
    found = document(tunefarm(home, "schedules", "best", str(model), "--json"))
    assert found["device_class"].startswith("v1:")
    best = {task["workload"]: task["schedules"][0] for task in found["tasks"]}
    assert best.keys() == {task["workload"] for task in manifest["tasks"]}
    for task in manifest["tasks"]:
        schedule = best[task["workload"]]
        assert schedule["verified"]
        assert schedule["seconds"] > 0
        assert json.loads(schedule["trace"])
        if task["schedule"] == "tuned":
            assert schedule["candidate_id"] == task["record"]
        else:
            assert schedule["default_schedule"]
    shown = tunefarm(home, "schedules", "best", str(model))
    assert f"{len(best)} of {len(best)} tasks are known" in shown.stdout


def check_top(home: Path, model: Path, manifest: dict[str, Any]) -> None:
    name = manifest["tasks"][0]["name"]
    (task,) = document(tunefarm(home, "schedules", "top", str(model), "--task", name, "-k", "3", "--json"))["tasks"]
    seconds = [schedule["seconds"] for schedule in task["schedules"]]
    assert 2 <= len(seconds) <= 3
    assert seconds[1:] == sorted(seconds[1:])
    unknown = tunefarm(home, "schedules", "top", str(model), "--task", "conv9")
    assert unknown.returncode == 2
    assert "'conv9'" in unknown.stderr
    assert name in unknown.stderr
    elsewhere = tunefarm(home, "schedules", "best", str(model), "--class", "v1:board")
    assert elsewhere.returncode == 2
    assert "v1:board" in elsewhere.stderr
    assert "known are v1:" in elsewhere.stderr


def check_compiled(home: Path, model: Path, first: Path, out: Path) -> None:
    """The same schedules, and so the same outputs to the bit; default ones for a target of which nothing is known."""
    done = tunefarm(home, "compile", str(model), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    said = document(done)
    assert said["package"] == str(out)
    assert said["checked_here"]
    job, compiled = (json.loads((folder / "manifest.json").read_text()) for folder in (first, out))
    assert {task["workload"]: task["schedule"] for task in compiled["tasks"]} == said["schedules"]
    kept = ("workload", "schedule", "record")
    assert [{key: task[key] for key in kept} for task in compiled["tasks"]] == [
        {key: task[key] for key in kept} for task in job["tasks"]
    ]
    assert all(np.array_equal(a, b) for a, b in zip(_outputs(first), _outputs(out), strict=True))
    target = json.dumps({"kind": "llvm", "mcpu": "x86-64", "num-cores": 1})
    plain = tunefarm(home, "compile", str(model), "--target", target, "--out", str(out))
    assert plain.returncode == 0, plain.stderr
    assert "the store has no record for this target" in plain.stdout
    compiled = json.loads((out / "manifest.json").read_text())
    assert {task["schedule"] for task in compiled["tasks"]} == {"default"}
    assert compiled["device_class"] == ""


def _outputs(package: Path) -> list[Any]:
    made = package / "outputs.npz"
    command = [sys.executable, "run.py", "--inputs", "inputs.npz", "--outputs", str(made)]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(made) as archive:
        return [archive[name] for name in sorted(archive.files)]


def check_stock_tvm(home: Path, model: Path, package: Path) -> None:
    """The package's prepared module, compiled by stock TVM with the store: each kernel has its best schedule, which is
    also that of the database in the package, and the outputs are the package's."""
    module = tvm.ir.load_json((package / "prepared_module.json").read_text())
    target = Target(json.loads((package / "manifest.json").read_text())["target"])
    in_package = ms.database.JSONDatabase(work_dir=str(package))
    with coordinator(home) as (_, address), Client(address) as client:
        in_store = client.schedules.database(target)
        ours, theirs = (_applied(module, target, database) for database in (in_store, in_package))
        executable = ms.relax_integration.compile_relax(in_store, module, target, None)
    found = document(tunefarm(home, "schedules", "best", str(model), "--json"))
    traces = {task["workload"]: task["schedules"][0]["trace"] for task in found["tasks"]}
    functions = {kernel.workload: (kernel.function, kernel.module) for kernel in kernels_of(module)}
    # Stock TVM has no trace of another algorithm: the next best schedule is taken there.
    own = {workload: trace for workload, trace in traces.items() if programs.named_in(json.loads(trace)[0]) is None}
    assert own
    for workload, trace in own.items():
        name, kernel = functions[workload]
        expected = trace_text.replay(kernel, trace, target).mod["main"]
        assert tvm_ffi.structural_equal(ours[name].body, expected.body, map_free_vars=True), name
    # A default schedule that nothing was faster than is not in it.
    assert theirs.keys() <= ours.keys()
    for name, kernel in theirs.items():
        assert _text(ours[name]) == _text(kernel)
    with np.load(package / "weights.npz") as weights, np.load(package / "inputs.npz") as inputs:
        arguments = [inputs[name] for name in sorted(inputs.files)][:1] + [
            weights[f"w{i}"] for i in range(len(weights))
        ]
        machine = relax.VirtualMachine(executable, tvm.cpu())
        output = machine["main"](*(tvm.runtime.tensor(array) for array in arguments))
    (expected,) = _outputs(package)
    assert np.allclose(output.numpy(), expected, rtol=1e-3, atol=1e-4)


def _text(kernel: Any) -> str:
    """TVM's databases make numbers of a trace's booleans."""
    return str(kernel.script()).replace('_preproc": True', '_preproc": 1')


def _applied(module: Any, target: Target, database: Any) -> dict[str, Any]:
    """The kernels that a stock pass has a schedule for, scheduled."""
    with target, database:
        applied = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(module)
    functions = {str(name.name_hint): function for name, function in applied.functions.items()}
    return {name: each for name, each in functions.items() if each.attrs and each.attrs.get("tirx.is_scheduled")}


def check_second_job(home: Path, model: Path, out: Path) -> None:
    planned = document(tunefarm(home, "plan", str(model), "--trials-per-kernel", "4", "--json"))
    assert planned["budget"] == 0
    assert any("tuned enough by earlier jobs" in note for note in planned["notes"])
    again = tunefarm(home, "tune", str(model), "--trials-per-kernel", "4", "--out", str(out), "--json")
    assert again.returncode == 0, again.stderr
    result = document(again)
    assert result["trials"]["charged"] == result["trials"]["budget"] == 0
    assert result["measurements"] >= len(result["tasks"])
    notes = json.loads((out / "manifest.json").read_text())["notes"]
    assert any("tuned enough by earlier jobs" in note for note in notes)
    # What was found is not lost by finding nothing new.
    assert result["latency_ms"]["tuned"] < 2 * result["latency_ms"]["untuned"]


def check_verifying(home: Path, other: Path, model: Path) -> None:
    """What another farm found is believed once it was measured and checked here, without a trial."""
    other.mkdir()
    unknown = tunefarm(other, "schedules", "verify", str(model))
    assert unknown.returncode == 2
    assert "knows no schedule" in unknown.stderr
    export = other / "all.jsonl"
    assert tunefarm(home, "schedules", "export", str(export)).returncode == 0
    assert tunefarm(other, "schedules", "import", str(export)).returncode == 0
    assert _verified(document(tunefarm(other, "schedules", "best", str(model), "--json"))) == {False}
    done = tunefarm(other, "schedules", "verify", str(model), "--json")
    assert done.returncode == 0, done.stderr
    assert _verified(document(done)) == {True}
    job = document(tunefarm(other, "job", "show", document(done)["job_id"], "--json"))
    assert job["trials"]["charged"] == 0
    assert_nothing_left(other)


def _verified(found: dict[str, Any]) -> set[bool]:
    return {task["schedules"][0]["verified"] for task in found["tasks"]}

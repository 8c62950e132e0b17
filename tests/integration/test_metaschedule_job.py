"""Databases of plain TVM: what its tuner finds is compiled from the store, and it loads what the store has."""

import json
import random
import sqlite3
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from tests.programs import agent, assert_nothing_left, coordinator, document, tunefarm, until
from tunefarm_coordinator.engines import module_text
from tunefarm_coordinator.engines.intrinsics import enter_lazy_package
from tunefarm_coordinator.models.tasks import kernels_of, tasks_of
from tunefarm_coordinator.schedules.record import LONGEST_SAMPLE_SECONDS

RECORDS, WORKLOADS = "database_tuning_record.json", "database_workload.json"


@pytest.mark.timeout(280)
def test_what_plain_tvm_found_is_compiled_and_comes_out_again(home: Path, model: Path, tmp_path: Path) -> None:
    package, database = tmp_path / "package", tmp_path / "plain"
    with coordinator(home) as (_, address):
        farm = Farm(home, address)
        # Nothing is known yet: the package has default schedules, and the prepared module.
        untuned = farm("compile", str(model), "--out", str(package), "--json")
        assert untuned.returncode == 0, untuned.stderr
        best = tune_plainly(package, database)
        check_unknown_class(farm, database)
        with agent(home, address):
            until(lambda: bool(document(farm("devices", "--json"))["devices"]), 90, "no device came")
            check_import(farm, database, tmp_path)
        check_compiled(farm, model, package, best, tmp_path / "compiled")
        check_export(farm, best, tmp_path / "exported")
    assert_nothing_left(home)


@dataclass(frozen=True)
class Farm:
    """A coordinator, to its users' command."""

    home: Path
    address: str

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return tunefarm(self.home, *arguments, "--connect", self.address)

    def rows(self, query: str) -> list[Any]:
        """What its store has."""
        with sqlite3.connect(self.home / "data" / "tunefarm" / "tunefarm.db") as store:
            return store.execute(query).fetchall()


def tune_plainly(package: Path, folder: Path) -> dict[str, float]:
    """A database as stock TVM writes one for the package's prepared module, with times that nobody measured. The best
    time of each workload."""
    folder.mkdir()
    enter_lazy_package()
    target = _target(package)
    module = tvm.ir.load_json((package / "prepared_module.json").read_text())
    database = ms.database.JSONDatabase(work_dir=str(folder))
    best = {}
    rng = random.Random(0)
    for task in tasks_of(kernels_of(module)):
        mod = module_text.load(task.module)
        with target:
            space = ms.space_generator.PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm")
            context = ms.TuneContext(mod, target=target, space_generator=space, rand_state=1, num_threads=1)
            sketches = context.generate_design_space()
        workload = database.commit_workload(mod)
        arguments = ms.arg_info.ArgInfo.from_prim_func(mod["main"])
        times = [rng.uniform(1e-7, 2e-7) for _ in range(3)]
        found = 0
        for sketch in [*sketches] * 4:
            schedule = tvm.s_tir.Schedule(mod, seed=rng.randint(1, 2**30))
            sketch.trace.apply_to_schedule(schedule, remove_postproc=True)
            schedule.enter_postproc()
            if found == len(times) or not all(postproc.apply(schedule) for postproc in space.postprocs):
                continue
            record = ms.database.TuningRecord(schedule.trace, workload, [times[found]], target, arguments)
            database.commit_tuning_record(record)
            found += 1
        assert found
        best[task.workload] = min(times[:found])
        database.commit_tuning_record(ms.database.TuningRecord(schedule.trace, workload, [1e10], target, arguments))
    assert best
    return best


def _target(package: Path) -> Target:
    """As somebody without a farm writes it: TVM's own words for this machine's system."""
    said = json.loads((package / "manifest.json").read_text())["target"]
    system = str(tvm.target.codegen.llvm_get_system_triple())
    return Target({**said, "mtriple": system})


def check_unknown_class(farm: Farm, database: Path) -> None:
    other = farm("schedules", "import", str(database))
    assert other.returncode == 2
    assert "--format metaschedule" in other.stderr
    for named, said in ((("--class", "v1:board"), "'v1:board'"), ((), "say it with --class")):
        refused = farm("schedules", "import", str(database), "--format", "metaschedule", *named)
        assert refused.returncode == 2
        assert said in refused.stderr
    empty = farm("schedules", "export", str(farm.home / "out"), "--format", "metaschedule")
    assert empty.returncode == 2
    assert "no valid record matches" in empty.stderr


def check_import(farm: Farm, database: Path, folder: Path) -> None:
    """Whole, then with lines that are none among its own; the farm's device says which class is meant."""
    lines = (database / RECORDS).read_text().splitlines(keepends=True)
    sentinels = sum("[10000000000" in line for line in lines)
    assert sentinels
    command = ("schedules", "import", str(database), "--format", "metaschedule", "--json")
    done = farm(*command)
    assert done.returncode == 3, done.stderr
    came = document(done)
    assert came["refused"]["by_kind"] == {"SENTINEL_TIME": sentinels}
    assert (came["added"], came["known"], came["devices"]) == (len(lines) - sentinels, 0, 1)
    again = document(farm(*command))
    assert (again["added"], again["known"], again["workloads"], again["devices"]) == (0, came["added"], 0, 0)

    spoiled = folder / "spoiled" / "below"
    spoiled.mkdir(parents=True)
    (spoiled / WORKLOADS).write_text((database / WORKLOADS).read_text() + '["1", "AAAA"]\n[]\n')
    workloads = len((spoiled / WORKLOADS).read_text().splitlines())
    good = lines[0]
    bad = [
        "garbage\n",
        good.replace("[0,", f"[{workloads - 2},", 1),
        good.replace("[0,", f"[{workloads},", 1),
        good.replace("SplitK", "Split").replace('"Split"', '"Spilt"', 1),
        good[: len(good) // 2],
    ]
    (spoiled / RECORDS).write_text("".join([*bad[:-1], *lines[1:], bad[-1]]))
    came = document(farm("schedules", "import", str(folder / "spoiled"), *command[3:]))
    reasons = {item["line"]: item["reason"] for item in came["refused"]["items"] if item["kind"] == "MALFORMED"}
    assert sorted(reasons) == [1, 2, 3, 4, len(lines) + 4]
    assert "no JSON" in reasons[1]
    assert f"line {workloads - 1} of {WORKLOADS}" in reasons[2]
    assert "there is no such line" in reasons[3]
    assert "does not fit" in reasons[4]
    assert "ends within" in reasons[len(lines) + 4]
    assert came["added"] == 0

    # The device's own words for the target, and its class.
    (device,) = document(farm("devices", "--json"))["devices"]
    (scope,) = document(farm("schedules", "stats", "--json"))["scopes"]
    assert json.loads(scope["target"]) == json.loads(device["target"])
    assert scope["device_class"] == device["device_class"]
    assert farm.rows("select distinct source, created from records") == [("imported", 0.0)]
    ((slowest,),) = farm.rows("select max(median) from records")
    assert 0 < slowest < LONGEST_SAMPLE_SECONDS


def check_compiled(farm: Farm, model: Path, package: Path, best: dict[str, float], out: Path) -> None:
    done = farm("compile", str(model), "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["checked_here"]
    assert {task["workload"]: task["seconds"] for task in manifest["tasks"]} == best
    assert {task["schedule"] for task in manifest["tasks"]} == {"tuned"}
    for ours, theirs in zip(_outputs(out), _outputs(package), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    found = document(farm("schedules", "best", str(model), "--json"))
    assert {task["schedules"][0]["measured"] for task in found["tasks"]} == {None}


def _outputs(package: Path) -> list[Any]:
    made = package / "outputs.npz"
    command = [sys.executable, "run.py", "--inputs", "inputs.npz", "--outputs", str(made)]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(made) as archive:
        return [archive[name] for name in sorted(archive.files)]


def check_export(farm: Farm, best: dict[str, float], out: Path) -> None:
    done = farm("schedules", "export", str(out), "--format", "metaschedule", "--json")
    assert done.returncode == 0, done.stderr
    (folder,) = document(done)["folders"]
    target = Target(json.loads((Path(folder["path"]) / "target.json").read_text()))
    database = ms.database.JSONDatabase(work_dir=folder["path"])
    assert len(database) == folder["records"] == document(done)["records"]
    assert folder["workloads"] == len(best)
    modules = dict(farm.rows("select workload, module from workloads"))
    for workload, seconds in best.items():
        record = database.query_tuning_record(module_text.load(zlib.decompress(modules[workload]).decode()), target, "")
        assert record is not None
        assert float(record.run_secs[0]) == pytest.approx(seconds)

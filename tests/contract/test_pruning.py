"""`tunefarm schedules prune` and `client.schedules.prune` against real stores over real gRPC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.schedule_farm import ARM, HERE, THERE, X86, ScheduleFarm, contents, fill, some_records
from tunefarm.cli import main
from tunefarm.client import Client
from tunefarm.errors import InvalidInput, NotFound
from tunefarm.pruning import Pruned
from tunefarm_coordinator.schedules import pruning
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.store import Store

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parents[1] / "schedule_farm.py"
COUNT = 1300
WORKLOADS = [f"5-w{number}" for number in range(7)]
HERE_CLASS, THERE_CLASS = device_class(HERE.facts), device_class(THERE.facts)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and HOME."""
    for name in ("TUNEFARM_CONNECT", "TUNEFARM_TOKEN", "TUNEFARM_FROM_TOKEN", "TUNEFARM_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[ScheduleFarm]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        fill(store, some_records(COUNT))
        with ScheduleFarm(store) as farm:
            yield farm


def _counts(store: Store) -> list[dict[str, int]]:
    return [
        store.count_valid(WORKLOADS, target, name, own=own)
        for target, name in ((X86, HERE_CLASS), (ARM, THERE_CLASS))
        for own in (False, True)
    ]


def _document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


def test_it_says_how_much_first_and_leaves_what_is_asked_for(
    farm: ScheduleFarm, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, best = _counts(farm.store), contents(farm.store)["best"]
    assert sum(count for of in counts[::2] for count in of.values()) > 1000
    command = ["schedules", "prune", "--keep-top", "3", "--connect", farm.address]
    assert main([*command, "--dry-run", "--json"]) == 0
    said = _document(capsys)
    assert (said["dry_run"], said["workloads"], said["freed_bytes"]) == (True, 7, None)
    # of each workload, target and class six stay, the job's: some workloads are on one target alone
    assert COUNT - 14 * 6 <= said["records"] < COUNT
    assert main(command) == 2  # nobody at a keyboard
    assert "--yes" in capsys.readouterr().err
    assert farm.store.stats().records == COUNT
    assert main([*command, "--yes"]) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert out.startswith(f"pruned {said['records']:,} records of 7 workloads, with the traces of {said['traces']:,} ")
    assert "the store's file is" in out
    assert (_counts(farm.store), contents(farm.store)["best"]) == (counts, best)
    assert main([*command, "--yes", "--json"]) == 0
    again = _document(capsys)
    assert (again["records"], again["dry_run"]) == (0, False)
    assert main([*command, "--yes"]) == 0
    assert "nothing to prune" in capsys.readouterr().out
    assert main(["schedules", "stats", "--connect", farm.address]) == 0
    out = capsys.readouterr().out
    assert f"{COUNT - said['records']:,} records: " in out
    assert f"{said['records']:,} records pruned, which count as trials still" in out


def test_what_was_pruned_is_known_when_it_comes_back(farm: ScheduleFarm, folder: Path) -> None:
    counts = _counts(farm.store)
    with Client(farm.address) as client:
        client.schedules.export_to(folder / "all.jsonl")
        gone = client.schedules.prune(keep_top=1)
        assert gone.records > 0
        taken = client.schedules.import_from(folder / "all.jsonl")
        assert (taken.added, taken.known, taken.refused_count) == (0, COUNT, 0)
        assert client.schedules.stats().records == COUNT - gone.records
    assert _counts(farm.store) == counts


def test_only_what_was_named_goes(farm: ScheduleFarm, capsys: pytest.CaptureFixture[str]) -> None:
    def would(*options: str) -> int:
        command = ["schedules", "prune", "--keep-top", "3", "--connect", farm.address, "--dry-run", "--json"]
        assert main([*command, *options]) == 0
        return int(_document(capsys)["records"])

    everything = would()
    assert sum(would("--workload", name) for name in WORKLOADS) == everything
    assert would("--target", X86) + would("--target", ARM) == everything
    assert would("--class", HERE_CLASS) + would("--class", THERE_CLASS) == everything
    assert would("--project", "vision") + would("--project", "audio") == everything
    assert 0 == would("--older-than", "2023-01-01") < would("--older-than", "2023-11-14 22:15+00:00") < everything
    assert would("--older-than", "2d") == everything


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--keep-top", "0"], 2, "keep-top"),
        ([], 2, "keep-top"),
        (["--keep-top", "1", "--older-than", "long ago"], 2, "is no time"),
        (["--keep-top", "1", "--class", "v1:toaster"], 2, "no device of class 'v1:toaster'"),
        (["--keep-top", "1", "--target", "llvm"], 2, "is not JSON"),
    ],
)
def test_a_mistake_takes_nothing(
    options: list[str], code: int, message: str, farm: ScheduleFarm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedules", "prune", "--connect", farm.address, "--yes", *options]) == code
    assert message in capsys.readouterr().err
    assert farm.store.stats().records == COUNT


def test_the_client_refuses_what_no_store_is_asked(farm: ScheduleFarm) -> None:
    with Client(farm.address) as client:
        with pytest.raises(InvalidInput, match="at least 1"):
            client.schedules.prune(keep_top=0)
        with pytest.raises(NotFound, match="toaster"):
            client.schedules.prune(keep_top=1, device_class="toaster")


def test_what_was_broken_off_goes_on(farm: ScheduleFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "STEP_RECORDS", 10)
    counts = _counts(farm.store)
    with Client(farm.address) as client:
        would = client.schedules.prune(keep_top=1, dry_run=True)
        told: list[Pruned] = []

        def interrupt(so_far: Pruned) -> None:
            told.append(so_far)
            if so_far.done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.schedules.prune(keep_top=1, progress=interrupt)
        assert [so_far.records for so_far in told] == sorted(so_far.records for so_far in told)
        assert 0 < told[-1].records < would.records
        assert _counts(farm.store) == counts
        rest = client.schedules.prune(keep_top=1)
        assert farm.store.stats().records == COUNT - would.records
        assert rest.records <= would.records - told[-1].records
    assert _counts(farm.store) == counts


def test_an_interrupted_command_says_how_far_it_came(
    farm: ScheduleFarm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunefarm.cli.telling.SHORT_SECONDS", 0.0)
    steps = farm.store.prune

    def once(*arguments: Any) -> Any:
        if farm.store.stats().pruned:
            os.kill(os.getpid(), 2)
        return steps(*arguments)

    monkeypatch.setattr(farm.store, "prune", once)
    assert main(["schedules", "prune", "--keep-top", "1", "--yes", "--connect", farm.address]) == 130
    said = capsys.readouterr().err
    assert "pruning " in said
    assert "interrupted: " in said
    assert "goes on there" in said


def test_without_a_coordinator_this_machines_store_is_pruned(farm: ScheduleFarm, folder: Path, tmp_path: Path) -> None:
    with Client(farm.address) as client:
        client.schedules.export_to(folder / "all.jsonl")
    program = f"""
        import functools, sys
        import tunefarm.embedded
        tunefarm.embedded.EmbeddedSettings = functools.partial(
            tunefarm.embedded.EmbeddedSettings,
            coordinator_command=(sys.executable, {str(PROGRAM)!r}),
            agent_command=("false",),
            check_extras=False,
        )
        from tunefarm.cli import main
        sys.exit(main(["schedules", *sys.argv[1:]]))
    """

    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments, "--data-dir", str(tmp_path / "data")]
        ran = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    run("import", "all.jsonl")
    # what was imported is no job's of this machine: of each scope three stay
    gone = run("prune", "--keep-top", "3", "--yes")
    stats = run("stats")
    assert (stats["pruned"], stats["records"]) == (gone["records"], COUNT - gone["records"])
    assert stats["records"] == 3 * 14
    assert gone["returned_bytes"] > 0

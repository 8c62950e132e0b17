"""`tunefarm schedules` and `client.schedules` against real stores over real gRPC, in files, and through kills."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.programs import free_port, until
from tests.schedule_farm import HERE, ScheduleFarm, contents, fill, rows, some_records
from tunefarm.cli import main
from tunefarm.client import Client
from tunefarm.errors import InvalidInput
from tunefarm.schedule_file import RefusalKind
from tunefarm.schedules import Imported
from tunefarm_coordinator.schedules.record import Record, Source
from tunefarm_coordinator.schedules.record_reads import RecordFilter
from tunefarm_coordinator.schedules.retracting import Facts
from tunefarm_coordinator.schedules.store import Store

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parents[1] / "schedule_farm.py"
CLI = [sys.executable, "-c", "import sys; from tunefarm.cli import main; sys.exit(main())", "schedules"]
COUNT = 1300


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


@contextlib.contextmanager
def _farm(path: Path, records: list[Record] | None = None) -> Iterator[ScheduleFarm]:
    with Store.open(f"sqlite:///{path}") as store:
        if records:
            fill(store, records)
        with ScheduleFarm(store) as farm:
            yield farm


@pytest.fixture
def full(tmp_path: Path) -> Iterator[ScheduleFarm]:
    with _farm(tmp_path / "full.db", some_records(COUNT)) as farm:
        yield farm


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[ScheduleFarm]:
    with _farm(tmp_path / "empty.db") as farm:
        yield farm


@pytest.fixture
def export(full: ScheduleFarm, folder: Path) -> Path:
    """All that the full farm has."""
    path = folder / "all.jsonl"
    with Client(full.address) as client:
        client.schedules.export_to(path)
    return path


def _clean(tmp_path: Path, export: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a store that took the file in once, undisturbed."""
    database = tmp_path / "clean.db"
    with _farm(database) as farm, Client(farm.address) as client:
        assert client.schedules.import_from(export).refused_count == 0
    return rows(database)


def _document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


# ---- out and in


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_what_is_exported_comes_in_whole_and_once(
    full: ScheduleFarm, empty: ScheduleFarm, folder: Path, name: str
) -> None:
    with Client(full.address) as client:
        exported = client.schedules.export_to(folder / name)
    assert (exported.records, exported.workloads, exported.devices) == (COUNT, 7, 2)
    assert exported.size == (folder / name).stat().st_size
    assert [path.name for path in folder.iterdir()] == [name]
    with Client(empty.address) as client:
        told: list[tuple[Imported, int, int]] = []
        imported = client.schedules.import_from(folder, progress=lambda *now: told.append(now))
        assert imported == Imported(added=COUNT, workloads=7, devices=2)
        assert told[-1] == (imported, exported.size, exported.size)
        assert client.schedules.import_from([folder / name, folder / name]) == Imported(known=2 * COUNT)
    here, there = contents(full.store), contents(empty.store)
    assert [record.record_id for record in there["records"]] == [record.record_id for record in here["records"]]
    assert {record.source for record in there["records"]} == {Source.IMPORTED}
    for part in ("traces", "workloads", "devices", "classes"):
        assert there[part] == here[part]
    best = {
        scope: {workload: record.record_id for workload, (record, _) in found.items()}
        for scope, found in there["best"].items()
    }
    assert best == {
        scope: {workload: record.record_id for workload, (record, _) in found.items()}
        for scope, found in here["best"].items()
    }


def test_packed_and_plain_say_the_same_and_the_same_again(full: ScheduleFarm, folder: Path) -> None:
    with Client(full.address) as client:
        for name in ("a.jsonl", "b.jsonl.gz"):
            client.schedules.export_to(folder / name)
    plain = (folder / "a.jsonl").read_bytes().split(b"\n", 1)
    packed = gzip.decompress((folder / "b.jsonl.gz").read_bytes()).split(b"\n", 1)
    assert plain[1] == packed[1]
    assert json.loads(plain[0])["tunefarm_schedules"] == 1


def test_an_export_is_of_what_was_asked_for_and_leaves_the_file_alone_where_it_fails(
    full: ScheduleFarm, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect = ["--connect", full.address]
    assert main(["schedules", "export", "some.jsonl", "--project", "audio", "--workload", "5-w3", *connect]) == 0
    said = capsys.readouterr().out
    records = [json.loads(line)["record"] for line in _lines(folder / "some.jsonl")[1:] if line.startswith('{"record"')]
    assert {(record["project"], record["workload"]) for record in records} == {("audio", "5-w3")}
    assert f"{len(records)} records of 1 workload and 2 devices in some.jsonl" in said
    before = (folder / "some.jsonl").read_text()
    assert main(["schedules", "export", "some.jsonl", "--target", "llvm", *connect]) == 2
    assert "not JSON" in capsys.readouterr().err
    assert (folder / "some.jsonl").read_text() == before
    assert [path.name for path in folder.iterdir()] == ["some.jsonl"]
    name = full.store.device_classes()[HERE.fingerprint]
    assert main(["schedules", "export", "some.jsonl", "--class", name, "--json", *connect]) == 0
    assert _document(capsys)["devices"] == 1
    for bad in ("gone/all.jsonl", "."):
        assert main(["schedules", "export", bad, *connect]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_bad_lines_are_set_aside_with_their_reasons_and_the_rest_comes_in(
    empty: ScheduleFarm, export: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _lines(export)
    first = next(at for at, line in enumerate(lines) if '"seconds"' in line)
    measured = json.loads(lines[first])
    measured["record"]["seconds"] = [1e10]
    changed = json.loads(lines[first])
    changed["record"]["seconds"][0] *= 0.5
    spoiled = [
        "not json\n",
        json.dumps(measured) + "\n",
        json.dumps(changed) + "\n",
        '[7, [[[], []], [0.001], {"kind": "llvm"}, []]]\n',
        '{"record": 7}\n',
        '{"record": {"workload": 7}}\n',
        '{"record": {"seconds": [NaN]}}\n',
        '{"record": {"workload": "\\ud800"}}\n',
        '{"record": {"created": 1e300}}\n',
        '{"weather": {}}\n',
        "[" * 100_000 + "\n",
        "\n",
        lines[0],
    ]
    bad = folder / "bad.jsonl"
    bad.write_text("".join([*lines[:first], *spoiled, *lines[first:], *lines[first:][:4], lines[-1][:-9]]))
    assert main(["schedules", "import", "bad.jsonl", "--connect", empty.address, "--json"]) == 3
    document = _document(capsys)
    assert (document["added"], document["known"]) == (COUNT, 4)
    items = document["refused"]["items"]
    at = [item["line"] - first for item in items]
    assert sorted(at) == [*range(1, 12), len(lines) + len(spoiled) + 5 - first]
    by_line = {item["line"] - first: item for item in items}
    kinds = {line: item["kind"] for line, item in by_line.items()}
    assert (kinds[2], kinds[3], kinds[max(kinds)]) == ("SENTINEL_TIME", "CHANGED", "CUT_OFF")
    assert set(kinds.values()) == {"UNREADABLE", "SENTINEL_TIME", "CHANGED", "CUT_OFF"}
    assert "MetaSchedule" in by_line[4]["reason"]
    assert document["refused"]["by_kind"]["UNREADABLE"] == 9

    assert main(["schedules", "import", "bad.jsonl", "--connect", empty.address]) == 3
    shown = capsys.readouterr()
    assert shown.out.startswith(f"0 records taken in, {COUNT + 4:,} known already")
    assert "12 lines set aside (UNREADABLE 9, " in shown.err
    assert f"  bad.jsonl:{first + 1}: the line is no JSON" in shown.err


def test_a_packed_file_that_was_cut_off_gives_what_it_has(
    full: ScheduleFarm, empty: ScheduleFarm, folder: Path
) -> None:
    with Client(full.address) as client:
        client.schedules.export_to(folder / "a.gz")
    whole = (folder / "a.gz").read_bytes()
    (folder / "cut.gz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    (folder / "damaged.gz").write_bytes(damaged)
    with Client(empty.address) as client:
        for name, kinds in (("cut.gz", {RefusalKind.CUT_OFF}), ("damaged.gz", set(RefusalKind))):
            imported = client.schedules.import_from(folder / name)
            assert set(imported.refused_by_kind) <= kinds
            assert imported.refused_count >= 1
            assert 0 < imported.added + imported.known < COUNT
        # a packed file under a plain name is read as what it is
        (folder / "named.jsonl").write_bytes(whole)
        imported = client.schedules.import_from(folder / "named.jsonl")
        assert imported.added + imported.known == COUNT
        assert imported.refused_count == 0


FOREIGN = {
    "tuning.json": ('[0, [[[], []], [0.001], {"kind": "llvm"}, []]]', "a tuning record of TVM's MetaSchedule"),
    "workloads.json": ('["1234", "eyJyb290"]', "a workload of TVM's MetaSchedule"),
    "autotvm.log": ('{"input": ["llvm", "dense", []], "config": {}, "result": [[1e9], 1, 2, 3]}', "a log of AutoTVM"),
    "ansor.json": ('{"i": [["[]", "llvm"], [[], []]], "r": [[1e10], 2, 0, 0], "v": "v0.6"}', "a log of TVM's auto-sch"),
    "text.txt": ("hello", "nothing that `tunefarm schedules export` wrote"),
    "number.json": ("7", "nothing that `tunefarm schedules export` wrote"),
    "empty.jsonl": ("", "is empty"),
    "newer.jsonl": ('{"tunefarm_schedules": 2}', "upgrade it"),
    "headless.jsonl": ('{"record": {}}', "without the first line"),
    "bad.gz": ("\x1f\x8bnothing packed", "cannot read"),
}


@pytest.mark.parametrize("name", [*FOREIGN, "gone.jsonl", "."])
def test_a_file_of_others_is_refused_by_name_before_anything_is_started(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    says = {"gone.jsonl": "no such file", ".": "no file in the folder"}.get(name) or FOREIGN[name][1]
    if name in FOREIGN:
        (folder / name).write_bytes((FOREIGN[name][0] + "\n").encode("latin-1") if FOREIGN[name][0] else b"")
    for command in ("import", "merge"):
        assert main(["schedules", command, name]) == 2
        shown = capsys.readouterr()
        assert (shown.out, shown.err.count("\n")) == ("", 1)
        assert says in shown.err
    assert not (folder.parent / "home").exists()


@pytest.mark.parametrize("short", [False, True])
def test_what_takes_long_shows_how_far_it_is(
    empty: ScheduleFarm,
    export: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    short: bool,
) -> None:
    monkeypatch.setattr("tunefarm.cli.telling._PLAIN_TICK_SECONDS", 0.0)
    monkeypatch.setattr("tunefarm.cli.telling.SHORT_SECONDS", 60.0 if short else 0.0)
    assert main(["schedules", "import", str(export), "--connect", empty.address, "--json"]) == 0
    shown = capsys.readouterr()
    told = [line for line in shown.err.splitlines() if "taking in" in line]
    assert bool(told) is not short
    assert short or "100%  1,300 new, 0 known" in told[-1]
    assert json.loads(shown.out)["added"] == COUNT


# ---- from other farms


def test_merge_takes_from_files_and_coordinators(
    full: ScheduleFarm, empty: ScheduleFarm, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _farm(tmp_path / "third.db", some_records(200, start=COUNT - 100)) as third, Client(third.address) as client:
        client.schedules.export_to(folder / "third.jsonl")
    command = ["schedules", "merge", "third.jsonl", full.address, "--connect", empty.address]
    assert main([*command, "--json"]) == 0
    document = _document(capsys)
    assert (document["added"], document["known"]) == (COUNT + 100, 100)
    assert (document["workloads"], document["devices"]) == (7, 2)
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(f"0 records taken in, {COUNT + 200:,} known already")
    for bad, says in (("gone.jsonl", "no such file"), ("a/b", "no such file"), (f"127.0.0.1:{free_port()}", "answers")):
        assert main(["schedules", "merge", bad, "--connect", empty.address]) == 2
        assert says in capsys.readouterr().err


def test_two_farms_merge_into_one_at_the_same_time(
    full: ScheduleFarm, empty: ScheduleFarm, tmp_path: Path, export: Path
) -> None:
    with _farm(tmp_path / "other.db", some_records(COUNT, start=COUNT // 2)) as other:
        commands = [
            [*CLI, "merge", full.address, "--connect", empty.address],
            [*CLI, "merge", other.address, "--connect", empty.address],
            [*CLI, "import", str(export), "--connect", empty.address],
        ]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        assert [process.wait(60) for process in running] == [0, 0, 0]
        for process in running:
            process.communicate()
        with _farm(tmp_path / "one_by_one.db") as quiet, Client(quiet.address) as client:
            for farm in (other, full):
                with Client(farm.address) as source:
                    client.schedules.merge_from(source.schedules)
            assert contents(quiet.store) == contents(empty.store)
    assert rows(tmp_path / "one_by_one.db") == rows(tmp_path / "empty.db")


# ---- numbers


def _narrow(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "60", "TERM": "dumb"}
    command = [*CLI, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)


def test_stats_read_well_at_sixty_columns(
    full: ScheduleFarm, empty: ScheduleFarm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedules", "stats", "--connect", full.address, "--json"]) == 0
    document = _document(capsys)
    assert (document["records"], document["valid"], document["censored"]) == (COUNT, 1040, 130)
    assert document["failed"] == {"RUN_ERROR": 130}
    assert (document["workloads"], len(document["scopes"])) == (7, 2)
    assert document["oldest"].startswith("2023-11-14T22:13:20")
    ran = _narrow("stats", "--connect", full.address)
    assert max(len(line) for line in ran.stdout.splitlines()) <= 60
    assert "1,300 records: 1,040 valid, 130 let go early" in ran.stdout.replace("\n", " ")
    assert main(["schedules", "stats", "--connect", empty.address]) == 0
    assert capsys.readouterr().out.startswith("no records")


def test_help_reads_well_at_sixty_columns() -> None:
    for command in ("export", "import", "merge", "prune", "retract", "stats"):
        ran = _narrow(command, "--help")
        assert max(len(line) for line in ran.stdout.splitlines()) <= 60


# ---- taken back


def test_what_a_device_measured_is_taken_back(full: ScheduleFarm, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["schedules", "retract", "--connect", full.address, "--device", HERE.fingerprint]
    assert main([*command, "--dry-run", "--json"]) == 0
    said = _document(capsys)
    assert (said["records"], said["dry_run"]) == (_count_of(full.store, HERE.fingerprint), True)
    assert said["records"] > 0
    assert main(command) == 2  # nobody at a keyboard
    assert "--yes" in capsys.readouterr().err
    assert _count(full.store) == COUNT
    assert main([*command, "--yes", "--reason", "a loose heat sink"]) == 0
    assert capsys.readouterr().out.startswith(f"took back {said['records']:,} records of 7 workloads")
    assert _count(full.store) == COUNT - said["records"]
    assert main([*command, "--yes"]) == 0
    assert "nothing matches" in capsys.readouterr().out
    assert main(["schedules", "stats", "--connect", full.address]) == 0
    assert f"{said['records']:,} records taken back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give --agent"),
        (["--since", "yesterday"], "is no time"),
    ],
)
def test_what_is_to_be_taken_back_has_to_be_said(
    options: list[str], message: str, full: ScheduleFarm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedules", "retract", "--connect", full.address, *options]) == 2
    assert message in capsys.readouterr().err
    assert _count(full.store) == COUNT


def test_times_are_written_as_people_write_them(full: ScheduleFarm, capsys: pytest.CaptureFixture[str]) -> None:
    for since, count in (("2023-01-01", COUNT), ("2d", 0), ("2100-01-01 10:30+02:00", 0)):
        assert main(["schedules", "retract", "--connect", full.address, "--since", since, "--dry-run", "--json"]) == 0
        assert _document(capsys)["records"] == count


# ---- without a coordinator


def test_an_embedded_coordinator_without_an_agent_does(export: Path, folder: Path, tmp_path: Path) -> None:
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
        ran = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "starting the coordinator" in ran.stderr
        assert "agent" not in ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    assert run("import", str(export))["added"] == COUNT
    assert run("stats")["imported"] == COUNT
    assert run("export", "again.jsonl")["records"] == COUNT
    assert _lines(folder / "again.jsonl")[1:] == _lines(export)[1:]


# ---- broken off


def _slowed(store: Store, seconds: float) -> None:
    """Each batch takes this long to write."""
    merge = store.merge

    def slow(offers: Any) -> Future[Any]:
        time.sleep(seconds)
        return merge(offers)

    store.merge = slow  # type: ignore[method-assign]


def _count_of(store: Store, fingerprint: str) -> int:
    return store.would_retract(Facts(device_fingerprint=fingerprint)).records


def _count(store: Store) -> int:
    return store.stats().records


def _broken_off(command: list[str], number: signal.Signals, when: Callable[[], bool]) -> tuple[int, str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(when, 30, "the import did not get that far")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    return process.returncode, err


def test_ctrl_c_keeps_what_was_taken_in_and_the_same_command_goes_on(
    empty: ScheduleFarm, tmp_path: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merge = empty.store.merge
    _slowed(empty.store, 0.3)
    command = [*CLI, "import", str(export), "--connect", empty.address]
    code, err = _broken_off(command, signal.SIGINT, lambda: _count(empty.store) > 0)
    assert code == 130
    assert "taken in, and kept" in err
    assert "Traceback" not in err
    assert _count(empty.store) > 0
    empty.store.merge = merge  # type: ignore[method-assign]
    assert main([*command[3:], "--json"]) == 0
    document = _document(capsys)
    assert document["added"] + document["known"] == COUNT
    assert document["known"] > 0
    assert rows(tmp_path / "empty.db") == _clean(tmp_path, export)


def test_kill_9_of_the_client_loses_nothing_and_counts_nothing_twice(
    empty: ScheduleFarm, tmp_path: Path, export: Path
) -> None:
    """Killed at later and later moments, each time at another place of a batch's way."""
    merge = empty.store.merge
    _slowed(empty.store, 0.1)
    command = [*CLI, "import", str(export), "--connect", empty.address]
    for least in (0, 1, 600, 1100):
        code, _ = _broken_off(command, signal.SIGKILL, lambda least=least: _count(empty.store) >= least)  # type: ignore[misc]
        assert code == -signal.SIGKILL
    empty.store.merge = merge  # type: ignore[method-assign]
    with Client(empty.address) as client:
        imported = client.schedules.import_from(export)
    assert imported.added + imported.known == COUNT
    assert {item.source for item in empty.store.records(RecordFilter())} == {Source.IMPORTED}
    assert rows(tmp_path / "empty.db") == _clean(tmp_path, export)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 20])
def test_kill_9_of_the_coordinator_in_mid_import_loses_nothing(tmp_path: Path, kills: int) -> None:
    """The client waits for it, and sends again what was not answered. When it has waited long enough, which it may
    have on a busy machine, the same command goes on."""
    count = 12_000
    export = tmp_path / "many.jsonl"
    with _farm(tmp_path / "many.db", some_records(count)) as farm, Client(farm.address) as client:
        client.schedules.export_to(export)
    data, port = tmp_path / "data", free_port()

    def served() -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), "serve", "--data-dir", str(data), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def imported() -> subprocess.Popen[str]:
        command = [*CLI, "import", str(export), "--connect", f"127.0.0.1:{port}", "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    database = data / "tunefarm.db"
    server = served()
    importing = imported()

    def goes_on(least: int) -> bool:
        nonlocal importing
        if importing.poll() is not None and _stored(database) < count:
            importing.communicate()
            importing = imported()
        return _stored(database) >= least

    try:
        for kill in range(kills):
            least = 1 + kill * count // (kills + 3)
            until(lambda least=least: goes_on(least), 60, "no record came")  # type: ignore[misc]
            time.sleep(kill % 4 * 0.02)  # at another place of a batch's way
            server.kill()
            server.communicate()
            assert _stored(database) < count
            server = served()
        until(lambda: goes_on(count), 120, "the import did not end")
        out, _ = importing.communicate(timeout=120)
        document = json.loads(out)
        assert importing.returncode == 0
        assert document["added"] + document["known"] == count
        assert document["refused"]["count"] == 0
    finally:
        importing.kill()
        importing.communicate()
        server.kill()
        server.communicate()
    assert rows(database) == _clean(tmp_path, export)


def _stored(database: Path) -> int:
    if not database.exists():
        return 0
    with sqlite3.connect(database) as connection:
        count: int = connection.execute("SELECT count(*) FROM records").fetchone()[0]
    return count


def test_a_coordinator_that_stays_away_is_named(
    export: Path, empty: ScheduleFarm, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("tunefarm.schedules._OUTAGE_SECONDS", 0.5)
    with Client(empty.address) as client:
        client.schedules.stats()
        empty.stop()
        with pytest.raises(Exception, match="does not answer now"):
            client.schedules.import_from(export)
        with pytest.raises(Exception, match="does not answer now"):
            client.schedules.export_to(folder / "new.jsonl")
    assert [path.name for path in folder.iterdir()] == ["all.jsonl"]


def test_a_source_that_breaks_off_is_no_end_of_it(
    full: ScheduleFarm, empty: ScheduleFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it taken for an outage of the farm that takes in."""
    monkeypatch.setattr("tunefarm.schedules._OUTAGE_SECONDS", 0.5)
    with Client(empty.address) as client, Client(full.address) as source:
        source.schedules.stats()
        full.stop()
        with pytest.raises(Exception, match=f"{full.address} does not answer now"):
            client.schedules.merge_from(source.schedules)


def test_the_sdk_names_a_missing_file(empty: ScheduleFarm, folder: Path) -> None:
    with Client(empty.address) as client, pytest.raises(InvalidInput, match="no such file"):
        client.schedules.import_from(folder / "gone.jsonl")

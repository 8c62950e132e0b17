"""A job's books: what its journal and the store say of it, read past the coordinator."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tunefarm_coordinator.schedules.store import Store


def database(home: Path) -> Path:
    """The store of a coordinator with this home."""
    return home / "data" / "tunefarm" / "tunefarm.db"


def events(home: Path, job: str) -> list[dict[str, Any]]:
    """The journal."""
    with sqlite3.connect(database(home)) as store:
        rows = store.execute("select payload from events where job_id = ? order by seq", (job,)).fetchall()
    return [json.loads(payload) for (payload,) in rows]


def length(home: Path, job: str) -> int:
    """How many events the journal has."""
    with sqlite3.connect(database(home)) as store:
        count: int = store.execute("select count(*) from events where job_id = ?", (job,)).fetchone()[0]
    return count


def tuned_records(home: Path, job: str) -> Counter[tuple[str, str]]:
    """How often each candidate of the job went on record as a trial, by (workload, identity)."""
    with sqlite3.connect(database(home)) as store:
        rows = store.execute("select workload, identity from records where job_id = ? and source = 'tuned'", (job,))
        return Counter(rows.fetchall())


def check_books(home: Path, job: str, charged: int) -> None:
    """No candidate was proposed or charged twice, and the trials on record are those that were charged."""
    journal = events(home, job)
    proposed = Counter(identity for event in journal if event["kind"] == "proposed" for identity in event["identities"])
    assert max(proposed.values()) == 1
    failed_builds = Counter(
        (event["round"], event["index"]) for event in journal if event["kind"] == "build_ended" and event["failure"]
    )
    measured = Counter((event["round"], event["index"]) for event in journal if event["kind"] == "item_measured")
    assert max((failed_builds + measured).values()) == 1
    recorded = tuned_records(home, job)
    assert max(recorded.values()) == 1
    assert recorded.total() + failed_builds.total() == charged


def check_best(home: Path, job: str, manifest: Path) -> None:
    """Every kernel of the package runs with the best verified record that the store has for it, or with the default
    schedule. Only while no coordinator runs."""
    prepared = next(event for event in events(home, job) if event["kind"] == "prepared")
    with Store.open(f"sqlite:///{database(home)}") as store:
        tasks = json.loads(manifest.read_text())["tasks"]
        best = store.incumbents([task["workload"] for task in tasks], prepared["target"], prepared["device_class"])
    assert tasks
    for task in tasks:
        record, verified = best[task["workload"]]
        assert verified
        assert task["record"] in (record.identity, None), task

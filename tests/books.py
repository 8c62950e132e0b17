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


def count_measured(home: Path) -> int:
    """How many items were measured, of all jobs."""
    with sqlite3.connect(database(home)) as store:
        count: int = store.execute("select count(*) from events where kind = 'item_measured'").fetchone()[0]
    return count


def recorded(home: Path, job: str) -> set[str]:
    """The candidates that the job has a record of; what is measured without a trial is among them."""
    with sqlite3.connect(database(home)) as store:
        return {name for (name,) in store.execute("select identity from records where job_id = ?", (job,))}


def check_books(home: Path, job: str, charged: int) -> None:
    """No candidate was proposed twice (unless a cancel let it go before it ended), no item ended twice, and the
    different candidates that were proposed and ended are as many as were charged."""
    journal = events(home, job)
    asked = {event["round"]: event["identities"] for event in journal if event["kind"] == "proposed"}
    proposed = Counter(identity for identities in asked.values() for identity in identities)
    cancelled = any(event["kind"] == "cancel_requested" for event in journal)
    assert cancelled or max(proposed.values()) == 1
    builds = [event for event in journal if event["kind"] == "build_ended"]
    failed = Counter((event["round"], event["index"]) for event in builds if event["failure"])
    measured = Counter((event["round"], event["index"]) for event in journal if event["kind"] == "item_measured")
    assert max((failed + measured).values()) == 1
    ended = len(recorded(home, job).intersection(proposed)) + sum(_is_trial(item, builds, asked) for item in failed)
    if cancelled:
        # What came from the device after the end was kept, and is not charged.
        assert ended >= charged
    else:
        assert ended == charged


def _is_trial(item: tuple[int, int], builds: list[dict[str, Any]], asked: dict[int, list[str]]) -> bool:
    """Whether this item (round, index) is one that search proposed: before those stand the ones without a trial."""
    number, index = item
    items = {event["index"] for event in builds if event["round"] == number}
    return index >= len(items) - len(asked.get(number, ()))


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

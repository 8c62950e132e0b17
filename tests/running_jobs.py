"""A job of a running coordinator, as its user sees it, and as its journal has it."""

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tests.programs import document, tunefarm


def show(home: Path, job: str, address: str) -> dict[str, Any]:
    return document(tunefarm(home, "job", "show", job, "--connect", address, "--json"))


def check_ended_well(home: Path, job: str, address: str) -> None:
    """SUCCEEDED, within the budget, no candidate charged twice, every journal row once."""
    watched = tunefarm(home, "job", "watch", job, "--connect", address)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    result = show(home, job, address)
    trials = result["trials"]
    assert result["state"] == "SUCCEEDED"
    assert trials["charged"] <= trials["budget"]
    assert trials["charged"] == trials["valid"] + sum(trials["failed"].values())
    proposed, measured = journal(home, job)
    assert max(proposed.values()) == 1
    assert max(measured.values()) == 1


def journal(home: Path, job: str) -> tuple[Counter[str], Counter[tuple[int, int]]]:
    """How often each candidate was proposed, and each item of a round measured."""
    proposed: Counter[str] = Counter()
    measured: Counter[tuple[int, int]] = Counter()
    with sqlite3.connect(home / "data" / "tunefarm" / "tunefarm.db") as store:
        for (payload,) in store.execute("select payload from events where job_id = ? order by seq", (job,)):
            event = json.loads(payload)
            if event["kind"] == "proposed":
                proposed.update(event["identities"])
            elif event["kind"] == "item_measured":
                measured[event["round"], event["index"]] += 1
    return proposed, measured

"""What the check found, as a document for machines and a table for people."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interleaved import Ratio, ratio
from rich.console import Console
from rich.table import Table
from timing_run import AGAIN, PACKAGE, Timed
from tuning_run import Tuned

# The one that a user would otherwise deploy: no launch gaps, no compiler.
PEER = "PyTorch graph"
# Columns, where no terminal says how many.
WIDTH = 140
DRY = "DRY RUN ON A CPU: no figure here is one of a GPU"


@dataclass
class Report:
    """Everything that is written down.

    Attributes:
        dry: on a CPU, to try the script out.
        facts: `card_facts.machine_facts`, and versions.
        options: what was asked for.
        phases: seconds of each phase of the script.
        skipped: what was not done, and why.
        busy_percent: mean utilisation of the GPU while jobs ran.
        broken: what ended the check before its end.
    """

    dry: bool
    facts: dict[str, Any]
    options: dict[str, Any]
    phases: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    run_scripts: dict[str, str] = field(default_factory=dict)
    busy_percent: float | None = None
    broken: str = ""

    @property
    def failures(self) -> list[str]:
        """What makes the check fail: a job, a package that does not run, outputs that do not match."""
        failed = [f"the check was broken off: {self.broken}"] if self.broken else []
        failed += [f"{tuned.case.name}: {tuned.error}" for tuned in self.tuned if tuned.error]
        failed += [f"{name}: {words}" for name, words in self.run_scripts.items() if not words.startswith("latency")]
        for timed in self.timed:
            failed += [
                f"{timed.case.name}: {words}" for name, words in timed.missing.items() if name in (PACKAGE, AGAIN)
            ]
            for name in (PACKAGE, AGAIN):
                if not timed.matches.get(name, True):
                    error = timed.errors[name]
                    failed.append(
                        f"{timed.case.name}: {name}'s output is off by {error:.2g} from {timed.case.reference}"
                    )
        return failed

    @property
    def trials_per_second(self) -> float | None:
        """Of all jobs together, from the first one's tuning to the last one's."""
        spans = [tuned.tuning for tuned in self.tuned if tuned.tuning is not None]
        charged = sum(tuned.document.get("trials", {}).get("charged", 0) for tuned in self.tuned)
        seconds = max((end for _, end in spans), default=0.0) - min((begin for begin, _ in spans), default=0.0)
        return charged / seconds if seconds > 0 else None

    def document(self) -> dict[str, Any]:
        """Times in seconds, latencies in milliseconds."""
        return {
            "what": DRY if self.dry else "tests/gpu/check.sh",
            "dry_run": self.dry,
            "facts": self.facts,
            "options": self.options,
            "phases": self.phases,
            "trials_per_second": self.trials_per_second,
            "gpu_busy_percent": self.busy_percent,
            "skipped": self.skipped,
            "failures": self.failures,
            "jobs": {tuned.case.name: _job(tuned) for tuned in self.tuned},
            "run_py": self.run_scripts,
            "timing": {timed.case.name: _timing(timed) for timed in self.timed},
        }

    def write(self, folder: Path, console: Console) -> None:
        """`check.json` and `check.txt` into the folder, and the tables to the console."""
        text = json.dumps(self.document(), indent=2, default=str)
        (folder / "check.json").write_text(text + "\n")
        with (folder / "check.txt").open("w") as file:
            self.print(Console(file=file, width=WIDTH))
        self.print(console)

    def print(self, console: Console) -> None:
        if self.dry:
            console.print(DRY, style="bold")
        console.print(", ".join(f"{key} {value}" for key, value in self.facts.items()), soft_wrap=True)
        console.print(self._jobs_table(), self._timing_table())
        phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.phases.items())
        busy = "" if self.busy_percent is None else f"; GPU busy {self.busy_percent:.0f}% while jobs ran"
        rate = "" if self.trials_per_second is None else f"; {self.trials_per_second:.1f} trials/s in all"
        console.print(f"phases: {phases}{rate}{busy}", soft_wrap=True)
        missing = [f"{timed.case.name}: {words}" for timed in self.timed for words in timed.missing.values()]
        for kind, lines in (("skipped", self.skipped), ("missing", missing), ("FAILED", self.failures)):
            for line in lines:
                console.print(f"{kind}: {line}", soft_wrap=True, markup=False)

    def _jobs_table(self) -> Table:
        headings = ("job", "trials", "failed", "trials/s", "first outcome", "prepare", "tuning", "package", "whole job")
        table = _table("Tuning", headings)
        for tuned in self.tuned:
            job = _job(tuned)
            trials, seconds = job["trials"] or {}, job["job_seconds"] or {}
            failed = ", ".join(f"{kind} {count}" for kind, count in trials.get("failed", {}).items())
            table.add_row(
                tuned.case.name,
                f"{trials.get('charged', 0)} of {trials.get('budget', 0)}",
                failed or "0",
                *(
                    _number(value)
                    for value in (
                        job["trials_per_second"],
                        tuned.first_outcome,
                        seconds.get("prepare"),
                        tuned.tuning_seconds,
                        seconds.get("package"),
                        tuned.seconds,
                    )
                ),
            )
        return table

    def _timing_table(self) -> Table:
        table = _table("Latency of a call", ("model", "contender", "ms", "package / it", "output off by", "matches"))
        for timed in self.timed:
            found = _timing(timed)
            for name, each in found["contenders"].items():
                matches = "yes" if each["matches"] else "NO"
                against = found["package_over"].get(name)
                row = (f"{each['ms']:.3f}", _interval(against), f"{each['error']:.1e}", matches)
                table.add_row(timed.case.name, name, *row)
        return table


def verdict(against: Ratio) -> str:
    """Where the package stands by the interval: "faster", "slower", or "as fast" where it holds 1."""
    if against.high < 1.0:
        return "faster"
    return "slower" if against.low > 1.0 else "as fast"


def _job(tuned: Tuned) -> dict[str, Any]:
    document = tuned.document
    trials, tuning = document.get("trials"), tuned.tuning_seconds
    return {
        "error": tuned.error,
        "trials": trials,
        "trials_per_second": trials["charged"] / tuning if trials and tuning else None,
        "first_outcome_seconds": tuned.first_outcome,
        "state_seconds": tuned.states,
        "job_seconds": document.get("seconds"),
        "seconds": tuned.seconds,
        "latency_ms": document.get("latency_ms"),
        "max_rel_error": document.get("max_rel_error"),
    }


def _timing(timed: Timed) -> dict[str, Any]:
    ours = timed.seconds.get(PACKAGE, [])
    over = {name: ratio(ours, seconds) for name, seconds in timed.seconds.items() if ours and name != PACKAGE}
    peer = over.get(PEER)
    return {
        "reference": timed.case.reference,
        "contenders": {
            name: {
                "ms": statistics.median(seconds) * 1e3,
                "error": timed.errors[name],
                "matches": timed.matches[name],
                **timed.facts.get(name, {}),
            }
            for name, seconds in timed.seconds.items()
        },
        "package_over": {name: dataclasses.asdict(each) for name, each in over.items()},
        "package_against_pytorch_graph": None if peer is None else verdict(peer),
        "rounds": len(ours),
        "missing": timed.missing,
    }


def _interval(against: dict[str, float] | None) -> str:
    return "" if against is None else str(Ratio(**against))


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("job", "model", "contender") else "right")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"

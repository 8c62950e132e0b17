"""What the referee found, in words: a Markdown table for each number of threads, geometric means, README's place."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
from machine import described

FARM, ONNXRUNTIME, OPENVINO = "tunefarm", "ONNX Runtime", "OpenVINO"
PEERS = (ONNXRUNTIME, OPENVINO)
# No model should be slower than this share of the better peer's speed.
FLOOR = 0.9
SLOW = f"under_{FLOOR}"
BEGIN, END = "<!-- bench-runtimes: begin -->", "<!-- bench-runtimes: end -->"
_RESAMPLES = 2_000


def summary(models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By budget and threads: of each peer the geometric mean of the ratios with its interval, and which models are
    below `FLOOR` of the better peer."""
    return [
        {"trials_per_kernel": budget, "threads": threads, "models": len(rows), **_totals(rows)}
        for (budget, threads), rows in groups(models)
    ]


def _totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {peer: mean_ratio([row for row in rows if peer in row["ratios"]], peer) for peer in PEERS}
    slow = {row["name"]: worst for row in rows if (worst := against_better(row)) is not None and worst < FLOOR}
    return {"geometric_mean": {peer: mean for peer, mean in means.items() if mean is not None}, SLOW: slow}


def groups(models: Sequence[dict[str, Any]]) -> list[tuple[tuple[int, int], list[dict[str, Any]]]]:
    """What was timed, by (budget, threads), the greater number of threads first: of each model what `measure` found,
    its `name`, and `job_ratio`, ONNX Runtime's latency over tunefarm's as the job itself has them."""
    rows = [
        {
            **timed,
            "name": model["name"],
            "job_ratio": job_ratio(model, int(threads)),
            "key": (model["trials_per_kernel"], -int(threads)),
        }
        for model in models
        for threads, timed in model["threads"].items()
        if FARM in timed["contenders"]
    ]
    rows.sort(key=lambda row: row["key"])
    return [((key[0], -key[1]), list(group)) for key, group in groupby(rows, key=lambda row: row["key"])]


def mean_ratio(rows: Sequence[dict[str, Any]], peer: str) -> dict[str, float] | None:
    """Geometric mean over models, and its interval: each model's rounds resampled. None without models."""
    if not rows:
        return None
    generator = np.random.default_rng(0)
    logs = []
    for row in rows:
        ratios = np.array(row["contenders"][peer]["seconds"]) / np.array(row["contenders"][FARM]["seconds"])
        picks = generator.integers(0, len(ratios), (_RESAMPLES, len(ratios)))
        logs.append(np.log(np.median(ratios[picks], axis=1)))
    low, high = np.percentile(np.exp(np.mean(logs, axis=0)), [2.5, 97.5])
    return {
        "mean": geometric_mean(row["ratios"][peer]["median"] for row in rows),
        "low": float(low),
        "high": float(high),
    }


def against_better(row: dict[str, Any]) -> float | None:
    """How fast the package is beside the faster of the peers; None without peers."""
    ratios = [row["ratios"][peer]["median"] for peer in PEERS if peer in row["ratios"]]
    return min(ratios, default=None)


def job_ratio(model: dict[str, Any], threads: int) -> float | None:
    """ONNX Runtime's latency over tunefarm's, as the job itself measured them: with all the threads that the model was
    timed with here. None for fewer, and where it did not."""
    latency = model["job"].get("latency_ms") or {}
    tuned, peer = latency.get("tuned"), latency.get("onnxruntime")
    return peer / tuned if tuned and peer and threads == max(map(int, model["threads"])) else None


def agreement(model: dict[str, Any]) -> dict[str, float] | None:
    """The `job`'s ratio beside the `referee`'s, and their quotient `job_over_referee`; None where one is not known."""
    threads = max(map(int, model["threads"]), default=0)
    said = job_ratio(model, threads) if threads else None
    ratios = model["threads"][str(threads)]["ratios"] if threads else {}
    if said is None or ONNXRUNTIME not in ratios:
        return None
    found = ratios[ONNXRUNTIME]["median"]
    return {"job": said, "referee": found, "job_over_referee": said / found}


def markdown(results: dict[str, Any]) -> str:
    """The tables; ratios above 1 where tunefarm is faster."""
    parts = [_table(*group) for group in groups(results["models"])]
    failed = [f"{model['name']}: {model['error']}" for model in results["models"] if "error" in model]
    versions = results["machine"]["versions"]
    where = (
        f"{described(results['machine'])}; ONNX Runtime {versions['onnxruntime']}, OpenVINO {versions['openvino']}, "
        f"commit {results['machine']['commit'][:7]}; {results['settings']['rounds']} interleaved rounds."
    )
    return "\n\n".join([*parts, where, *failed])


def _table(key: tuple[int, int], rows: list[dict[str, Any]]) -> str:
    budget, threads = key
    lines = [
        f"{budget} trials per kernel, {threads} thread{'s' * (threads > 1)}; medians in ms:",
        "",
        "| Model | tunefarm | ONNX Runtime | OpenVINO | x ONNX Runtime | x OpenVINO | first call | the job's x | A/A |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in rows),
    ]
    total = _totals(rows)
    means = [_mean(total["geometric_mean"].get(peer)) for peer in PEERS]
    lines.append(f"| **geometric mean of {len(rows)}** | | | | {means[0]} | {means[1]} | | | |")
    slow = total[SLOW]
    said = ", ".join(f"{name} {worst:.2f}" for name, worst in slow.items()) or "none"
    return "\n".join([*lines, "", f"Under {FLOOR} of the better of the two: {len(slow)} ({said})."])


def _row(row: dict[str, Any]) -> str:
    contenders, ratios = row["contenders"], row["ratios"]
    cells = [
        row["name"],
        *(_milliseconds(contenders.get(name)) for name in (FARM, *PEERS)),
        *(_ratio(ratios.get(peer)) for peer in PEERS),
        f"{contenders[FARM]['first_seconds'] * 1e3:.3g}",
        "" if row["job_ratio"] is None else f"{row['job_ratio']:.2f}",
        _ratio(ratios.get("A/A")),
    ]
    return f"| {' | '.join(cells)} |"


def _milliseconds(contender: dict[str, Any] | None) -> str:
    return "" if contender is None else f"{median(contender['seconds']) * 1e3:.3g}"


def _ratio(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _mean(found: dict[str, float] | None) -> str:
    return "" if found is None else f"**{found['mean']:.2f}** ({found['low']:.2f} to {found['high']:.2f})"


def fill_readme(readme: Path, table: str, picture: Path) -> None:
    """Puts table and picture between README's marks. Raises ValueError if they are not there."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no place for the table: a line {BEGIN}, and a line {END}")
    before, rest = text.split(BEGIN, 1)
    link = os.path.relpath(picture, readme.parent)
    readme.write_text(f"{before}{BEGIN}\n{table}\n\n![Speed beside both]({link})\n{END}{rest.split(END, 1)[1]}")

"""The referee's picture: bars of speed beside both peers with their intervals, and latency against wall time."""

from pathlib import Path
from typing import Any

from runtime_report import PEERS, groups

_COLOURS = {"ONNX Runtime": "#4878a8", "OpenVINO": "#d08440"}
_BAR = 0.38


def draw(results: dict[str, Any], path: Path) -> None:
    """Writes the picture; its kind is the path's ending. Of a run without any figures none."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    found = groups(results["models"])
    if not found:
        return
    histories = {m["name"]: m["job"]["history"] for m in results["models"] if m.get("job", {}).get("history")}
    columns = len(found) + bool(histories)
    height = 1.6 + 0.42 * max(len(rows) for _, rows in found)
    figure, axes = pyplot.subplots(1, columns, figsize=(5.6 * columns, height), squeeze=False, layout="constrained")
    for axis, ((budget, threads), rows) in zip(axes[0], found, strict=False):
        _bars(axis, rows, f"{budget} trials per kernel, {threads} thread{'s' * (threads > 1)}")
    if histories:
        _curves(axes[0][-1], histories)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _bars(axis: Any, rows: list[dict[str, Any]], title: str) -> None:
    """How many times as fast as each peer, a model a line; from the median to both ends of its interval."""
    for offset, peer in zip((-_BAR / 2, _BAR / 2), PEERS, strict=True):
        there = [(place, row["ratios"][peer]) for place, row in enumerate(rows) if peer in row["ratios"]]
        widths = [ratio["median"] for _, ratio in there]
        below = [ratio["median"] - ratio["low"] for _, ratio in there]
        above = [ratio["high"] - ratio["median"] for _, ratio in there]
        places = [place + offset for place, _ in there]
        axis.barh(places, widths, _BAR, xerr=(below, above), color=_COLOURS[peer], label=peer, capsize=2)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel("times as fast as (1: equal; more is better)")
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8)


def _curves(axis: Any, histories: dict[str, list[dict[str, float]]]) -> None:
    """Each model's estimated latency while it was tuned, over the one that it began with."""
    for name, history in histories.items():
        seconds = [point["seconds"] for point in history]
        latencies = [point["latency_ms"] for point in history]
        axis.step(seconds, [latency / latencies[0] for latency in latencies], where="post", label=name, linewidth=1)
    axis.set_xlabel("seconds since the command began")
    axis.set_ylabel("estimated latency / untuned")
    axis.set_title("latency against wall time", fontsize=10)
    axis.legend(fontsize=6, ncols=2)

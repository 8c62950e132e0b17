"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN_NODES = 2


def duration(seconds: float) -> str:
    """1m45s, 12s, 2h03m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def milliseconds(value: float | None, spread: float | None = None) -> str:
    """5.12 ms, 5.12 ± 0.03 ms; a dash where there is none."""
    if value is None:
        return "-"
    digits = 1 if value >= 100 else 2 if value >= 1 else 4
    around = f" ± {spread:.{digits}f}" if spread is not None else ""
    return f"{value:.{digits}f}{around} ms"


def kernel_time(seconds: float | None) -> str:
    """A kernel's latency in the unit that suits it."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def size(count: float) -> str:
    """12.3 MiB; `count` in bytes."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def nodes(names: Sequence[str]) -> str:
    """Conv_0, Relu_0 and 6 more: ONNX nodes, as many as say which kernel it is."""
    shown = ", ".join(names[:_SHOWN_NODES])
    return shown if len(names) <= _SHOWN_NODES else f"{shown} and {len(names) - _SHOWN_NODES} more"


def failures(failed: dict[str, int]) -> str:
    """RUN_ERROR 3, BUILD_ERROR 1: the most frequent first."""
    ordered = sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind} {count}" for kind, count in ordered if count)


def counted(number: int, what: str) -> str:
    """ "1 record", "1,300 records"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"

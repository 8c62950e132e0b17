"""Records, verifications and comparisons: the append-only facts that contender and best are views over.

Each is named by a digest of its content, so the same fact from two sources is one fact, in any order.
"""

import functools
import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tunefarm_coordinator.errors import InvalidInput

# DEVICE_LOST and CANCELLED are no candidate's fault and never become a record.
RECORDED_FAILURES = frozenset(
    {"BUILD_ERROR", "BUILD_TIMEOUT", "LOAD_ERROR", "RUN_ERROR", "RUN_TIMEOUT", "WRONG_OUTPUT"}
)
# Other tools write a failure as "1e10 seconds"; no kernel of ours may run for an hour.
LONGEST_SAMPLE_SECONDS = 3600.0
LONGEST_MESSAGE = 4000
# A store sees the same few targets again and again; a longer text than any that is one is not kept in memory.
_TARGETS_KEPT = 256
_LONGEST_KEPT_TARGET = 4096
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


class SentinelTime(InvalidInput):
    """A time that no kernel takes, and that other tools write for a failure."""


class Source(StrEnum):
    """Where a record came from. A stronger source (later here) replaces a weaker one of the same record."""

    IMPORTED = "imported"
    BASELINE = "baseline"
    TUNED = "tuned"


@dataclass(frozen=True)
class Measured:
    """Samples of one call, in seconds; at least one, each positive."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True)
class Censored:
    """Let go early: one call takes at least this many seconds."""

    at_least_seconds: float


@dataclass(frozen=True)
class Failed:
    """The candidate's own failure; `kind` is one of RECORDED_FAILURES."""

    kind: str
    message: str


Outcome = Measured | Censored | Failed


@dataclass(frozen=True, kw_only=True)
class Record:
    """The durable outcome of one measurement. Make one with `new_record`.

    Attributes:
        record_id: digest of every field but `source`, `conditions` and `agent_id`, which do not travel with an export.
        target: canonical JSON (`canonical_target`).
        identity: the candidate's; its trace stands under (workload, identity).
        conditions: the device's state around the measurement; JSON-able.
        created: Unix time in seconds.
        agent_id: the agent that reported it; empty: not known, or another farm's.
        checked: `new_record` made it, so that its id and its target's spelling follow from its content. Not so of a
            copy with other fields (`dataclasses.replace`), nor of what was read from a store.
    """

    record_id: str
    workload: str
    target: str
    identity: str
    device_fingerprint: str
    outcome: Outcome
    project: str
    job_id: str
    task_name: str
    source: Source
    created: float
    conditions: Mapping[str, Any] = field(default_factory=dict)
    agent_id: str = ""
    checked: bool = field(default=False, init=False, repr=False, compare=False)

    @property
    def seconds(self) -> float | None:
        """Median of the samples, or None for a record that is not valid."""
        return self.outcome.median if isinstance(self.outcome, Measured) else None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """One check of a candidate's output on one device, as `agent_id` reported it. Make one with `new_verification`."""

    verification_id: str
    workload: str
    target: str
    identity: str
    device_fingerprint: str
    ok: bool
    max_rel_error: float | None
    message: str
    job_id: str
    created: float
    agent_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidates of one task timed in turn on one device. Make one with `new_comparison`.

    Attributes:
        results: (identity, outcome) in the order of the lease.
        agent_id: as a record's.
    """

    comparison_id: str
    workload: str
    target: str
    device_fingerprint: str
    results: tuple[tuple[str, Outcome], ...]
    job_id: str
    created: float
    agent_id: str = ""


def canonical_json(value: object) -> str:
    """The one spelling of JSON-able data. Raises InvalidInput for anything else (NaN included)."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not JSON data: {error}") from error


def canonical_target(text: str) -> str:
    """One spelling of a TVM target in JSON. Raises InvalidInput for text that is not a JSON object."""
    return _canonical_target(text) if len(text) > _LONGEST_KEPT_TARGET else _kept_target(text)


def _canonical_target(text: str) -> str:
    try:
        target = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"target {text!r} is not JSON; give TVM's JSON, as `tunefarm devices` shows it") from error
    if not isinstance(target, dict):
        raise InvalidInput(f"target {text!r} is not a JSON object; give TVM's JSON, as `tunefarm devices` shows it")
    return canonical_json(target)


_kept_target = functools.lru_cache(_TARGETS_KEPT)(_canonical_target)


def new_record(
    *,
    workload: str,
    target: str,
    identity: str,
    device_fingerprint: str,
    outcome: Outcome,
    created: float,
    project: str = "",
    job_id: str = "",
    task_name: str = "",
    source: Source = Source.TUNED,
    conditions: Mapping[str, Any] | None = None,
    agent_id: str = "",
) -> Record:
    """A record with its id. Raises InvalidInput, naming the field that can't be taken."""
    content = {
        "workload": _named("workload", workload),
        "target": canonical_target(target),
        "identity": _named("candidate", identity),
        "device_fingerprint": _named("device fingerprint", device_fingerprint),
        "project": project,
        "job_id": job_id,
        "task_name": task_name,
        "created": _finite("created", created),
    }
    outcome = _checked(outcome)
    record = Record(
        record_id=_digest({**content, "outcome": outcome_data(outcome)}),
        outcome=outcome,
        source=source,
        conditions=dict(conditions or {}),
        agent_id=agent_id,
        **content,  # type: ignore[arg-type]
    )
    object.__setattr__(record, "checked", True)
    return record


def new_verification(
    *,
    workload: str,
    target: str,
    identity: str,
    device_fingerprint: str,
    ok: bool,
    created: float,
    max_rel_error: float | None = None,
    message: str = "",
    job_id: str = "",
    agent_id: str = "",
) -> Verification:
    """A verification with its id. An error that is not finite is kept as None. Raises InvalidInput."""
    content = {
        "workload": _named("workload", workload),
        "target": canonical_target(target),
        "identity": _named("candidate", identity),
        "device_fingerprint": _named("device fingerprint", device_fingerprint),
        "ok": ok,
        "max_rel_error": max_rel_error if max_rel_error is not None and math.isfinite(max_rel_error) else None,
        "message": printable(message),
        "job_id": job_id,
        "created": _finite("created", created),
    }
    return Verification(verification_id=_digest(content), agent_id=agent_id, **content)  # type: ignore[arg-type]


def new_comparison(
    *,
    workload: str,
    target: str,
    device_fingerprint: str,
    results: tuple[tuple[str, Outcome], ...],
    created: float,
    job_id: str = "",
    agent_id: str = "",
) -> Comparison:
    """A comparison with its id. Raises InvalidInput, naming the field that can't be taken."""
    content = {
        "workload": _named("workload", workload),
        "target": canonical_target(target),
        "device_fingerprint": _named("device fingerprint", device_fingerprint),
        "job_id": job_id,
        "created": _finite("created", created),
    }
    checked = tuple((_named("candidate", identity), _checked(outcome)) for identity, outcome in results)
    digest = _digest({**content, "results": [[identity, outcome_data(outcome)] for identity, outcome in checked]})
    return Comparison(comparison_id=digest, results=checked, agent_id=agent_id, **content)  # type: ignore[arg-type]


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON-able data; `outcome_of` reads it."""
    if isinstance(outcome, Measured):
        return {"measured": list(outcome.samples)}
    if isinstance(outcome, Censored):
        return {"at_least": outcome.at_least_seconds}
    return {"failed": outcome.kind, "message": outcome.message}


def outcome_of(data: Mapping[str, Any]) -> Outcome:
    """The outcome that `outcome_data` wrote."""
    if "measured" in data:
        return Measured(tuple(data["measured"]))
    if "at_least" in data:
        return Censored(data["at_least"])
    return Failed(data["failed"], data["message"])


def facts_digest(facts: Mapping[str, str]) -> str:
    """The fingerprint that an agent gives a device with these facts."""
    return f"sha256:{_digest(facts)}"


def printable(message: str) -> str:
    """A message as every back end can hold it: no NUL, no lone surrogate, cut to LONGEST_MESSAGE characters."""
    text = message.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _checked(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Measured):
        if not outcome.samples:
            raise InvalidInput("a measured record has no samples; give at least one, in seconds")
        return Measured(tuple(_duration("sample", sample) for sample in outcome.samples))
    if isinstance(outcome, Censored):
        return Censored(_duration("at_least_seconds", outcome.at_least_seconds))
    if outcome.kind not in RECORDED_FAILURES:
        raise InvalidInput(f"failure kind {outcome.kind!r} is no candidate's own: one of {sorted(RECORDED_FAILURES)}")
    return Failed(outcome.kind, printable(outcome.message))


def _duration(what: str, seconds: float) -> float:
    if seconds >= LONGEST_SAMPLE_SECONDS:
        raise SentinelTime(
            f"{what} {seconds!r} is not between 0 and {LONGEST_SAMPLE_SECONDS:g} seconds: it stands for a failure"
        )
    if not 0.0 < seconds < LONGEST_SAMPLE_SECONDS:
        raise InvalidInput(f"{what} {seconds!r} is not between 0 and {LONGEST_SAMPLE_SECONDS:g} seconds")
    return float(seconds)


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInput(f"{what} {value!r} is not a time")
    return float(value)


def _named(what: str, value: str) -> str:
    if not value:
        raise InvalidInput(f"the {what} is empty")
    return value


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()

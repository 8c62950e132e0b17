"""What the agent asks of its measuring processes, as plain data: no TVM, no gRPC, on either side.

One command is one line of JSON on the process's standard input, one reply one line on its standard output:
`{"ok": {...}}`, `{"failed": {"kind": ..., "message": ...}}` (the candidate's fault) or `{"lost": message}`
(the process's own).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefarm_agent.steady import Turn

# Failure kinds, as the contract names them without their prefix.
LOAD_ERROR = "LOAD_ERROR"
RUN_ERROR = "RUN_ERROR"
RUN_TIMEOUT = "RUN_TIMEOUT"
WRONG_OUTPUT = "WRONG_OUTPUT"
DEVICE_LOST = "DEVICE_LOST"
CANCELLED = "CANCELLED"

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where the candidates of a device run.

    Attributes:
        kind: of device, as TVM names it: "cpu", "cuda", "opencl".
        gpu: the one NVIDIA GPU that sessions see, by its UUID; empty where there is none.
        address: HOST:PORT of the plain TVM RPC server of a board; empty: sessions are the agent's own.
        key: that the server, or the tracker, knows the board by.
        tracker: `address` is a tracker's.
    """

    kind: str = "cpu"
    gpu: str = ""
    address: str = ""
    key: str = ""
    tracker: bool = False


@dataclass(frozen=True)
class Confinement:
    """How a session of candidates is held, and where it runs.

    Attributes:
        cores: ids.
        memory: bytes; 0: no limit.
        uid: user and group id that it runs as; 0: the agent's own.
        cpu_seconds: of all its threads together, for each process; 0: no limit.
        seconds: that the work on a lease may take; 0: no limit.
    """

    scratch: str
    cores: tuple[int, ...]
    memory: int
    uid: int = 0
    cpu_seconds: int = 0
    seconds: float = 0.0
    place: Place = Place()


@dataclass(frozen=True)
class Argument:
    """One tensor argument of a kernel; `shape` in elements."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Prepack:
    """Fill `argument` by calling `function` with (weight as the workload has it, as the candidate wants it)."""

    argument: int
    function: str


@dataclass(frozen=True)
class Kernel:
    """A candidate on disk: `library` is a path; arguments are inputs, then outputs."""

    library: str
    arguments: tuple[Argument, ...]
    prepacks: tuple[Prepack, ...] = ()


@dataclass(frozen=True)
class Expected:
    """Path of an .npz with arg0..argN and out0..outM, and the tolerances |a - b| <= atol + rtol * max|b|."""

    path: str
    rtol: float
    atol: float


@dataclass(frozen=True)
class Evaluation:
    """`repeat` samples of at least `number` calls and `min_repeat_ms` milliseconds each. `give_up`: seconds of one
    call; a kernel whose first two samples are slower is let go; 0: none is."""

    number: int
    repeat: int
    min_repeat_ms: float
    flush_cache: bool
    give_up: float = 0.0


@dataclass(frozen=True)
class ModelInput:
    name: str
    dtype: str


@dataclass(frozen=True)
class Model:
    """A whole model on disk; `parameters` is the path of an .npz with p0..pN, empty for weights inside; `entry`: the
    function of a compiled one that runs it."""

    artifact: str
    parameters: str
    inputs: tuple[ModelInput, ...]
    entry: str = "main"


def confinement_from(data: Mapping[str, Any]) -> Confinement:
    return Confinement(**{**data, "cores": tuple(data["cores"]), "place": Place(**data["place"])})


def kernel_from(data: Mapping[str, Any]) -> Kernel:
    return Kernel(
        library=data["library"],
        arguments=tuple(Argument(tuple(a["shape"]), a["dtype"]) for a in data["arguments"]),
        prepacks=tuple(Prepack(**p) for p in data["prepacks"]),
    )


def expected_from(data: list[Mapping[str, Any]]) -> tuple[Expected, ...]:
    return tuple(Expected(**e) for e in data)


def evaluation_from(data: Mapping[str, Any] | None) -> Evaluation | None:
    return None if data is None else Evaluation(**data)


def model_from(data: Mapping[str, Any]) -> Model:
    return Model(data["artifact"], data["parameters"], tuple(ModelInput(**i) for i in data["inputs"]), data["entry"])


def configure(confinement: Confinement) -> Json:
    """Sets how sessions are held from now on, and ends the one that is open."""
    return {"op": "configure", "confinement": asdict(confinement)}


def open_session(fresh: bool) -> Json:
    """Makes sure of a living session; `fresh`: not the one that is there."""
    return {"op": "open", "fresh": fresh}


def check_device(exhausted: int | None) -> Json:
    """Opens a session anew to see whether the device still works, and has room for a candidate that needs `exhausted`
    bytes and found none. It stays open, unused."""
    return {"op": "check", "exhausted": exhausted}


def bytes_needed(command: Json) -> int:
    """Of the device's memory, at least, for what a command loads: its arguments, or the weights of its model. 0 for a
    command that loads nothing. Raises OSError."""
    if command["op"] in ("kernel", "reference"):
        arguments = kernel_from(command["kernel"]).arguments
        return sum(math.prod(each.shape) * _bytes_of(each.dtype) for each in arguments)
    return Path(command["model"]["artifact"]).stat().st_size if command["op"] == "model_open" else 0


def _bytes_of(dtype: str) -> int:
    bits = re.search(r"\d+$", dtype)
    return max(1, int(bits.group()) // 8) if bits is not None else 1


def run_kernel(
    kernel: Kernel, expected: tuple[Expected, ...], evaluation: Evaluation | None, keep: bool = False
) -> Json:
    """Checks the kernel on every expected set, then times it if there is an evaluation.

    `keep`: the kernel will be asked for again, so it stays loaded, with the arguments of its last check.
    """
    return {
        "op": "kernel",
        "keep": keep,
        "kernel": asdict(kernel),
        "expected": [asdict(e) for e in expected],
        "evaluation": None if evaluation is None else asdict(evaluation),
    }


def time_reference(kernel: Kernel, evaluation: Evaluation) -> Json:
    """Times a kernel of ours in the session that is open. It stays loaded, and leaves the session as good as unused."""
    return {"op": "reference", "kernel": asdict(kernel), "evaluation": asdict(evaluation)}


def open_model(model: Model, confinement: Confinement, example: str) -> Json:
    """Loads a model and the first input set of the .npz `example`."""
    return {
        "op": "model_open",
        "model": asdict(model),
        "confinement": asdict(confinement),
        "example": example,
    }


def model_outputs(inputs: str, sets: int, out: str) -> Json:
    """Runs every input set of the .npz `inputs`; writes the .npz `out` with s{i}_out{j}."""
    return {"op": "model_outputs", "inputs": inputs, "sets": sets, "out": out}


def first_call() -> Json:
    """Times the first call of the model after it was opened."""
    return {"op": "model_first"}


def time_model(turn: Turn) -> Json:
    """Times single calls."""
    return {"op": "model_time", "turn": asdict(turn)}


def time_kernels(turn: Turn) -> Json:
    """Times every kernel of the model in as many runs as the turn has calls, after its warming up."""
    return {"op": "model_kernels", "runs": turn.calls, "warm_up": turn.warm_up}


def end() -> Json:
    """Ends the session and every process that a candidate left behind."""
    return {"op": "end"}


def ok(**values: Any) -> Json:
    return {"ok": values}


def failed(kind: str, message: str, exhausted: int | None = None) -> Json:
    """`exhausted`: bytes that it needed at least of the device's memory, which was exhausted."""
    return {"failed": {"kind": kind, "message": message, "exhausted": exhausted}}


def lost(message: str) -> Json:
    return {"lost": message}


def reason_of(reply: Json) -> str:
    """Why a reply is none that was hoped for, for people."""
    if "failed" in reply:
        return "{kind}: {message}".format(**reply["failed"])
    return str(reply.get("lost") or reply)


def encode(message: Json) -> bytes:
    return json.dumps(message).encode() + b"\n"

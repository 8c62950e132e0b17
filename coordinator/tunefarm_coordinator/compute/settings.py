"""Settings of the compute child, and what crosses between it and the coordinator besides requests."""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

from tunefarm_coordinator.compute.messages import Gate
from tunefarm_coordinator.engines.cuda.options import CudaOptions


@dataclass(frozen=True)
class FaultPlan:
    """Faults that tests inject; none by default. Never set outside of tests.

    Attributes:
        crash_build: builders die (abort) on every candidate whose digest is divisible by this; 0: never.
        hang_build: builders hang on every candidate whose digest is divisible by this; 0: never.
        exit_search: a searcher exits on its n-th round; 0: never.
        exit_refit: the trainer dies (SIGKILL) in the n-th fit of a job's cost model; 0: never.
        hang_refit: the trainer hangs in that fit; 0: never.
    """

    crash_build: int = 0
    hang_build: int = 0
    exit_search: int = 0
    exit_refit: int = 0
    hang_refit: int = 0

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Reads `crash_build=3,exit_search=2`; raises ValueError for anything else."""
        known = {spec.name for spec in fields(cls)}
        values: dict[str, int] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            if name not in known:
                raise ValueError(f'there is no fault "{name}"; faults are {", ".join(sorted(known))}')
            values[name] = int(value)
        return cls(**values)


def candidate_digest(trace: str) -> int:
    """The number by which `FaultPlan` picks candidates."""
    return int.from_bytes(hashlib.sha256(trace.encode()).digest()[:4], "big")


@dataclass(frozen=True)
class ComputeSettings:
    """How the compute child runs.

    Attributes:
        ray_address: address of a Ray cluster, or "auto" inside of one; None: a private Ray on this machine.
            On a cluster this package, at this version, is installed on every node.
        cores: cores that workers may use; None: those that this process may use, or the cluster's.
        searchers, builders: number of processes; None: by cores and memory (`sizing.py`).
        object_store_bytes: Ray's shared memory.
        model_idle_seconds: a model worker without work for so long is ended.
        pool_idle_seconds: searchers and builders are ended when no job was open for so long.
        child_timeout: seconds after which a child that says nothing is replaced, its start included.
        still_timeout: seconds after which a worker that has nothing to compute, and yet does not answer, is replaced.
        search_timeout: seconds after which a searcher that does not answer is taken for hung.
        model_timeout: the same for a model worker (import and packaging of a large model take minutes).
        cuda: how workers compile CUDA.
        temp_dir: parent of the child's own temporary folder; None: the system's.
        faults: for tests; None: from the child's environment variable TUNEFARM_COMPUTE_FAULTS.
    """

    ray_address: str | None = None
    cores: int | None = None
    searchers: int | None = None
    builders: int | None = None
    object_store_bytes: int = 256 * 2**20
    # Longer than most jobs tune: the package needs what the preparation left warm.
    model_idle_seconds: float = 300.0
    pool_idle_seconds: float = 300.0
    child_timeout: float = 180.0
    still_timeout: float = 30.0
    search_timeout: float = 600.0
    model_timeout: float = 3600.0
    cuda: CudaOptions = field(default_factory=CudaOptions)
    temp_dir: Path | None = None
    faults: FaultPlan | None = None


@dataclass(frozen=True)
class Ask:
    """Coordinator to child: answer `request` under `number`."""

    number: int
    request: object


@dataclass(frozen=True)
class Cancel:
    """Coordinator to child: nobody waits for the answer to `number` any more."""

    number: int


@dataclass(frozen=True)
class Answer:
    """Child to coordinator: `error` is raised where it is not None."""

    number: int
    value: object = None
    error: Exception | None = None


@dataclass(frozen=True)
class Ping:
    """Coordinator to child: say that you live, and the child's answer, the same frame."""


@dataclass(frozen=True)
class Started:
    """Child to coordinator, its first frame: the driver's process id, which is also its Unix session's."""

    pid: int


@dataclass(frozen=True)
class Ready:
    """Child to coordinator: Ray is up. `detail` says where and how large, for people."""

    detail: str = ""


@dataclass(frozen=True)
class Stopping:
    """Child to coordinator: it will exit now, because of `reason`."""

    reason: str


@dataclass(frozen=True)
class Setup:
    """Coordinator to child, the first frame."""

    settings: ComputeSettings
    folder: Path
    gates: tuple[Gate, ...] = ()

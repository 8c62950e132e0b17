"""What the coordinator asks of its compute child, and what comes back. Plain data: no Ray, no TVM.

Every request is idempotent: asked again after the child died, it gives an answer of the same meaning.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tunefarm_coordinator.engines.candidate import BuiltCandidate, Neighbour, Proposal
from tunefarm_coordinator.models.compare import Bound
from tunefarm_coordinator.models.input_values import SEEDED, InputValues
from tunefarm_coordinator.models.log_lines import Written
from tunefarm_coordinator.models.task import TuningTask


class ComputeLost(Exception):
    """The compute child (or the Ray cluster under it) died with this request in flight: ask again."""


class UnknownTask(Exception):
    """The searcher does not hold this task (it is new, or was rebuilt): open it with its history, ask again."""


class ComputeFailed(Exception):
    """The request itself failed: its process raised or died. Asked again, it would most likely fail again."""


@dataclass(frozen=True)
class TaskKey:
    """One task of one job, as the searchers know it."""

    job_id: str
    workload: str


@dataclass(frozen=True)
class PrepareModel:
    """Import and prepare a model. Writes into `out_dir`; raises InvalidInput for what the user can mend.

    Attributes:
        model: the `.onnx` file.
        shapes: fixed shape of every input.
        target: what the user asked for, or TVM's JSON.
        out_dir: folder for the prepared module, reused as it is if it is complete.
        allow_tf32: float32 products may round their factors to TF32.
        exact_math: exp, tanh and their like stay libm's on CPUs.
        templates: look for AutoTVM's template of each kernel, which takes some tens of milliseconds each.
    """

    model: Path
    shapes: dict[str, tuple[int, ...]]
    target: str
    out_dir: Path
    allow_tf32: bool = False
    exact_math: bool = False
    templates: bool = False


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class PreparedSummary:
    """What the coordinator needs to know of a prepared model. `baselines`: default trace by workload; `templates`: name
    of the template that engine "autotvm" has for a workload, none for the others, if asked for; `bounds`: see
    `Checked`; `memory`: bytes that it takes while it runs, about; `network`: ONNX file of what was prepared, where the
    end of the user's model stays ONNX; `vector_functions`: those that are computed as vectors, in place of libm's."""

    target: str
    layout: str
    pipeline_version: str
    tasks: tuple[TuningTask, ...]
    baselines: dict[str, str]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()
    templates: dict[str, str] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()
    memory: int = 0
    network: Path | None = None
    vector_functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildReference:
    """Build the reference kernel of a target (TVM's JSON). Answered by Built or BuildFailed, like a candidate."""

    target: str
    timeout: float


@dataclass(frozen=True)
class Observation:
    """One measured candidate: `seconds` of one call, None where it failed."""

    identity: str
    trace: str
    seconds: float | None


@dataclass(frozen=True)
class OpenTask:
    """Give a searcher a task, with everything measured so far (this job's, earlier jobs'). Answer: None.

    Opening a task that is open rebuilds it. Raises InvalidInput for an engine or task that can't be searched.
    `random_trials`: so many of the proposals to come are drawn at random; who opens a task again says what is left.
    `seeds`: traces of schedules to start from where nothing was measured yet, the default one first; `neighbours`:
    kernels whose schedules are fitted to this one and started from as well.
    """

    key: TaskKey
    task: TuningTask
    target: str
    engine: str
    seed: int
    history: tuple[Observation, ...]
    forbidden: frozenset[str] = frozenset()
    random_trials: int = 0
    seeds: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Propose:
    """Ask for up to `count` new candidates. Fewer, or none: the space is exhausted. Raises UnknownTask."""

    key: TaskKey
    count: int


@dataclass(frozen=True)
class Proposed:
    """`seconds`: time spent searching, waits for a permit left out. `exhausted`: the space has little new left."""

    proposals: tuple[Proposal, ...]
    seconds: float
    exhausted: bool = False


@dataclass(frozen=True)
class Observe:
    """Tell searcher and cost model how candidates did, once each; known ones are left out. Raises UnknownTask.

    One that search did not propose (the default schedule, another job's best) is taken in by its trace. The
    cost model learns later, in its own process. Answer: None.
    """

    key: TaskKey
    observations: tuple[Observation, ...]


@dataclass(frozen=True)
class Build:
    """Build one candidate. The task's module goes along: a builder keeps nothing that can't be lost.

    `timeout`: seconds of building; waiting for a builder and for a permit is not counted.
    """

    module: str
    trace: str
    target: str
    timeout: float


@dataclass(frozen=True)
class Built:
    """`seconds`: time spent building."""

    candidate: BuiltCandidate
    seconds: float


@dataclass(frozen=True)
class BuildFailed:
    """The candidate's own fault. `kind`: BUILD_ERROR or BUILD_TIMEOUT."""

    kind: str
    message: str
    seconds: float


@dataclass(frozen=True)
class ExpectedOf:
    """Seeded inputs and expected outputs of a task, an .npz for each seed."""

    task: TuningTask
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """`blobs`: one .npz for each seed, in order. Match: `|a - b| <= atol + rtol * max|b|`."""

    blobs: tuple[bytes, ...]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Package:
    """Compile the prepared model with these traces (default schedule elsewhere) into `out_dir`.

    `prepared`: folders of the model, one for each shape set.
    `records`: (workload, trace, samples in seconds) for the MetaSchedule database of the package.
    `manifest`: what the caller knows; the packager adds what it knows.
    """

    prepared: tuple[Path, ...]
    traces: dict[str, str]
    records: tuple[tuple[str, str, tuple[float, ...]], ...]
    out_dir: Path
    manifest: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Packaged:
    """`library` and `parameters` (None: weights inside the library) lie in the package's folder."""

    library: Path
    parameters: Path | None
    seconds: float


@dataclass(frozen=True)
class Reference:
    """Input sets of the whole model (`models.input_sets`) and ONNX Runtime's outputs for them.

    Answer: (inputs .npz with "s{i}_in{name}", outputs .npz with "s{i}_out{j}") as bytes. Raises InvalidInput where
    ONNX Runtime refuses model or inputs. `dispensable`: not then; the outputs are those of ONNX's reference evaluator,
    or none.
    """

    model: Path
    shapes: dict[str, tuple[int, ...]]
    seeds: tuple[int, ...]
    values: InputValues = SEEDED
    dispensable: bool = False


@dataclass(frozen=True)
class CheckModel:
    """Run a prepared model, untuned, on this side, and compare its outputs with ONNX Runtime's. Answer: Checked.

    Raises InvalidInput: it can't be compiled, fails, ends its process, or answers otherwise; or ONNX Runtime can't
    serve it. What was found of a right model is kept in the prepared folder.

    Attributes:
        prepared: folder of the prepared model.
        reference: the inputs to check with, and the model that they are for.
    """

    prepared: Path
    reference: Reference


@dataclass(frozen=True)
class Checked:
    """`bounds`: how far each output may be from the reference's, also at the job's end."""

    bounds: tuple[Bound, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckPackage:
    """Run a packaged model on this side, and compare its outputs as `CheckModel` does. Answer: whether it could be run,
    False for a package of another kind of machine. Raises InvalidInput: it fails, or answers otherwise.

    Attributes:
        library: the package's, of one shape set.
        prepared: folder of the model that it was made of.
        bounds: see `Checked`.
    """

    library: Path
    prepared: Path
    reference: Reference
    bounds: tuple[Bound, ...]


@dataclass(frozen=True)
class ReadDatabase:
    """Read a slice of a MetaSchedule database and replay its records. Answer: ReadSlice.

    Attributes:
        workloads, records: its two files.
        offset, line: where the slice begins in the records' file: a byte, and the number (from 1) of the line there.
        count: lines, at most.
        longest_seconds: a time as long stands for a failure.
        timeout: seconds; a trace that takes TVM for ever is ComputeFailed, as is one that ends its process.
    """

    workloads: Path
    records: Path
    offset: int
    line: int
    count: int
    longest_seconds: float
    timeout: float


@dataclass(frozen=True)
class AppendDatabase:
    """Add records to a MetaSchedule database that is written as far as `before` says. Answer: Written.

    Attributes:
        folder: of its two files, which are made where there are none.
        modules: IR of each of the records' workloads.
        records: (workload, trace, seconds of one call).
    """

    folder: Path
    target: str
    modules: dict[str, str]
    records: tuple[tuple[str, str, float], ...]
    before: Written


@dataclass(frozen=True)
class ResolveTarget:
    """What the user asked to compile for ("host", a name, TVM's JSON) as TVM's JSON. Raises InvalidInput."""

    text: str


@dataclass(frozen=True)
class WarmUp:
    """Start the searchers and builders now, so that they are warm when the first task arrives. Answer: None."""


@dataclass(frozen=True)
class CloseJob:
    """Forget a job's tasks and its cost model. Answer: None."""

    job_id: str


@dataclass(frozen=True)
class Gate:
    """An agent's gate: `host_id` is the boot id of its host, `socket` the path of its Unix socket there."""

    host_id: str
    socket: str


@dataclass(frozen=True)
class SetGates:
    """All gates that exist now. Workers on a gate's host compute with its permit only. Answer: None."""

    gates: tuple[Gate, ...]


Request = (
    PrepareModel
    | ResolveTarget
    | OpenTask
    | Propose
    | Observe
    | Build
    | BuildReference
    | ExpectedOf
    | Package
    | Reference
    | CheckModel
    | CheckPackage
    | ReadDatabase
    | AppendDatabase
    | WarmUp
    | CloseJob
    | SetGates
)

"""Facts that the schedule tests are made of."""

from tunefarm_coordinator.schedules.changes import (
    AddDevices,
    AddJob,
    AddModel,
    AppendEvents,
    DeviceFacts,
    JournalEntry,
)
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_coordinator.schedules.record import (
    Comparison,
    Measured,
    Outcome,
    Record,
    Source,
    Verification,
    new_comparison,
    new_record,
    new_verification,
)

X86 = '{"kind":"llvm","mcpu":"znver4"}'
ARM = '{"kind":"llvm","mcpu":"cortex-a72"}'
WORKLOAD = "p1:conv"

ZEN = {"architecture": "x86_64", "cpu": "Zen 4", "cores": "2", "reserved_cores": "0,1"}
PI = {"architecture": "aarch64", "cpu": "Cortex-A72", "cores": "4", "reserved_cores": "2,3"}
ZEN_CLASS, PI_CLASS = device_class(ZEN), device_class(PI)
# two machines of one class, one of another
DEVICES = AddDevices(
    (
        DeviceFacts("zen-a", {**ZEN, "machine": "a"}),
        DeviceFacts("zen-b", {**ZEN, "machine": "b"}),
        DeviceFacts("pi", PI),
    )
)


def model(model_id: str = "m1", *, project: str = "vision", digest: str = "d1") -> AddModel:
    return AddModel(model_id, digest, project, "ana", "squeezenet", {"files": ["a.onnx"]}, 100.0)


def job(job_id: str = "j1", *, key: str = "", project: str = "vision", created: float = 200.0) -> AddJob:
    return AddJob(job_id, key or f"key-{job_id}", "spec-digest", b"spec", "m1", project, "ana", "QUEUED", created)


def entry(seq: int) -> JournalEntry:
    return JournalEntry(seq, 300.0 + seq, "measured", {"seq": seq})


def append(job_id: str, *seqs: int) -> AppendEvents:
    return AppendEvents(job_id, tuple(entry(seq) for seq in seqs))


def record(
    identity: str = "c1",
    seconds: float = 1e-3,
    *,
    workload: str = WORKLOAD,
    target: str = X86,
    device: str = "zen-a",
    outcome: Outcome | None = None,
    source: Source = Source.TUNED,
    created: float = 400.0,
    conditions: dict[str, float] | None = None,
    project: str = "vision",
    job: str = "j1",
    agent: str = "",
) -> Record:
    return new_record(
        workload=workload,
        target=target,
        identity=identity,
        device_fingerprint=device,
        outcome=outcome or Measured((seconds,)),
        created=created,
        project=project,
        job_id=job,
        task_name="conv",
        source=source,
        conditions=conditions,
        agent_id=agent,
    )


def verification(
    identity: str = "c1",
    *,
    ok: bool = True,
    created: float = 500.0,
    workload: str = WORKLOAD,
    target: str = X86,
    device: str = "zen-a",
    agent: str = "",
) -> Verification:
    return new_verification(
        workload=workload,
        target=target,
        identity=identity,
        device_fingerprint=device,
        ok=ok,
        max_rel_error=1e-6,
        created=created,
        job_id="j1",
        agent_id=agent,
    )


def comparison(
    *results: tuple[str, float], created: float = 600.0, device: str = "zen-a", agent: str = ""
) -> Comparison:
    return new_comparison(
        workload=WORKLOAD,
        target=X86,
        device_fingerprint=device,
        results=tuple((identity, Measured((seconds,))) for identity, seconds in results),
        created=created,
        job_id="j1",
        agent_id=agent,
    )

import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from tunefarm_proto.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "work_request", "outcome", "lease_finished")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    WORK_REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    work_request: WorkRequest
    outcome: OutcomeReport
    lease_finished: LeaseFinished
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., work_request: _Optional[_Union[WorkRequest, _Mapping]] = ..., outcome: _Optional[_Union[OutcomeReport, _Mapping]] = ..., lease_finished: _Optional[_Union[LeaseFinished, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocols", "version", "agent_id", "boot_id", "devices", "leases", "gate", "host_id")
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    protocols: _containers.RepeatedScalarFieldContainer[int]
    version: _common_pb2.ProgramVersion
    agent_id: str
    boot_id: str
    devices: _containers.RepeatedCompositeFieldContainer[_common_pb2.Device]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    gate: str
    host_id: str
    def __init__(self, protocols: _Optional[_Iterable[int]] = ..., version: _Optional[_Union[_common_pb2.ProgramVersion, _Mapping]] = ..., agent_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[_common_pb2.Device, _Mapping]]] = ..., leases: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., gate: _Optional[str] = ..., host_id: _Optional[str] = ...) -> None: ...

class LeaseRef(_message.Message):
    __slots__ = ("lease_id", "attempt", "device_id", "waiting")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: int
    device_id: str
    waiting: bool
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[int] = ..., device_id: _Optional[str] = ..., waiting: _Optional[bool] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("leases", "temperatures", "shared")
    class TemperaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class SharedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Sharing
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Sharing, _Mapping]] = ...) -> None: ...
    LEASES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    temperatures: _containers.ScalarMap[str, float]
    shared: _containers.MessageMap[str, Sharing]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., temperatures: _Optional[_Mapping[str, float]] = ..., shared: _Optional[_Mapping[str, Sharing]] = ...) -> None: ...

class Sharing(_message.Message):
    __slots__ = ("by", "busy")
    BY_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    by: str
    busy: bool
    def __init__(self, by: _Optional[str] = ..., busy: _Optional[bool] = ...) -> None: ...

class WorkRequest(_message.Message):
    __slots__ = ("device_id", "slots")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    slots: int
    def __init__(self, device_id: _Optional[str] = ..., slots: _Optional[int] = ...) -> None: ...

class OutcomeReport(_message.Message):
    __slots__ = ("lease_id", "attempt", "index", "measured", "censored", "failed", "compared", "benchmark", "conditions", "device_id")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    CENSORED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: int
    index: int
    measured: Measured
    censored: Censored
    failed: _common_pb2.Failure
    compared: ComparedGroup
    benchmark: ModelBenchmark
    conditions: Conditions
    device_id: str
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[int] = ..., index: _Optional[int] = ..., measured: _Optional[_Union[Measured, _Mapping]] = ..., censored: _Optional[_Union[Censored, _Mapping]] = ..., failed: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., compared: _Optional[_Union[ComparedGroup, _Mapping]] = ..., benchmark: _Optional[_Union[ModelBenchmark, _Mapping]] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., device_id: _Optional[str] = ...) -> None: ...

class Measured(_message.Message):
    __slots__ = ("seconds", "max_rel_error")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_REL_ERROR_FIELD_NUMBER: _ClassVar[int]
    seconds: _containers.RepeatedScalarFieldContainer[float]
    max_rel_error: float
    def __init__(self, seconds: _Optional[_Iterable[float]] = ..., max_rel_error: _Optional[float] = ...) -> None: ...

class Censored(_message.Message):
    __slots__ = ("at_least_seconds",)
    AT_LEAST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    at_least_seconds: float
    def __init__(self, at_least_seconds: _Optional[float] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("started_unix", "elapsed", "reference_seconds", "temperature", "number", "cache_flushed", "reference_spread", "sm_clock_mhz", "memory_clock_mhz", "throttle_reasons", "strangers", "disturbed")
    STARTED_UNIX_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CACHE_FLUSHED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SPREAD_FIELD_NUMBER: _ClassVar[int]
    SM_CLOCK_MHZ_FIELD_NUMBER: _ClassVar[int]
    MEMORY_CLOCK_MHZ_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_REASONS_FIELD_NUMBER: _ClassVar[int]
    STRANGERS_FIELD_NUMBER: _ClassVar[int]
    DISTURBED_FIELD_NUMBER: _ClassVar[int]
    started_unix: float
    elapsed: float
    reference_seconds: float
    temperature: float
    number: int
    cache_flushed: bool
    reference_spread: float
    sm_clock_mhz: int
    memory_clock_mhz: int
    throttle_reasons: int
    strangers: int
    disturbed: bool
    def __init__(self, started_unix: _Optional[float] = ..., elapsed: _Optional[float] = ..., reference_seconds: _Optional[float] = ..., temperature: _Optional[float] = ..., number: _Optional[int] = ..., cache_flushed: _Optional[bool] = ..., reference_spread: _Optional[float] = ..., sm_clock_mhz: _Optional[int] = ..., memory_clock_mhz: _Optional[int] = ..., throttle_reasons: _Optional[int] = ..., strangers: _Optional[int] = ..., disturbed: _Optional[bool] = ...) -> None: ...

class ComparedGroup(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ComparedItem]
    def __init__(self, items: _Optional[_Iterable[_Union[ComparedItem, _Mapping]]] = ...) -> None: ...

class ComparedItem(_message.Message):
    __slots__ = ("measured", "failed")
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    measured: Measured
    failed: _common_pb2.Failure
    def __init__(self, measured: _Optional[_Union[Measured, _Mapping]] = ..., failed: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class ModelBenchmark(_message.Message):
    __slots__ = ("timings",)
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    timings: _containers.RepeatedCompositeFieldContainer[ModelTiming]
    def __init__(self, timings: _Optional[_Iterable[_Union[ModelTiming, _Mapping]]] = ...) -> None: ...

class ModelTiming(_message.Message):
    __slots__ = ("name", "measured", "failed", "outputs_digest", "kernels", "first_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    measured: Measured
    failed: _common_pb2.Failure
    outputs_digest: str
    kernels: _containers.RepeatedCompositeFieldContainer[KernelTiming]
    first_seconds: float
    def __init__(self, name: _Optional[str] = ..., measured: _Optional[_Union[Measured, _Mapping]] = ..., failed: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., outputs_digest: _Optional[str] = ..., kernels: _Optional[_Iterable[_Union[KernelTiming, _Mapping]]] = ..., first_seconds: _Optional[float] = ...) -> None: ...

class KernelTiming(_message.Message):
    __slots__ = ("name", "seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    seconds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., seconds: _Optional[_Iterable[float]] = ...) -> None: ...

class LeaseFinished(_message.Message):
    __slots__ = ("lease_id", "attempt", "failure", "device_failed")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FAILED_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: int
    failure: _common_pb2.Failure
    device_failed: bool
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[int] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., device_failed: _Optional[bool] = ...) -> None: ...

class CoordinatorMessage(_message.Message):
    __slots__ = ("welcome", "lease", "ack", "cancel")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    lease: Lease
    ack: OutcomeAck
    cancel: CancelLease
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., ack: _Optional[_Union[OutcomeAck, _Mapping]] = ..., cancel: _Optional[_Union[CancelLease, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "version", "session_id", "heartbeat_interval", "session_timeout", "forget")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SESSION_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: _common_pb2.ProgramVersion
    session_id: str
    heartbeat_interval: _duration_pb2.Duration
    session_timeout: _duration_pb2.Duration
    forget: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[_Union[_common_pb2.ProgramVersion, _Mapping]] = ..., session_id: _Optional[str] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., session_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., forget: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("lease_id", "attempt", "device_id", "time_limit", "job_id", "trace_id", "indices", "measure", "compare", "verify", "calibrate", "benchmark", "fetch_limit")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    CALIBRATE_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    FETCH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: int
    device_id: str
    time_limit: _duration_pb2.Duration
    job_id: str
    trace_id: str
    indices: _containers.RepeatedScalarFieldContainer[int]
    measure: MeasureWork
    compare: CompareWork
    verify: VerifyWork
    calibrate: CalibrateWork
    benchmark: BenchmarkWork
    fetch_limit: _duration_pb2.Duration
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[int] = ..., device_id: _Optional[str] = ..., time_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., job_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., indices: _Optional[_Iterable[int]] = ..., measure: _Optional[_Union[MeasureWork, _Mapping]] = ..., compare: _Optional[_Union[CompareWork, _Mapping]] = ..., verify: _Optional[_Union[VerifyWork, _Mapping]] = ..., calibrate: _Optional[_Union[CalibrateWork, _Mapping]] = ..., benchmark: _Optional[_Union[BenchmarkWork, _Mapping]] = ..., fetch_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Evaluator(_message.Message):
    __slots__ = ("number", "repeat", "min_repeat_ms", "flush_cache")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    MIN_REPEAT_MS_FIELD_NUMBER: _ClassVar[int]
    FLUSH_CACHE_FIELD_NUMBER: _ClassVar[int]
    number: int
    repeat: int
    min_repeat_ms: float
    flush_cache: bool
    def __init__(self, number: _Optional[int] = ..., repeat: _Optional[int] = ..., min_repeat_ms: _Optional[float] = ..., flush_cache: _Optional[bool] = ...) -> None: ...

class KernelArgument(_message.Message):
    __slots__ = ("shape", "dtype")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ...) -> None: ...

class PrepackStep(_message.Message):
    __slots__ = ("argument", "function")
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    argument: int
    function: str
    def __init__(self, argument: _Optional[int] = ..., function: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("candidate_id", "artifact", "arguments", "prepacks", "run_timeout")
    CANDIDATE_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    PREPACKS_FIELD_NUMBER: _ClassVar[int]
    RUN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    candidate_id: str
    artifact: str
    arguments: _containers.RepeatedCompositeFieldContainer[KernelArgument]
    prepacks: _containers.RepeatedCompositeFieldContainer[PrepackStep]
    run_timeout: float
    def __init__(self, candidate_id: _Optional[str] = ..., artifact: _Optional[str] = ..., arguments: _Optional[_Iterable[_Union[KernelArgument, _Mapping]]] = ..., prepacks: _Optional[_Iterable[_Union[PrepackStep, _Mapping]]] = ..., run_timeout: _Optional[float] = ...) -> None: ...

class ExpectedOutputs(_message.Message):
    __slots__ = ("artifact", "rtol", "atol")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    RTOL_FIELD_NUMBER: _ClassVar[int]
    ATOL_FIELD_NUMBER: _ClassVar[int]
    artifact: str
    rtol: float
    atol: float
    def __init__(self, artifact: _Optional[str] = ..., rtol: _Optional[float] = ..., atol: _Optional[float] = ...) -> None: ...

class MeasureWork(_message.Message):
    __slots__ = ("workload", "candidates", "evaluator", "expected", "reference", "reference_evaluator", "give_up_seconds")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EVALUATOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_EVALUATOR_FIELD_NUMBER: _ClassVar[int]
    GIVE_UP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    workload: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    evaluator: Evaluator
    expected: _containers.RepeatedCompositeFieldContainer[ExpectedOutputs]
    reference: Candidate
    reference_evaluator: Evaluator
    give_up_seconds: float
    def __init__(self, workload: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., evaluator: _Optional[_Union[Evaluator, _Mapping]] = ..., expected: _Optional[_Iterable[_Union[ExpectedOutputs, _Mapping]]] = ..., reference: _Optional[_Union[Candidate, _Mapping]] = ..., reference_evaluator: _Optional[_Union[Evaluator, _Mapping]] = ..., give_up_seconds: _Optional[float] = ...) -> None: ...

class CompareWork(_message.Message):
    __slots__ = ("groups", "evaluator", "rounds")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    EVALUATOR_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[CompareGroup]
    evaluator: Evaluator
    rounds: int
    def __init__(self, groups: _Optional[_Iterable[_Union[CompareGroup, _Mapping]]] = ..., evaluator: _Optional[_Union[Evaluator, _Mapping]] = ..., rounds: _Optional[int] = ...) -> None: ...

class CompareGroup(_message.Message):
    __slots__ = ("workload", "candidates", "expected")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    workload: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    expected: _containers.RepeatedCompositeFieldContainer[ExpectedOutputs]
    def __init__(self, workload: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., expected: _Optional[_Iterable[_Union[ExpectedOutputs, _Mapping]]] = ...) -> None: ...

class VerifyWork(_message.Message):
    __slots__ = ("workload", "candidates", "expected")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    workload: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    expected: _containers.RepeatedCompositeFieldContainer[ExpectedOutputs]
    def __init__(self, workload: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., expected: _Optional[_Iterable[_Union[ExpectedOutputs, _Mapping]]] = ...) -> None: ...

class CalibrateWork(_message.Message):
    __slots__ = ("reference", "evaluator")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    EVALUATOR_FIELD_NUMBER: _ClassVar[int]
    reference: Candidate
    evaluator: Evaluator
    def __init__(self, reference: _Optional[_Union[Candidate, _Mapping]] = ..., evaluator: _Optional[_Union[Evaluator, _Mapping]] = ...) -> None: ...

class BenchmarkWork(_message.Message):
    __slots__ = ("contenders", "inputs", "input_sets", "rounds", "calls_per_round", "seconds_per_round", "warm_up", "narrow")
    CONTENDERS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SETS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CALLS_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    NARROW_FIELD_NUMBER: _ClassVar[int]
    contenders: _containers.RepeatedCompositeFieldContainer[ModelContender]
    inputs: str
    input_sets: int
    rounds: int
    calls_per_round: int
    seconds_per_round: float
    warm_up: float
    narrow: float
    def __init__(self, contenders: _Optional[_Iterable[_Union[ModelContender, _Mapping]]] = ..., inputs: _Optional[str] = ..., input_sets: _Optional[int] = ..., rounds: _Optional[int] = ..., calls_per_round: _Optional[int] = ..., seconds_per_round: _Optional[float] = ..., warm_up: _Optional[float] = ..., narrow: _Optional[float] = ...) -> None: ...

class ModelContender(_message.Message):
    __slots__ = ("name", "runtime", "artifact", "parameters", "inputs", "report_outputs", "run_timeout", "external_data", "time_kernels", "entry")
    class Runtime(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RUNTIME_UNSPECIFIED: _ClassVar[ModelContender.Runtime]
        RUNTIME_TVM: _ClassVar[ModelContender.Runtime]
        RUNTIME_ONNXRUNTIME: _ClassVar[ModelContender.Runtime]
    RUNTIME_UNSPECIFIED: ModelContender.Runtime
    RUNTIME_TVM: ModelContender.Runtime
    RUNTIME_ONNXRUNTIME: ModelContender.Runtime
    class ExternalDataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    REPORT_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    RUN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_DATA_FIELD_NUMBER: _ClassVar[int]
    TIME_KERNELS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    name: str
    runtime: ModelContender.Runtime
    artifact: str
    parameters: str
    inputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TensorSpec]
    report_outputs: bool
    run_timeout: float
    external_data: _containers.ScalarMap[str, str]
    time_kernels: bool
    entry: str
    def __init__(self, name: _Optional[str] = ..., runtime: _Optional[_Union[ModelContender.Runtime, str]] = ..., artifact: _Optional[str] = ..., parameters: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_common_pb2.TensorSpec, _Mapping]]] = ..., report_outputs: _Optional[bool] = ..., run_timeout: _Optional[float] = ..., external_data: _Optional[_Mapping[str, str]] = ..., time_kernels: _Optional[bool] = ..., entry: _Optional[str] = ...) -> None: ...

class OutcomeAck(_message.Message):
    __slots__ = ("lease_id", "attempt", "index")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: int
    index: int
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class CancelLease(_message.Message):
    __slots__ = ("lease", "reason")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    reason: str
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class FetchArtifactsRequest(_message.Message):
    __slots__ = ("artifacts",)
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[WantedArtifact]
    def __init__(self, artifacts: _Optional[_Iterable[_Union[WantedArtifact, _Mapping]]] = ...) -> None: ...

class WantedArtifact(_message.Message):
    __slots__ = ("digest", "offset")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchArtifactsResponse(_message.Message):
    __slots__ = ("chunks",)
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[ArtifactChunk]
    def __init__(self, chunks: _Optional[_Iterable[_Union[ArtifactChunk, _Mapping]]] = ...) -> None: ...

class ArtifactChunk(_message.Message):
    __slots__ = ("digest", "data", "total_size")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    data: bytes
    total_size: int
    def __init__(self, digest: _Optional[str] = ..., data: _Optional[bytes] = ..., total_size: _Optional[int] = ...) -> None: ...

class UploadArtifactRequest(_message.Message):
    __slots__ = ("digest", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("digest", "size")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size: int
    def __init__(self, digest: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices", "next_page_token")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[_common_pb2.DeviceStatus]
    next_page_token: str
    def __init__(self, devices: _Optional[_Iterable[_Union[_common_pb2.DeviceStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DrainDeviceRequest(_message.Message):
    __slots__ = ("agent_id", "device_id", "reason")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    device_id: str
    reason: str
    def __init__(self, agent_id: _Optional[str] = ..., device_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeDeviceRequest(_message.Message):
    __slots__ = ("agent_id", "device_id")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    device_id: str
    def __init__(self, agent_id: _Optional[str] = ..., device_id: _Optional[str] = ...) -> None: ...

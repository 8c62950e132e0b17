import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tunefarm_proto.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_PREPARING: _ClassVar[JobState]
    JOB_STATE_TUNING: _ClassVar[JobState]
    JOB_STATE_VERIFYING: _ClassVar[JobState]
    JOB_STATE_PACKAGING: _ClassVar[JobState]
    JOB_STATE_BENCHMARKING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class JobErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_ERROR_KIND_UNSPECIFIED: _ClassVar[JobErrorKind]
    JOB_ERROR_KIND_INVALID_INPUT: _ClassVar[JobErrorKind]
    JOB_ERROR_KIND_NO_DEVICE: _ClassVar[JobErrorKind]
    JOB_ERROR_KIND_NO_VALID_TRIAL: _ClassVar[JobErrorKind]
    JOB_ERROR_KIND_WRONG_OUTPUT: _ClassVar[JobErrorKind]
    JOB_ERROR_KIND_INTERNAL: _ClassVar[JobErrorKind]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_PREPARING: JobState
JOB_STATE_TUNING: JobState
JOB_STATE_VERIFYING: JobState
JOB_STATE_PACKAGING: JobState
JOB_STATE_BENCHMARKING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_ERROR_KIND_UNSPECIFIED: JobErrorKind
JOB_ERROR_KIND_INVALID_INPUT: JobErrorKind
JOB_ERROR_KIND_NO_DEVICE: JobErrorKind
JOB_ERROR_KIND_NO_VALID_TRIAL: JobErrorKind
JOB_ERROR_KIND_WRONG_OUTPUT: JobErrorKind
JOB_ERROR_KIND_INTERNAL: JobErrorKind

class FileHeader(_message.Message):
    __slots__ = ("path", "size", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadModelRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadModelHeader
    chunk: FileChunk
    def __init__(self, header: _Optional[_Union[UploadModelHeader, _Mapping]] = ..., chunk: _Optional[_Union[FileChunk, _Mapping]] = ...) -> None: ...

class UploadModelHeader(_message.Message):
    __slots__ = ("name", "project", "owner", "files", "trace_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    project: str
    owner: str
    files: _containers.RepeatedCompositeFieldContainer[FileHeader]
    trace_id: str
    def __init__(self, name: _Optional[str] = ..., project: _Optional[str] = ..., owner: _Optional[str] = ..., files: _Optional[_Iterable[_Union[FileHeader, _Mapping]]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("file", "offset", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: int
    offset: int
    data: bytes
    def __init__(self, file: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("model_id", "name", "project", "owner", "digest", "inputs", "outputs", "created")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    name: str
    project: str
    owner: str
    digest: str
    inputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[_common_pb2.TensorSpec]
    created: _timestamp_pb2.Timestamp
    def __init__(self, model_id: _Optional[str] = ..., name: _Optional[str] = ..., project: _Optional[str] = ..., owner: _Optional[str] = ..., digest: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_common_pb2.TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_common_pb2.TensorSpec, _Mapping]]] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UploadValuesRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: FileHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[FileHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values_id",)
    VALUES_ID_FIELD_NUMBER: _ClassVar[int]
    values_id: str
    def __init__(self, values_id: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class AutoschedulerOptions(_message.Message):
    __slots__ = ("trials_per_kernel", "early_stopping_threshold", "top_trials_per_kernel")
    TRIALS_PER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TOP_TRIALS_PER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    trials_per_kernel: int
    early_stopping_threshold: int
    top_trials_per_kernel: int
    def __init__(self, trials_per_kernel: _Optional[int] = ..., early_stopping_threshold: _Optional[int] = ..., top_trials_per_kernel: _Optional[int] = ...) -> None: ...

class AutoTVMOptions(_message.Message):
    __slots__ = ("kernel_trials", "early_stopping_threshold", "exploration_trials", "random_trials")
    KERNEL_TRIALS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_TRIALS_FIELD_NUMBER: _ClassVar[int]
    RANDOM_TRIALS_FIELD_NUMBER: _ClassVar[int]
    kernel_trials: int
    early_stopping_threshold: int
    exploration_trials: int
    random_trials: int
    def __init__(self, kernel_trials: _Optional[int] = ..., early_stopping_threshold: _Optional[int] = ..., exploration_trials: _Optional[int] = ..., random_trials: _Optional[int] = ...) -> None: ...

class BothOptions(_message.Message):
    __slots__ = ("trials_per_kernel", "early_stopping_threshold", "top_trials_per_kernel")
    TRIALS_PER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    TOP_TRIALS_PER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    trials_per_kernel: int
    early_stopping_threshold: int
    top_trials_per_kernel: int
    def __init__(self, trials_per_kernel: _Optional[int] = ..., early_stopping_threshold: _Optional[int] = ..., top_trials_per_kernel: _Optional[int] = ...) -> None: ...

class InputRange(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class FrozenInput(_message.Message):
    __slots__ = ("json", "values_id")
    JSON_FIELD_NUMBER: _ClassVar[int]
    VALUES_ID_FIELD_NUMBER: _ClassVar[int]
    json: str
    values_id: str
    def __init__(self, json: _Optional[str] = ..., values_id: _Optional[str] = ...) -> None: ...

class JobSpec(_message.Message):
    __slots__ = ("model_id", "targets", "shape_sets", "autoscheduler", "autotvm", "both", "max_trials", "max_seconds", "seed", "project", "owner", "name", "priority", "labels", "trace_id", "allow_tf32", "exact_math", "input_padding", "input_samples", "input_ranges", "frozen_inputs", "forced_inputs", "without_reference")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class InputPaddingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class InputRangesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: InputRange
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[InputRange, _Mapping]] = ...) -> None: ...
    class FrozenInputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FrozenInput
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FrozenInput, _Mapping]] = ...) -> None: ...
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    SHAPE_SETS_FIELD_NUMBER: _ClassVar[int]
    AUTOSCHEDULER_FIELD_NUMBER: _ClassVar[int]
    AUTOTVM_FIELD_NUMBER: _ClassVar[int]
    BOTH_FIELD_NUMBER: _ClassVar[int]
    MAX_TRIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOW_TF32_FIELD_NUMBER: _ClassVar[int]
    EXACT_MATH_FIELD_NUMBER: _ClassVar[int]
    INPUT_PADDING_FIELD_NUMBER: _ClassVar[int]
    INPUT_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    INPUT_RANGES_FIELD_NUMBER: _ClassVar[int]
    FROZEN_INPUTS_FIELD_NUMBER: _ClassVar[int]
    FORCED_INPUTS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    targets: _containers.RepeatedCompositeFieldContainer[_common_pb2.TargetSpec]
    shape_sets: _containers.RepeatedCompositeFieldContainer[_common_pb2.ShapeSet]
    autoscheduler: AutoschedulerOptions
    autotvm: AutoTVMOptions
    both: BothOptions
    max_trials: int
    max_seconds: float
    seed: int
    project: str
    owner: str
    name: str
    priority: int
    labels: _containers.ScalarMap[str, str]
    trace_id: str
    allow_tf32: bool
    exact_math: bool
    input_padding: _containers.ScalarMap[str, float]
    input_samples: str
    input_ranges: _containers.MessageMap[str, InputRange]
    frozen_inputs: _containers.MessageMap[str, FrozenInput]
    forced_inputs: _containers.RepeatedScalarFieldContainer[str]
    without_reference: bool
    def __init__(self, model_id: _Optional[str] = ..., targets: _Optional[_Iterable[_Union[_common_pb2.TargetSpec, _Mapping]]] = ..., shape_sets: _Optional[_Iterable[_Union[_common_pb2.ShapeSet, _Mapping]]] = ..., autoscheduler: _Optional[_Union[AutoschedulerOptions, _Mapping]] = ..., autotvm: _Optional[_Union[AutoTVMOptions, _Mapping]] = ..., both: _Optional[_Union[BothOptions, _Mapping]] = ..., max_trials: _Optional[int] = ..., max_seconds: _Optional[float] = ..., seed: _Optional[int] = ..., project: _Optional[str] = ..., owner: _Optional[str] = ..., name: _Optional[str] = ..., priority: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace_id: _Optional[str] = ..., allow_tf32: _Optional[bool] = ..., exact_math: _Optional[bool] = ..., input_padding: _Optional[_Mapping[str, float]] = ..., input_samples: _Optional[str] = ..., input_ranges: _Optional[_Mapping[str, InputRange]] = ..., frozen_inputs: _Optional[_Mapping[str, FrozenInput]] = ..., forced_inputs: _Optional[_Iterable[str]] = ..., without_reference: _Optional[bool] = ...) -> None: ...

class PlanJobRequest(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: JobSpec
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ...) -> None: ...

class PlannedTask(_message.Message):
    __slots__ = ("workload", "name", "weight", "flops", "known_records", "first_round_trials", "template", "trials", "weights", "nodes")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FLOPS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_RECORDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROUND_TRIALS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    workload: str
    name: str
    weight: int
    flops: float
    known_records: int
    first_round_trials: int
    template: str
    trials: int
    weights: _containers.RepeatedScalarFieldContainer[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workload: _Optional[str] = ..., name: _Optional[str] = ..., weight: _Optional[int] = ..., flops: _Optional[float] = ..., known_records: _Optional[int] = ..., first_round_trials: _Optional[int] = ..., template: _Optional[str] = ..., trials: _Optional[int] = ..., weights: _Optional[_Iterable[int]] = ..., nodes: _Optional[_Iterable[str]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("target", "tuner", "tasks", "budget", "layout", "pipeline_version", "notes", "estimated_seconds", "trials_per_second", "measured_jobs", "autoscheduler", "autotvm", "both", "allow_tf32", "exact_math", "shape_sets")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TUNER_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRIALS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MEASURED_JOBS_FIELD_NUMBER: _ClassVar[int]
    AUTOSCHEDULER_FIELD_NUMBER: _ClassVar[int]
    AUTOTVM_FIELD_NUMBER: _ClassVar[int]
    BOTH_FIELD_NUMBER: _ClassVar[int]
    ALLOW_TF32_FIELD_NUMBER: _ClassVar[int]
    EXACT_MATH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_SETS_FIELD_NUMBER: _ClassVar[int]
    target: str
    tuner: str
    tasks: _containers.RepeatedCompositeFieldContainer[PlannedTask]
    budget: int
    layout: str
    pipeline_version: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    estimated_seconds: float
    trials_per_second: float
    measured_jobs: int
    autoscheduler: AutoschedulerOptions
    autotvm: AutoTVMOptions
    both: BothOptions
    allow_tf32: bool
    exact_math: bool
    shape_sets: _containers.RepeatedCompositeFieldContainer[_common_pb2.ShapeSet]
    def __init__(self, target: _Optional[str] = ..., tuner: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[PlannedTask, _Mapping]]] = ..., budget: _Optional[int] = ..., layout: _Optional[str] = ..., pipeline_version: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ..., estimated_seconds: _Optional[float] = ..., trials_per_second: _Optional[float] = ..., measured_jobs: _Optional[int] = ..., autoscheduler: _Optional[_Union[AutoschedulerOptions, _Mapping]] = ..., autotvm: _Optional[_Union[AutoTVMOptions, _Mapping]] = ..., both: _Optional[_Union[BothOptions, _Mapping]] = ..., allow_tf32: _Optional[bool] = ..., exact_math: _Optional[bool] = ..., shape_sets: _Optional[_Iterable[_Union[_common_pb2.ShapeSet, _Mapping]]] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("idempotency_key", "spec")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    spec: JobSpec
    def __init__(self, idempotency_key: _Optional[str] = ..., spec: _Optional[_Union[JobSpec, _Mapping]] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: JobErrorKind
    message: str
    def __init__(self, kind: _Optional[_Union[JobErrorKind, str]] = ..., message: _Optional[str] = ...) -> None: ...

class TaskProgress(_message.Message):
    __slots__ = ("workload", "name", "weight", "charged", "valid", "failed", "baseline_seconds", "best_seconds", "weights", "nodes")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHARGED_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    BASELINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BEST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    workload: str
    name: str
    weight: int
    charged: int
    valid: int
    failed: int
    baseline_seconds: float
    best_seconds: float
    weights: _containers.RepeatedScalarFieldContainer[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workload: _Optional[str] = ..., name: _Optional[str] = ..., weight: _Optional[int] = ..., charged: _Optional[int] = ..., valid: _Optional[int] = ..., failed: _Optional[int] = ..., baseline_seconds: _Optional[float] = ..., best_seconds: _Optional[float] = ..., weights: _Optional[_Iterable[int]] = ..., nodes: _Optional[_Iterable[str]] = ...) -> None: ...

class Trials(_message.Message):
    __slots__ = ("budget", "charged", "valid", "in_flight", "failed", "refunded")
    class FailedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    CHARGED_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    budget: int
    charged: int
    valid: int
    in_flight: int
    failed: _containers.ScalarMap[str, int]
    refunded: int
    def __init__(self, budget: _Optional[int] = ..., charged: _Optional[int] = ..., valid: _Optional[int] = ..., in_flight: _Optional[int] = ..., failed: _Optional[_Mapping[str, int]] = ..., refunded: _Optional[int] = ...) -> None: ...

class StageSeconds(_message.Message):
    __slots__ = ("total", "prepare", "search", "build", "measure", "package")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    total: float
    prepare: float
    search: float
    build: float
    measure: float
    package: float
    def __init__(self, total: _Optional[float] = ..., prepare: _Optional[float] = ..., search: _Optional[float] = ..., build: _Optional[float] = ..., measure: _Optional[float] = ..., package: _Optional[float] = ...) -> None: ...

class LatencyMs(_message.Message):
    __slots__ = ("tuned", "untuned", "onnxruntime", "tuned_spread", "untuned_spread", "onnxruntime_spread", "tuned_mean", "untuned_mean", "onnxruntime_mean", "tuned_first", "untuned_first", "onnxruntime_first")
    TUNED_FIELD_NUMBER: _ClassVar[int]
    UNTUNED_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_FIELD_NUMBER: _ClassVar[int]
    TUNED_SPREAD_FIELD_NUMBER: _ClassVar[int]
    UNTUNED_SPREAD_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_SPREAD_FIELD_NUMBER: _ClassVar[int]
    TUNED_MEAN_FIELD_NUMBER: _ClassVar[int]
    UNTUNED_MEAN_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_MEAN_FIELD_NUMBER: _ClassVar[int]
    TUNED_FIRST_FIELD_NUMBER: _ClassVar[int]
    UNTUNED_FIRST_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_FIRST_FIELD_NUMBER: _ClassVar[int]
    tuned: float
    untuned: float
    onnxruntime: float
    tuned_spread: float
    untuned_spread: float
    onnxruntime_spread: float
    tuned_mean: float
    untuned_mean: float
    onnxruntime_mean: float
    tuned_first: float
    untuned_first: float
    onnxruntime_first: float
    def __init__(self, tuned: _Optional[float] = ..., untuned: _Optional[float] = ..., onnxruntime: _Optional[float] = ..., tuned_spread: _Optional[float] = ..., untuned_spread: _Optional[float] = ..., onnxruntime_spread: _Optional[float] = ..., tuned_mean: _Optional[float] = ..., untuned_mean: _Optional[float] = ..., onnxruntime_mean: _Optional[float] = ..., tuned_first: _Optional[float] = ..., untuned_first: _Optional[float] = ..., onnxruntime_first: _Optional[float] = ...) -> None: ...

class ShapeSetResult(_message.Message):
    __slots__ = ("shapes", "latency_ms", "max_rel_error", "device")
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_REL_ERROR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    shapes: _common_pb2.ShapeSet
    latency_ms: LatencyMs
    max_rel_error: float
    device: str
    def __init__(self, shapes: _Optional[_Union[_common_pb2.ShapeSet, _Mapping]] = ..., latency_ms: _Optional[_Union[LatencyMs, _Mapping]] = ..., max_rel_error: _Optional[float] = ..., device: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "state", "spec", "target", "tuner", "trials", "measurements", "tasks", "estimated_latency_ms", "trials_per_second", "seconds_left", "latency_ms", "max_rel_error", "seconds", "error", "has_package", "created", "ended", "sequence", "notes", "model_name", "device", "shape_sets")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TUNER_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    TRIALS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_REL_ERROR_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HAS_PACKAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_SETS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    spec: JobSpec
    target: str
    tuner: str
    trials: Trials
    measurements: int
    tasks: _containers.RepeatedCompositeFieldContainer[TaskProgress]
    estimated_latency_ms: float
    trials_per_second: float
    seconds_left: float
    latency_ms: LatencyMs
    max_rel_error: float
    seconds: StageSeconds
    error: JobError
    has_package: bool
    created: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    sequence: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    model_name: str
    device: str
    shape_sets: _containers.RepeatedCompositeFieldContainer[ShapeSetResult]
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., spec: _Optional[_Union[JobSpec, _Mapping]] = ..., target: _Optional[str] = ..., tuner: _Optional[str] = ..., trials: _Optional[_Union[Trials, _Mapping]] = ..., measurements: _Optional[int] = ..., tasks: _Optional[_Iterable[_Union[TaskProgress, _Mapping]]] = ..., estimated_latency_ms: _Optional[float] = ..., trials_per_second: _Optional[float] = ..., seconds_left: _Optional[float] = ..., latency_ms: _Optional[_Union[LatencyMs, _Mapping]] = ..., max_rel_error: _Optional[float] = ..., seconds: _Optional[_Union[StageSeconds, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., has_package: _Optional[bool] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., model_name: _Optional[str] = ..., device: _Optional[str] = ..., shape_sets: _Optional[_Iterable[_Union[ShapeSetResult, _Mapping]]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "project", "states")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    project: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., project: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class JobUpdate(_message.Message):
    __slots__ = ("sequence", "job")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    job: Job
    def __init__(self, sequence: _Optional[int] = ..., job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    reason: str
    def __init__(self, job_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("idempotency_key", "job_id", "trials_per_kernel", "kernel_trials", "max_trials", "max_seconds")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TRIALS_PER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    KERNEL_TRIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_TRIALS_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    job_id: str
    trials_per_kernel: int
    kernel_trials: int
    max_trials: int
    max_seconds: float
    def __init__(self, idempotency_key: _Optional[str] = ..., job_id: _Optional[str] = ..., trials_per_kernel: _Optional[int] = ..., kernel_trials: _Optional[int] = ..., max_trials: _Optional[int] = ..., max_seconds: _Optional[float] = ...) -> None: ...

class FetchPackageRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class PackageChunk(_message.Message):
    __slots__ = ("file", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: FileHeader
    data: bytes
    def __init__(self, file: _Optional[_Union[FileHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tunefarm_proto.v1 import common_pb2 as _common_pb2
from tunefarm_proto.v1 import tuning_pb2 as _tuning_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefusalKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_KIND_UNSPECIFIED: _ClassVar[RefusalKind]
    REFUSAL_KIND_MALFORMED: _ClassVar[RefusalKind]
    REFUSAL_KIND_CHANGED: _ClassVar[RefusalKind]
    REFUSAL_KIND_SENTINEL_TIME: _ClassVar[RefusalKind]
    REFUSAL_KIND_CONFLICT: _ClassVar[RefusalKind]
    REFUSAL_KIND_UNKNOWN_ITEM: _ClassVar[RefusalKind]
REFUSAL_KIND_UNSPECIFIED: RefusalKind
REFUSAL_KIND_MALFORMED: RefusalKind
REFUSAL_KIND_CHANGED: RefusalKind
REFUSAL_KIND_SENTINEL_TIME: RefusalKind
REFUSAL_KIND_CONFLICT: RefusalKind
REFUSAL_KIND_UNKNOWN_ITEM: RefusalKind

class ScheduleItem(_message.Message):
    __slots__ = ("workload", "device", "record")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    workload: ScheduleWorkload
    device: ScheduleDevice
    record: ScheduleRecord
    def __init__(self, workload: _Optional[_Union[ScheduleWorkload, _Mapping]] = ..., device: _Optional[_Union[ScheduleDevice, _Mapping]] = ..., record: _Optional[_Union[ScheduleRecord, _Mapping]] = ...) -> None: ...

class ScheduleWorkload(_message.Message):
    __slots__ = ("workload", "name", "module", "flops", "created", "kind", "shapes")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    FLOPS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    workload: str
    name: str
    module: str
    flops: float
    created: _timestamp_pb2.Timestamp
    kind: str
    shapes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Shape]
    def __init__(self, workload: _Optional[str] = ..., name: _Optional[str] = ..., module: _Optional[str] = ..., flops: _Optional[float] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[str] = ..., shapes: _Optional[_Iterable[_Union[_common_pb2.Shape, _Mapping]]] = ...) -> None: ...

class ScheduleDevice(_message.Message):
    __slots__ = ("fingerprint", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    facts: _containers.ScalarMap[str, str]
    def __init__(self, fingerprint: _Optional[str] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ScheduleRecord(_message.Message):
    __slots__ = ("record_id", "workload", "target", "trace", "candidate_id", "device_fingerprint", "seconds", "failure", "at_least_seconds", "created", "project", "job_id", "task_name", "agent_id")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    workload: str
    target: str
    trace: str
    candidate_id: str
    device_fingerprint: str
    seconds: _containers.RepeatedScalarFieldContainer[float]
    failure: _common_pb2.Failure
    at_least_seconds: float
    created: _timestamp_pb2.Timestamp
    project: str
    job_id: str
    task_name: str
    agent_id: str
    def __init__(self, record_id: _Optional[str] = ..., workload: _Optional[str] = ..., target: _Optional[str] = ..., trace: _Optional[str] = ..., candidate_id: _Optional[str] = ..., device_fingerprint: _Optional[str] = ..., seconds: _Optional[_Iterable[float]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., at_least_seconds: _Optional[float] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., project: _Optional[str] = ..., job_id: _Optional[str] = ..., task_name: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class QueryBestRequest(_message.Message):
    __slots__ = ("workload", "target", "device_class")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    workload: str
    target: str
    device_class: str
    def __init__(self, workload: _Optional[str] = ..., target: _Optional[str] = ..., device_class: _Optional[str] = ...) -> None: ...

class QueryBestResponse(_message.Message):
    __slots__ = ("record", "verified")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    record: ScheduleRecord
    verified: bool
    def __init__(self, record: _Optional[_Union[ScheduleRecord, _Mapping]] = ..., verified: _Optional[bool] = ...) -> None: ...

class ImportSchedulesRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[NumberedItem]
    def __init__(self, items: _Optional[_Iterable[_Union[NumberedItem, _Mapping]]] = ...) -> None: ...

class NumberedItem(_message.Message):
    __slots__ = ("line", "item")
    LINE_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    line: int
    item: ScheduleItem
    def __init__(self, line: _Optional[int] = ..., item: _Optional[_Union[ScheduleItem, _Mapping]] = ...) -> None: ...

class ImportSchedulesResponse(_message.Message):
    __slots__ = ("records_added", "records_known", "workloads_added", "devices_added", "refused")
    RECORDS_ADDED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_ADDED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_ADDED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    records_added: int
    records_known: int
    workloads_added: int
    devices_added: int
    refused: _containers.RepeatedCompositeFieldContainer[RefusedItem]
    def __init__(self, records_added: _Optional[int] = ..., records_known: _Optional[int] = ..., workloads_added: _Optional[int] = ..., devices_added: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[RefusedItem, _Mapping]]] = ...) -> None: ...

class RefusedItem(_message.Message):
    __slots__ = ("line", "kind", "reason")
    LINE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    line: int
    kind: RefusalKind
    reason: str
    def __init__(self, line: _Optional[int] = ..., kind: _Optional[_Union[RefusalKind, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ExportSchedulesRequest(_message.Message):
    __slots__ = ("workload", "target", "device_class", "project")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    workload: str
    target: str
    device_class: str
    project: str
    def __init__(self, workload: _Optional[str] = ..., target: _Optional[str] = ..., device_class: _Optional[str] = ..., project: _Optional[str] = ...) -> None: ...

class ExportSchedulesResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ScheduleItem]
    def __init__(self, items: _Optional[_Iterable[_Union[ScheduleItem, _Mapping]]] = ...) -> None: ...

class GetScheduleStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScheduleStats(_message.Message):
    __slots__ = ("records", "valid", "censored", "failed", "imported", "candidates", "workloads", "oldest", "newest", "scopes", "retracted", "pipeline_versions", "pruned")
    class FailedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    CENSORED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PRUNED_FIELD_NUMBER: _ClassVar[int]
    records: int
    valid: int
    censored: int
    failed: _containers.ScalarMap[str, int]
    imported: int
    candidates: int
    workloads: int
    oldest: _timestamp_pb2.Timestamp
    newest: _timestamp_pb2.Timestamp
    scopes: _containers.RepeatedCompositeFieldContainer[ScopeStats]
    retracted: int
    pipeline_versions: _containers.RepeatedScalarFieldContainer[str]
    pruned: int
    def __init__(self, records: _Optional[int] = ..., valid: _Optional[int] = ..., censored: _Optional[int] = ..., failed: _Optional[_Mapping[str, int]] = ..., imported: _Optional[int] = ..., candidates: _Optional[int] = ..., workloads: _Optional[int] = ..., oldest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., newest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scopes: _Optional[_Iterable[_Union[ScopeStats, _Mapping]]] = ..., retracted: _Optional[int] = ..., pipeline_versions: _Optional[_Iterable[str]] = ..., pruned: _Optional[int] = ...) -> None: ...

class ScopeStats(_message.Message):
    __slots__ = ("target", "device_class", "records", "valid", "imported", "workloads")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    target: str
    device_class: str
    records: int
    valid: int
    imported: int
    workloads: int
    def __init__(self, target: _Optional[str] = ..., device_class: _Optional[str] = ..., records: _Optional[int] = ..., valid: _Optional[int] = ..., imported: _Optional[int] = ..., workloads: _Optional[int] = ...) -> None: ...

class FindSchedulesRequest(_message.Message):
    __slots__ = ("spec", "device_class", "top", "task")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    spec: _tuning_pb2.JobSpec
    device_class: str
    top: int
    task: str
    def __init__(self, spec: _Optional[_Union[_tuning_pb2.JobSpec, _Mapping]] = ..., device_class: _Optional[str] = ..., top: _Optional[int] = ..., task: _Optional[str] = ...) -> None: ...

class FoundSchedule(_message.Message):
    __slots__ = ("record", "verified", "default_schedule")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    record: ScheduleRecord
    verified: bool
    default_schedule: bool
    def __init__(self, record: _Optional[_Union[ScheduleRecord, _Mapping]] = ..., verified: _Optional[bool] = ..., default_schedule: _Optional[bool] = ...) -> None: ...

class FoundTask(_message.Message):
    __slots__ = ("workload", "name", "weight", "flops", "nodes", "records", "default_seconds", "schedules")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FLOPS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    workload: str
    name: str
    weight: int
    flops: float
    nodes: _containers.RepeatedScalarFieldContainer[str]
    records: int
    default_seconds: float
    schedules: _containers.RepeatedCompositeFieldContainer[FoundSchedule]
    def __init__(self, workload: _Optional[str] = ..., name: _Optional[str] = ..., weight: _Optional[int] = ..., flops: _Optional[float] = ..., nodes: _Optional[_Iterable[str]] = ..., records: _Optional[int] = ..., default_seconds: _Optional[float] = ..., schedules: _Optional[_Iterable[_Union[FoundSchedule, _Mapping]]] = ...) -> None: ...

class FoundSchedules(_message.Message):
    __slots__ = ("target", "device_class", "pipeline_version", "tasks", "notes")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    target: str
    device_class: str
    pipeline_version: str
    tasks: _containers.RepeatedCompositeFieldContainer[FoundTask]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, target: _Optional[str] = ..., device_class: _Optional[str] = ..., pipeline_version: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[FoundTask, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class CompileModelRequest(_message.Message):
    __slots__ = ("spec", "device_class", "verified_only")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_ONLY_FIELD_NUMBER: _ClassVar[int]
    spec: _tuning_pb2.JobSpec
    device_class: str
    verified_only: bool
    def __init__(self, spec: _Optional[_Union[_tuning_pb2.JobSpec, _Mapping]] = ..., device_class: _Optional[str] = ..., verified_only: _Optional[bool] = ...) -> None: ...

class CompiledModel(_message.Message):
    __slots__ = ("found", "chunk")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    found: FoundSchedules
    chunk: _tuning_pb2.PackageChunk
    def __init__(self, found: _Optional[_Union[FoundSchedules, _Mapping]] = ..., chunk: _Optional[_Union[_tuning_pb2.PackageChunk, _Mapping]] = ...) -> None: ...

class ImportMetaScheduleRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ImportMetaScheduleHeader
    chunk: _tuning_pb2.FileChunk
    def __init__(self, header: _Optional[_Union[ImportMetaScheduleHeader, _Mapping]] = ..., chunk: _Optional[_Union[_tuning_pb2.FileChunk, _Mapping]] = ...) -> None: ...

class ImportMetaScheduleHeader(_message.Message):
    __slots__ = ("workloads", "records", "device_class", "after_line")
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    AFTER_LINE_FIELD_NUMBER: _ClassVar[int]
    workloads: _tuning_pb2.FileHeader
    records: _tuning_pb2.FileHeader
    device_class: str
    after_line: int
    def __init__(self, workloads: _Optional[_Union[_tuning_pb2.FileHeader, _Mapping]] = ..., records: _Optional[_Union[_tuning_pb2.FileHeader, _Mapping]] = ..., device_class: _Optional[str] = ..., after_line: _Optional[int] = ...) -> None: ...

class ImportMetaScheduleResponse(_message.Message):
    __slots__ = ("taken", "lines", "bytes")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    taken: ImportSchedulesResponse
    lines: int
    bytes: int
    def __init__(self, taken: _Optional[_Union[ImportSchedulesResponse, _Mapping]] = ..., lines: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ExportedMetaSchedule(_message.Message):
    __slots__ = ("counts", "chunk")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    counts: MetaScheduleCounts
    chunk: _tuning_pb2.PackageChunk
    def __init__(self, counts: _Optional[_Union[MetaScheduleCounts, _Mapping]] = ..., chunk: _Optional[_Union[_tuning_pb2.PackageChunk, _Mapping]] = ...) -> None: ...

class MetaScheduleCounts(_message.Message):
    __slots__ = ("records", "other_algorithm", "without_module", "unfit", "folders")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    OTHER_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_MODULE_FIELD_NUMBER: _ClassVar[int]
    UNFIT_FIELD_NUMBER: _ClassVar[int]
    FOLDERS_FIELD_NUMBER: _ClassVar[int]
    records: int
    other_algorithm: int
    without_module: int
    unfit: int
    folders: _containers.RepeatedCompositeFieldContainer[MetaScheduleFolder]
    def __init__(self, records: _Optional[int] = ..., other_algorithm: _Optional[int] = ..., without_module: _Optional[int] = ..., unfit: _Optional[int] = ..., folders: _Optional[_Iterable[_Union[MetaScheduleFolder, _Mapping]]] = ...) -> None: ...

class MetaScheduleFolder(_message.Message):
    __slots__ = ("folder", "target", "records", "workloads", "device_classes")
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASSES_FIELD_NUMBER: _ClassVar[int]
    folder: str
    target: str
    records: int
    workloads: int
    device_classes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, folder: _Optional[str] = ..., target: _Optional[str] = ..., records: _Optional[int] = ..., workloads: _Optional[int] = ..., device_classes: _Optional[_Iterable[str]] = ...) -> None: ...

class RetractSchedulesRequest(_message.Message):
    __slots__ = ("agent_id", "device_fingerprint", "job_id", "since", "until", "reason", "dry_run")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    device_fingerprint: str
    job_id: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    reason: str
    dry_run: bool
    def __init__(self, agent_id: _Optional[str] = ..., device_fingerprint: _Optional[str] = ..., job_id: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RetractedSchedules(_message.Message):
    __slots__ = ("records", "verifications", "comparisons", "workloads")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    VERIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    records: int
    verifications: int
    comparisons: int
    workloads: int
    def __init__(self, records: _Optional[int] = ..., verifications: _Optional[int] = ..., comparisons: _Optional[int] = ..., workloads: _Optional[int] = ...) -> None: ...

class PruneSchedulesRequest(_message.Message):
    __slots__ = ("keep_top", "workload", "target", "device_class", "project", "before", "dry_run")
    KEEP_TOP_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    keep_top: int
    workload: str
    target: str
    device_class: str
    project: str
    before: _timestamp_pb2.Timestamp
    dry_run: bool
    def __init__(self, keep_top: _Optional[int] = ..., workload: _Optional[str] = ..., target: _Optional[str] = ..., device_class: _Optional[str] = ..., project: _Optional[str] = ..., before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class PrunedSchedules(_message.Message):
    __slots__ = ("records", "traces", "workloads", "workloads_seen", "workloads_total", "freed_bytes", "returned_bytes")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_SEEN_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RETURNED_BYTES_FIELD_NUMBER: _ClassVar[int]
    records: int
    traces: int
    workloads: int
    workloads_seen: int
    workloads_total: int
    freed_bytes: int
    returned_bytes: int
    def __init__(self, records: _Optional[int] = ..., traces: _Optional[int] = ..., workloads: _Optional[int] = ..., workloads_seen: _Optional[int] = ..., workloads_total: _Optional[int] = ..., freed_bytes: _Optional[int] = ..., returned_bytes: _Optional[int] = ...) -> None: ...

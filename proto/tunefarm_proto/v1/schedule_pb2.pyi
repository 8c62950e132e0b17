import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tunefarm_proto.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScheduleRecord(_message.Message):
    __slots__ = ("record_id", "workload", "target", "trace", "candidate_id", "device_fingerprint", "seconds", "failure", "at_least_seconds", "created", "project", "job_id", "task_name")
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
    def __init__(self, record_id: _Optional[str] = ..., workload: _Optional[str] = ..., target: _Optional[str] = ..., trace: _Optional[str] = ..., candidate_id: _Optional[str] = ..., device_fingerprint: _Optional[str] = ..., seconds: _Optional[_Iterable[float]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., at_least_seconds: _Optional[float] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., project: _Optional[str] = ..., job_id: _Optional[str] = ..., task_name: _Optional[str] = ...) -> None: ...

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

class ImportRecordsRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[ScheduleRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[ScheduleRecord, _Mapping]]] = ...) -> None: ...

class ImportRecordsResponse(_message.Message):
    __slots__ = ("added", "known")
    ADDED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    added: int
    known: int
    def __init__(self, added: _Optional[int] = ..., known: _Optional[int] = ...) -> None: ...

class ExportRecordsRequest(_message.Message):
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

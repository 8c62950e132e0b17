import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_KIND_UNSPECIFIED: _ClassVar[FailureKind]
    FAILURE_KIND_BUILD_ERROR: _ClassVar[FailureKind]
    FAILURE_KIND_BUILD_TIMEOUT: _ClassVar[FailureKind]
    FAILURE_KIND_LOAD_ERROR: _ClassVar[FailureKind]
    FAILURE_KIND_RUN_ERROR: _ClassVar[FailureKind]
    FAILURE_KIND_RUN_TIMEOUT: _ClassVar[FailureKind]
    FAILURE_KIND_WRONG_OUTPUT: _ClassVar[FailureKind]
    FAILURE_KIND_DEVICE_LOST: _ClassVar[FailureKind]
    FAILURE_KIND_CANCELLED: _ClassVar[FailureKind]

class DeviceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_STATE_UNSPECIFIED: _ClassVar[DeviceState]
    DEVICE_STATE_IDLE: _ClassVar[DeviceState]
    DEVICE_STATE_BUSY: _ClassVar[DeviceState]
    DEVICE_STATE_DRAINING: _ClassVar[DeviceState]
    DEVICE_STATE_QUARANTINED: _ClassVar[DeviceState]
    DEVICE_STATE_LOST: _ClassVar[DeviceState]
FAILURE_KIND_UNSPECIFIED: FailureKind
FAILURE_KIND_BUILD_ERROR: FailureKind
FAILURE_KIND_BUILD_TIMEOUT: FailureKind
FAILURE_KIND_LOAD_ERROR: FailureKind
FAILURE_KIND_RUN_ERROR: FailureKind
FAILURE_KIND_RUN_TIMEOUT: FailureKind
FAILURE_KIND_WRONG_OUTPUT: FailureKind
FAILURE_KIND_DEVICE_LOST: FailureKind
FAILURE_KIND_CANCELLED: FailureKind
DEVICE_STATE_UNSPECIFIED: DeviceState
DEVICE_STATE_IDLE: DeviceState
DEVICE_STATE_BUSY: DeviceState
DEVICE_STATE_DRAINING: DeviceState
DEVICE_STATE_QUARANTINED: DeviceState
DEVICE_STATE_LOST: DeviceState

class ProgramVersion(_message.Message):
    __slots__ = ("program", "tvm", "python")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TVM_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    program: str
    tvm: str
    python: str
    def __init__(self, program: _Optional[str] = ..., tvm: _Optional[str] = ..., python: _Optional[str] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "shape", "dtype")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("dims",)
    DIMS_FIELD_NUMBER: _ClassVar[int]
    dims: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, dims: _Optional[_Iterable[int]] = ...) -> None: ...

class ShapeSet(_message.Message):
    __slots__ = ("inputs",)
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Shape
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Shape, _Mapping]] = ...) -> None: ...
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.MessageMap[str, Shape]
    def __init__(self, inputs: _Optional[_Mapping[str, Shape]] = ...) -> None: ...

class TargetSpec(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: FailureKind
    message: str
    def __init__(self, kind: _Optional[_Union[FailureKind, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("device_id", "name", "fingerprint", "facts", "target", "labels", "cores", "runs_onnxruntime")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    RUNS_ONNXRUNTIME_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    name: str
    fingerprint: str
    facts: _containers.ScalarMap[str, str]
    target: str
    labels: _containers.ScalarMap[str, str]
    cores: _containers.RepeatedScalarFieldContainer[int]
    runs_onnxruntime: bool
    def __init__(self, device_id: _Optional[str] = ..., name: _Optional[str] = ..., fingerprint: _Optional[str] = ..., facts: _Optional[_Mapping[str, str]] = ..., target: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., cores: _Optional[_Iterable[int]] = ..., runs_onnxruntime: _Optional[bool] = ...) -> None: ...

class DeviceStatus(_message.Message):
    __slots__ = ("device", "agent_id", "state", "reason", "running", "measured", "failed", "last_seen", "device_class", "temperature", "trials_per_second", "reference_seconds", "remeasured")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REMEASURED_FIELD_NUMBER: _ClassVar[int]
    device: Device
    agent_id: str
    state: DeviceState
    reason: str
    running: str
    measured: int
    failed: int
    last_seen: _timestamp_pb2.Timestamp
    device_class: str
    temperature: float
    trials_per_second: float
    reference_seconds: float
    remeasured: int
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ..., agent_id: _Optional[str] = ..., state: _Optional[_Union[DeviceState, str]] = ..., reason: _Optional[str] = ..., running: _Optional[str] = ..., measured: _Optional[int] = ..., failed: _Optional[int] = ..., last_seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., device_class: _Optional[str] = ..., temperature: _Optional[float] = ..., trials_per_second: _Optional[float] = ..., reference_seconds: _Optional[float] = ..., remeasured: _Optional[int] = ...) -> None: ...

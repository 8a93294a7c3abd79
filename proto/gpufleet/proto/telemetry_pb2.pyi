from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Position(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("epoch", "seq", "count", "gap", "hello", "inventory", "layout", "samples", "packed_samples", "events", "processes", "status", "result", "details")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    PACKED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    count: int
    gap: bool
    hello: Hello
    inventory: Inventory
    layout: Layout
    samples: Samples
    packed_samples: bytes
    events: Events
    processes: Processes
    status: CollectorStatus
    result: CommandResult
    details: Details
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., count: _Optional[int] = ..., gap: bool = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., inventory: _Optional[_Union[Inventory, _Mapping]] = ..., layout: _Optional[_Union[Layout, _Mapping]] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., packed_samples: _Optional[bytes] = ..., events: _Optional[_Union[Events, _Mapping]] = ..., processes: _Optional[_Union[Processes, _Mapping]] = ..., status: _Optional[_Union[CollectorStatus, _Mapping]] = ..., result: _Optional[_Union[CommandResult, _Mapping]] = ..., details: _Optional[_Union[Details, _Mapping]] = ...) -> None: ...

class HubMessage(_message.Message):
    __slots__ = ("welcome", "ack", "command")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    command: Command
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "labels", "machine_id", "boot_id", "agent_version", "protocol_minor", "epoch", "method", "interval_ms", "facts_json", "clock_ms", "oldest", "methods")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MINOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    FACTS_JSON_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    node: str
    labels: _containers.ScalarMap[str, str]
    machine_id: str
    boot_id: str
    agent_version: str
    protocol_minor: int
    epoch: int
    method: str
    interval_ms: int
    facts_json: str
    clock_ms: int
    oldest: Position
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., machine_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., protocol_minor: _Optional[int] = ..., epoch: _Optional[int] = ..., method: _Optional[str] = ..., interval_ms: _Optional[int] = ..., facts_json: _Optional[str] = ..., clock_ms: _Optional[int] = ..., oldest: _Optional[_Union[Position, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ...) -> None: ...

class Inventory(_message.Message):
    __slots__ = ("subjects",)
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    subjects: _containers.RepeatedCompositeFieldContainer[SubjectFacts]
    def __init__(self, subjects: _Optional[_Iterable[_Union[SubjectFacts, _Mapping]]] = ...) -> None: ...

class SubjectFacts(_message.Message):
    __slots__ = ("kind", "key", "parent", "index", "name", "facts_json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FACTS_JSON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key: str
    parent: str
    index: int
    name: str
    facts_json: str
    def __init__(self, kind: _Optional[str] = ..., key: _Optional[str] = ..., parent: _Optional[str] = ..., index: _Optional[int] = ..., name: _Optional[str] = ..., facts_json: _Optional[str] = ...) -> None: ...

class Layout(_message.Message):
    __slots__ = ("id", "subjects")
    ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    subjects: _containers.RepeatedCompositeFieldContainer[LayoutSubject]
    def __init__(self, id: _Optional[int] = ..., subjects: _Optional[_Iterable[_Union[LayoutSubject, _Mapping]]] = ...) -> None: ...

class LayoutSubject(_message.Message):
    __slots__ = ("kind", "key", "metrics", "divisors", "multipliers")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    DIVISORS_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIERS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key: str
    metrics: _containers.RepeatedScalarFieldContainer[int]
    divisors: _containers.RepeatedScalarFieldContainer[int]
    multipliers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, kind: _Optional[str] = ..., key: _Optional[str] = ..., metrics: _Optional[_Iterable[int]] = ..., divisors: _Optional[_Iterable[int]] = ..., multipliers: _Optional[_Iterable[int]] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("layout", "ticks", "taken", "present", "values")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    TICKS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    layout: int
    ticks: _containers.RepeatedScalarFieldContainer[int]
    taken: bytes
    present: bytes
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, layout: _Optional[int] = ..., ticks: _Optional[_Iterable[int]] = ..., taken: _Optional[bytes] = ..., present: _Optional[bytes] = ..., values: _Optional[_Iterable[int]] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("time_ms", "kind", "subject_kind", "subject_key", "severity", "code", "message", "data_json")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    kind: str
    subject_kind: str
    subject_key: str
    severity: str
    code: int
    message: str
    data_json: str
    def __init__(self, time_ms: _Optional[int] = ..., kind: _Optional[str] = ..., subject_kind: _Optional[str] = ..., subject_key: _Optional[str] = ..., severity: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., data_json: _Optional[str] = ...) -> None: ...

class Processes(_message.Message):
    __slots__ = ("time_ms", "processes")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    def __init__(self, time_ms: _Optional[int] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("subject_key", "pid", "start_ms", "user", "program", "type", "memory_bytes", "utilization_permille", "container", "pod", "job", "arguments")
    SUBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_PERMILLE_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    subject_key: str
    pid: int
    start_ms: int
    user: str
    program: str
    type: str
    memory_bytes: int
    utilization_permille: int
    container: str
    pod: str
    job: str
    arguments: str
    def __init__(self, subject_key: _Optional[str] = ..., pid: _Optional[int] = ..., start_ms: _Optional[int] = ..., user: _Optional[str] = ..., program: _Optional[str] = ..., type: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., utilization_permille: _Optional[int] = ..., container: _Optional[str] = ..., pod: _Optional[str] = ..., job: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class Details(_message.Message):
    __slots__ = ("details",)
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    details: _containers.RepeatedCompositeFieldContainer[SubjectDetail]
    def __init__(self, details: _Optional[_Iterable[_Union[SubjectDetail, _Mapping]]] = ...) -> None: ...

class SubjectDetail(_message.Message):
    __slots__ = ("subject_kind", "subject_key", "json")
    SUBJECT_KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    subject_kind: str
    subject_key: str
    json: str
    def __init__(self, subject_kind: _Optional[str] = ..., subject_key: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class CollectorStatus(_message.Message):
    __slots__ = ("faults", "hung_since_ms", "sentence", "dropped_ticks", "spooled_bytes")
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    HUNG_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TICKS_FIELD_NUMBER: _ClassVar[int]
    SPOOLED_BYTES_FIELD_NUMBER: _ClassVar[int]
    faults: _containers.RepeatedCompositeFieldContainer[SubjectFault]
    hung_since_ms: int
    sentence: str
    dropped_ticks: int
    spooled_bytes: int
    def __init__(self, faults: _Optional[_Iterable[_Union[SubjectFault, _Mapping]]] = ..., hung_since_ms: _Optional[int] = ..., sentence: _Optional[str] = ..., dropped_ticks: _Optional[int] = ..., spooled_bytes: _Optional[int] = ...) -> None: ...

class SubjectFault(_message.Message):
    __slots__ = ("subject_kind", "subject_key", "state", "since_ms", "sentence")
    SUBJECT_KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    subject_kind: str
    subject_key: str
    state: str
    since_ms: int
    sentence: str
    def __init__(self, subject_kind: _Optional[str] = ..., subject_key: _Optional[str] = ..., state: _Optional[str] = ..., since_ms: _Optional[int] = ..., sentence: _Optional[str] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("id", "error", "document_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: str
    document_json: str
    def __init__(self, id: _Optional[int] = ..., error: _Optional[str] = ..., document_json: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("committed", "received", "slot_ms", "hub_version", "clock_ms")
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SLOT_MS_FIELD_NUMBER: _ClassVar[int]
    HUB_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    committed: Position
    received: Position
    slot_ms: int
    hub_version: str
    clock_ms: int
    def __init__(self, committed: _Optional[_Union[Position, _Mapping]] = ..., received: _Optional[_Union[Position, _Mapping]] = ..., slot_ms: _Optional[int] = ..., hub_version: _Optional[str] = ..., clock_ms: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("committed",)
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    committed: Position
    def __init__(self, committed: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "collect", "resend_after", "interval_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    COLLECT_FIELD_NUMBER: _ClassVar[int]
    RESEND_AFTER_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    id: int
    collect: Collect
    resend_after: Position
    interval_ms: int
    def __init__(self, id: _Optional[int] = ..., collect: _Optional[_Union[Collect, _Mapping]] = ..., resend_after: _Optional[_Union[Position, _Mapping]] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class Collect(_message.Message):
    __slots__ = ("method", "subject_key")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    method: str
    subject_key: str
    def __init__(self, method: _Optional[str] = ..., subject_key: _Optional[str] = ...) -> None: ...

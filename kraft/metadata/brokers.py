"""Brokers come, prove that they live, stop and go: registration, heartbeats, fencing (KIP-631, KIP-841, KIP-903)."""

from uuid import UUID

import msgspec

from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.effective_config import topic_value
from kraft.metadata.errors import (
    DuplicateBrokerRegistrationError,
    InconsistentClusterIdError,
    InvalidRequestError,
    UnsupportedVersionError,
)
from kraft.metadata.image import BrokerRegistration
from kraft.metadata.partition_change import Wanted
from kraft.metadata.records import NIL_ID, BrokerChange, RegisterBroker, UnregisterBroker
from kraft.metadata.replies import BrokerRegistered, Done, HeartbeatReply
from kraft.metadata.requests import (
    BrokerHeartbeat,
    FenceBroker,
    RegisterBrokerRequest,
    UnregisterBrokerRequest,
)


def register(draft: Draft, request: RegisterBrokerRequest) -> ControllerResult:
    """A broker process introduces itself; asked again by the same incarnation it gets the same answer.

    Raises InconsistentClusterIdError, UnsupportedVersionError, DuplicateBrokerRegistrationError, InvalidRequestError.
    """
    _check_fit(draft, request)
    old = draft.delta.broker(request.node_id)
    if old is not None and old.incarnation == request.incarnation:
        _refresh(draft, old, request)
        return draft.result(_registered(draft, old.broker_epoch))
    if old is not None and not old.fenced:
        raise DuplicateBrokerRegistrationError(
            f"node id {request.node_id} belongs to a live broker (epoch {old.broker_epoch}, {_where(old)}): give this "
            f"node another node.id, or wait until the other one is noticed to be dead"
        )
    draft.emit(_record(request, draft.next_offset))
    if old is not None:
        _forget_lost(draft, old, request)
    return draft.result(_registered(draft, draft.next_offset))


def _check_fit(draft: Draft, request: RegisterBrokerRequest) -> None:
    image = draft.image
    if request.node_id < 0:
        raise InvalidRequestError(f"node id {request.node_id} is negative")
    if request.cluster_id and request.cluster_id != image.cluster_id:
        raise InconsistentClusterIdError(
            f"the data folder of broker {request.node_id} belongs to cluster {request.cluster_id}, this is cluster "
            f"{image.cluster_id}: start it with the right quorum voters or with an empty data folder"
        )
    level = image.metadata_level
    if not request.min_metadata_level <= level <= request.max_metadata_level:
        raise UnsupportedVersionError(
            f"broker {request.node_id} knows the metadata levels {request.min_metadata_level} to "
            f"{request.max_metadata_level}, the cluster is at {level}: run a release that knows it"
        )


def _where(broker: BrokerRegistration) -> str:
    return ", ".join(f"{name}://{host}:{port}" for name, (host, port) in broker.listeners.items())


def _registered(draft: Draft, broker_epoch: int) -> BrokerRegistered:
    return BrokerRegistered(broker_epoch=broker_epoch, cluster_id=draft.image.cluster_id)


def _record(request: RegisterBrokerRequest, broker_epoch: int) -> RegisterBroker:
    return RegisterBroker(
        node_id=request.node_id,
        broker_epoch=broker_epoch,
        incarnation=request.incarnation,
        listeners=dict(request.listeners),
        rack=request.rack,
        directory_id=request.directory_id,
        min_metadata_level=request.min_metadata_level,
        max_metadata_level=request.max_metadata_level,
    )


def _refresh(draft: Draft, old: BrokerRegistration, request: RegisterBrokerRequest) -> None:
    """The same incarnation again, perhaps with new listeners: epoch, fencing and ISRs stay as they are."""
    record = msgspec.structs.replace(
        _record(request, old.broker_epoch), fenced=old.fenced, shutdown_offset=old.shutdown_offset
    )
    known = BrokerRegistration.__struct_fields__
    if any(getattr(old, field) != getattr(record, field) for field in known):
        draft.emit(record)


def _forget_lost(draft: Draft, old: BrokerRegistration, request: RegisterBrokerRequest) -> None:
    """Take a broker out of the ELRs in which its word is no longer good.

    Another data folder: out of all. The same one after a crash: out of those whose records were acknowledged from the
    page cache; fsynced ones are still there (KIP-966 "unclean shutdown").
    """
    node_id = request.node_id
    wanted = Wanted(lost=frozenset([node_id]))
    other_disk = NIL_ID not in (old.directory_id, request.directory_id) and (
        old.directory_id != request.directory_id
    )
    if not other_disk and request.clean_shutdown:
        return
    for topic_id, number, partition in draft.partitions():
        if node_id not in partition.elr:
            continue
        if other_disk or not _fsyncs(draft, topic_id):
            draft.change(topic_id, number, partition, wanted)


def _fsyncs(draft: Draft, topic_id: UUID) -> bool:
    floors = draft.floors(draft.delta.topic_name(topic_id))
    return bool(topic_value(floors, "flush.policy") == "sync")


def heartbeat(draft: Draft, request: BrokerHeartbeat, brokers_applied: int) -> ControllerResult:
    """A broker lives. It is unfenced once it has applied its own registration; it may stop once everybody knows that
    its leaderships have moved. brokers_applied: the metadata offset that all live brokers have applied.

    Raises BrokerNotRegisteredError, StaleBrokerEpochError.
    """
    broker = draft.caller(request.node_id, request.broker_epoch)
    caught_up = request.metadata_offset >= broker.broker_epoch
    may_stop = False
    if request.wants_shutdown:
        may_stop = _shut_down(draft, broker, brokers_applied)
    elif broker.fenced:
        if caught_up and not request.wants_fence and not broker.in_controlled_shutdown:
            _unfence(draft, broker)
    elif request.wants_fence:
        _fence(draft, broker)
    now = draft.known_broker(request.node_id)
    return draft.result(
        HeartbeatReply(
            fenced=now.fenced,
            caught_up=caught_up,
            in_controlled_shutdown=now.in_controlled_shutdown,
            may_stop=may_stop,
        )
    )


def _shut_down(draft: Draft, broker: BrokerRegistration, brokers_applied: int) -> bool:
    """One step of a controlled shutdown: leaderships move and ISRs shrink in one log entry, later the broker is
    fenced. Whether it may stop.
    """
    if broker.fenced:
        return True
    if not broker.in_controlled_shutdown:
        draft.emit(_change(broker, shutdown_offset=draft.next_offset))
        _leave_isrs(draft, broker.node_id)
        return False
    if brokers_applied < broker.shutdown_offset:
        return False
    _fence(draft, broker)
    return True


def _unfence(draft: Draft, broker: BrokerRegistration) -> None:
    draft.emit(_change(broker, fenced=False))
    node_id = broker.node_id
    draft.change_all(lambda partition: not partition.isr and node_id in partition.replicas)


def _fence(draft: Draft, broker: BrokerRegistration) -> None:
    draft.emit(_change(broker, fenced=True))
    _leave_isrs(draft, broker.node_id)


def _leave_isrs(draft: Draft, node_id: int) -> None:
    """Let the rules of partition_change take a broker that is no longer eligible out of every ISR and leadership."""
    draft.change_all(lambda partition: node_id in partition.isr)


def _change(
    broker: BrokerRegistration, *, fenced: bool | None = None, shutdown_offset: int | None = None
) -> BrokerChange:
    return BrokerChange(
        node_id=broker.node_id,
        broker_epoch=broker.broker_epoch,
        fenced=fenced,
        shutdown_offset=shutdown_offset,
    )


def fence(draft: Draft, request: FenceBroker) -> ControllerResult:
    """A broker is dead or silent. Does nothing when it is fenced, gone, or came back as another incarnation."""
    broker = draft.delta.broker(request.node_id)
    current = broker is not None and broker.broker_epoch == request.broker_epoch
    if broker is not None and current and not broker.fenced:
        _fence(draft, broker)
    return draft.result(Done())


def unregister(draft: Draft, request: UnregisterBrokerRequest) -> ControllerResult:
    """A broker is gone for good and its disk with it: out of every ISR and ELR. Assignments keep naming it until they
    are changed. Raises BrokerNotRegisteredError.
    """
    broker = draft.known_broker(request.node_id)
    node_id = broker.node_id
    draft.emit(UnregisterBroker(node_id=node_id, broker_epoch=broker.broker_epoch))
    draft.change_all(
        lambda partition: node_id in partition.isr or node_id in partition.elr,
        Wanted(lost=frozenset([node_id])),
    )
    return draft.result(Done())

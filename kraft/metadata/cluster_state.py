"""What belongs to the cluster as a whole: its id, its metadata level, its producer ids."""

import base64

from kraft.metadata.config_definitions import SAFETY_KEYS, TOPIC_SYNONYMS
from kraft.metadata.configs import normalised
from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.errors import FeatureUpdateFailedError
from kraft.metadata.records import (
    CLUSTER,
    LATEST_METADATA_LEVEL,
    ClusterId,
    Config,
    FeatureLevel,
    ProducerIds,
)
from kraft.metadata.replies import Done, MetadataLevelUpdated, ProducerIdBlock
from kraft.metadata.requests import AllocateProducerIds, Bootstrap, UpdateMetadataLevel

PRODUCER_ID_BLOCK = 1000


def bootstrap(draft: Draft, request: Bootstrap) -> ControllerResult:
    """What the first controller writes first: level, cluster id, and from its static configuration the keys that the
    whole cluster must read alike (SAFETY_KEYS). Does nothing in a cluster that has an id.
    """
    if draft.image.cluster_id:
        return draft.result(Done())
    draft.emit(FeatureLevel(metadata_level=LATEST_METADATA_LEVEL))
    drawn = base64.urlsafe_b64encode(draft.rng.randbytes(16)).decode().rstrip("=")
    draft.emit(ClusterId(cluster_id=request.cluster_id or drawn))
    keys = [TOPIC_SYNONYMS[key] for key in SAFETY_KEYS]
    told = {key: draft.static[key] for key in keys if key in draft.static}
    for key, value in normalised(CLUSTER, told).items():
        draft.emit(Config(resource_type=CLUSTER.type, name=CLUSTER.name, key=key, value=value))
    return draft.result(Done())


def update_metadata_level(draft: Draft, request: UpdateMetadataLevel) -> ControllerResult:
    """Raise the level once every registered broker knows it. Raises FeatureUpdateFailedError."""
    now = draft.image.metadata_level
    if request.level < now:
        raise FeatureUpdateFailedError(
            f"the metadata level {now} cannot be lowered to {request.level}: older releases could not read the log"
        )
    if request.level > LATEST_METADATA_LEVEL:
        raise FeatureUpdateFailedError(
            f"the metadata level {request.level} is not known to this controller, which knows up to "
            f"{LATEST_METADATA_LEVEL}: upgrade all nodes first"
        )
    behind = [
        node_id
        for node_id, broker in sorted(draft.delta.brokers().items())
        if broker.max_metadata_level < request.level
    ]
    if behind:
        raise FeatureUpdateFailedError(
            f"the brokers {behind} do not know the metadata level {request.level}: upgrade or unregister them first"
        )
    if request.level > now:
        draft.emit(FeatureLevel(metadata_level=request.level))
    return draft.result(MetadataLevelUpdated(level=request.level))


def allocate_producer_ids(draft: Draft, request: AllocateProducerIds) -> ControllerResult:
    """Hand a block of producer ids to a broker. Raises BrokerNotRegisteredError, StaleBrokerEpochError."""
    draft.caller(request.node_id, request.broker_epoch)
    first = draft.image.next_producer_id
    draft.emit(
        ProducerIds(
            next_id=first + PRODUCER_ID_BLOCK,
            broker=request.node_id,
            broker_epoch=request.broker_epoch,
        )
    )
    return draft.result(ProducerIdBlock(first_id=first, count=PRODUCER_ID_BLOCK))

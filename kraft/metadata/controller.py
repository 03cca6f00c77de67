"""The pure controller: an image and a request make records and a reply.

It holds no state. Its shell, on the node that leads the metadata quorum, hands it an image that includes every record
proposed so far (committed or not), proposes the records of a result as one log entry, and sends the reply when that
entry is committed. What is soft, the brokers' leases, is in broker_leases.py.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from kraft.metadata import (
    brokers,
    client_quotas,
    cluster_state,
    configs,
    elections,
    isr_changes,
    reassignments,
    topics,
)
from kraft.metadata import requests as q
from kraft.metadata.config_engine import INT64_MAX
from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.effective_config import broker_value, floors
from kraft.metadata.errors import NotControllerError
from kraft.metadata.image import MetadataImage

_HANDLERS: Mapping[type, Callable[[Draft, Any], ControllerResult]] = {
    q.RegisterBrokerRequest: brokers.register,
    q.UnregisterBrokerRequest: brokers.unregister,
    q.FenceBroker: brokers.fence,
    q.CreateTopics: topics.create_topics,
    q.DeleteTopics: topics.delete_topics,
    q.CreatePartitions: topics.create_partitions,
    q.AlterConfigs: configs.alter_configs,
    q.AlterClientQuotas: client_quotas.alter_client_quotas,
    q.AlterPartition: isr_changes.alter_partition,
    q.ElectLeaders: elections.elect_leaders,
    q.RebalanceLeaders: elections.rebalance_leaders,
    q.AlterPartitionReassignments: reassignments.alter_reassignments,
    q.AllocateProducerIds: cluster_state.allocate_producer_ids,
    q.UpdateMetadataLevel: cluster_state.update_metadata_level,
    q.Bootstrap: cluster_state.bootstrap,
}


class Controller:
    """rng: for ids and placement. static: this node's static configuration by broker key, as text."""

    def __init__(self, rng: random.Random, static: Mapping[str, str]) -> None:
        self._rng = rng
        self._static = static

    def rebalance_interval_s(self, image: MetadataImage) -> float:
        """How long between two RebalanceLeaders, in seconds, as it is set now."""
        found = floors(image, static=self._static)
        return float(broker_value(found, "leader.imbalance.check.interval.seconds"))

    def handle(
        self,
        image: MetadataImage,
        request: q.Request,
        *,
        next_offset: int,
        brokers_applied: int = INT64_MAX,
    ) -> ControllerResult:
        """Answer a request. next_offset: the log offset that the records will get (a registration's broker epoch).
        brokers_applied: what every unfenced broker has applied (BrokerLeases.lowest_offset).

        Raises MetadataError (errors.py) when the request as a whole is refused; then there are no records.
        """
        if not image.cluster_id and not isinstance(request, q.Bootstrap):
            raise NotControllerError("the cluster has no id yet: its first controller is starting")
        draft = Draft(image, self._rng, self._static, next_offset)
        if isinstance(request, q.BrokerHeartbeat):
            return brokers.heartbeat(draft, request, brokers_applied)
        return _HANDLERS[type(request)](draft, request)

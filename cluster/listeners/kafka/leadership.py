"""Leader elections and reassignments over the Kafka protocol."""

from collections.abc import Iterable, Mapping

from cluster.handlers.admin import AdminHandler
from cluster.listeners.kafka.request import Client
from kraft.metadata.errors import Refusal
from kraft.metadata.replies import LeadersElected, ReassignmentsAltered
from kraft.metadata.requests import AlterPartitionReassignments as Alter
from kraft.metadata.requests import ElectLeaders, Reassignment
from storage.errors import ErrorCode, OttlaError
from wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)
from wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)

PREFERRED, UNCLEAN = 0, 1


class KafkaLeadership:
    """Asks the active controller, whichever broker was asked."""

    def __init__(self, admin: AdminHandler) -> None:
        self._admin = admin

    async def elect(self, _client: Client, request: ElectLeadersRequest) -> ElectLeadersResponse:
        """ElectLeaders (KIP-460). Of all partitions only those are told that needed one."""
        if request.election_type not in (PREFERRED, UNCLEAN):
            return ElectLeadersResponse(error_code=ErrorCode.INVALID_REQUEST)
        named = request.topic_partitions
        wanted = ElectLeaders(
            unclean=request.election_type == UNCLEAN,
            partitions=tuple(
                (topic.topic, number) for topic in named or () for number in topic.partitions
            ),
        )
        if named is not None and not wanted.partitions:
            return ElectLeadersResponse()
        try:
            reply = await self._admin.change(wanted, request.timeout_ms / 1000)
        except OttlaError as error:
            return ElectLeadersResponse(error_code=error.code)
        assert isinstance(reply, LeadersElected), reply
        topics: dict[str, list[PartitionResult]] = {}
        for each in reply.partitions:
            code, message = _outcome(each.refusal)
            topics.setdefault(each.topic, []).append(
                PartitionResult(partition_id=each.partition, error_code=code, error_message=message)
            )
        return ElectLeadersResponse(
            replica_election_results=tuple(
                ReplicaElectionResult(topic=topic, partition_result=tuple(found))
                for topic, found in topics.items()
            )
        )

    async def reassign(
        self, _client: Client, request: AlterPartitionReassignmentsRequest
    ) -> AlterPartitionReassignmentsResponse:
        """AlterPartitionReassignments (KIP-455); null replicas cancel."""
        wanted = Alter(
            reassignments=tuple(
                Reassignment(
                    topic=topic.name,
                    partition=each.partition_index,
                    replicas=each.replicas or (),
                )
                for topic in request.topics
                for each in topic.partitions
            )
        )
        try:
            reply = await self._admin.change(wanted, request.timeout_ms / 1000)
        except OttlaError as error:
            return AlterPartitionReassignmentsResponse(
                error_code=error.code, error_message=str(error)
            )
        assert isinstance(reply, ReassignmentsAltered), reply
        topics: dict[str, list[ReassignablePartitionResponse]] = {}
        for each in reply.partitions:
            code, message = _outcome(each.refusal)
            topics.setdefault(each.topic, []).append(
                ReassignablePartitionResponse(
                    partition_index=each.partition, error_code=code, error_message=message
                )
            )
        return AlterPartitionReassignmentsResponse(
            responses=tuple(
                ReassignableTopicResponse(name=topic, partitions=tuple(found))
                for topic, found in topics.items()
            )
        )

    async def list_reassignments(
        self, _client: Client, request: ListPartitionReassignmentsRequest
    ) -> ListPartitionReassignmentsResponse:
        """ListPartitionReassignments: of all topics, or of those that are named."""
        named: Mapping[str, Iterable[int]] | None = None
        if request.topics is not None:
            named = {each.name: each.partition_indexes for each in request.topics}
        topics: dict[str, list[OngoingPartitionReassignment]] = {}
        for topic, number, found in self._admin.image().partitions():
            if not found.reassigning or (
                named is not None and number not in named.get(topic.name, ())
            ):
                continue
            topics.setdefault(topic.name, []).append(
                OngoingPartitionReassignment(
                    partition_index=number,
                    replicas=found.replicas,
                    adding_replicas=found.adding,
                    removing_replicas=found.removing,
                )
            )
        return ListPartitionReassignmentsResponse(
            topics=tuple(
                OngoingTopicReassignment(name=name, partitions=tuple(found))
                for name, found in topics.items()
            )
        )


def _outcome(refusal: Refusal | None) -> tuple[int, str | None]:
    return (ErrorCode.NONE, None) if refusal is None else (refusal.code, refusal.message)

"""InitProducerId: an identity for idempotent producers (KIP-98, KIP-360)."""

from cluster.handlers.admin import ProducerIds
from cluster.listeners.kafka.request import Client
from storage.errors import ErrorCode, OttlaError
from wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

EPOCH_MAX = 2**15 - 1


class KafkaProducers:
    """Any broker answers: producers without transactions belong to nobody."""

    def __init__(self, ids: ProducerIds) -> None:
        self._ids = ids

    async def init(self, _client: Client, request: InitProducerIdRequest) -> InitProducerIdResponse:
        """A new id, or the next epoch of one that the producer has (KIP-360)."""
        if request.transactional_id is not None:
            code = (
                ErrorCode.INVALID_REQUEST
                if not request.transactional_id
                else ErrorCode.COORDINATOR_NOT_AVAILABLE
            )
            return InitProducerIdResponse(error_code=code, producer_epoch=-1)
        if request.producer_id >= 0 and 0 <= request.producer_epoch < EPOCH_MAX:
            return InitProducerIdResponse(
                producer_id=request.producer_id, producer_epoch=request.producer_epoch + 1
            )
        try:
            producer_id = await self._ids.next(None)
        except OttlaError as error:
            return InitProducerIdResponse(error_code=error.code, producer_epoch=-1)
        return InitProducerIdResponse(producer_id=producer_id)

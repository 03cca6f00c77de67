"""Questions that a node which has just started must not answer, and ids that nobody else gets."""

import asyncio

import pytest

from cluster.errors import NotCaughtUpError
from cluster.handlers.admin import AdminHandler, ProducerIds
from kraft.metadata.errors import InvalidRequestError
from kraft.metadata.group_config import SESSION
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.replies import ProducerIdBlock, Reply
from kraft.metadata.requests import AllocateProducerIds
from tests.simulation.loop import simulate

COUNT = 3


class Controller:
    """Gives blocks of `COUNT` ids, after a while."""

    def __init__(self) -> None:
        self.blocks = 0

    async def ask(self, request: object, _timeout_s: float) -> Reply:
        assert request == AllocateProducerIds(node_id=1, broker_epoch=5)
        first_id = self.blocks * COUNT
        self.blocks += 1
        await asyncio.sleep(0.01)
        return ProducerIdBlock(first_id=first_id, count=COUNT)


def test_a_node_that_has_just_started_does_not_say_what_there_is_not() -> None:
    """I9: "no such topic" from an empty image makes clients give up."""
    caught_up = False
    admin = AdminHandler(1, None, lambda: EMPTY_IMAGE, {}, lambda: caught_up)  # type: ignore[arg-type]
    with pytest.raises(NotCaughtUpError) as raised:
        admin.current_image()
    assert raised.value.retriable
    caught_up = True
    assert admin.current_image() is EMPTY_IMAGE


def test_what_has_settings_is_listed_by_name_and_what_has_no_name_is_refused() -> None:
    """Groups and subscriptions are there for this as long as something is set on them."""
    kinds = (ResourceType.GROUP, ResourceType.CLIENT_METRICS, ResourceType.TOPIC)
    image = MetadataImage(
        configs={
            ConfigResource(ResourceType.GROUP, "b"): {SESSION: "50000"},
            ConfigResource(ResourceType.CLIENT_METRICS, "m"): {"metrics": "x."},
            ConfigResource(ResourceType.GROUP, "a"): {SESSION: "50001"},
        }
    )
    admin = AdminHandler(1, None, lambda: image, {}, lambda: True)  # type: ignore[arg-type]
    assert [admin.config_resources(kind) for kind in kinds] == [["a", "b"], ["m"], []]
    values = {
        each.key: each.value for each in admin.configs(ConfigResource(ResourceType.GROUP, "a"))
    }
    assert values[SESSION] == "50001"
    for kind in kinds[:2]:
        with pytest.raises(InvalidRequestError, match="name the group"):
            admin.configs(ConfigResource(kind, ""))


def test_producer_ids_are_given_once_whoever_asks_at_the_same_time() -> None:
    """G4: two producers of one id would be told that their records are duplicates."""

    async def run() -> None:
        controller = Controller()
        ids = ProducerIds(1, controller, lambda: 5)  # type: ignore[arg-type]
        given = await asyncio.gather(*(ids.next(None) for _ in range(4)))
        given += [await ids.next(None) for _ in range(20)]
        assert len(set(given)) == len(given)
        assert max(given) < controller.blocks * COUNT

    simulate(run())

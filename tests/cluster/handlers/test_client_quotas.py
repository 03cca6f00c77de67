"""Whose quotas are shown, and what is asked of the controller (KIP-546)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from cluster.handlers.client_quotas import ClientQuotasHandler, Component, Match
from kraft.metadata.client_quotas import CLIENT_ID, PRODUCER_BYTE_RATE, USER, entity
from kraft.metadata.errors import InvalidRequestError, UnsupportedVersionError
from kraft.metadata.image import MetadataImage
from kraft.metadata.records import QuotaPart
from kraft.metadata.replies import AlteredQuota, ClientQuotasAltered
from kraft.metadata.requests import AlterClientQuotas, QuotaAlteration
from storage.errors import OttlaError

RATE = {PRODUCER_BYTE_RATE: 1.0}
ENTITIES: tuple[Mapping[str, str | None], ...] = (
    {USER: "ann"},
    {USER: None},
    {CLIENT_ID: "c"},
    {USER: "ann", CLIENT_ID: "c"},
    {USER: "ann", CLIENT_ID: None},
)


class Admin:
    """An image with quotas for all of ENTITIES, and a controller that takes everything or fails."""

    def __init__(self, failure: OttlaError | None = None) -> None:
        self.asked: list[AlterClientQuotas] = []
        self._failure = failure

    def current_image(self) -> MetadataImage:
        return MetadataImage(quotas={entity(each): RATE for each in ENTITIES})

    async def change(self, request: AlterClientQuotas, _time_left_s: float | None) -> Any:
        self.asked.append(request)
        if self._failure is not None:
            raise self._failure
        return ClientQuotasAltered(entries=tuple(AlteredQuota() for _ in request.alterations))


def handler(admin: Admin) -> ClientQuotasHandler:
    return ClientQuotasHandler(admin)  # type: ignore[arg-type]


def shown(*components: tuple[str, int, str | None], strict: bool) -> list[Mapping[str, str | None]]:
    found = handler(Admin()).describe([Component(*each) for each in components], strict=strict)
    return [{part.kind: part.name for part in each} for each in found]


def test_an_entity_is_shown_when_it_has_all_that_is_asked_for() -> None:
    assert shown(strict=False) == list(ENTITIES)
    assert shown(strict=True) == []
    assert shown((USER, Match.EXACT, "ann"), strict=False) == [
        ENTITIES[number] for number in (0, 3, 4)
    ]
    assert shown((USER, Match.EXACT, "ann"), strict=True) == [ENTITIES[0]]
    assert shown((USER, Match.DEFAULT, None), strict=True) == [ENTITIES[1]]
    assert shown((USER, Match.ANY, None), strict=True) == list(ENTITIES[:2])
    both = ((USER, Match.ANY, None), (CLIENT_ID, Match.DEFAULT, None))
    assert shown(*both, strict=True) == [ENTITIES[4]]


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ([("", Match.ANY, None)], "without an entity type"),
        ([(USER, Match.EXACT, None)], "a name belongs"),
        ([(USER, Match.ANY, "ann")], "a name belongs"),
        ([(USER, 7, None)], "no match type 7"),
        ([(USER, Match.ANY, None), (USER, Match.DEFAULT, None)], "twice"),
        ([("ip", Match.ANY, None), (USER, Match.ANY, None)], "goes with no other"),
    ],
)
def test_wrong_questions_are_refused(
    components: list[tuple[str, int, str | None]], words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        shown(*components, strict=False)


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(UnsupportedVersionError, match="'planet'"):
        shown(("planet", Match.ANY, None), strict=False)


def test_parts_may_come_in_any_order_and_once() -> None:
    admin = Admin()
    user, client = QuotaPart(USER, "ann"), QuotaPart(CLIENT_ID, None)
    ops = ((PRODUCER_BYTE_RATE, 5.0),)
    wanted = [
        QuotaAlteration(entity=(user, user), ops=ops),
        QuotaAlteration(entity=(user, client), ops=ops),
    ]
    twice, taken = asyncio.run(handler(admin).alter(wanted, validate_only=False, time_left_s=None))
    assert twice is not None
    assert "twice" in twice.message
    assert taken is None
    assert [each.entity for each in admin.asked[0].alterations] == [(client, user)]


def test_nobody_is_asked_for_nothing_and_a_failure_is_the_whole_requests() -> None:
    admin = Admin(InvalidRequestError("no"))
    assert asyncio.run(handler(admin).alter([], validate_only=False, time_left_s=None)) == []
    assert admin.asked == []
    wanted = [QuotaAlteration(entity=(QuotaPart(USER, "ann"),))]
    with pytest.raises(InvalidRequestError, match="no"):
        asyncio.run(handler(admin).alter(wanted, validate_only=True, time_left_s=1.0))

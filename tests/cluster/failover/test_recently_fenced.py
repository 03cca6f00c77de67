"""Which brokers are told although they are away."""

from uuid import UUID

from cluster.failover.recently_fenced import KEPT_MS, RecentlyFenced
from kraft.metadata.image import EMPTY_IMAGE, BrokerRegistration, MetadataImage


def image(**fenced: bool) -> MetadataImage:
    brokers = {
        int(name[1:]): BrokerRegistration(
            node_id=int(name[1:]),
            broker_epoch=1,
            incarnation=UUID(int=1),
            listeners={},
            fenced=away,
        )
        for name, away in fenced.items()
    }
    return MetadataImage(brokers=brokers)


def test_a_broker_is_told_for_a_minute_after_it_was_fenced_unless_it_is_back() -> None:
    now_ms = 1000
    recent = RecentlyFenced(lambda: now_ms)
    both, one = image(b1=False, b2=False), image(b1=False, b2=True)
    recent.note(EMPTY_IMAGE, both)
    assert recent.nodes() == set()
    recent.note(both, one)
    assert recent.nodes() == {2}
    now_ms += KEPT_MS
    assert recent.nodes() == set()
    recent.note(one, both)
    recent.note(both, one)
    assert recent.nodes() == {2}
    recent.note(one, both)
    assert recent.nodes() == set()


def test_a_broker_that_was_away_before_is_not_told() -> None:
    recent = RecentlyFenced(lambda: 1000)
    recent.note(EMPTY_IMAGE, image(b1=False, b2=True))
    assert recent.nodes() == set()

"""Who has been unfenced for how long."""

from kraft.metadata.broker_presence import BrokerPresence
from kraft.metadata.image import EMPTY_IMAGE
from tests.kraft.metadata.lab import Lab


def test_a_broker_is_settled_when_it_has_stayed() -> None:
    lab, presence = Lab(2), BrokerPresence()
    presence.note(EMPTY_IMAGE, lab.image, 100)
    assert presence.settled(1099, 1000) == ()
    assert presence.settled(1100, 1000) == (1, 2)


def test_who_was_fenced_begins_anew() -> None:
    lab, presence = Lab(2), BrokerPresence()
    presence.note(EMPTY_IMAGE, lab.image, 0)
    old = lab.image
    lab.fence(1)
    presence.note(old, lab.image, 2000)
    assert presence.settled(2000, 1000) == (2,)
    old = lab.image
    lab.heartbeat(1)
    presence.note(old, lab.image, 2500)
    assert presence.settled(3400, 1000) == (2,)
    assert presence.settled(3500, 1000) == (1, 2)

"""Asking the active controller: wherever it is, once or until it answers, and visible here before it is told."""

import asyncio

import pytest

from cluster.failover.controller_client import (
    ControllerClient,
    ControllerUnavailableError,
    decode_answer,
    encode_answer,
)
from cluster.peers.network import Peer, PeerGoneError
from kraft.metadata.errors import NotControllerError, Refusal, UnknownTopicError
from kraft.metadata.replies import Done, Refused
from kraft.metadata.requests import AllocateProducerIds
from kraft.quorum_controller import Answer
from storage.errors import OttlaError
from tests.simulation.loop import simulate

REQUEST = AllocateProducerIds(node_id=3, broker_epoch=1)


class World:
    """Node 1 asks. `leader` is where it believes the controller; answers are given one after the other."""

    def __init__(self, leader: int | None, *answers: Answer | Exception) -> None:
        self.leader = leader
        self.answers = list(answers)
        self.asked = 0
        self.waited_for: list[int] = []
        self.client = ControllerClient(
            self,  # type: ignore[arg-type]
            1,
            lambda: self.leader,
            lambda node_id: Peer(node_id, f"node{node_id}:9190"),
            lambda _: self._answer(),
            self._applied,
            lambda: "no leader is known",
        )

    async def _answer(self) -> Answer:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def call(self, _peer: Peer, _method: str, _request: bytes, _timeout_s: float) -> bytes:
        """The seam's: the controller is another node."""
        return encode_answer(await self._answer())

    async def _applied(self, offset: int) -> None:
        await asyncio.sleep(0.5)
        self.waited_for.append(offset)


@pytest.mark.parametrize("leader", [1, 2])
def test_a_change_is_told_when_it_is_visible_here(leader: int) -> None:
    """Who has created a topic must find it with the next question."""
    world = World(leader, Answer(7, Done()))
    assert simulate(world.client.ask(REQUEST, 5.0)) == Done()
    assert world.waited_for == [7]


@pytest.mark.parametrize("leader", [1, 2])
def test_a_refusal_is_raised_as_it_was(leader: int) -> None:
    world = World(leader, Answer(7, Refused(refusal=Refusal.of(UnknownTopicError("no t")))))
    with pytest.raises(OttlaError, match="no t") as raised:
        simulate(world.client.ask(REQUEST, 5.0))
    assert raised.value.code == UnknownTopicError.code
    assert world.asked == 1


def test_it_is_asked_again_until_somebody_answers() -> None:
    world = World(2, PeerGoneError("gone"), NotControllerError("not me"), Answer(7, Done()))
    assert simulate(world.client.ask(REQUEST, 5.0)) == Done()
    assert world.asked == 3


@pytest.mark.parametrize("error", [PeerGoneError("gone"), NotControllerError("not me")])
def test_asked_once_means_sent_once(error: OttlaError) -> None:
    """I3: a proposal that is sent a second time behind the leader's back may be taken when it believes it refused."""
    world = World(2, error, Answer(7, Done()))
    with pytest.raises(ControllerUnavailableError):
        simulate(world.client.ask_once(REQUEST, 5.0))
    assert world.asked == 1
    assert simulate(world.client.ask_once(REQUEST, 5.0)) == Done()
    assert world.asked == 2


def test_nobody_to_ask_is_said_so_in_time() -> None:
    world = World(None)
    with pytest.raises(ControllerUnavailableError, match="within 2 s"):
        simulate(world.client.ask(REQUEST, 2.0))
    with pytest.raises(ControllerUnavailableError, match="no leader"):
        simulate(world.client.ask_once(REQUEST, 2.0))


def test_answers_come_through_as_they_were() -> None:
    for answer in (Answer(-1, Done()), Answer(2**40, Done())):
        assert decode_answer(encode_answer(answer)) == answer

"""A controller that did not run for a while must not take its own absence for the silence of others."""

import asyncio

import pytest

from cluster.broker import Broker
from kraft.metadata.broker_leases import BrokerLeases
from kraft.metadata.requests import FenceBroker, Request
from kraft.quorum_controller import Answer, QuorumController
from tests.simulation.cluster import SimCluster, until
from tests.simulation.loop import SimLoop, simulate

SESSION_MS = 1300


async def _serving(cluster: SimCluster) -> Broker:
    def active() -> list[Broker]:
        return [broker for broker in cluster.brokers() if broker.controller.active]

    await until(
        lambda: (
            len(cluster.brokers()) == 3
            and active()
            and all(broker.lease.unfenced.is_set() for broker in cluster.brokers())
            # Its own disk may be the slowest: the others then know before it does.
            and not _fenced(active()[0])
        ),
        10,
        "three brokers that serve",
    )
    return active()[0]


def _fenced(broker: Broker) -> list[int]:
    return [each.node_id for each in broker.image.brokers.values() if each.fenced]


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_fenced_for_a_silence_in_which_nothing_ran(seed: int) -> None:
    async def run() -> None:
        cluster = SimCluster(
            seed,
            broker_session_timeout_ms=SESSION_MS,
            controller_quorum_election_timeout_ms=5000,
        )
        cluster.start()
        controller = await _serving(cluster)
        epochs = {each.node_id: each.broker_epoch for each in controller.image.brokers.values()}
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        offset = controller.image.offset
        for _ in range(5):
            await asyncio.sleep(0.7)
            loop.hold_up(1.2 * SESSION_MS / 1000)
        await asyncio.sleep(2.0)
        assert controller.image.offset == offset, "somebody was fenced, and unfenced again"
        assert epochs == {
            each.node_id: each.broker_epoch for each in controller.image.brokers.values()
        }
        await cluster.stop()

    simulate(run())


def test_a_broker_that_speaks_while_another_is_being_fenced_keeps_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two leases run out at once, and the change that fences the first takes longer than a heartbeat."""

    async def run() -> None:
        cluster = SimCluster(1)
        cluster.start()
        controller = await _serving(cluster)
        others = [node_id for node_id in (1, 2, 3) if node_id != controller.node_id]
        fenced: list[int] = []
        handle, expired = QuorumController._handle, BrokerLeases.expired

        async def slow(self: QuorumController, request: Request) -> Answer:
            if isinstance(request, FenceBroker):
                fenced.append(request.node_id)
                await asyncio.sleep(1.0)
            return await handle(self, request)

        def both_at_once(self: BrokerLeases, now_ms: int) -> list[int]:
            if fenced:
                return expired(self, now_ms)
            for node_id in others:
                self.forget(node_id)
            return others

        monkeypatch.setattr(QuorumController, "_handle", slow)
        monkeypatch.setattr(BrokerLeases, "expired", both_at_once)
        await until(lambda: bool(_fenced(controller)), 10, "a fenced broker")
        await asyncio.sleep(2.0)
        assert fenced == others[:1]
        await cluster.stop()

    simulate(run())

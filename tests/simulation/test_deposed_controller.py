"""A controller that is cut off believes its own lease no longer than its successor may leave it (bugs.md I7)."""

import asyncio

import pytest

from cluster.broker import Broker
from kraft.metadata.errors import NotControllerError
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.requests import AlterConfigs, ConfigChange
from kraft.raft.errors import NotLeaderError
from tests.simulation.cluster import SimCluster, until
from tests.simulation.loop import simulate

A_CHANGE = AlterConfigs(
    changes=(
        ConfigChange(
            resource=ConfigResource(ResourceType.BROKER, ""), set={"log.retention.ms": "1000"}
        ),
    )
)


async def _cut_off(cluster: SimCluster) -> Broker:
    def active() -> list[Broker]:
        return [broker for broker in cluster.brokers() if broker.controller.active]

    await until(
        lambda: active() and all(broker.lease.holds for broker in cluster.brokers()), 10, "leases"
    )
    broker = active()[0]
    for other in {1, 2, 3} - {broker.node_id}:
        cluster.network.cut_way(broker.node_id, other)
        cluster.network.cut_way(other, broker.node_id)
    return broker


async def _fails(_: object) -> None:
    raise NotLeaderError("a proposal that fails before the driver tells of the lost leadership")


@pytest.mark.parametrize("steps_back_first", [False, True])
def test_its_lease_ends_a_heartbeat_after_its_leadership(
    steps_back_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        cluster = SimCluster(
            3, 3, broker_heartbeat_interval_ms=200, broker_session_timeout_ms=20_000
        )
        cluster.start()
        broker = await _cut_off(cluster)
        if steps_back_first:
            monkeypatch.setattr(broker.driver, "propose", _fails)
            with pytest.raises(NotControllerError):
                await broker.controller.submit(A_CHANGE)
            assert (broker.controller.active, broker.controller.elected) == (False, True)
        await until(lambda: not broker.controller.elected, 10, "the end of its leadership")
        ended_s = asyncio.get_running_loop().time()
        await until(lambda: not broker.lease.holds, 10, "the end of its lease")
        assert asyncio.get_running_loop().time() - ended_s <= 0.25
        await cluster.stop()

    simulate(run())

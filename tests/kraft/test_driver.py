"""The driver on a virtual-time loop: nothing acknowledged is lost, slow disks are borne, errors stop the node."""

import asyncio
import errno
from collections.abc import Awaitable

import pytest

from kraft import driver as driver_module
from kraft.driver import RaftStorageError
from kraft.raft.errors import NotLeaderError, ProposalRefusedError
from kraft.raft.membership import ChangeKind, MembershipChange
from kraft.raft.messages import AppendEntries, TimeoutNow
from kraft.raft.ready import Role
from storage.errors import OttlaError
from tests.kraft.driver_cluster import Cluster
from tests.simulation.loop import simulate


def test_a_proposal_is_done_when_it_is_applied_here_and_soon_applied_everywhere() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            index = await leader.propose([b"a", b"b"])
            assert index == leader.node.applied_index == 3
            await cluster.until(
                lambda: all(p.register.commands == [b"a", b"b"] for p in cluster.processes)
            )

    simulate(scenario())


def test_proposals_take_their_places_at_once_and_share_syncs() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            first = leader.node.last_index + 1
            syncs = sum(process.disk.syncs for process in cluster.processes)
            waiting = []
            for place in range(500):
                waiting.append(leader.propose([b"%d" % place]))
                assert leader.node.last_index == first + place
            assert await asyncio.gather(*waiting) == list(range(first, first + 500))
            assert sum(process.disk.syncs for process in cluster.processes) - syncs < 60

    simulate(scenario())


def test_only_the_leader_takes_proposals_and_it_is_named() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            await asyncio.sleep(0.5)
            follower = cluster.driver((cluster.leaders()[0] + 1) % 3)
            for ask in (
                lambda: follower.propose([b"x"]),
                follower.read,
                follower.transfer_leadership,
            ):
                with pytest.raises(NotLeaderError) as refused:
                    ask()
                assert refused.value.leader_id == leader.node.leader_id

    simulate(scenario())


@pytest.mark.parametrize("seed", range(40))
def test_r12_what_was_acknowledged_survives_the_power_loss_of_any_nodes(seed: int) -> None:
    async def scenario() -> None:
        async with Cluster(seed, snapshot_log_bytes=2000) as cluster:
            acknowledged: list[bytes] = []
            for round_ in range(6):
                leader = await cluster.leader()
                cluster.loss = cluster.rng.choice((0.0, 0.05))
                commands = [b"%d.%d" % (round_, place) for place in range(30)]
                works = asyncio.gather(
                    *(
                        _note(leader.propose([command]), command, acknowledged)
                        for command in commands
                    )
                )
                await asyncio.sleep(cluster.rng.uniform(0, 0.02))
                victims = cluster.rng.sample(range(3), cluster.rng.randrange(1, 4))
                await cluster.power_off(*victims)
                cluster.loss = 0.0
                for victim in victims:
                    await cluster.start(victim)
                await works
            leader = await cluster.leader()
            await leader.propose([b"end"])
            await cluster.until(
                lambda: all(p.register.commands[-1:] == [b"end"] for p in cluster.processes)
            )
            for process in cluster.processes:
                commands = process.register.commands
                assert set(acknowledged) <= set(commands), "an acknowledged command is lost"
                assert len(commands) == len(set(commands)), "a command was applied twice"
                assert commands == cluster.processes[0].register.commands

    simulate(scenario())


async def _note(proposal: Awaitable[int], command: bytes, acknowledged: list[bytes]) -> None:
    try:
        await proposal
    except NotLeaderError:
        return
    acknowledged.append(command)


def test_nothing_is_acknowledged_while_syncs_hang_and_no_election_follows() -> None:
    """etcd #7617: a disk that takes seconds must not cost the leader its office (bug A4)."""

    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            await asyncio.sleep(0.5)
            for process in cluster.processes:
                process.disk.sync_seconds = (4.0, 4.0)
            facts = sum(len(process.facts) for process in cluster.processes)
            proposal = asyncio.ensure_future(leader.propose([b"slow"]))
            await asyncio.sleep(3.5)
            assert not proposal.done()
            await proposal
            assert sum(len(process.facts) for process in cluster.processes) == facts
            assert leader.node.role is Role.LEADER

    simulate(scenario())


def test_r1_a_followers_acknowledgement_waits_for_its_own_disk() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            await asyncio.sleep(0.5)
            for node_id, process in enumerate(cluster.processes):
                if node_id not in cluster.leaders():
                    process.disk.sync_seconds = (2.0, 2.0)
            proposal = asyncio.ensure_future(leader.propose([b"x"]))
            await asyncio.sleep(1.9)
            assert leader.node.last_index > leader.node.commit_index
            await proposal

    simulate(scenario())


def test_what_a_dead_leader_sent_last_does_not_take_the_hint_back() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            await cluster.leader()
            dead = cluster.leaders()[0]
            cluster.cut.add(dead)
            await asyncio.sleep(0.2)
            for other in {0, 1, 2} - {dead}:
                follower = cluster.driver(other)
                follower.peer_unreachable(dead)
                follower.receive(AppendEntries(dead, other, follower.node.term, 0, 0, 0, 0))
            await cluster.until(lambda: cluster.leaders() != [dead], seconds=0.4)

    simulate(scenario())


@pytest.mark.parametrize("victim_leads", [True, False])
def test_s1_an_io_error_stops_the_node_without_an_acknowledgement(victim_leads: bool) -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            await leader.propose([b"before"])
            victim = cluster.leaders()[0] if victim_leads else (cluster.leaders()[0] + 1) % 3
            process = cluster.processes[victim]
            process.disk.fail_next_sync()
            outcome = await asyncio.gather(leader.propose([b"x"]), return_exceptions=True)
            if victim_leads:
                assert isinstance(outcome[0], NotLeaderError)
                assert "unknown" in str(outcome[0])
            await cluster.until(lambda: process.failure is not None)
            assert isinstance(process.failure, RaftStorageError)
            with pytest.raises(NotLeaderError, match="stopped"):
                cluster.driver(victim).propose([b"y"])
            process.driver = None
            await (await cluster.leader()).propose([b"after"])

    simulate(scenario())


def test_a_full_disk_is_waited_for() -> None:
    async def scenario() -> None:
        async with Cluster(voters=1) as cluster:
            leader = await cluster.leader()
            disk = cluster.processes[0].disk
            disk.capacity = disk.used_bytes() + 100
            proposal = asyncio.ensure_future(leader.propose([b"x" * 500]))
            await asyncio.sleep(3)
            assert not proposal.done()
            disk.capacity = None
            await proposal
            assert cluster.processes[0].register.commands == [b"x" * 500]

    simulate(scenario())


def test_a_proposal_whose_place_another_leader_took_fails_with_not_leader() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            await cluster.leader()
            old = cluster.leaders()[0]
            cluster.cut.add(old)
            lost = cluster.driver(old).propose([b"lost"])
            new = await cluster.leader()
            await new.propose([b"kept", b"too"])
            cluster.cut.clear()
            with pytest.raises(NotLeaderError, match="was not made"):
                await lost
            await cluster.until(
                lambda: cluster.processes[old].register.commands == [b"kept", b"too"]
            )

    simulate(scenario())


def test_a_proposal_whose_fate_stays_unknown_is_given_up() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            await cluster.leader()
            old = cluster.leaders()[0]
            cluster.cut.add(old)
            lost = cluster.driver(old).propose([b"lost"])
            began = asyncio.get_running_loop().time()
            with pytest.raises(NotLeaderError, match="unknown"):
                await lost
            assert asyncio.get_running_loop().time() - began < 3.5

    simulate(scenario())


def test_r5_a_read_at_a_leader_cut_off_fails() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            await cluster.leader()
            old = cluster.leaders()[0]
            cluster.cut.add(old)
            with pytest.raises(NotLeaderError, match="leadership was lost"):
                await cluster.driver(old).read()

    simulate(scenario())


def test_leadership_is_handed_over_quickly_and_without_a_lost_proposal() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            old = cluster.leaders()[0]
            proposal = leader.propose([b"x"])
            leader.transfer_leadership()
            with pytest.raises(ProposalRefusedError):
                leader.propose([b"y"])
            await proposal
            await cluster.until(lambda: cluster.leaders() not in ([], [old]), seconds=0.5)

    simulate(scenario())


def test_with_a_hint_the_gap_after_a_dead_leader_is_short() -> None:
    async def scenario() -> None:
        gaps = []
        for seed in range(20):
            async with Cluster(seed) as cluster:
                await cluster.leader()
                dead = cluster.leaders()[0]
                await cluster.power_off(dead)
                began = asyncio.get_running_loop().time()
                while not cluster.leaders():
                    # Links go on probing; what the dead leader sent last takes the first hint back.
                    for other in {0, 1, 2} - {dead}:
                        cluster.driver(other).peer_unreachable(dead)
                    await asyncio.sleep(0.03)
                await (await cluster.leader()).propose([b"x"])
                gaps.append(asyncio.get_running_loop().time() - began)
        gaps.sort()
        assert gaps[10] < 0.1
        assert gaps[-1] < 0.5

    simulate(scenario())


def test_a_newcomer_is_added_and_catches_up_by_snapshot() -> None:
    async def scenario() -> None:
        async with Cluster(
            voters=1, spares=1, snapshot_log_bytes=3000, trailing_entries=5
        ) as cluster:
            leader = await cluster.leader()
            for place in range(200):
                await leader.propose([b"%d" % place])
            await cluster.until(lambda: leader.node.first_index > 50)
            await leader.propose_membership(MembershipChange(ChangeKind.ADD_LEARNER, 1, "node1:1"))
            spare = cluster.processes[1]
            await cluster.until(
                lambda: spare.register.commands == cluster.processes[0].register.commands
            )
            assert spare.members[-1].learners == {1}
            await leader.propose_membership(MembershipChange(ChangeKind.PROMOTE, 1))
            await cluster.power_off(0, 1)
            for node_id in (0, 1):
                await cluster.start(node_id)
            await (await cluster.leader()).propose([b"end"])
            await cluster.until(lambda: spare.register.commands[-1] == b"end")
            assert cluster.driver(1).node.membership.voters == {0, 1}

    simulate(scenario())


def test_links_stay_open_to_a_member_until_its_removal_is_committed() -> None:
    async def scenario() -> None:
        async with Cluster(voters=3) as cluster:
            leader = await cluster.leader()
            gone = (cluster.leaders()[0] + 1) % 3
            await leader.propose_membership(MembershipChange(ChangeKind.REMOVE, gone))
            await asyncio.sleep(1)
            seen = [
                membership.voters for membership in cluster.processes[cluster.leaders()[0]].members
            ]
            assert seen == [{0, 1, 2}, {0, 1, 2} - {gone}]
            assert gone not in cluster.driver(gone).node.membership.voters

    simulate(scenario())


def test_links_stay_open_while_a_removal_is_not_committed() -> None:
    async def scenario() -> None:
        async with Cluster(voters=3) as cluster:
            leader = await cluster.leader()
            node_id = cluster.leaders()[0]
            cluster.cut |= {0, 1, 2} - {node_id}
            gone = (node_id + 1) % 3
            removal = leader.propose_membership(MembershipChange(ChangeKind.REMOVE, gone))
            await asyncio.sleep(0.1)
            assert gone not in leader.node.membership.voters
            assert [members.voters for members in cluster.processes[node_id].members] == [{0, 1, 2}]
            cluster.cut.clear()
            await removal

    simulate(scenario())


def test_messages_beyond_the_inbox_are_dropped_and_counted() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            for _ in range(driver_module.INBOX_MESSAGES + 10):
                leader.receive(TimeoutNow(9, 8, 0))
            assert 10 <= leader.dropped_messages <= 12
            await leader.propose([b"x"])

    simulate(scenario())


def test_a_stopped_driver_ends_and_fails_what_waits() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            node_id = cluster.leaders()[0]
            cluster.cut.add(node_id)
            proposal, read = leader.propose([b"x"]), leader.read()
            leader.stop()
            task = cluster.processes[node_id].task
            assert task is not None
            await task
            for waiting in (proposal, read):
                with pytest.raises(NotLeaderError, match="stopped"):
                    await waiting

    simulate(scenario())


def test_a_cancelled_waiter_disturbs_nobody() -> None:
    async def scenario() -> None:
        async with Cluster() as cluster:
            leader = await cluster.leader()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0001):
                    await leader.propose([b"x"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0001):
                    await leader.read()
            await leader.propose([b"y"])
            assert cluster.processes[cluster.leaders()[0]].register.commands == [b"x", b"y"]

    simulate(scenario())


def test_a_read_error_of_the_disk_while_starting_is_told() -> None:
    async def scenario() -> None:
        async with Cluster(voters=1, snapshot_log_bytes=500) as cluster:
            leader = await cluster.leader()
            for _ in range(20):
                await leader.propose([b"x" * 50])
            await cluster.until(lambda: leader.node.snapshot is not None)
            await cluster.power_off(0)
            cluster.processes[0].disk.fail_reads = errno.EIO
            with pytest.raises((OttlaError, OSError)):
                await cluster.start(0)

    simulate(scenario())

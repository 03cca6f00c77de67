"""`ottla groups` against real processes."""

import asyncio
from pathlib import Path

import pytest

from ottla import Admin, Consumer
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import filled
from tests.integration.polled_members import Members
from tests.ottla.cli.conftest import Ottla

pytestmark = pytest.mark.integration


def _commit(cluster: LocalCluster, topic: str, group: str, offsets: dict[int, int]) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=2, records=20)
            await admin.alter_group_offsets(
                group, {(topic, number): offset for number, offset in offsets.items()}
            )

    asyncio.run(run())


def test_a_group_without_members_is_listed_described_moved_and_deleted(
    cluster: LocalCluster, ottla: Ottla, tmp_path: Path
) -> None:
    _commit(cluster, "bills", "billing", {0: 4, 1: 10})
    assert "billing" in ottla("groups list").out.splitlines()
    assert "billing" in [each["group"] for each in ottla("groups list --state empty --json").facts]
    assert "billing" not in ottla("groups list --state stable").out

    (facts,) = ottla("groups describe billing --json").facts
    assert facts["state"] == "Empty"
    assert facts["lag"] == 6
    assert [each["lag"] for each in facts["partitions"]] == [6, 0]
    assert "6 records wait" in facts["why"][0]
    shown = ottla("groups describe billing").out
    assert "CURRENT-OFFSET" in shown
    assert "Nobody reads" in shown
    assert "#MEMBERS" in ottla("groups describe billing --state").out
    assert "#PARTITIONS" in ottla("groups describe billing --members --verbose").out

    planned = ottla("groups reset-offsets billing --topic bills:0 --shift-by -2")
    assert "OLD-OFFSET" in planned.out
    assert "nothing was moved" in planned.err
    (facts,) = ottla("groups describe billing --json").facts
    assert facts["partitions"][0]["committed"] == 4

    saved = ottla("groups reset-offsets billing --all-topics --to-current --export")
    assert saved.out == "bills,0,4\nbills,1,10\n"
    (tmp_path / "saved.csv").write_text(saved.out)
    moved = ottla("groups reset-offsets billing --topic bills --to-earliest --execute --json")
    assert [each["after"] for each in moved.facts] == [0, 0]
    (facts,) = ottla("groups describe billing --json").facts
    assert facts["lag"] == 20
    ottla(f"groups reset-offsets billing --from-file {tmp_path / 'saved.csv'} --execute")
    (facts,) = ottla("groups describe billing --json").facts
    assert [each["committed"] for each in facts["partitions"]] == [4, 10]
    past = ottla("groups reset-offsets billing --topic bills --by-duration P1D --json").facts
    assert [each["after"] for each in past] == [0, 0]
    future = ottla(
        "groups reset-offsets billing --topic bills --to-datetime 2200-01-01T00:00:00 --json"
    )
    assert [each["after"] for each in future.facts] == [10, 10]

    assert ottla("groups delete-offsets billing --topic bills:1").out == "deleted bills-1\n"
    (facts,) = ottla("groups describe billing --json").facts
    assert [each["partition"] for each in facts["partitions"]] == [0]
    assert ottla("groups delete billing").out == "deleted billing\n"
    gone = ottla("groups describe billing")
    assert gone.code == 1
    assert "there is no group billing (GROUP_ID_NOT_FOUND)" in gone.err


def test_a_group_with_a_member_is_not_moved_nor_deleted(
    cluster: LocalCluster, ottla: Ottla
) -> None:
    _commit(cluster, "parcels", "shipping", {0: 10, 1: 10})

    async def run() -> None:
        async with Consumer(cluster.bootstrap, group_id="shipping", client_id="van") as consumer:
            await consumer.subscribe("parcels")
            while not consumer.assignment:
                await consumer.poll(0.2)
            (facts,) = (await asyncio.to_thread(ottla, "groups describe shipping --json")).facts
            assert facts["state"] == "Stable"
            assert [each["client_id"] for each in facts["members"]] == ["van"]
            assert facts["members"][0]["partitions"] == 2
            assert facts["why"] == ["The group is at the end of all it reads: no record waits."]
            shown = await asyncio.to_thread(ottla, "groups describe shipping --members --verbose")
            assert "parcels(0,1)" in shown.out
            refused = await asyncio.to_thread(
                ottla, "groups reset-offsets shipping --topic parcels --to-latest --execute"
            )
            assert refused.code == 1
            assert "group shipping is Stable" in refused.err
            refused = await asyncio.to_thread(ottla, "groups delete shipping")
            assert refused.code == 1
            assert "NON_EMPTY_GROUP" in refused.err
            refused = await asyncio.to_thread(
                ottla, "groups delete-offsets shipping --topic parcels"
            )
            assert "GROUP_SUBSCRIBED_TO_TOPIC" in refused.err

    asyncio.run(run())


def test_a_group_of_both_protocols_is_described(cluster: LocalCluster, ottla: Ottla) -> None:
    _commit(cluster, "letters", "post", {0: 10, 1: 4})
    members = Members(",".join(str(node.kafka) for node in cluster.nodes), "post")

    async def poll(consumer: Consumer, over: asyncio.Event) -> None:
        while not over.is_set():
            await consumer.poll(0.1)

    async def run() -> None:
        over = asyncio.Event()
        async with (
            Consumer(
                cluster.bootstrap, group_id="post", client_id="van", heartbeat_interval_ms=200
            ) as consumer,
            asyncio.TaskGroup() as tasks,
        ):
            await consumer.subscribe("letters")
            tasks.create_task(poll(consumer, over))
            members.join("letters", **{"client.id": "bike"})
            await asyncio.to_thread(
                members.poll_until,
                lambda: members.shares() == [1] and len(consumer.assignment) == 1,
            )
            (facts,) = (await asyncio.to_thread(ottla, "groups describe post --json")).facts
            assert (facts["type"], facts["state"], facts["assignor"]) == (
                "consumer",
                "Stable",
                "uniform",
            )
            assert facts["epoch"] == facts["assignment_epoch"] > 0
            told = {each["client_id"]: each for each in facts["members"]}
            assert (told["van"]["protocol"], told["bike"]["protocol"]) == ("classic", "consumer")
            owned = sorted(told["van"]["assignment"] + told["bike"]["assignment"])
            assert owned == ["letters-0", "letters-1"]
            assert all(each["assignment"] == each["target"] for each in told.values())
            assert {each["epoch"] for each in told.values()} == {facts["epoch"]}
            shown = await asyncio.to_thread(ottla, "groups describe post --members --verbose")
            assert all(each in shown.out for each in ("PROTOCOL", "EPOCH", "TARGET", "letters(0)"))
            shown = await asyncio.to_thread(ottla, "groups describe post --state")
            assert "TARGET-EPOCH" in shown.out
            over.set()

    try:
        asyncio.run(run())
    finally:
        members.close()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("groups describe", "name groups, or give --all-groups"),
        ("groups reset-offsets g --topic t", "exactly one of --to-earliest"),
        ("groups reset-offsets g --topic t --to-latest --to-earliest", "exactly one of"),
        ("groups reset-offsets g --to-latest", "name topics with --topic"),
        ("groups reset-offsets g --topic t:x --to-latest", "not like orders"),
        ("groups reset-offsets g --topic t --by-duration 3h", "ISO 8601"),
    ],
)
def test_wrong_usage_is_told(ottla: Ottla, line: str, says: str) -> None:
    done = ottla(line)
    assert done.code == 2
    assert says.split(maxsplit=1)[0] in done.err

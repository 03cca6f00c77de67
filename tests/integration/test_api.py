"""`ottla.v1` as a client in any language meets it: plain records, credit, refusals."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port
from ottla.v1 import admin_pb2, admin_pb2_grpc, common_pb2
from ottla.v1 import log_pb2 as pb
from ottla.v1 import log_pb2_grpc as log_grpc

pytestmark = pytest.mark.integration

LIMIT_S = 20.0
Story = Callable[[Any, Any], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node."""
    made = LocalCluster.init(
        tmp_path_factory.mktemp("cluster"), nodes=1, base_port=free_base_port(1, random.Random())
    )
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


@pytest.fixture
def play(cluster: LocalCluster) -> Play:
    """Runs a story that is given stubs of the admin and the log service."""

    async def run(story: Story) -> None:
        async with AsyncExitStack() as stack:
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(cluster.nodes[0].grpc)
            )
            await stack.enter_async_context(asyncio.timeout(LIMIT_S))
            await story(admin_pb2_grpc.AdminServiceStub(channel), log_grpc.LogServiceStub(channel))

    return lambda story: asyncio.run(run(story))


async def _topic(admin: Any, log: Any, name: str) -> None:
    request = admin_pb2.CreateTopicsRequest(topics=[admin_pb2.NewTopic(name=name, partitions=1)])
    assert not (await admin.CreateTopics(request)).topics[0].error.message
    query = pb.OffsetQuery(topic=name, partition=0, spec=pb.OFFSET_SPEC_LATEST)
    while True:
        answer = await log.ListOffsets(pb.ListOffsetsRequest(queries=[query]))
        if not answer.offsets[0].error.retriable:
            return
        await asyncio.sleep(0.01)


def _produce(topic: str, *values: bytes, **more: Any) -> pb.ProduceRequest:
    records = [pb.Record(value=value) for value in values]
    part = pb.PartitionProduce(topic=topic, partition=0, records=records, **more)
    return pb.ProduceRequest(partitions=[part])


async def _values(log: Any, topic: str) -> list[bytes]:
    request = pb.FetchRequest(
        partitions=[pb.FetchPartition(topic=topic, partition=0)], form=pb.RECORD_FORM_PLAIN
    )
    return [each.value for each in (await log.Fetch(request)).partitions[0].records]


def test_plain_records_that_are_sent_again_are_there_once(play: Play) -> None:
    async def story(admin: Any, log: Any) -> None:
        await _topic(admin, log, "once")
        producer = await log.InitProducerId(pb.InitProducerIdRequest())

        async def send(first: int, *values: bytes) -> pb.PartitionProduced:
            sequence = pb.ProducerSequence(
                producer_id=producer.producer_id,
                producer_epoch=producer.producer_epoch,
                base_sequence=first,
            )
            answer = await log.Produce(_produce("once", *values, sequence=sequence))
            found: pb.PartitionProduced = answer.partitions[0]
            return found

        assert (await send(0, b"a", b"b")).base_offset == 0
        assert (await send(2, b"c")).base_offset == 2
        assert (await send(2, b"c")).base_offset == 2, "the first answer might have been lost"
        gap = await send(7, b"d")
        assert gap.error.code == common_pb2.ERROR_CODE_OUT_OF_ORDER_SEQUENCE_NUMBER
        assert await _values(log, "once") == [b"a", b"b", b"c"]

    play(story)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"batches": b"bytes"}, common_pb2.ERROR_CODE_INVALID_REQUEST),
        ({"sequence": pb.ProducerSequence()}, common_pb2.ERROR_CODE_INVALID_REQUEST),
        (
            {"records": [pb.Record(timestamp_ms=-(2**63))]},
            common_pb2.ERROR_CODE_INVALID_TIMESTAMP,
        ),
        ({}, common_pb2.ERROR_CODE_INVALID_RECORD),
    ],
)
def test_what_cannot_be_understood_is_refused_by_itself(
    play: Play, more: dict[str, Any], code: int
) -> None:
    """The partitions before and after it are served."""

    async def story(admin: Any, log: Any) -> None:
        topic = f"refused-{random.randrange(1 << 30)}"
        await _topic(admin, log, topic)
        good = _produce(topic, b"good").partitions[0]
        part = pb.PartitionProduce(topic=topic, partition=0)
        if "batches" in more:
            part.records.add(value=b"both")
        part.MergeFrom(pb.PartitionProduce(**more))
        answer = await log.Produce(pb.ProduceRequest(partitions=[good, part, good]))
        assert [each.error.code for each in answer.partitions] == [0, code, 0]
        assert await _values(log, topic) == [b"good", b"good"]

    play(story)


def test_a_subscription_without_credit_is_refused_and_not_left_hanging(play: Play) -> None:
    async def story(admin: Any, log: Any) -> None:
        call = log.StreamFetch()
        await call.write(pb.StreamFetchRequest(subscribe=[pb.FetchPartition(topic="any")]))
        with pytest.raises(grpc.aio.AioRpcError, match="credit_bytes") as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    play(story)


def test_a_client_that_ends_its_side_still_gets_what_it_gave_credit_for(play: Play) -> None:
    """As command line tools do, that send one message and end."""

    async def story(admin: Any, log: Any) -> None:
        await _topic(admin, log, "ended")
        for number in range(50):
            await log.Produce(_produce("ended", b"%d" % number + b"." * 1000))
        call = log.StreamFetch()
        await call.write(
            pb.StreamFetchRequest(
                subscribe=[pb.FetchPartition(topic="ended", partition=0)],
                form=pb.RECORD_FORM_PLAIN,
                credit_bytes=30_000,
                max_bytes=4000,
            )
        )
        await call.done_writing()
        got = [record.offset async for each in call for record in each.partitions[0].records]
        assert got == list(range(len(got)))
        assert 28 <= len(got) <= 31

    play(story)


@pytest.mark.parametrize("kind", [admin_pb2.RESOURCE_TYPE_UNSPECIFIED, 77])
def test_a_resource_without_type_is_no_broker(play: Play, kind: int) -> None:
    async def story(admin: Any, log: Any) -> None:
        resource = admin_pb2.ConfigResource(type=kind, name="")  # type: ignore[arg-type]
        change = admin_pb2.ConfigChange(resource=resource, set={"num.partitions": "3"})
        with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_TYPE_BROKER"):
            await admin.AlterConfigs(admin_pb2.AlterConfigsRequest(changes=[change]))
        request = admin_pb2.DescribeConfigsRequest(resources=[resource])
        answer = (await admin.DescribeConfigs(request)).resources[0]
        assert answer.error.code == common_pb2.ERROR_CODE_INVALID_REQUEST

    play(story)


def test_quotas_are_set_shown_and_refused_one_by_one(play: Play) -> None:
    async def story(admin: Any, log: Any) -> None:
        ann = admin_pb2.ClientQuotaPart(kind="user", name="ann")
        others = admin_pb2.ClientQuotaPart(kind="client-id")
        request = admin_pb2.AlterClientQuotasRequest(
            changes=[
                admin_pb2.ClientQuotaChange(entity=[ann, others], set={"producer_byte_rate": 5}),
                admin_pb2.ClientQuotaChange(entity=[ann, ann], set={"producer_byte_rate": 5}),
                admin_pb2.ClientQuotaChange(entity=[ann], set={"producer_byte_rate": 0.5}),
            ]
        )
        taken, twice, half = (await admin.AlterClientQuotas(request)).quotas
        assert not taken.HasField("error")
        for refused in (twice, half):
            assert refused.error.code == common_pb2.ERROR_CODE_INVALID_REQUEST
        component = admin_pb2.ClientQuotaComponent(kind="user", match=admin_pb2.QUOTA_MATCH_ANY)
        question = admin_pb2.DescribeClientQuotasRequest(components=[component])
        [found] = (await admin.DescribeClientQuotas(question)).quotas
        assert {part.kind: part.name for part in found.entity if part.HasField("name")} == {
            "user": "ann"
        }
        assert dict(found.rates) == {"producer_byte_rate": 5}
        question.strict = True
        assert not (await admin.DescribeClientQuotas(question)).quotas
        question.components[0].match = admin_pb2.QUOTA_MATCH_UNSPECIFIED
        with pytest.raises(grpc.aio.AioRpcError, match="QUOTA_MATCH_EXACT"):
            await admin.DescribeClientQuotas(question)

    play(story)


def test_groups_with_settings_are_listed_and_no_unknown_type(play: Play) -> None:
    async def story(admin: Any, log: Any) -> None:
        group = admin_pb2.ConfigResource(type=admin_pb2.RESOURCE_TYPE_GROUP, name="billing")
        session = {"consumer.session.timeout.ms": "50000"}
        change = admin_pb2.ConfigChange(resource=group, set=session)
        altered = await admin.AlterConfigs(admin_pb2.AlterConfigsRequest(changes=[change]))
        assert not altered.resources[0].HasField("error")
        types = [admin_pb2.RESOURCE_TYPE_GROUP, admin_pb2.RESOURCE_TYPE_BROKER]
        request = admin_pb2.ListConfigResourcesRequest(types=types)
        found = (await admin.ListConfigResources(request)).resources
        assert [(each.type, each.name) for each in found] == [
            (types[0], "billing"),
            (types[1], "1"),
        ]
        question = admin_pb2.DescribeConfigsRequest(resources=[group])
        described = (await admin.DescribeConfigs(question)).resources[0].entries
        assert {
            each.name: each.value
            for each in described
            if each.source == admin_pb2.CONFIG_SOURCE_GROUP
        } == session
        unknown = admin_pb2.ListConfigResourcesRequest(types=[0])  # type: ignore[list-item]
        with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_TYPE_GROUP"):
            await admin.ListConfigResources(unknown)

    play(story)


def test_numbers_of_a_later_release_are_refused_in_words(play: Play) -> None:
    async def story(admin: Any, log: Any) -> None:
        await _topic(admin, log, "later")
        query = pb.OffsetQuery(topic="later", partition=0, spec=9)  # type: ignore[arg-type]
        found = (await log.ListOffsets(pb.ListOffsetsRequest(queries=[query]))).offsets[0]
        assert found.error.code == common_pb2.ERROR_CODE_INVALID_REQUEST
        request = _produce("later", b"x")
        request.acks = 9  # type: ignore[assignment]
        answer = (await log.Produce(request)).partitions[0]
        assert answer.error.code == common_pb2.ERROR_CODE_INVALID_REQUIRED_ACKS
        assert "all, leader or none" in answer.error.message

    play(story)

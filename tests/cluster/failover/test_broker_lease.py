"""The lease: it binds the broker too, counts from when it asked, and ends in peace only when the controller says so."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
import structlog.testing

from cluster.failover.broker_lease import ASKING_MAX, BrokerLease
from kraft.metadata.errors import (
    DuplicateBrokerRegistrationError,
    InconsistentClusterIdError,
    StaleBrokerEpochError,
    UnsupportedVersionError,
)
from kraft.metadata.replies import BrokerRegistered, HeartbeatReply, Reply
from kraft.metadata.requests import BrokerHeartbeat, RegisterBrokerRequest
from storage.errors import ErrorCode, OttlaError
from tests.simulation.cluster import until
from tests.simulation.loop import simulate

SESSION_MS = 600
HEARTBEAT_MS = 100


class Controller:
    """Answers what the tests lay down. delay_s: how long an answer takes. told: the epochs told as new."""

    def __init__(self) -> None:
        self.registrations = 0
        self.heartbeats: list[BrokerHeartbeat] = []
        self.told: list[int] = []
        self.refusal: OttlaError | None = None
        self.reply = HeartbeatReply(fenced=False, caught_up=True)
        self.delay_s = 0.0
        self.asking = 0
        self.asked_at_once = 0

    async def ask(self, request: object, timeout_s: float) -> Reply:
        reply = self.reply
        self.asking += 1
        self.asked_at_once = max(self.asked_at_once, self.asking)
        await asyncio.sleep(min(self.delay_s, timeout_s))
        self.asking -= 1
        refusal = OttlaError("no answer in time") if self.delay_s > timeout_s else self.refusal
        if isinstance(request, RegisterBrokerRequest):
            if refusal is not None and refusal.code != ErrorCode.STALE_BROKER_EPOCH:
                raise refusal
            self.refusal = None
            self.registrations += 1
            return BrokerRegistered(broker_epoch=self.registrations, cluster_id="c")
        assert isinstance(request, BrokerHeartbeat)
        self.heartbeats.append(request)
        if refusal is not None:
            raise refusal
        return reply


Work = Callable[[BrokerLease, Controller], Awaitable[None]]


def run(work: Work) -> None:
    """`work` while a broker renews its lease, after the first renewal."""

    async def running() -> None:
        controller = Controller()
        lease = made(controller)
        task = asyncio.get_running_loop().create_task(lease.run())
        await until(lambda: lease.holds, 5.0, "a lease")
        await work(lease, controller)
        task.cancel()
        await asyncio.wait([task])

    simulate(running())


def made(controller: Controller) -> BrokerLease:
    lease = BrokerLease(
        controller,  # type: ignore[arg-type]
        lambda: RegisterBrokerRequest(
            node_id=1, cluster_id="c", incarnation=UUID(int=1), listeners={}
        ),
        lambda: 7,
        lambda: int(asyncio.get_running_loop().time() * 1000),
        registered_anew=lambda: controller.told.append(lease.broker_epoch),
        heartbeat_interval_ms=HEARTBEAT_MS,
        session_timeout_ms=SESSION_MS,
        suspect_ms=HEARTBEAT_MS,
    )
    return lease


def test_a_lease_ends_with_the_session_when_nobody_confirms_it() -> None:
    """I7."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        controller.refusal = OttlaError("silence")
        held = []
        for _ in range(2):
            await asyncio.sleep(SESSION_MS / 1000 * 0.7)
            held.append(lease.holds)
        assert held == [True, False]

    run(work)


def test_a_lease_counts_from_the_question_and_not_from_the_answer() -> None:
    """I7: the controller's session may have begun as early as that; the answer may have been on its way for long."""

    late_s = 0.4 * SESSION_MS / 1000

    async def work(lease: BrokerLease, controller: Controller) -> None:
        loop = asyncio.get_running_loop()
        controller.delay_s = late_s
        await asyncio.sleep(1.0)
        controller.refusal = OttlaError("silence")
        silent_s = loop.time()
        await until(lambda: not lease.holds, 5.0, "the end of the lease")
        assert loop.time() - silent_s <= SESSION_MS / 1000 - late_s + 0.01

    run(work)


def test_a_silence_is_told_once_and_so_is_its_end() -> None:
    async def work(_lease: BrokerLease, controller: Controller) -> None:
        with structlog.testing.capture_logs() as said:
            controller.refusal = OttlaError("silence")
            await asyncio.sleep(3 * SESSION_MS / 1000)
            controller.refusal = None
            await asyncio.sleep(3 * HEARTBEAT_MS / 1000)
        assert [each["event"] for each in said] == ["lease not renewed", "lease renewed"]

    run(work)


def test_a_lease_is_kept_by_late_answers() -> None:
    """A controller that is busy takes longer for an answer than it is from one heartbeat to the next."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        controller.delay_s = 0.45 * SESSION_MS / 1000
        loop = asyncio.get_running_loop()
        end_s = loop.time() + 5.0
        while loop.time() < end_s:
            assert lease.holds
            await asyncio.sleep(0.01)
        assert 2 < controller.asked_at_once <= ASKING_MAX

    run(work)


def test_an_answer_that_comes_after_a_later_one_says_nothing_new() -> None:
    async def work(lease: BrokerLease, controller: Controller) -> None:
        controller.delay_s, controller.reply = 0.22, HeartbeatReply(fenced=True, caught_up=True)
        asked = len(controller.heartbeats)
        await until(lambda: controller.asking == 1, 5.0, "a question")
        controller.delay_s, controller.reply = 0.0, HeartbeatReply(fenced=False, caught_up=True)
        await until(lambda: len(controller.heartbeats) > asked + 1, 5.0, "the answers")
        end_s = asyncio.get_running_loop().time() + 0.3
        while asyncio.get_running_loop().time() < end_s:
            assert lease.unfenced.is_set()
            await asyncio.sleep(0.001)

    run(work)


def test_a_broker_that_the_controller_does_not_know_registers_again() -> None:
    """KIP-903: whom it follows is told when it knows its new epoch, and no sooner."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        controller.refusal = StaleBrokerEpochError("another epoch is registered")
        await until(lambda: lease.broker_epoch == 2, 5.0, "another registration")
        await until(lambda: controller.heartbeats[-1].broker_epoch == 2, 5.0, "a heartbeat with it")
        assert controller.told == [1, 2]
        controller.registrations -= 1
        controller.refusal = StaleBrokerEpochError("it is the same, after all")
        await until(lambda: controller.registrations == 2, 5.0, "the same registration again")
        await asyncio.sleep(0.01)
        assert controller.told == [1, 2]

    run(work)


def test_what_the_broker_wants_is_told_at_once() -> None:
    """S1 and controlled shutdown: not with the next heartbeat that is due."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        before = len(controller.heartbeats)
        for wish in (lease.give_up, lease.leave):
            wish()
            await asyncio.sleep(0.001)
        told = [(each.wants_fence, each.wants_shutdown) for each in controller.heartbeats]
        assert told[before - 1 : before + 2] == [(False, False), (True, False), (True, True)]

    run(work)


def test_fenced_and_unfenced_are_what_the_controller_said_last() -> None:
    async def work(lease: BrokerLease, controller: Controller) -> None:
        assert lease.unfenced.is_set()
        controller.reply = HeartbeatReply(fenced=True, caught_up=True)
        await asyncio.sleep(2 * HEARTBEAT_MS / 1000)
        assert not lease.unfenced.is_set()
        controller.reply = HeartbeatReply(fenced=False, caught_up=True)
        await until(lease.unfenced.is_set, 1.0, "the end of the fence")

    run(work)


def test_released_is_who_may_stop_and_nobody_else() -> None:
    """KIP-841."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        loop = asyncio.get_running_loop()
        lease.leave()
        began_s = loop.time()
        assert not await lease.released(1.0)
        assert loop.time() - began_s >= 1.0
        controller.reply = HeartbeatReply(fenced=True, caught_up=True, may_stop=True)
        assert await lease.released(1.0)

    run(work)


def test_without_a_controller_nobody_waits_to_be_released() -> None:
    async def work(lease: BrokerLease, controller: Controller) -> None:
        loop = asyncio.get_running_loop()
        controller.refusal = OttlaError("silence")
        lease.leave()
        began_s = loop.time()
        assert not await lease.released(60.0)
        assert loop.time() - began_s < 2 * SESSION_MS / 1000

    run(work)


@pytest.mark.parametrize("error", [InconsistentClusterIdError, UnsupportedVersionError])
def test_a_refusal_that_no_time_can_mend_ends_the_broker(error: type[OttlaError]) -> None:
    """I9: to try it for ever would hide it from the operator."""

    async def running() -> None:
        controller = Controller()
        controller.refusal = error("no")
        with pytest.raises(error):
            async with asyncio.timeout(10.0):
                await made(controller).run()

    simulate(running())


def test_other_refusals_are_waited_for() -> None:
    """The last life of this broker may not have been fenced yet."""

    async def running() -> None:
        controller = Controller()
        controller.refusal = DuplicateBrokerRegistrationError("it lives")
        lease = made(controller)
        task = asyncio.get_running_loop().create_task(lease.run())
        await asyncio.sleep(1.0)
        assert not lease.registered.is_set()
        controller.refusal = None
        await until(lease.registered.is_set, 1.0, "the registration")
        task.cancel()
        await asyncio.wait([task])

    simulate(running())


def test_a_deposed_controller_serves_no_longer_than_its_successor_may_leave_it() -> None:
    """What it confirmed to itself, cut off from the majority, is worth nothing after the successor's short lease."""

    async def work(lease: BrokerLease, controller: Controller) -> None:
        controller.refusal = OttlaError("nobody leads")
        loop = asyncio.get_running_loop()
        lease.deposed()
        deposed_s = loop.time()
        assert lease.holds
        await until(lambda: not lease.holds, 5.0, "the end of the lease")
        assert loop.time() - deposed_s < SESSION_MS / 2000
        controller.refusal = None
        await until(lambda: lease.holds, 5.0, "a lease from the successor")

    run(work)


def test_a_slow_answer_does_not_put_off_the_next_question() -> None:
    async def work(_lease: BrokerLease, controller: Controller) -> None:
        controller.delay_s = HEARTBEAT_MS / 1000 * 0.9
        loop = asyncio.get_running_loop()
        before, began_s = len(controller.heartbeats), loop.time()
        await until(lambda: len(controller.heartbeats) >= before + 10, 5.0, "ten heartbeats")
        assert loop.time() - began_s < 11.5 * HEARTBEAT_MS / 1000

    run(work)

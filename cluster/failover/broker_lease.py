"""A broker's life in the cluster: it registers, renews its lease, and asks to leave.

The lease also binds the broker itself: when the controller has not confirmed it for a session, somebody else may lead
its partitions by now, and it refuses to serve them (bugs.md I7).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from cluster.failover.controller_client import ControllerClient
from kraft.metadata.replies import BrokerRegistered, HeartbeatReply
from kraft.metadata.requests import BrokerHeartbeat, RegisterBrokerRequest
from storage.errors import ErrorCode, OttlaError

log = structlog.get_logger("lease")

REGISTER_TIMEOUT_S = 5.0
REGISTER_PAUSE_S = 0.1
ASKING_MAX = 4
"""Heartbeats whose answers are waited for. A late answer confirms the lease, too: where a busy node answers slowly, the
next question does not wait for it.
"""
URGENT_S = 0.05
"""Between two heartbeats of a broker that waits to be let in, or to be let go."""


class BrokerLease:
    """`applied` tells up to which metadata offset this broker has applied; `now_ms` is monotonic. `registered_anew` is
    called when `broker_epoch` has become another one.
    """

    def __init__(
        self,
        controller: ControllerClient,
        registration: Callable[[], RegisterBrokerRequest],
        applied: Callable[[], int],
        now_ms: Callable[[], int],
        *,
        registered_anew: Callable[[], None],
        heartbeat_interval_ms: int,
        session_timeout_ms: int,
        suspect_ms: int,
    ) -> None:
        self.broker_epoch = -1
        self._controller = controller
        self._registration = registration
        self._applied = applied
        self._now_ms = now_ms
        self._registered_anew = registered_anew
        self._heartbeat_interval_s = heartbeat_interval_ms / 1000
        self._session_timeout_ms = session_timeout_ms
        self._suspect_ms = suspect_ms
        self._confirmed_ms: int | None = None
        self._deposed_ms: int | None = None
        self._fenced = True
        self._leaving = False
        self._gave_up = False
        self._soon = asyncio.Event()
        self._unknown = False
        self._unheard = False
        self._asking: dict[asyncio.Task[None], None] = {}
        self.registered = asyncio.Event()
        self.unfenced = asyncio.Event()
        self.may_stop = asyncio.Event()

    @property
    def holds(self) -> bool:
        """Whether the controller has confirmed this broker within the session timeout, and, where this node was the
        controller itself, whether its successor can not have fenced it yet.
        """
        now_ms = self._now_ms()
        if self._deposed_ms is not None and now_ms - self._deposed_ms > self._suspect_ms:
            return False
        return (
            self._confirmed_ms is not None
            and now_ms - self._confirmed_ms <= self._session_timeout_ms
        )

    def deposed(self) -> None:
        """This node is the controller no longer: what it confirmed to itself is worth no more than the short lease that
        a successor gives to its predecessor (BrokerLeases.take_over).
        """
        if self._deposed_ms is None:
            self._deposed_ms = self._now_ms()
        self._soon.set()

    def leave(self) -> None:
        """Ask for a controlled shutdown: leaderships move first, then `may_stop` is set."""
        self._leaving = True
        self._soon.set()

    def give_up(self) -> None:
        """This broker cannot serve all its replicas any more: be fenced, so that others lead, until a restart."""
        if not self._gave_up:
            log.error("asking to be fenced: a log is lost; restart this node when its disk is well")
        self._gave_up = True
        self._soon.set()

    async def released(self, timeout_s: float) -> bool:
        """Wait for the controller to let this broker go: false after `timeout_s`, or once there is no controller to
        ask any more.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while loop.time() < deadline_s and self.holds:
            try:
                async with asyncio.timeout(0.2):
                    await self.may_stop.wait()
            except TimeoutError:
                continue
            return True
        return self.may_stop.is_set()

    def renew_soon(self) -> None:
        """Something changed that the controller should hear of before the next heartbeat is due."""
        self._soon.set()

    async def run(self) -> None:
        """Register, then renew until cancelled. A refusal of the registration that no time can mend is raised."""
        await self._register()
        async with asyncio.TaskGroup() as tasks:
            while True:
                if self._unknown:
                    self._unknown = False
                    await self._register()
                if len(self._asking) < ASKING_MAX:
                    asking = tasks.create_task(self._renew())
                    self._asking[asking] = None
                    asking.add_done_callback(self._asking.pop)
                await self._rest()

    async def _rest(self) -> None:
        """Until the next heartbeat is due: counted from the last one, whether it was answered or not."""
        soon_s = self._heartbeat_interval_s / 2
        if (self._fenced and not self._gave_up) or (self._leaving and not self.may_stop.is_set()):
            soon_s = min(soon_s, URGENT_S)
        try:
            async with asyncio.timeout(soon_s):
                await self._soon.wait()
        except TimeoutError:
            if soon_s == URGENT_S or self._asking:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(soon_s):
                    await self._soon.wait()
        self._soon.clear()

    async def _register(self) -> None:
        while True:
            request = self._registration()
            try:
                reply = await self._controller.ask(request, REGISTER_TIMEOUT_S)
            except OttlaError as error:
                if error.code in (ErrorCode.INCONSISTENT_CLUSTER_ID, ErrorCode.UNSUPPORTED_VERSION):
                    raise
                log.warning("not registered yet", reason=str(error))
                await asyncio.sleep(REGISTER_PAUSE_S)
                continue
            assert isinstance(reply, BrokerRegistered), reply
            anew, self.broker_epoch = self.broker_epoch != reply.broker_epoch, reply.broker_epoch
            self.registered.set()
            log.info("registered", broker_epoch=reply.broker_epoch, cluster_id=reply.cluster_id)
            if anew:
                self._registered_anew()
            return

    async def _renew(self) -> None:
        request = BrokerHeartbeat(
            node_id=self._registration().node_id,
            broker_epoch=self.broker_epoch,
            metadata_offset=self._applied(),
            wants_shutdown=self._leaving,
            wants_fence=self._gave_up,
        )
        asked_ms = self._now_ms()
        try:
            reply = await self._controller.ask(request, self._session_timeout_ms / 2000)
        except OttlaError as error:
            if request.broker_epoch != self.broker_epoch or self._overtaken(asked_ms):
                return
            if error.code in (ErrorCode.STALE_BROKER_EPOCH, ErrorCode.BROKER_ID_NOT_REGISTERED):
                log.warning("registering again", reason=str(error))
                self._unknown = True
                self._soon.set()
            elif not self._unheard:
                self._unheard = True
                log.warning("lease not renewed", reason=str(error))
            return
        assert isinstance(reply, HeartbeatReply), reply
        if request.broker_epoch == self.broker_epoch:
            self._take(reply, asked_ms)

    def _overtaken(self, asked_ms: int) -> bool:
        """Whether a later question was answered sooner."""
        return self._confirmed_ms is not None and asked_ms < self._confirmed_ms

    def _take(self, reply: HeartbeatReply, asked_ms: int) -> None:
        if self._overtaken(asked_ms):
            return
        if self._unheard:
            self._unheard = False
            log.info("lease renewed")
        # Counted from when we asked: the controller's session begins no earlier.
        self._confirmed_ms = asked_ms
        if self._deposed_ms is not None and asked_ms > self._deposed_ms:
            self._deposed_ms = None
        if reply.fenced != self._fenced and not self._leaving:
            log.info("fenced" if reply.fenced else "unfenced", broker_epoch=self.broker_epoch)
        self._fenced = reply.fenced
        if reply.fenced:
            self.unfenced.clear()
        else:
            self.unfenced.set()
        if reply.may_stop:
            self.may_stop.set()

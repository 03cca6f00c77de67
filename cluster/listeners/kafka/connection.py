"""One client's connection: requests are answered in their order, and a slow one holds back only this connection.

Produce requests are begun as they come, before earlier ones are acknowledged: the log sees them in order, and a
pipelining producer does not wait for one fsync after the other. Of everything else one is worked on at a time.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import structlog

from cluster.listeners.kafka.fetch_pace import is_librdkafka
from cluster.listeners.kafka.request import Buffer, Client
from wire.api_keys import ApiKey
from wire.errors import WireError
from wire.frames import FrameAssembler
from wire.headers import RequestHeader

if TYPE_CHECKING:
    from cluster.listeners.kafka.server import KafkaDoor

log = structlog.get_logger("kafka")

_LENGTH = struct.Struct(">i")
# Answers that may be outstanding on one connection; then nothing more is read from it.
MAX_IN_FLIGHT = 256
# The longest request that carries no records: taking it apart holds up everybody else.
OTHERS_MAX_BYTES = 8 << 20
# Bytes that may wait to be written before nothing more is begun, and they count for all connections.
WRITE_HIGH_WATER = 256 << 10
# Requests that wait for other members of a group.
WAITING = (ApiKey.JOIN_GROUP, ApiKey.SYNC_GROUP)
LEAVE_GROUP = ApiKey.LEAVE_GROUP.to_bytes(2)


class Slot:
    """An answer's place in the order. `answer` is called once, with nothing when there is none (acks=0)."""

    __slots__ = ("_connection", "pieces")

    def __init__(self, connection: "KafkaConnection") -> None:
        self._connection = connection
        self.pieces: Sequence[Buffer] | None = None

    def answer(self, pieces: Sequence[Buffer]) -> None:
        """Send it when its turn comes."""
        assert self.pieces is None, "answered twice"
        self.pieces = pieces
        self._connection.answered()

    def mute(self, seconds: float) -> None:
        """Take no more from this client for so long: it has used more than its quota."""
        self._connection.mute(seconds)


class KafkaConnection(asyncio.BufferedProtocol):
    """Holds no buffer and no queue while it is idle."""

    __slots__ = (
        "_busy", "_door", "_fetch_due_s", "_frames", "_held", "_inbox", "_muted", "_paced", "_paused", "_pumping",
        "_slots", "_starved", "_transport", "_waits", "_write_paused", "active_s", "client_id", "host",
    )  # fmt: skip

    def __init__(self, door: "KafkaDoor") -> None:
        self._door = door
        self._frames = FrameAssembler(door.scratch, door.max_request_bytes)
        self._transport: asyncio.Transport | None = None
        self._inbox: deque[memoryview] | None = None
        self._slots: deque[Slot] | None = None
        self._busy = 0
        self._waits = self._paused = self._pumping = self._write_paused = False
        self._held = self._starved = self._paced = False
        self._muted: asyncio.TimerHandle | None = None
        self.active_s = 0.0
        self._fetch_due_s = 0.0
        self.host = ""
        self.client_id = ""

    @property
    def working(self) -> bool:
        """Whether a request waits for its answer, or the client has been told to wait."""
        return bool(self._slots) or self._muted is not None

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.host = peer[0] if isinstance(peer, tuple) else "local"
        self.active_s = self._door.now_s()
        refusal = self._door.admit(self)
        if refusal is not None:
            log.warning("connection refused", peer=self.host, reason=refusal)
            self.close()
            return
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone; what it asked is answered into the void."""
        self._transport = None
        self._inbox = None
        if self._muted is not None:
            self._muted.cancel()
        self._door.left(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._frames.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self.active_s = self._door.now_s()
        try:
            frames = self._frames.received(nbytes)
        except WireError as error:
            self.refuse(str(error))
            return
        held_bytes = self._frames.held_bytes
        if held_bytes or self._held:
            self._held = bool(held_bytes)
            self._starved = not self._door.budget.update(self, held_bytes)
        if not frames:
            self._throttle()
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.extend(frames)
        self._pump()

    def go_on(self) -> None:
        """There is room for what this connection receives."""
        self._starved = False
        self._throttle()

    def mute(self, seconds: float) -> None:
        """Answers go out, nothing comes in (KIP-219)."""
        until_s = self._door.now_s() + seconds
        if self._muted is not None:
            if self._muted.when() >= until_s:
                return
            self._muted.cancel()
        self._muted = asyncio.get_running_loop().call_at(until_s, self._unmute)
        self._throttle()

    def _unmute(self) -> None:
        self._muted = None
        self._pump()

    def eof_received(self) -> bool:
        """The client says no more: there is nobody to answer."""
        return False

    def pause_writing(self) -> None:
        """The client reads too slowly: begin nothing more."""
        self._write_paused = True
        assert self._transport is not None
        self._door.unsent.update(self, self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._door.unsent.update(self, 0)
        self._pump()

    def refuse(self, reason: str) -> None:
        """What came is no request: after that nothing that follows can be trusted."""
        log.warning(
            "connection closed: bad request", peer=self.host, client=self.client_id, reason=reason
        )
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def answered(self) -> None:
        """An answer is there. While requests are being begun, all answers that came at once are sent together."""
        if not self._pumping:
            self._send()
            self._pump()

    def _send(self) -> None:
        """Send every answer whose turn it is."""
        slots = self._slots
        pieces: list[Buffer] = []
        while slots and slots[0].pieces is not None:
            body = slots.popleft().pieces
            if body:
                pieces.append(_LENGTH.pack(sum(map(len, body))))
                pieces += body
        if not slots:
            self._slots = None
        if pieces and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def _pump(self) -> None:
        """Begin what may begin, and read no further than can be worked on."""
        self._pumping = True
        try:
            while self._inbox and self._may_begin():
                self._begin_some()
                self._send()
        finally:
            self._pumping = False
        self._throttle()
        if not self._inbox:
            self._inbox = None

    def _begin_some(self) -> None:
        inbox = self._inbox
        while inbox and self._may_begin():
            frame = inbox.popleft()
            try:
                self._begin(frame)
            except WireError as error:
                self.refuse(str(error))
                inbox.clear()

    def _may_begin(self) -> bool:
        in_flight = len(self._slots) if self._slots else 0
        return (
            (not self._busy or self._overtakes())
            and not self._write_paused
            and self._muted is None
            and in_flight < MAX_IN_FLIGHT
        )

    def _overtakes(self) -> bool:
        """Whether the next request says what ends the wait of the one before: who leaves while it joins would stay a
        member until all others have joined, and they would wait for it after that.
        """
        inbox = self._inbox
        return self._waits and inbox is not None and len(inbox) > 0 and inbox[0][:2] == LEAVE_GROUP

    def _throttle(self) -> None:
        behind = bool(self._inbox) or self._starved or self._muted is not None
        if behind == self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = behind
        if behind:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _begin(self, frame: memoryview) -> None:
        door = self._door
        header = door.dispatcher.header(frame)
        if len(frame) > OTHERS_MAX_BYTES and header.api_key != ApiKey.PRODUCE:
            raise WireError(
                f"a {ApiKey(header.api_key).name} request of {len(frame)} bytes; only Produce may be longer than "
                f"{OTHERS_MAX_BYTES}"
            )
        self.client_id = header.client_id
        client = Client(header.client_id, self.host, door.endpoint.name, header.api_version, self)
        if header.api_key == ApiKey.PRODUCE:
            door.dispatcher.produce.begin(client, header, frame, self._slot(), self.close)
        else:
            self._busy += 1
            self._waits = header.api_key in WAITING
            door.spawn(self._serve(client, header, frame, self._slot()))

    def _slot(self) -> Slot:
        slot = Slot(self)
        if self._slots is None:
            self._slots = deque()
        self._slots.append(slot)
        return slot

    async def _serve(
        self, client: Client, header: RequestHeader, frame: memoryview, slot: Slot
    ) -> None:
        pieces: Sequence[Buffer] = ()
        try:
            if header.api_key == ApiKey.FETCH and self._paced:
                pieces = await self._paced_fetch(client, header, frame, slot)
            elif header.api_key == ApiKey.API_VERSIONS:
                pieces, software = self._door.dispatcher.api_versions(header, frame)
                self._paced = is_librdkafka(software)
            else:
                pieces = await self._door.dispatcher.serve(client, header, frame, slot.mute)
        except WireError as error:
            self.refuse(str(error))
        except Exception:
            # Our bug costs this client its connection, and nobody else anything.
            log.exception("request failed", api=header.api_key, version=header.api_version)
            self.close()
        self._busy -= 1
        slot.answer(pieces)

    async def _paced_fetch(
        self, client: Client, header: RequestHeader, frame: memoryview, slot: Slot
    ) -> Sequence[Buffer]:
        door = self._door
        wait_s = self._fetch_due_s - door.now_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        pieces = await door.dispatcher.serve(client, header, frame, slot.mute)
        self._fetch_due_s = door.pace.next_s(pieces, self._fetch_due_s, door.now_s())
        return pieces

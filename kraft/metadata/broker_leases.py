"""Leases of the brokers with the active controller: soft state, not in the log, gone with the controller.

Times are monotonic milliseconds, handed in. A broker that is silent for a session is to be fenced. One that is suspect
(its connection broke; it led the quorum and does not any more) has a short time to speak up.

Where all are busy heartbeats come late. A node that follows the metadata log answers its leader many times a session,
and whoever does that is not silent: the quorum's word keeps a lease for a while, as a heartbeat would that came as late
as one may. Not for ever: a broker may be stuck whose quorum part is well.
"""

from collections.abc import Callable, Iterable

from kraft.metadata.image import MetadataImage

WORD_SESSIONS = 4
"""For so many sessions after its last heartbeat the quorum's word is taken for a broker."""


class BrokerLeases:
    """session_ms: how long silence is forgiven. suspect_ms: the same for a suspect; no more than the time between two
    heartbeats. contact_ms: when a node last answered the leader of the quorum, which is this node; -1 for never.
    """

    def __init__(
        self, session_ms: int, suspect_ms: int, contact_ms: Callable[[int], int] = lambda _: -1
    ) -> None:
        assert 0 < suspect_ms <= session_ms, (suspect_ms, session_ms)
        self._session_ms = session_ms
        self._suspect_ms = suspect_ms
        self._contact_ms = contact_ms
        self._heard_ms: dict[int, int] = {}
        self._deadlines: dict[int, int] = {}
        self._offsets: dict[int, int] = {}

    def take_over(self, image: MetadataImage, now_ms: int, suspects: Iterable[int] = ()) -> None:
        """A new controller: every unfenced broker gets a fresh lease, suspects (the last controller) a short one."""
        self._offsets.clear()
        self._deadlines = {
            node_id: now_ms + self._session_ms
            for node_id, broker in image.brokers.items()
            if not broker.fenced
        }
        self._heard_ms = dict.fromkeys(self._deadlines, now_ms)
        for node_id in suspects:
            self.suspect(node_id, now_ms)

    def touch(self, node_id: int, now_ms: int, metadata_offset: int = -1) -> None:
        """A broker was heard of (after its epoch was checked); it has applied the metadata up to the offset."""
        self._deadlines[node_id] = now_ms + self._session_ms
        self._heard_ms[node_id] = now_ms
        self._offsets[node_id] = max(metadata_offset, self._offsets.get(node_id, -1))

    def suspect(self, node_id: int, now_ms: int) -> None:
        """A hint that a broker may be dead. It never lengthens a lease; brokers without a lease are not watched."""
        deadline = self._deadlines.get(node_id)
        if deadline is not None:
            self._deadlines[node_id] = min(deadline, now_ms + self._suspect_ms)

    def held_up(self, ms: int) -> None:
        """The controller itself was held up so long: nobody could be heard of meanwhile, and nobody is late for it."""
        for node_id in self._deadlines:
            self._deadlines[node_id] += ms
            self._heard_ms[node_id] += ms

    def watches(self, node_id: int) -> bool:
        """Whether a broker has a lease; one that was named by `expired` has one again once it is heard of."""
        return node_id in self._deadlines

    def forget(self, node_id: int) -> None:
        """A broker is fenced or gone, or came back as another incarnation: its lease is over."""
        self._deadlines.pop(node_id, None)
        self._heard_ms.pop(node_id, None)
        self._offsets.pop(node_id, None)

    def expired(self, now_ms: int) -> list[int]:
        """Brokers to be fenced now. Each is named once; its lease is forgotten until it is heard of again."""
        late = [node_id for node_id, deadline in self._deadlines.items() if deadline <= now_ms]
        silent = []
        for node_id in late:
            excused_ms = self._excused_until(node_id)
            if excused_ms > now_ms:
                self._deadlines[node_id] = excused_ms
            else:
                silent.append(node_id)
                self.forget(node_id)
        return silent

    def _excused_until(self, node_id: int) -> int:
        contact_ms, heard_ms = self._contact_ms(node_id), self._heard_ms[node_id]
        if contact_ms <= heard_ms:
            return heard_ms
        return min(
            contact_ms + self._session_ms - self._suspect_ms,
            heard_ms + WORD_SESSIONS * self._session_ms,
        )

    def next_deadline(self) -> int | None:
        """When `expired` will next have something to say if nobody speaks; None: never."""
        return min(self._deadlines.values(), default=None)

    def lowest_offset(self, image: MetadataImage) -> int:
        """The metadata offset that every unfenced broker has applied, as far as it has said so to this controller."""
        return min(
            (
                self._offsets.get(node_id, -1)
                for node_id, broker in image.brokers.items()
                if not broker.fenced
            ),
            default=image.offset,
        )

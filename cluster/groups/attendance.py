"""Over which connection each member of a group was heard last, and how often it gives signs of life. Pure."""

from typing import NamedTuple

MEMBERS_MAX = 100
"""Members that are remembered of one connection; of more it is not noticed that it broke."""
ID_BYTES_MAX = 1_000
GAPS_MIN = 3
"""Gaps between signs of life that must have been seen before the longest of them says when the next one is due."""
RECONNECT_MS = 1_000
"""What a client gets to connect anew."""


class Absence(NamedTuple):
    """A member whose connection broke. interval_ms: how long it was silent at the most; None: not known."""

    group_id: str
    member_id: str
    interval_ms: int | None

    def patience_ms(self, session_timeout_ms: int) -> int:
        """How long the member may stay away: until its next sign of life is overdue, counted from a new connection.

        Of who was not seen for long enough it is known only that clients give signs of life at least three times a
        session (Kafka's heartbeat.interval.ms).
        """
        if self.interval_ms is None:
            wanted_ms = session_timeout_ms // 3 + RECONNECT_MS
        else:
            wanted_ms = self.interval_ms + max(self.interval_ms, RECONNECT_MS)
        return min(wanted_ms, session_timeout_ms)


class _Attendant:
    __slots__ = ("beat_ms", "connection", "gaps", "longest_ms")

    def __init__(self, connection: object) -> None:
        self.connection = connection
        self.gaps = 0
        self.beat_ms: int | None = None
        self.longest_ms = 0


class Attendance:
    """Times are monotonic milliseconds."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], _Attendant] = {}
        self._by_connection: dict[object, dict[tuple[str, str], None]] = {}

    def heard(
        self, connection: object, group_id: str, member_id: str, beat_ms: int | None = None
    ) -> None:
        """A member has spoken over a connection. beat_ms: when, if it was a heartbeat."""
        who = (group_id, member_id)
        member = self._members.get(who)
        if member is None or member.connection is not connection:
            if not member_id or len(group_id) + len(member_id) > ID_BYTES_MAX:
                return
            own = self._by_connection.setdefault(connection, {})
            if len(own) >= MEMBERS_MAX:
                return
            if member is not None:
                self._forget(who, member.connection)
                member.connection = connection
            else:
                member = self._members[who] = _Attendant(connection)
            own[who] = None
        if beat_ms is not None and member.beat_ms is not None:
            member.longest_ms = max(member.longest_ms, beat_ms - member.beat_ms)
            member.gaps += 1
        # Who joins gives no signs of life meanwhile.
        member.beat_ms = beat_ms

    def left(self, group_id: str, member_id: str) -> None:
        """A member is none any more."""
        member = self._members.pop((group_id, member_id), None)
        if member is not None:
            self._forget((group_id, member_id), member.connection)

    def broke(self, connection: object) -> list[Absence]:
        """A connection is gone: whom nobody hears until they speak over another."""
        absent = []
        for who in self._by_connection.pop(connection, ()):
            member = self._members.pop(who)
            known = member.gaps >= GAPS_MIN
            absent.append(Absence(*who, member.longest_ms if known else None))
        return absent

    def _forget(self, who: tuple[str, str], connection: object) -> None:
        own = self._by_connection[connection]
        del own[who]
        if not own:
            del self._by_connection[connection]

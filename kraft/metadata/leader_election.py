"""Who leads a partition: a pure choice among its replicas.

From the ISR; when nobody there is alive, from the eligible leader replicas (KIP-966), which hold everything below the
high watermark; and only where the operator allows it, from any live replica, which is counted (KAFKA-4623).
"""

from collections.abc import Container
from enum import Enum

from msgspec import Struct

from kraft.metadata.image import PartitionRegistration
from kraft.metadata.records import NO_LEADER


class Election(Enum):
    """What an election is for.

    ONLINE: somebody who may lead, the present leader if possible. PREFERRED: the first replica if it may lead.
    UNCLEAN: as ONLINE, and any live replica rather than nobody.
    """

    ONLINE = "online"
    PREFERRED = "preferred"
    UNCLEAN = "unclean"


class Elected(Struct, frozen=True):
    """isr and elr: as they are under the new leader."""

    leader: int
    isr: tuple[int, ...]
    elr: tuple[int, ...]
    unclean: bool = False


def elect(
    old: PartitionRegistration,
    *,
    replicas: tuple[int, ...],
    isr: tuple[int, ...],
    elr: tuple[int, ...],
    eligible: Container[int],
    election: Election,
    unclean_allowed: bool,
) -> Elected:
    """Choose a leader among `replicas`, whose order is the preference. isr, elr: the wanted ones, without the dead."""
    alive = [replica for replica in replicas if replica in eligible]
    in_sync = [replica for replica in alive if replica in isr]
    if in_sync:
        return Elected(_from_isr(old, in_sync, replicas[0], election), isr, elr)
    heir = next((replica for replica in alive if replica in elr), None)
    if heir is not None:
        return Elected(heir, (heir,), tuple(other for other in elr if other != heir))
    if alive and (unclean_allowed or election is Election.UNCLEAN):
        best = next((replica for replica in alive if replica in old.last_known_elr), alive[0])
        return Elected(best, (best,), (), unclean=True)
    return Elected(NO_LEADER, isr, elr)


def _from_isr(
    old: PartitionRegistration, in_sync: list[int], preferred: int, election: Election
) -> int:
    if election is Election.PREFERRED and preferred in in_sync:
        return preferred
    return old.leader if old.leader in in_sync else in_sync[0]

"""One change of one partition: its state, the facts and what is wanted make one PartitionChange, or none.

Every change of ISR, leader or assignment is made here, so that the rules hold whatever the cause (model: Kafka's
PartitionChangeBuilder; KIP-455, KIP-841, KIP-966):

- The ISR holds eligible brokers only. It may become empty; then there is no leader.
- While the ISR is smaller than the min ISR the high watermark stands still, so whoever was in the ISR at that moment
  goes on holding everything below it: those are the ELR. When the ISR is large enough again the ELR is void.
- The leader epoch grows when the leader changes or a replica is dropped from the assignment (which fences its fetches);
  the partition epoch grows always.
"""

from collections.abc import Container
from typing import Any
from uuid import UUID

from msgspec import Struct

from kraft.metadata.image import PartitionRegistration
from kraft.metadata.leader_election import Election, elect
from kraft.metadata.records import PartitionChange

NOBODY: frozenset[int] = frozenset()


class Facts(Struct, frozen=True):
    """What holds for all partitions of a topic.

    eligible: brokers that may lead and be in an ISR. min_isr: the topic's min.insync.replicas. unclean_allowed: its
    unclean.leader.election.enable.
    """

    eligible: Container[int]
    min_isr: int = 1
    unclean_allowed: bool = False


class Wanted(Struct, frozen=True, kw_only=True):
    """What the change is for; None: as it is. lost: replicas whose disk lost what they had acknowledged."""

    isr: tuple[int, ...] | None = None
    replicas: tuple[int, ...] | None = None
    adding: tuple[int, ...] | None = None
    removing: tuple[int, ...] | None = None
    lost: frozenset[int] = NOBODY
    election: Election = Election.ONLINE


NOTHING_WANTED = Wanted()


def effective_min_isr(min_insync_replicas: int, replicas: int) -> int:
    """The ISR size below which the high watermark must stand still: a topic cannot ask for more than its replicas."""
    return min(min_insync_replicas, replicas)


def partition_change(
    topic_id: UUID,
    number: int,
    old: PartitionRegistration,
    facts: Facts,
    wanted: Wanted = NOTHING_WANTED,
) -> PartitionChange | None:
    """The record that brings a partition from `old` to what is wanted and allowed; None: it is there already."""
    replicas = old.replicas if wanted.replicas is None else wanted.replicas
    adding = old.adding if wanted.adding is None else wanted.adding
    removing = old.removing if wanted.removing is None else wanted.removing
    isr = _eligible_isr(old.isr if wanted.isr is None else wanted.isr, replicas, facts, wanted)
    if _complete(isr, replicas, adding, removing, facts.min_isr):
        replicas = tuple(replica for replica in replicas if replica not in removing)
        isr = tuple(member for member in isr if member in replicas)
        adding = removing = ()
    elected = elect(
        old,
        replicas=replicas,
        isr=isr,
        elr=_elr(old, isr, replicas, facts.min_isr, wanted.lost),
        eligible=facts.eligible,
        election=wanted.election,
        unclean_allowed=facts.unclean_allowed,
    )
    enough = len(elected.isr) >= effective_min_isr(facts.min_isr, len(replicas))
    elr = () if enough else elected.elr
    new: dict[str, Any] = {
        "replicas": replicas,
        "isr": elected.isr,
        "elr": elr,
        "last_known_elr": ()
        if enough or elected.unclean
        else _last_known(old, elected.isr, elr, replicas),
        "leader": elected.leader,
        "adding": adding,
        "removing": removing,
    }
    dropped = any(replica not in replicas for replica in old.replicas)
    if elected.leader != old.leader or dropped:
        new["leader_epoch"] = old.leader_epoch + 1
    return _record(topic_id, number, old, new, unclean=elected.unclean)


def _eligible_isr(
    members: tuple[int, ...], replicas: tuple[int, ...], facts: Facts, wanted: Wanted
) -> tuple[int, ...]:
    """The wanted ISR without the dead, in the order of the assignment."""
    return tuple(
        replica
        for replica in replicas
        if replica in members and replica in facts.eligible and replica not in wanted.lost
    )


def _complete(
    isr: tuple[int, ...],
    replicas: tuple[int, ...],
    adding: tuple[int, ...],
    removing: tuple[int, ...],
    min_isr: int,
) -> bool:
    """Whether a reassignment may end: all new replicas are in sync, and dropping the old ones keeps the min ISR."""
    if not adding and not removing:
        return False
    staying = [replica for replica in replicas if replica not in removing]
    in_sync = sum(replica in isr for replica in staying)
    return all(replica in isr for replica in adding) and in_sync >= effective_min_isr(
        min_isr, len(staying)
    )


def _elr(
    old: PartitionRegistration,
    isr: tuple[int, ...],
    replicas: tuple[int, ...],
    min_isr: int,
    lost: frozenset[int],
) -> tuple[int, ...]:
    if len(isr) >= effective_min_isr(min_isr, len(replicas)):
        return ()
    return tuple(
        replica
        for replica in replicas
        if (replica in old.elr or replica in old.isr) and replica not in isr and replica not in lost
    )


def _last_known(
    old: PartitionRegistration,
    isr: tuple[int, ...],
    elr: tuple[int, ...],
    replicas: tuple[int, ...],
) -> tuple[int, ...]:
    once = (*old.last_known_elr, *old.elr, *old.isr)
    return tuple(
        replica
        for replica in replicas
        if replica in once and replica not in isr and replica not in elr
    )


def _record(
    topic_id: UUID,
    number: int,
    old: PartitionRegistration,
    new: dict[str, Any],
    *,
    unclean: bool,
) -> PartitionChange | None:
    changed = {name: value for name, value in new.items() if value != getattr(old, name)}
    if not changed:
        return None
    return PartitionChange(
        topic_id=topic_id,
        partition=number,
        partition_epoch=old.partition_epoch + 1,
        unclean=unclean,
        **changed,
    )

"""Which replicas to move so that a broker holds none: each to the broker that suits best. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Held(NamedTuple):
    """A partition and its replicas, the preferred leader first."""

    topic: str
    partition: int
    replicas: Sequence[int]


class NoRoomError(ValueError):
    """A partition has a replica on every live broker already."""


def moves_off(
    leaving: int, partitions: Iterable[Held], racks: Mapping[int, str], everything: Iterable[Held]
) -> dict[tuple[str, int], list[int]]:
    """(topic, partition) -> its replicas without `leaving`.

    Each goes to a live broker that has none of the partition: one of a rack that has none of it either, if there is
    one, and among those the broker with the fewest replicas. racks: of the live brokers, "" for none. everything: all
    replicas of the cluster, for counting. Raises NoRoomError.
    """
    load = dict.fromkeys((broker for broker in racks if broker != leaving), 0)
    for held in everything:
        for broker in held.replicas:
            if broker in load:
                load[broker] += 1
    moves = {}
    for held in partitions:
        if leaving not in held.replicas:
            continue
        target = _best(leaving, held, racks, load)
        load[target] += 1
        moves[held.topic, held.partition] = [
            target if broker == leaving else broker for broker in held.replicas
        ]
    return moves


def _best(leaving: int, held: Held, racks: Mapping[int, str], load: Mapping[int, int]) -> int:
    free = [broker for broker in load if broker not in held.replicas]
    if not free:
        raise NoRoomError(
            f"{held.topic}-{held.partition} has replicas on {_ids(held.replicas)} and there is no other live broker "
            f"to take the one of node {leaving}; start a node first"
        )
    used = {racks.get(broker, "") for broker in held.replicas if broker != leaving} - {""}
    return min(free, key=lambda broker: (racks[broker] in used, load[broker], broker))


def _ids(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids))

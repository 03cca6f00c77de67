"""Which partition a record goes to: keys as Kafka's Java client places them, the rest sticky (KIP-480)."""

import random
from functools import lru_cache

_M = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF


@lru_cache(maxsize=8192)
def murmur2(key: bytes) -> int:
    """MurmurHash2 (32 bits, Kafka's seed) of a key, unsigned. Repeated keys are answered from a bounded cache."""
    length = len(key)
    hashed = (_SEED ^ length) & _MASK
    whole = length & ~3
    for position in range(0, whole, 4):
        mixed = int.from_bytes(key[position : position + 4], "little") * _M & _MASK
        mixed = (mixed ^ (mixed >> 24)) * _M & _MASK
        hashed = (hashed * _M & _MASK) ^ mixed
    rest = key[whole:]
    if rest:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _M & _MASK
    hashed = (hashed ^ (hashed >> 13)) * _M & _MASK
    return hashed ^ (hashed >> 15)


def partition_for_key(key: bytes, partitions: int) -> int:
    """Java's `Utils.toPositive(murmur2(key)) % partitions`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class StickyPartitioner:
    """Records without a key go to one partition until a batch is full, then to another one by chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._current: dict[str, int] = {}

    def partition(self, topic: str, available: list[int]) -> int:
        """The partition of the moment, among those that have a leader."""
        current = self._current.get(topic, -1)
        if current not in available:
            current = self._current[topic] = self._rng.choice(available)
        return current

    def batch_full(self, topic: str) -> None:
        """Move on with the next record."""
        self._current.pop(topic, None)

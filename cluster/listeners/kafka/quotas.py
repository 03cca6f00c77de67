"""How long clients are made to wait that use more than their quota (KIP-13, KIP-219). Pure: the time comes in.

Each quota is a bucket that fills at its rate and holds what may be used at once. Who takes more than is in it waits
until the rest is made good; so over time nobody gets more than the rate.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

from kraft.metadata.client_quotas import quota_of
from kraft.metadata.records import QuotaEntity

BURST_S = 10.0
"""What a client may use at once is what it may use in this time: Kafka's ten full windows of a second."""
BUCKETS_MAX = 10_000
ANONYMOUS = "ANONYMOUS"
"""Everybody's user, until clients can say who they are."""


THROTTLE_MAX_MS = 2**31 - 1


def throttle_ms(seconds: float) -> int:
    """As answers tell it: never none when there is some."""
    return min(math.ceil(seconds * 1000), THROTTLE_MAX_MS)


class Bucket:
    """left: bytes that may be used now; below 0: what has been used in advance."""

    __slots__ = ("at_s", "left", "rate")

    def __init__(self, rate: float, now_s: float) -> None:
        self.rate = rate
        self.left = rate * BURST_S
        self.at_s = now_s

    def take(self, count: int, rate: float, now_s: float) -> float:
        """Use so many bytes. Returns for how many seconds to use no more."""
        self.left = min(rate * BURST_S, self.left + self.rate * (now_s - self.at_s)) - count
        self.at_s, self.rate = now_s, rate
        return max(0.0, -self.left / rate)


class ClientQuotas:
    """`quotas`: as the newest metadata has them; one for all Kafka listeners of a node. Nothing is done without any."""

    def __init__(
        self,
        quotas: Callable[[], Mapping[QuotaEntity, Mapping[str, float]]],
        now_s: Callable[[], float],
    ) -> None:
        self._quotas = quotas
        self._now_s = now_s
        self._buckets: OrderedDict[tuple[str, str, str], Bucket] = OrderedDict()

    def take(self, client_id: str, key: str, count: int) -> float:
        """A client uses bytes of the quota `key`. Returns for how many seconds it is to be kept waiting."""
        quotas = self._quotas()
        if not quotas:
            return 0.0
        quota = quota_of(quotas, ANONYMOUS, client_id, key)
        if quota is None:
            return 0.0
        name = (key, quota.user, quota.client_id)
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                # Who has been quiet for longest has a full bucket again, or nearly.
                self._buckets.popitem(last=False)
            bucket = self._buckets[name] = Bucket(quota.rate, self._now_s())
        self._buckets.move_to_end(name)
        return bucket.take(count, quota.rate, self._now_s())

    def most(self, client_id: str, key: str, wanted: int) -> int:
        """How many bytes to give a client at once, of those that it wants: no more than it may use in advance."""
        quotas = self._quotas()
        if not quotas:
            return wanted
        quota = quota_of(quotas, ANONYMOUS, client_id, key)
        return wanted if quota is None else min(wanted, int(quota.rate * BURST_S))

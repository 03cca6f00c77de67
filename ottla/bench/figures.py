"""Figures and how they are shown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

# Latencies from a microsecond to ten minutes, three digits.
LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3


class Latencies:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)

    def add(self, seconds: float) -> None:
        """One more."""
        self._histogram.record_value(max(LOWEST_US, min(HIGHEST_US, int(seconds * 1_000_000))))

    def ms(self, percentile: float) -> float:
        """A percentile in milliseconds."""
        return round(float(self._histogram.get_value_at_percentile(percentile)) / 1000, 3)


@dataclass(frozen=True, slots=True)
class Throughput:
    """records and bytes (of values) in `seconds`; latencies are from send to acknowledgement."""

    records: int
    size_bytes: int
    seconds: float
    p50_ms: float | None = None
    p99_ms: float | None = None

    def facts(self) -> dict[str, float | int]:
        """Names and numbers."""
        found: dict[str, float | int] = {
            "records": self.records,
            "seconds": round(self.seconds, 3),
            "records_per_s": round(self.records / self.seconds),
            "mb_per_s": round(self.size_bytes / self.seconds / 1e6, 2),
        }
        if self.p50_ms is not None and self.p99_ms is not None:
            found |= {"ack_p50_ms": self.p50_ms, "ack_p99_ms": self.p99_ms}
        return found


def percentile(values: Iterable[float], wanted: float) -> float:
    """The nearest-rank percentile (0 to 100) of some values; 0 of none."""
    ordered: Sequence[float] = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * wanted / 100) - 1)]

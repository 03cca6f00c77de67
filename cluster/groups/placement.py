"""Which partition of `__consumer_offsets` a group belongs to: as Kafka computes it, so that its tools look there."""

OFFSETS_TOPIC = "__consumer_offsets"


def java_hash(text: str) -> int:
    """String.hashCode of Java: over UTF-16 code units, in 32 bits with sign."""
    data = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def partition_for(group_id: str, partitions: int) -> int:
    """0 to `partitions` - 1."""
    return (java_hash(group_id) & 0x7FFFFFFF) % partitions

"""What a coordinator may be told; the keys and defaults are Kafka's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class ConsumerTimes(NamedTuple):
    """A KIP-848 group's own times, in milliseconds, within the limits."""

    session_timeout_ms: int
    heartbeat_interval_ms: int


class MigrationPolicy(Enum):
    """Which way a group with members may change its protocol: group.consumer.migration.policy."""

    DISABLED = "disabled"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    BIDIRECTIONAL = "bidirectional"

    @property
    def upgrades(self) -> bool:
        """Classic groups become KIP-848 groups."""
        return self in (MigrationPolicy.UPGRADE, MigrationPolicy.BIDIRECTIONAL)

    @property
    def downgrades(self) -> bool:
        """KIP-848 groups become classic groups."""
        return self in (MigrationPolicy.DOWNGRADE, MigrationPolicy.BIDIRECTIONAL)


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Times in milliseconds, sizes in bytes.

    min_session_timeout_ms, max_session_timeout_ms: group.{min,max}.session.timeout.ms.
    initial_rebalance_delay_ms: group.initial.rebalance.delay.ms, how long an empty group waits for more members.
    max_size: group.max.size. offset_metadata_max_bytes: offset.metadata.max.bytes.
    offsets_retention_ms: offsets.retention.minutes.
    consumer_*: group.consumer.*, for groups with the protocol of KIP-848. consumer_assignors: the first is the default.
    own_times: of groups that have settings of their own, by group id.
    """

    min_session_timeout_ms: int = 6_000
    max_session_timeout_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 3_000
    max_size: int = 2**31 - 1
    offset_metadata_max_bytes: int = 4096
    offsets_retention_ms: int = 7 * 24 * 60 * 60 * 1000
    consumer_session_timeout_ms: int = 45_000
    consumer_heartbeat_interval_ms: int = 5_000
    consumer_max_size: int = 2**31 - 1
    consumer_assignors: tuple[str, ...] = ("uniform", "range")
    consumer_migration_policy: MigrationPolicy = MigrationPolicy.BIDIRECTIONAL
    own_times: Mapping[str, ConsumerTimes] = field(default_factory=dict)

    def consumer_times(self, group_id: str) -> ConsumerTimes:
        """What holds for one KIP-848 group."""
        return self.own_times.get(group_id) or ConsumerTimes(
            self.consumer_session_timeout_ms, self.consumer_heartbeat_interval_ms
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. knows_member_id_required: whether it can be told its id first (KIP-394).

    makes_member_id: whether it has to bring an id of its own (KIP-1082).
    """

    client_id: str
    host: str
    knows_member_id_required: bool = True
    makes_member_id: bool = False

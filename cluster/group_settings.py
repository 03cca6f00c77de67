"""What coordinators may, as the cluster's configuration has it at the moment."""

from collections.abc import Callable, Mapping

from cluster.groups.settings import ConsumerTimes, GroupSettings, MigrationPolicy
from kraft.metadata.effective_config import broker_config, floors
from kraft.metadata.group_config import HEARTBEAT, SESSION, group_value
from kraft.metadata.image import MetadataImage
from kraft.metadata.records import ResourceType

MINUTE_MS = 60_000


class GroupSettingsSource:
    """Reads the configuration again when it has changed: it is asked for at every commit of offsets."""

    def __init__(self, image: Callable[[], MetadataImage], static: Mapping[str, str]) -> None:
        self._image = image
        self._static = static
        self._read_from: object = None
        self._settings = GroupSettings()

    def current(self) -> GroupSettings:
        """The settings in force."""
        image = self._image()
        if image.configs is not self._read_from:
            self._read_from = image.configs
            self._settings = self._read(image)
        return self._settings

    def _read(self, image: MetadataImage) -> GroupSettings:
        found = floors(image, static=self._static)
        config = broker_config(found)
        return GroupSettings(
            min_session_timeout_ms=config.group_min_session_timeout_ms,
            max_session_timeout_ms=config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
            max_size=config.group_max_size,
            offset_metadata_max_bytes=config.offset_metadata_max_bytes,
            offsets_retention_ms=config.offsets_retention_minutes * MINUTE_MS,
            consumer_session_timeout_ms=_within(
                config.group_consumer_session_timeout_ms,
                config.group_consumer_min_session_timeout_ms,
                config.group_consumer_max_session_timeout_ms,
            ),
            consumer_heartbeat_interval_ms=_within(
                config.group_consumer_heartbeat_interval_ms,
                config.group_consumer_min_heartbeat_interval_ms,
                config.group_consumer_max_heartbeat_interval_ms,
            ),
            consumer_max_size=config.group_consumer_max_size,
            consumer_assignors=tuple(config.group_consumer_assignors.split(",")),
            own_times={
                resource.name: ConsumerTimes(
                    group_value(values, found, SESSION), group_value(values, found, HEARTBEAT)
                )
                for resource, values in image.configs.items()
                if resource.type == ResourceType.GROUP
            },
            consumer_migration_policy=MigrationPolicy(config.group_consumer_migration_policy),
        )


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))

"""Configuration values are set and unset. A change of what elections go by is acted upon in the same log entry."""

from collections.abc import Mapping

from kraft.metadata.client_metrics import CLIENT_METRICS_KEYS, check_client_metrics
from kraft.metadata.config_definitions import SAFETY_KEYS, TOPIC_SYNONYMS
from kraft.metadata.config_engine import as_text
from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.effective_config import check
from kraft.metadata.errors import InvalidConfigError, InvalidRequestError, MetadataError, Refusal
from kraft.metadata.group_config import GROUP_KEYS, check_group
from kraft.metadata.records import (
    CLIENT_SETTINGS_LEVEL,
    CLUSTER,
    Config,
    ConfigResource,
    ResourceType,
)
from kraft.metadata.replies import AlteredConfig, ConfigsAltered
from kraft.metadata.requests import AlterConfigs, ConfigChange

_ELECTION_KEYS = frozenset([*SAFETY_KEYS, *(TOPIC_SYNONYMS[key] for key in SAFETY_KEYS)])


def normalised(resource: ConfigResource, values: Mapping[str, str]) -> dict[str, str]:
    """Values as they are stored. Raises InvalidConfigError naming key, value and what is allowed."""
    return {key: as_text(check(resource, key, value).parse(value)) for key, value in values.items()}


def alter_configs(draft: Draft, request: AlterConfigs) -> ControllerResult:
    """Set and unset values; each resource is changed or refused by itself. With validate_only nothing is changed."""
    altered = []
    for change in request.changes:
        try:
            _alter(draft, change)
            altered.append(AlteredConfig())
        except MetadataError as error:
            altered.append(AlteredConfig(refusal=Refusal.of(error)))
    reply = ConfigsAltered(changes=tuple(altered))
    return ControllerResult([], reply) if request.validate_only else draft.result(reply)


def _alter(draft: Draft, change: ConfigChange) -> None:
    resource = change.resource
    _check_resource(draft, resource)
    both = sorted(change.set.keys() & set(change.unset))
    if both:
        raise InvalidConfigError(f"{', '.join(both)} cannot be set and unset in one change")
    old = draft.delta.config(resource)
    values = _values(draft, change, old)
    changed = {key: value for key, value in values.items() if old.get(key) != value}
    for key, value in changed.items():
        draft.emit(Config(resource_type=resource.type, name=resource.name, key=key, value=value))
    if changed.keys() & _ELECTION_KEYS:
        _act(draft, resource)


def _values(draft: Draft, change: ConfigChange, old: Mapping[str, str]) -> dict[str, str | None]:
    """What becomes of which key; None: unset."""
    resource = change.resource
    if resource.type in (ResourceType.TOPIC, ResourceType.BROKER):
        for key in change.unset:
            check(resource, key, None)
        return {**normalised(resource, change.set), **dict.fromkeys(change.unset)}
    draft.require_level(CLIENT_SETTINGS_LEVEL, "settings of groups and of client metrics")
    after = {key: value for key, value in old.items() if key not in change.unset}
    after |= change.set
    if resource.type == ResourceType.GROUP:
        check_group(resource, after, draft.floors())
        keys = GROUP_KEYS
    else:
        check_client_metrics(resource, after)
        keys = CLIENT_METRICS_KEYS
    told = {key: as_text(keys[key].parse(value)) for key, value in change.set.items()}
    return {**told, **dict.fromkeys(change.unset)}


def _check_resource(draft: Draft, resource: ConfigResource) -> None:
    if resource.type == ResourceType.TOPIC:
        draft.known_topic(resource.name)
    elif resource.type != ResourceType.BROKER:
        return
    elif resource != CLUSTER and not (resource.name.isascii() and resource.name.isdigit()):
        raise InvalidRequestError(
            f"{resource.name!r} is no broker: give a node id in digits, or an empty name for all brokers"
        )


def _act(draft: Draft, resource: ConfigResource) -> None:
    """A smaller min ISR lets the high watermark move again, which voids ELRs (KIP-966), and may be all that a
    reassignment waited for; a permission for unclean elections is for the partitions that have no leader now.
    """
    topic_id = draft.delta.topic_id(resource.name) if resource.name else None
    for found_id, number, partition in draft.partitions():
        waits = partition.elr or partition.last_known_elr or not partition.isr
        if (waits or partition.reassigning) and topic_id in (None, found_id):
            draft.change(found_id, number, partition)

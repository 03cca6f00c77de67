"""The features that ApiVersions announces (KIP-584): clients' tools show them, and look for `group.version`."""

from typing import NamedTuple

from kraft.metadata.image import MetadataImage
from kraft.metadata.records import LATEST_METADATA_LEVEL
from wire.messages.api_versions import FinalizedFeatureKey, SupportedFeatureKey

GROUP_VERSION = 1
"""Groups with the protocol of KIP-848 are there."""


class Features(NamedTuple):
    """epoch: grows with every change; the offset in the metadata log does."""

    supported: tuple[SupportedFeatureKey, ...]
    epoch: int
    finalized: tuple[FinalizedFeatureKey, ...]


def features(image: MetadataImage) -> Features:
    """What this broker can do, and what the cluster has agreed upon. Levels of the metadata are Ottla's own."""
    level = image.metadata_level
    supported = (
        SupportedFeatureKey(name="group.version", max_version=GROUP_VERSION),
        SupportedFeatureKey(
            name="metadata.version", min_version=1, max_version=LATEST_METADATA_LEVEL
        ),
    )
    if not level:
        # No controller has spoken yet.
        return Features(supported, -1, ())
    finalized = (
        FinalizedFeatureKey(
            name="group.version", max_version_level=GROUP_VERSION, min_version_level=GROUP_VERSION
        ),
        FinalizedFeatureKey(
            name="metadata.version", max_version_level=level, min_version_level=level
        ),
    )
    return Features(supported, image.offset, finalized)

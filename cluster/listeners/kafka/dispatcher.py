"""From a request's number to what answers it."""

from collections.abc import Callable, Mapping, Sequence

from cluster.listeners.kafka.features import Features
from cluster.listeners.kafka.fetch import KafkaFetch
from cluster.listeners.kafka.produce import KafkaProduce
from cluster.listeners.kafka.request import (
    Api,
    Buffer,
    Client,
    Connection,
    Software,
    answer_bytes,
    serve,
)
from storage.errors import ErrorCode
from wire.api_keys import ApiKey
from wire.api_versions import ADVERTISED, MESSAGES
from wire.codec import decode
from wire.errors import UnsupportedVersionError
from wire.headers import RequestHeader, decode_request_header, key_and_version, response_header
from wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from wire.messages.fetch import FetchRequest
from wire.produce import FLEXIBLE as PRODUCE_FLEXIBLE

_UNDERSTOOD = dict(MESSAGES)


class Dispatcher:
    """`apis`: everything but Produce, Fetch and ApiVersions. broke: to be told of connections that are gone."""

    def __init__(
        self,
        produce: KafkaProduce,
        fetch: KafkaFetch,
        apis: Mapping[int, Api],
        features: Callable[[], Features],
        broke: Callable[[Connection], None],
    ) -> None:
        self.broke = broke
        self._features = features
        self.produce = produce
        self._fetch = fetch
        self._apis = apis
        self._flexible = {key: entry.request.FLEXIBLE for key, entry in apis.items()}
        self._flexible[ApiKey.PRODUCE] = PRODUCE_FLEXIBLE
        self._flexible[ApiKey.FETCH] = FetchRequest.FLEXIBLE
        self._flexible[ApiKey.API_VERSIONS] = ApiVersionsRequest.FLEXIBLE

    def header(self, frame: memoryview) -> RequestHeader:
        """Read a request's header. Raises WireError, UnsupportedVersionError.

        An ApiVersions request of a version to come is let through: it gets an answer that says so (KIP-511).
        """
        key, version = key_and_version(frame)
        flexible = self._flexible.get(key)
        if flexible is None:
            raise UnsupportedVersionError(f"a request with the API key {key}")
        first, last = _UNDERSTOOD[key]
        known = first <= version <= last
        if not known and key != ApiKey.API_VERSIONS:
            raise UnsupportedVersionError(
                f"{ApiKey(key).name} version {version}; versions {first} to {last} are spoken"
            )
        return decode_request_header(frame, flexible=known and version >= flexible)

    async def serve(
        self,
        client: Client,
        header: RequestHeader,
        frame: memoryview,
        mute: Callable[[float], None],
    ) -> Sequence[Buffer]:
        """The answer to all but Produce and ApiVersions, in pieces. mute: as in KafkaFetch.answer. Raises WireError."""
        if header.api_key == ApiKey.FETCH:
            flexible = header.api_version >= FetchRequest.FLEXIBLE
            request = decode(FetchRequest, header.api_version, flexible, frame[header.body_at :])
            head = response_header(ApiKey.FETCH, header.correlation_id, flexible=flexible)
            return [head, *await self._fetch.answer(client, request, mute)]
        return [await serve(self._apis[header.api_key], client, header, frame)]

    def api_versions(
        self, header: RequestHeader, frame: memoryview
    ) -> tuple[Sequence[Buffer], Software]:
        """The answer, and what the client says it is. Raises WireError."""
        first, last = _UNDERSTOOD[ApiKey.API_VERSIONS]
        known = first <= header.api_version <= last
        software = Software("", "")
        if known:
            flexible = header.api_version >= ApiVersionsRequest.FLEXIBLE
            request = decode(
                ApiVersionsRequest, header.api_version, flexible, frame[header.body_at :]
            )
            software = Software(request.client_software_name, request.client_software_version)
        keys = ADVERTISED if known else {ApiKey.API_VERSIONS: (first, last)}
        features = self._features()
        response = ApiVersionsResponse(
            supported_features=features.supported,
            finalized_features_epoch=features.epoch,
            finalized_features=features.finalized,
            error_code=ErrorCode.NONE if known else ErrorCode.UNSUPPORTED_VERSION,
            api_keys=tuple(
                ApiVersion(api_key=key, min_version=low, max_version=high)
                for key, (low, high) in sorted(keys.items())
                if key in self._flexible
            ),
        )
        # Whoever asks in a version that we do not know can read version 0.
        spoken = header if known else header._replace(api_version=0)
        return [answer_bytes(response, spoken)], software

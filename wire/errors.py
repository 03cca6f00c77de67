"""What is wrong with bytes that came in. It is always the peer's fault."""


class WireError(Exception):
    """Bytes that are no valid message. The connection they came by cannot be trusted to be in step any more."""


class UnsupportedVersionError(WireError):
    """A request, or a version of one, that is not spoken here."""

"""What can be wrong with a local cluster."""

from storage.errors import ErrorCode, OttlaError


class LocalClusterError(OttlaError):
    """Named: the folder, the node, the way out."""

    code = ErrorCode.INVALID_REQUEST

"""The system calls that wait for the platter; they run in RealDisk's threads."""

import ctypes
import os
from functools import cache

_SYNCFS_REPORTS_ERRORS_SINCE = (5, 8)


@cache
def _libc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        return library if hasattr(library, "syncfs") else None
    except OSError:
        return None


def have_syncfs() -> bool:
    """Whether `syncfs` is here and tells of write errors, which Linux does since 5.8."""
    facts = os.uname()
    if facts.sysname != "Linux" or _libc() is None:
        return False
    digits = facts.release.replace("-", ".").split(".")[:2]
    if not all(digit.isdigit() for digit in digits):
        return False
    return tuple(map(int, digits)) >= _SYNCFS_REPORTS_ERRORS_SINCE


def sync_file_system(fd: int) -> None:
    """Everything dirty on the file system that `fd` is on. Raises OSError."""
    library = _libc()
    assert library is not None, "have_syncfs was not asked"
    if library.syncfs(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "syncfs")


def sync_data(fd: int) -> None:
    """A file's bytes and its length. Raises OSError."""
    os.fdatasync(fd)


def sync_path(path: str) -> None:
    """The names in a folder; one that is gone has none to keep. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

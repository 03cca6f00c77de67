"""A file system of its own for one node's data, whose power can be cut: ext4 in a file on a loop device."""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE_BYTES = 96 << 20
# EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h, and its flag: not even the journal's buffer is written out.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = struct.pack("I", 2)
# e2fsck: 0 is clean, 1 is repaired.
REPAIRED = 1
LOOP_FREE_S = 10.0


class LossyFileSystem:
    """Mounted at `folder`; the bytes lie in `image`."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder

    def make(self) -> None:
        """A new, empty file system, mounted. Raises OSError with what the system's tools said."""
        with self._image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        # A tiny journal wraps within the test, as an old file system's does.
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", str(self._image))
        self.mount()

    def mount(self) -> None:
        """There again; the journal is replayed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.folder))

    def cut_power(self) -> None:
        """What was not synced is lost at once, and every later access fails, until `come_back`.

        A sync that is under way may succeed all the same: who must not be told so is ended before.
        """
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(handle)

    def come_back(self) -> None:
        """Power is back: replay the journal, check, mount. No process may have files open. Raises OSError."""
        self.unmount()
        _run("e2fsck", "-p", str(self._image), good=REPAIRED)
        self.mount()

    def unmount(self) -> None:
        """No error when it is not mounted. The loop device is free afterwards, which takes the system a while."""
        if self.folder.is_mount():
            _run("umount", str(self.folder))
        deadline_s = time.monotonic() + LOOP_FREE_S
        while _run("losetup", "--associated", str(self._image)):
            if time.monotonic() > deadline_s:
                raise OSError(
                    f"{self._image} is still on a loop device {LOOP_FREE_S:g} s after its umount"
                )
            time.sleep(0.01)

    def give_up(self) -> None:
        """Unmount whatever happened; a process that outlived its test keeps the files open, not the mount."""
        if self.folder.is_mount():
            _run("umount", "--lazy", str(self.folder))


@contextmanager
def lossy_file_systems(folder: Path, names: list[str]) -> Iterator[list[LossyFileSystem]]:
    """One at FOLDER/NAME for each name; gone with their mounts and loop devices afterwards. Skips with the reason."""
    for program in ("mkfs.ext4", "e2fsck", "mount", "umount", "losetup"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (packages e2fsprogs and mount)")
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    made = [LossyFileSystem(folder / f"{name}.img", folder / name) for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for each in made:
                each.make()
        except OSError as error:
            pytest.skip(f"no ext4 on a loop device here: {error}")
        yield made
    finally:
        for each in made:
            each.give_up()


def _run(*words: str, good: int = 0) -> str:
    """What it prints. Raises OSError for an exit code above `good`."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if not 0 <= done.returncode <= good:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout

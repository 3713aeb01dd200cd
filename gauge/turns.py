"""Turns on a device of this host: timed sections alone, builds beside each other, in order.

Every process that wants the device takes a ticket: a byte range lock (an open file description
lock of Linux 3.15, `man 2 fcntl`) on one byte of the device's lock file, shared for a build and
exclusive for a timed section. It goes ahead when no ticket before it stands against it. So a
timed section waits for the builds that came before and the builds that come after wait for it:
neither starves. The kernel drops the tickets of a process that ends, however it ends, and nothing
is written into the file: there is no stale lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

VARIABLE = "OPTGAUGE_LOCKS"
"""Names another folder for the lock files, say one that several containers of a host share."""

POLL_SECONDS = 0.05

# Not tempfile.gettempdir(): two runs with different TMPDIRs use the same CPU.
_FOLDER = Path("/tmp")

# struct flock, 64 bit: type, whence, start, length, pid.
_FLOCK = "@hhqqi4x"
# Byte 0 is held while a number is drawn; tickets are the bytes after it.
_DESK = 0


class LockError(RuntimeError):
    """The lock file cannot be used; the message names it, why, and what to do."""


def folder() -> Path:
    """Where lock files are: one place for all users and runs of this host."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else _FOLDER


class Turns:
    """The turns on one device, named by a word such as `cpu`."""

    def __init__(self, device: str, directory: Path | None = None) -> None:
        self.device = device
        self.path = (directory or folder()) / f"optgauge-{device}.lock"

    def check(self) -> None:
        """LockError unless the lock file can be used."""
        with self.hold(exclusive=False, wait=False):
            pass

    @contextlib.contextmanager
    def hold(
        self,
        *,
        exclusive: bool,
        waiting: Callable[[str], None] = lambda _: None,
        wait: bool = True,
    ) -> Iterator[float]:
        """Hold the device; gives the seconds waited for it.

        exclusive: alone (a timed section), else beside others that are not. waiting: called
        about 20 times a second with what is waited for, `timing` or `builds`. wait: False takes
        a ticket and goes ahead at once, whatever stands before it.
        """
        kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
        with self._opened() as file:
            began = time.monotonic()
            number = self._draw(file, kind)
            while wait and (ahead := _first(file, kind, _DESK + 1, number)):
                waiting("timing" if ahead[0] == fcntl.F_WRLCK else "builds")
                time.sleep(POLL_SECONDS)
            yield time.monotonic() - began

    def _draw(self, file: int, kind: int) -> int:
        """Take the ticket after the last one; its number."""
        try:
            _lock(file, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _DESK)
            number = _DESK + 1
            while taken := _first(file, fcntl.F_WRLCK, number, None):
                number = taken[1] + 1
            _lock(file, fcntl.F_OFD_SETLK, kind, number)
            _lock(file, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _DESK)
        except OSError as error:
            raise LockError(
                f"{self.path}: its file system gives no locks ({error.strerror}); set {VARIABLE} "
                "to a local folder that all users of this host share"
            ) from error
        return number

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            file = self._open()
        except OSError as error:
            raise LockError(
                f"{self.path}: the lock that keeps timed sections apart cannot be opened "
                f"({error.strerror}); give everybody read and write access to it, or set "
                f"{VARIABLE} to a folder that all users of this host share"
            ) from error
        try:
            yield file
        finally:
            os.close(file)  # which drops the ticket

    def _open(self) -> int:
        """A descriptor of its own for each ticket: locks belong to it, not to the process."""
        # Without O_CREAT, which fs.protected_regular forbids on another user's file.
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self.path, flags)
        except FileNotFoundError:
            self._create()
            file = os.open(self.path, flags)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(0, "it is no regular file")
        # Cleaners of temporary folders remove what nobody has touched for days.
        os.utime(file)
        return file

    def _create(self) -> None:
        """An empty file that every user may lock; appears whole, with these rights."""
        made, name = tempfile.mkstemp(prefix=".optgauge-", dir=self.path.parent)
        try:
            os.fchmod(made, 0o666)
            with contextlib.suppress(FileExistsError):
                os.link(name, self.path)
        finally:
            os.close(made)
            os.unlink(name)


def _lock(file: int, command: int, kind: int, byte: int) -> None:
    fcntl.fcntl(file, command, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))


def _first(file: int, kind: int, start: int, end: int | None) -> tuple[int, int] | None:
    """(type, byte) of a ticket in [start, end) that stands against one of this kind, or None."""
    if end is not None and end <= start:
        return None
    length = 0 if end is None else end - start  # 0 is up to any end
    asked = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
    found, _, byte, _, _ = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
    return None if found == fcntl.F_UNLCK else (found, byte)

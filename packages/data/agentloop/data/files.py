"""Writing files so that a kill leaves the old state or the new one, and a full disk is told."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentloop.contracts.errors import AgentLoopError, DiskFull, VersioningFailed

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
_MB = 1 << 20
READ_ONLY = 0o444


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock file ``path``, waiting for it; the system frees it if the holder dies.

    Yields its descriptor: a child that inherits it holds the lock too, until it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextmanager
def write_errors_told(folder: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn "no space left", from whatever library, into DiskFull, and a folder that may not be
    written into VersioningFailed."""
    try:
        yield
    except AgentLoopError:
        raise
    except Exception as error:
        found = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)}
        if found & DISK_FULL:
            raise _disk_full(folder, needed_bytes) from error
        if isinstance(error, OSError) and error.errno in _FORBIDDEN:
            reason = f"{error.filename or folder}: {error.strerror}"
            raise VersioningFailed(reason, next_step="make that folder writable") from error
        raise


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raises DiskFull before anything is written."""
    if shutil.disk_usage(folder).free < needed_bytes:
        raise _disk_full(folder, needed_bytes)


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old file or the new one. For one writer at a time."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target``, which is not there, the same read-only file as ``source``: a hard link, or a
    copy where the file system has none.

    Nobody may write into either, so ``source`` loses its write permission first.
    """
    source.chmod(READ_ONLY)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        target.chmod(READ_ONLY)


def replace_folder(staged: Path, final: Path) -> None:
    """Put ``staged`` at ``final``; what was there goes."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        old = staged.with_name(f"{staged.name}.old")
        final.rename(old)
        staged.rename(final)
        shutil.rmtree(old)
    else:
        staged.rename(final)


@contextmanager
def staging_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder, gone afterwards unless it was renamed away. Folders of dead processes go."""
    folder = parent / f"{os.getpid()}-{name}"
    with write_errors_told(parent):
        folder.mkdir(parents=True)
    for other in parent.iterdir():
        if not _in_use(other.name):
            shutil.rmtree(other, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process of that number runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _in_use(name: str) -> bool:
    pid = name.partition("-")[0]
    return pid.isdecimal() and alive(int(pid))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _disk_full(folder: Path, needed_bytes: int) -> DiskFull:
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    return DiskFull(str(folder), needed_mb=max(1, -(-needed_bytes // _MB)), free_mb=free // _MB)

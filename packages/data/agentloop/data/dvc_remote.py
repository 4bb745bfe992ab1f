"""DVC's remotes, and DVC's errors in the words of whoever set them up."""

from __future__ import annotations

import configparser
import errno
import hashlib
import io
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop.contracts.errors import VersioningFailed
from agentloop.data.files import DISK_FULL

if TYPE_CHECKING:
    from agentloop.contracts.spec_data import RemoteSpec

LOCAL = "local"
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
_FOREIGN = ("dvc", "botocore", "aiobotocore", "s3fs", "aiohttp", "fsspec")


@dataclass(frozen=True, slots=True)
class DvcRemote:
    """A section of DVC's configuration. ``name`` depends on where it leads, so that the versions
    pushed to another remote before can still be found there."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.settings["url"]


def remote_of(spec: RemoteSpec | None, folder: Path) -> DvcRemote:
    """Where ``spec`` leads; without it, ``folder``. DVC loses its way with a relative one when it
    reads an earlier commit."""
    if spec is None:
        return DvcRemote(LOCAL, {"url": str(folder)})
    settings = {"url": spec.url}
    if spec.url.startswith("s3://"):
        settings |= {"endpointurl": spec.endpoint_url} if spec.endpoint_url else {}
        settings |= {"region": spec.region} if spec.region else {}
        settings |= {
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "read_timeout": str(READ_TIMEOUT_S),
        }
    elif "://" not in spec.url:
        settings["url"] = str(Path(spec.url).expanduser().absolute())
    place = f"{settings['url'].rstrip('/')} {settings.get('endpointurl', '')}"
    return DvcRemote("r" + hashlib.sha256(place.encode()).hexdigest()[:11], settings)


def config_of(remotes: Mapping[str, DvcRemote], current: str) -> dict[str, dict[str, Any]]:
    """DVC's configuration. Cached files are linked to, never copied, where that is possible: with
    ``hardlink`` first DVC takes what it adds by a link too."""
    return {
        "core": {"analytics": False, "check_update": False, "remote": current},
        "cache": {"type": ["hardlink", "copy"]},
        "remote": {remote.name: dict(remote.settings) for remote in remotes.values()},
    }


def config_text(remotes: Mapping[str, DvcRemote], current: str) -> str:
    """``config_of`` as the file that DVC reads, for whoever uses DVC's command line there."""
    settings = config_of(remotes, current)
    config = configparser.ConfigParser(interpolation=None)
    config["core"] = {name: str(value).lower() for name, value in settings["core"].items()}
    config["cache"] = {"type": ",".join(settings["cache"]["type"])}
    for name, values in settings["remote"].items():
        config[f"'remote \"{name}\"'"] = values
    file = io.StringIO()
    config.write(file)
    return file.getvalue()


def read_remotes(text: str) -> tuple[dict[str, DvcRemote], str]:
    """The remotes in a configuration file, and the name of the one in use."""
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(text)
    found = {}
    for section in config.sections():
        kind, _, quoted = section.strip("'").partition(" ")
        if kind == "remote":
            name = quoted.strip('"')
            found[name] = DvcRemote(name, dict(config[section]))
    return found, config.get("core", "remote", fallback=LOCAL)


def told(run: Callable[[], None], remote: DvcRemote | None = None) -> None:
    """DVC without its remarks, hints and progress bars; its errors, and those of the way to
    ``remote``, as VersioningFailed. A full disk stays the OSError that says so."""
    with silenced() as causes:
        try:
            run()
        except Exception as error:
            # DVC lets through the errors of its parts: dvc_objects, dvc_data, its SQLite caches.
            family = type(error).__module__.partition(".")[0].partition("_")[0]
            cause = causes[-1] if causes else error
            if _is_full_disk(cause) or _is_full_disk(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            if remote is not None and remote.name != LOCAL:
                if isinstance(error, (OSError, ImportError)) or family in _FOREIGN:
                    raise _remote_failed(remote, cause) from error
            elif family == "dvc" or isinstance(error, sqlite3.Error):
                raise VersioningFailed(f"DVC: {_first_line(cause)}") from error
            raise


def _is_full_disk(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return getattr(error, "errno", 0) in DISK_FULL or code & 0xFF == sqlite3.SQLITE_FULL


def _remote_failed(remote: DvcRemote, cause: BaseException) -> VersioningFailed:
    place = remote.settings.get("endpointurl")
    where = f"{remote.url} at {place}" if place else remote.url
    return VersioningFailed(
        f"the remote {where} did not take or give its files ({_first_line(cause)})",
        next_step="check data.remote, its credentials and that it answers, then run the same "
        "command again: it goes on where this one stopped",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


class _Causes(logging.Handler):
    """Collects the exceptions that DVC logs, where what it raises only counts them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.found.append(record.exc_info[1])


@contextmanager
def silenced() -> Iterator[list[BaseException]]:
    """DVC prints nothing; yields the exceptions that it logs meanwhile."""
    import dvc.logger  # noqa: F401  puts its handlers on its loggers when first imported

    handler = _Causes()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.level, logger.propagate, logger.handlers) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
        logger.propagate, logger.handlers = False, [handler]
    try:
        yield handler.found
    finally:
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers

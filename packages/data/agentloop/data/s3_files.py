"""Files on S3-compatible storage, read in ranges and never whole."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from agentloop.contracts.errors import (
    EmptySource,
    SourceNotFound,
    SourceUnreadable,
)
from agentloop.contracts.spec_data import FileSource
from agentloop.data.locate import EXTENSIONS
from agentloop.data.remote_access import REMOTE_SOURCES_ENV
from agentloop.data.s3_client import ATTEMPTS, BROKEN_OFF, open_client, shared_client, told

SCHEME = "s3://"
BUFFER_BYTES = 4 << 20
MOST_BYTES_A_REQUEST = 64 << 20
PAGE_KEYS = 1000
_MAGIC = re.compile(r"[*?\[]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


@dataclass(frozen=True, slots=True)
class S3File:
    """Implements SourceFile. ``etag`` is the version that was listed: another one is not read.

    Workers need credentials of their own, from the same places as boto3 looks here.
    """

    bucket: str
    key: str
    below: str
    size: int
    etag: str
    endpoint_url: str | None = None
    region: str | None = None
    allowed: str | None = None

    @property
    def shown(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def open(self) -> BinaryIO:
        """Raises SourceUnreadable where the object was changed since it was listed or its server
        does not answer, SourceNotFound where it is gone; so does reading."""
        client = shared_client(self.endpoint_url, self.region, self.allowed)
        return cast(BinaryIO, io.BufferedReader(_Ranges(client, self), BUFFER_BYTES))


def list_s3(source: FileSource) -> tuple[S3File, ...]:
    """The objects of ``s3://bucket/key``, ``s3://bucket/folder/`` (all depths, those of the kind)
    or a glob below the bucket, sorted by key.

    Raises SourceNotFound, EmptySource for a folder without files of the kind, SourceUnreadable,
    RemoteForbidden where the operator's list of hosts does not have the endpoint.
    """
    bucket, key = _parsed(source.path)
    allowed = os.environ.get(REMOTE_SOURCES_ENV)
    client = open_client(source.endpoint_url, source.region, allowed, source.path)

    def file(name: str, root: str, facts: Any) -> S3File:
        size = int(facts["Size"] if "Size" in facts else facts["ContentLength"])
        return S3File(
            *(bucket, name, name[len(root) :], size, str(facts["ETag"])),
            *(source.endpoint_url, source.region, allowed),
        )

    magic = _MAGIC.search(key)
    if magic:
        root = key[: key.rfind("/", 0, magic.start()) + 1]
        pattern = _glob(key, source.path)
        listed = _listed(client, bucket, key[: magic.start()], source.path)
        found = [file(k, root, facts) for k, facts in listed if pattern.fullmatch(k)]
        if not found:
            raise SourceNotFound(source.path, next_step="check the pattern and the bucket")
        return _visible(found, source)
    if key and not key.endswith("/"):
        facts = _head(client, bucket, key, source.path)
        if facts is not None:
            return (file(key, key[: key.rfind("/") + 1], facts),)
        key += "/"
    inside = list(_listed(client, bucket, key, source.path))
    if not inside:
        raise SourceNotFound(source.path, next_step="check the bucket and the key")
    known = EXTENSIONS[_kind(source)]
    return _visible([file(k, key, f) for k, f in inside if k.lower().endswith(known)], source)


def fingerprint_s3(source: FileSource) -> str:
    """sha256 (hex) of the objects' keys, ETags and sizes; nothing of them is read. Raises like
    ``list_s3``."""
    files = list_s3(source)
    labels = str(getattr(source, "labels", ""))
    if labels.startswith(SCHEME):
        files += list_s3(source.model_copy(update={"path": labels}))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.bucket}/{file.key}\0{file.etag}\0{file.size}\0".encode())
    return digest.hexdigest()


class _Ranges(io.RawIOBase):
    """An object's bytes from any position, each stretch by a request of its own."""

    def __init__(self, client: Any, file: S3File) -> None:
        super().__init__()
        self._client = client
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._file.size - self._position, MOST_BYTES_A_REQUEST)
        if wanted <= 0:
            return 0
        with told(self._file.shown):
            data = self._fetch(wanted)
        if len(data) != wanted:
            raise SourceUnreadable(
                self._file.shown,
                f"its server sent {len(data):,} bytes of {wanted:,}",
                next_step="run it again",
            )
        buffer[:wanted] = data
        self._position += wanted
        return wanted

    def _fetch(self, wanted: int) -> bytes:
        """boto3 tries a request again by itself, but not the body of an answer that breaks off."""
        end = self._position + wanted - 1
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._client.get_object(
                Bucket=self._file.bucket,
                Key=self._file.key,
                Range=f"bytes={self._position}-{end}",
                IfMatch=self._file.etag,
            )
            try:
                return bytes(answer["Body"].read())
            except BROKEN_OFF:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")


def _parsed(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix(SCHEME).partition("/")
    # An ARN or a name of another kind would have boto3 choose another host by itself.
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        step = "write s3://bucket/key, s3://bucket/folder/ or s3://bucket/pattern*.csv"
        raise SourceUnreadable(path, "its bucket's name is none", next_step=step)
    return bucket, key


def _head(client: Any, bucket: str, key: str, shown: str) -> Any | None:
    """The facts of one object; None where there is none, or listing must tell why."""
    try:
        with told(shown):
            return client.head_object(Bucket=bucket, Key=key)
    except SourceNotFound:
        return None
    except SourceUnreadable as error:
        # Without the right to list, a key that is not there is told as "denied" too.
        if error.reason != "access is denied":
            raise
        return None


def _listed(client: Any, bucket: str, prefix: str, shown: str) -> Iterator[tuple[str, Any]]:
    with told(shown):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": PAGE_KEYS}
        )
        for page in pages:
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # what consoles make for an empty folder
                    yield entry["Key"], entry


def _visible(files: list[S3File], source: FileSource) -> tuple[S3File, ...]:
    shown = [f for f in files if not any(p.startswith(".") for p in f.below.split("/"))]
    if not shown:
        known = ", ".join(EXTENSIONS[_kind(source)])
        raise EmptySource(source.path, next_step=f"put files named {known} there")
    return tuple(sorted(shown, key=lambda f: f.key))


def _kind(source: FileSource) -> str:
    return str(getattr(source, "kind", "csv"))


def _glob(pattern: str, shown: str) -> re.Pattern[str]:
    """As pathlib reads it: ``*`` and ``?`` stay within one folder, ``**/`` is any depth."""
    parts = re.split(r"(\*\*/|\*|\?|\[[!^]?\]?[^\]/]*\])", pattern)
    known = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
    made = []
    for index, part in enumerate(parts):
        if index % 2 and part not in known:
            negated, inner = part[1] in "!^", part[1:-1].lstrip("!^")
            escaped = inner.replace("\\", r"\\").replace("]", r"\]").replace("[", r"\[")
            made.append(f"[^/{escaped}]" if negated else f"[{escaped}]")
        else:
            made.append(known[part] if index % 2 else re.escape(part))
    try:
        return re.compile("".join(made), re.S)
    except re.error as error:
        step = "mend what is between [ and ]"
        raise SourceUnreadable(shown, f"its pattern is none ({error})", next_step=step) from None

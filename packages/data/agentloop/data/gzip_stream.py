"""The bytes of a source's file, unpacked where it is gzip, and never more than is safe."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.source_file import SourceFile

READ_BYTES = 1 << 20
# gzip cannot pack text of any variety better than this; a bomb packs zeros a thousandfold.
MAX_RATIO = 200
FREE_BYTES = 64 << 20

_GZIP = b"\x1f\x8b"
_PACKED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}
_LONGEST_MAGIC = 6


class ByteStream(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


@contextmanager
def open_stream(file: SourceFile) -> Iterator[ByteStream]:
    """The file's bytes from its beginning. Raises SourceUnreadable for an archive, for damaged or
    overly packed gzip, and wherever the system cannot read the file."""
    try:
        with file.open() as raw:
            start = raw.read(_LONGEST_MAGIC)
            raw.seek(0)
            for magic, name in _PACKED.items():
                if start.startswith(magic):
                    reason = f"it is packed with {name}"
                    raise SourceUnreadable(file.shown, reason, next_step="unpack it first")
            yield _Unzipped(raw, file.shown) if start.startswith(_GZIP) else raw
    except OSError as error:
        raise SourceUnreadable(file.shown, error.strerror or str(error)) from None


def read_up_to(stream: ByteStream, size: int) -> bytes:
    """``size`` bytes, or all that there are."""
    blocks = []
    while size > 0 and (block := stream.read(min(size, READ_BYTES))):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


class _Unzipped:
    """gzip of one or more members. ``read`` holds no more than it was asked for."""

    def __init__(self, raw: BinaryIO, shown: str) -> None:
        self._raw, self._shown = raw, shown
        self._inflate = zlib.decompressobj(wbits=31)
        self._packed = b""
        self._bytes_in = self._bytes_out = 0

    def read(self, size: int, /) -> bytes:
        while self._has_more():
            try:
                data = self._inflate.decompress(self._packed, size)
            except zlib.error as error:
                raise self._damaged(str(error)) from None
            if not (data or self._packed or self._inflate.eof):
                raise self._damaged("it ends too early")
            inflate = self._inflate
            self._packed = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            self._bytes_out += len(data)
            if self._bytes_out > max(FREE_BYTES, MAX_RATIO * self._bytes_in):
                raise SourceUnreadable(
                    self._shown,
                    f"it unpacks to more than {MAX_RATIO} times its size, as a gzip bomb does",
                    next_step="unpack it yourself if you trust it",
                )
            if data:
                return data
        return b""

    def _has_more(self) -> bool:
        """Whether there is something to unpack: packed bytes, or what zlib still holds."""
        if not self._packed:
            self._packed = self._raw.read(READ_BYTES >> 4)
            self._bytes_in += len(self._packed)
        if self._inflate.eof:
            # Zeros may pad the end of a file, as those on tapes are.
            while self._packed and not self._packed.strip(b"\0"):
                self._packed = self._raw.read(READ_BYTES >> 4)
            self._packed = self._packed.lstrip(b"\0")
            if not self._packed:
                return False
            self._inflate = zlib.decompressobj(wbits=31)  # the next member
        return True

    def _damaged(self, why: str) -> SourceUnreadable:
        return SourceUnreadable(self._shown, f"its gzip is damaged ({why})")

"""Which encoding a text file has, and its bytes as UTF-8."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from agentloop.contracts.errors import SourceUnreadable
from agentloop.data.gzip_stream import ByteStream

UTF8 = "utf-8"
SET_ENCODING = "set data.source.encoding, or save the file as UTF-8"

# What spreadsheets and databases wrote before UTF-8. Where the bytes fit several, the first wins.
LEGACY = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1257",
    "koi8_r",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
)
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_JUDGED_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Encoding:
    """``codec`` is Python's name; ``note`` tells people of a guess."""

    codec: str
    note: str = ""


def find_encoding(start: bytes, whole: bool, wanted: str, shown: str) -> Encoding:
    """The encoding of a file that begins with ``start``, and is no more than that if ``whole``.

    Raises SourceUnreadable where ``wanted`` is no encoding, or no encoding fits the bytes.
    """
    if wanted.lower() != "auto":
        return Encoding(_known(wanted, shown))
    for bom, codec in _BOMS.items():
        if start.startswith(bom):
            return Encoding(codec)
    if b"\0" in start:
        return Encoding(_wide(start, shown))
    try:
        codecs.getincrementaldecoder(UTF8)().decode(start, whole)
    except UnicodeDecodeError as error:
        if _is_broken_utf8(start):
            raise undecodable(shown, line_of(start, error.start)) from None
        return _legacy(start, error.start, shown)
    return Encoding(UTF8)


def _is_broken_utf8(start: bytes) -> bool:
    """Whether more characters are UTF-8 beyond ASCII than bytes are not: legacy text has next to
    none that are by chance, and would be stored as other text than it is."""
    text = start.decode(UTF8, "replace")
    broken = text.count("\ufffd")
    return len(text) - len(text.encode("ascii", "ignore")) - broken > broken


def undecodable(shown: str, line: int, codec: str = UTF8) -> SourceUnreadable:
    name = "UTF-8" if codec.startswith("utf-8") else codec
    return SourceUnreadable(shown, f"line {line} is not {name} text", next_step=SET_ENCODING)


def holds_nul(shown: str) -> SourceUnreadable:
    return SourceUnreadable(
        shown, "it holds NUL bytes, so it is not UTF-8 text", next_step=SET_ENCODING
    )


def line_of(data: bytes, place: int) -> int:
    """The number, from 1, of the line that byte ``place`` is in."""
    end = b"\n" if b"\n" in data else b"\r"
    return data.count(end, 0, place) + 1


class Recoded:
    """A stream as UTF-8 without a byte order mark. ``read`` raises SourceUnreadable that names the
    line; bytes that are UTF-8 already pass unchecked, for their parser checks them anyway."""

    def __init__(self, stream: ByteStream, codec: str, shown: str) -> None:
        self._stream, self._codec, self._shown = stream, codec, shown
        self._decoder = None if codec == UTF8 else codecs.getincrementaldecoder(codec)()
        self._lines = 0

    def read(self, size: int, /) -> bytes:
        if self._decoder is None:
            return self._stream.read(size)
        while True:
            data = self._stream.read(size)
            try:
                text = self._decoder.decode(data, not data)
                out = text.encode(UTF8)
            except UnicodeError as error:
                place = error.start if isinstance(error, UnicodeDecodeError) else 0
                line = self._lines + line_of(data, place)
                raise undecodable(self._shown, line, self._codec) from None
            self._lines += text.count("\n")
            if out or not data:
                return out


def _known(wanted: str, shown: str) -> str:
    try:
        "a".encode(wanted)  # also refuses codecs that are not of text, such as zip
        codec = codecs.lookup(wanted).name
        return "utf-8-sig" if codec == UTF8 else codec
    except (LookupError, ValueError):
        raise SourceUnreadable(
            shown,
            f"'{wanted}' is not an encoding",
            next_step="set data.source.encoding to auto, utf-8, cp1252 or the like",
        ) from None


def _wide(start: bytes, shown: str) -> str:
    """UTF-16 without a mark has a NUL in nearly every other byte; all else with NULs is binary."""
    for codec, high in (("utf-16-le", start[1::2]), ("utf-16-be", start[0::2])):
        if len(start) > 1 and high.count(0) > 0.7 * len(high) and not start.count(b"\0\0"):
            return codec
    raise holds_nul(shown)


def _legacy(start: bytes, place: int, shown: str) -> Encoding:
    from charset_normalizer import from_bytes

    found = from_bytes(_telling(start), cp_isolation=list(LEGACY))
    best = found.best()
    if best is None:
        raise undecodable(shown, line_of(start, place))
    likely = {name for match in found if match.chaos <= best.chaos for name in _names(match)}
    codec = next((name for name in LEGACY if name in likely), best.encoding)
    try:
        codecs.getincrementaldecoder(codec)().decode(start)
    except UnicodeDecodeError as error:
        raise undecodable(shown, line_of(start, error.start)) from None
    return Encoding(codec, f"{shown} is not UTF-8 and was read as {codec}")


def _names(match: object) -> list[str]:
    return [*getattr(match, "could_be_from_charset", ()), str(getattr(match, "encoding", ""))]


def _telling(data: bytes) -> bytes:
    """The words with bytes outside of ASCII: the rest tells nothing of the encoding."""
    found = re.finditer(rb"[^\r\n,;\t|\"]{0,40}[\x80-\xff]+[^\r\n,;\t|\"]{0,40}", data)
    words, size = [], 0
    for match in found:
        words.append(match.group())
        size += len(match.group())
        if size > _JUDGED_BYTES:
            break
    return b"\n".join(words)

"""The binary tensor data extension of the Open Inference Protocol: raw bytes after the JSON. Pure.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
Little-endian, row major, no padding; a BYTES element is a uint32 length and then so many bytes.
"""

from __future__ import annotations

from math import prod
from struct import pack
from typing import Any

import numpy as np
import numpy.typing as npt

from agentloop.contracts.errors import RequestRejected
from agentloop.serving.protocol.oip_tensors import (
    Tensor,
    Values,
    binary_size,
    read_head,
    read_json_tensor,
    shown,
)

EXTENSION = "binary_tensor_data"
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_MAX_DIGITS = 12
_LENGTH_BYTES = 4


def split_body(body: bytes, header: bytes) -> tuple[bytes, memoryview]:
    """The JSON and the raw bytes, by the ``Inference-Header-Content-Length`` header.

    Raises RequestRejected.
    """
    if not header.isdigit() or len(header) > _MAX_DIGITS or int(header) > len(body):
        raise RequestRejected(
            400, "'Inference-Header-Content-Length' must be the length of the JSON in the body"
        )
    length = int(header)
    return body[:length], memoryview(body)[length:]


def read_tensors(tensors: list[Any], raw: memoryview) -> list[Tensor]:
    """Tensors in JSON or in ``raw``, which holds the latter in their order and nothing else.

    Numbers are views of ``raw``, never copies. Raises RequestRejected.
    """
    found, start = [], 0
    for tensor in tensors:
        size = binary_size(tensor)
        if size is None:
            found.append(read_json_tensor(tensor))
            continue
        if size > len(raw) - start:
            raise RequestRejected(400, "the body has fewer bytes than 'binary_data_size' says")
        found.append(_read_raw(tensor, raw[start : start + size]))
        start += size
    if start != len(raw):
        raise RequestRejected(400, "the body has more bytes than 'binary_data_size' says")
    return found


def write_values(values: npt.NDArray[Any], datatype: str) -> bytes:
    """The raw bytes of an output, flattened."""
    if datatype != "BYTES":
        return values.astype(DTYPES[datatype], copy=False).tobytes()
    texts = [str(value).encode() for value in values.ravel()]
    return b"".join(pack("<I", len(text)) + text for text in texts)


def _read_raw(tensor: Any, raw: memoryview) -> Tensor:
    name, datatype, shape = read_head(tensor)
    count = prod(shape)
    if datatype == "BYTES":
        return Tensor(name, shape, _read_texts(raw, count, name))
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise RequestRejected(400, f"'{shown(name)}' has {len(raw)} bytes, not its shape's")
    values = np.frombuffer(raw, np.uint8 if datatype == "BOOL" else dtype)
    if datatype == "BOOL":
        if values.size and values.max() > 1:
            raise RequestRejected(400, f"'{shown(name)}' holds bytes that are not BOOL")
        values = values.view(dtype)
    return Tensor(name, shape, values)


def _read_texts(raw: memoryview, count: int, name: str) -> Values:
    # A length is four bytes at least, so that a wild shape costs no loop.
    if count * _LENGTH_BYTES > len(raw):
        raise RequestRejected(400, f"'{shown(name)}' has fewer elements than its shape's")
    texts, start = [], 0
    for _ in range(count):
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(raw[start:begin], "little")
        if begin > len(raw) or start > len(raw):
            raise RequestRejected(400, f"'{shown(name)}' ends inside an element")
        try:
            texts.append(str(raw[begin:start], "utf-8"))
        except UnicodeDecodeError:
            raise RequestRejected(400, f"'{shown(name)}' holds text that is no UTF-8") from None
    if start != len(raw):
        raise RequestRejected(400, f"'{shown(name)}' has more bytes than its elements")
    return texts

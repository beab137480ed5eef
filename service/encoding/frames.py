"""Messages between the service and its encoding process: a header of JSON and a body of bytes, with their lengths."""

import asyncio
import json
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

LENGTHS = struct.Struct("!IQ")
MOST_HEADER = 16 << 20

Frame = tuple[dict[str, Any], bytes]
Outcome = NDArray[np.float32] | str  # features (width,), or why there are none


def pack(header: dict[str, Any], body: bytes) -> bytes:
    """The bytes of a message."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next message; None at the end of the stream."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    n_header, n_body = LENGTHS.unpack(lengths)
    return json.loads(stream.read(n_header)), stream.read(n_body)


async def receive_frame(stream: asyncio.StreamReader, most: int) -> Frame:
    """The next message; ValueError where its body is longer than `most` or its header is no object."""
    n_header, n_body = LENGTHS.unpack(await stream.readexactly(LENGTHS.size))
    if n_header > MOST_HEADER or n_body > most:
        raise ValueError(f"a message of {n_header:,} + {n_body:,} bytes; expected at most {most:,}")
    header = json.loads(await stream.readexactly(n_header))
    if not isinstance(header, dict):
        raise ValueError("a message whose header is no object")
    return header, await stream.readexactly(n_body)

"""Frames between coordinator and compute child: eight bytes of length (big endian), then a pickle.

Both ends are ours, on an inherited socket pair that nobody else can open; that is what makes pickle fit.
"""

import asyncio
import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">Q")
MAX_FRAME_BYTES = 2**32


class BrokenFrame(Exception):
    """What arrived is not a frame, or ends in the middle of one."""


def encode(message: object) -> bytes:
    """One message as a frame."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Any:
    """The next message; None at the end of the stream. Raises BrokenFrame."""
    try:
        header = await reader.readexactly(_LENGTH.size)
        (length,) = _LENGTH.unpack(header)
        if length > MAX_FRAME_BYTES:
            raise BrokenFrame(f"a frame of {length} bytes was announced")
        return pickle.loads(await reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BrokenFrame("the stream ended in the middle of a frame") from error
        return None
    except (ConnectionResetError, BrokenPipeError):
        return None


async def open_streams(sock: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over a connected socket, which they own from now on."""
    return await asyncio.open_connection(sock=sock)

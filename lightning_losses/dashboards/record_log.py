"""The framing of W&B's log file: records cut into pieces that fill blocks, each piece with a checksum.

A file begins with seven bytes of its own. Then follow blocks of 32 KiB. A piece is a CRC-32 of its kind and bytes, its
length, its kind and its bytes; a record is one whole piece, or a first, any number of middle ones and a last.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

START = b":W&B"
HEADER = struct.Struct("<IHB")  # checksum, length, kind
BLOCK = 32 * 1024
DAMAGE, WHOLE, FIRST, LAST = -1, 1, 2, 4


class Records(NamedTuple):
    """What could be read.

    Args:
        whole: the records, in order.
        is_damaged: whether something in between could not.
    """

    whole: list[bytes]
    is_damaged: bool


def read_records(path: Path) -> Records:
    """Every record of a log file that is whole; one that was being written when its writer was killed is not.

    Raises:
        ValueError: the file is no log of W&B.
    """
    data = path.read_bytes()
    if not data.startswith(START):
        raise ValueError(f"{path} is no log of W&B.")
    records: list[bytes] = []
    parts: list[bytes] = []
    is_damaged = False
    for kind, piece in _pieces(data):
        if kind == DAMAGE:
            is_damaged, parts = True, []
        elif kind in (WHOLE, FIRST):
            parts = [piece]
        elif parts:
            parts.append(piece)
        if kind in (WHOLE, LAST) and parts:
            records.append(b"".join(parts))
            parts = []
    return Records(records, is_damaged)


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and bytes of each piece; after a damaged one, the next is the first of a block."""
    at = HEADER.size
    while at + HEADER.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:  # too little for a piece: padding
            at += left
            continue
        checksum, length, kind = HEADER.unpack_from(data, at)
        start, end = at + HEADER.size, at + HEADER.size + length
        if end <= at + left and end > len(data):  # it was being written
            return
        if end > at + left or crc32(data[start:end], crc32(bytes([kind]))) != checksum:
            yield DAMAGE, b""
            at += left
        else:
            yield kind, data[start:end]
            at = end

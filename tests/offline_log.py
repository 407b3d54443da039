"""Writes W&B's log files record by record, so that tests can leave out and damage what they like."""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from zlib import crc32

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024


def write_log(folder: Path, rows: Iterable[Mapping[str, object]], *, name="", start=0, config=None, ended=True) -> Path:
    """A run that has logged `rows`, each a mapping with ``trainer/global_step``."""
    first = Record()
    first.run.display_name, first.run.run_id, first.run.start_time.seconds = name, folder.name[-8:], start
    for key, value in (config or {}).items():
        first.run.config.update.add(key=key, value_json=json.dumps(value))
    records = [first]
    for row in rows:
        records.append(Record())
        for key, value in row.items():
            records[-1].history.item.add(nested_key=[key], value_json=json.dumps(value))
    if ended:
        records.append(Record())
        records[-1].exit.exit_code = 0
    folder.mkdir(parents=True)
    path = folder / f"run-{folder.name[-8:]}.wandb"
    path.write_bytes(framed(record.SerializeToString() for record in records))
    return path


def framed(records: Iterable[bytes]) -> bytes:
    """In blocks, each piece of a record with its checksum."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for record in records:
        is_first = True
        while True:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                continue
            piece, record = record[: left - 7], record[left - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[is_first, not record]
            out += struct.pack("<IHB", crc32(bytes([kind]) + piece), len(piece), kind) + piece
            is_first = False
            if not record:
                break
    return bytes(out)

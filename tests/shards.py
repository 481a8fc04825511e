"""Writes infini-gram's index folders as they are defined: tests ask what reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Documents = Sequence[Sequence[int]]


def write_shard(
    folder: Path,
    documents: Documents,
    width: int = 2,
    name: str = ".0",
    metadata: Sequence[dict[str, Any]] | None = None,
    unigrams: bool = False,
    pointer_bytes: int | None = None,
) -> None:
    """One shard of version 4, or of version 6 with the name "": tokens of `width` bytes.

    It is sorted by the bytes from each token up to the end of the file.
    """
    folder.mkdir(exist_ok=True)
    separator = 256**width - 1
    stream = [token for document in documents for token in (separator, *document)]
    data = b"".join(token.to_bytes(width, "little") for token in stream)
    table = sorted(range(0, len(data), width), key=lambda at: data[at:])
    pointer = pointer_bytes or max(1, ((len(data) - 1).bit_length() + 7) // 8)
    offsets, at = [], 0
    for document in documents:
        offsets.append(at)
        at += width * (1 + len(document))
    write = {
        "tokenized": data,
        "table": b"".join(at.to_bytes(pointer, "little") for at in table),
        "offset": b"".join(at.to_bytes(8, "little") for at in offsets),
    }
    if metadata is not None:
        lines = [
            json.dumps({"path": "c.jsonl", "linenum": i, "metadata": each}).encode() + b"\n"
            for i, each in enumerate(metadata)
        ]
        write["metadata"] = b"".join(lines)
        places = [len(b"".join(lines[:i])) for i in range(len(lines))]
        write["metaoff"] = b"".join(at.to_bytes(8, "little") for at in places)
    if unigrams:
        counts = {token: stream.count(token) for token in sorted(set(stream))}
        write["unigram"] = "".join(f"{token} {n}\n" for token, n in counts.items()).encode()
    for kind, content in write.items():
        (folder / f"{kind}{name}").write_bytes(content)

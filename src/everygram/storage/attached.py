"""infini-gram's index folders opened as they are, with what was made once for them.

`building/attaching.py` makes an *attachment*: a folder `everygram` in the index's folder, or one in
another place. Either can be opened. This docstring is its specification:

- `attached.json`: the version of this format; `folder`, where the index is: "..", or an absolute
  path; `fingerprint` of each shard's files, by which other files are recognized; the tokenizer, the
  size of the vocabulary, and size and SHA-256 of every other file. Written last: without it there
  is nothing.
- `tokenizer.json`, as in an index (see `format`).
- a folder for each shard, `shard.0`, …, or `shard`. As in a segment: `fences.bin`, `unigrams.bin`
  (ids in the order of the suffixes), `document_offsets.bin` (if tokens have more than a byte), and
  `document_counts.bin` (if they were wanted). `stretches.bin`: int64, shape (k, 2), see `shard`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from everygram.errors import DamagedIndexError, FormatError, OptionError
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, read_file, stat_inside, write_synced, wrong_files
from everygram.storage.fields import SHA256, Fields
from everygram.storage.infini_gram import (
    OFFSET,
    TABLE,
    TOKENIZED,
    ShardFiles,
    is_infini_gram,
    shards_of,
)
from everygram.storage.segment import Segment
from everygram.storage.shard import Shard
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import stored_tokenizer, tokenizer_hash

VERSION = 1
FOLDER, INFO = "everygram", "attached.json"
STRETCHES = "stretches.bin"
FILES = (fmt.FENCES, fmt.UNIGRAMS, STRETCHES)
OPTIONAL = (fmt.DOCUMENT_OFFSETS, fmt.DOCUMENT_COUNTS)
# No `attached.json` or tokenizer is larger, in bytes.
MOST_INFO, MOST_TOKENIZER = 1 << 24, 1 << 30
# Blocks of each file, and bytes of each, that a fingerprint is of.
BLOCKS, BLOCK = 16, 4096
# Tokens of a shard that are looked at when it is opened with a tokenizer.
LOOKED_AT = 1 << 16
# Families of tokenizers that infini-gram's indexer knows, as names of its indexes have them, and
# more than any of their ids.
FAMILIES = {"llama": 32_000, "gpt2": 50_257, "olmo": 100_352}
AGAIN = "run 'everygram attach' again"


@dataclass(frozen=True)
class AttachedShard:
    """What was made for a shard: `files` by name, in the folder `name`."""

    name: str
    fingerprint: str
    key_bits: int
    fence_spacing: int
    files: dict[str, fmt.FileEntry]


@dataclass(frozen=True)
class Attached:
    """What `attached.json` says."""

    folder: str
    vocab_size: int
    tokenizer: fmt.TokenizerEntry
    shards: tuple[AttachedShard, ...]


def is_foreign(path: Path) -> bool:
    """Whether a folder is an index of infini-gram's, or an attachment of one."""
    try:
        return (path / INFO).is_file() or is_infini_gram(path)
    except OSError:  # it may not be read: whoever opens it is told
        return False


def entry_of(tokenizer: Tokenizer | None, source: str = "none") -> fmt.TokenizerEntry:
    """A tokenizer's entry in a manifest; source: what is said where there is none."""
    if tokenizer is None:
        return fmt.TokenizerEntry(kind="none", source=source, sha256=None, query_prefix="")
    return fmt.TokenizerEntry(
        kind=tokenizer.kind,
        source=tokenizer.source,
        sha256=tokenizer_hash(tokenizer),
        query_prefix=tokenizer.query_prefix,
    )


def fingerprint(files: ShardFiles) -> str:
    """The SHA-256 of a few blocks of a shard's files, and of their sizes."""
    digest = hashlib.sha256(f"{files.dtype} {files.pointer_bytes}".encode())
    for kind in (TOKENIZED, TABLE, OFFSET):
        with files.path(kind).open("rb") as file:
            size = files.path(kind).stat().st_size
            digest.update(f" {size}".encode())
            for place in np.linspace(0, max(0, size - BLOCK), BLOCKS).astype(np.int64):
                file.seek(int(place))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def encode(attached: Attached) -> bytes:
    """The bytes of `attached.json`."""
    content = {"version": VERSION} | asdict(attached)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps(content | {"checksum": digest}, indent=2, sort_keys=True) + "\n").encode()


def _decoded(data: bytes) -> Attached:
    """What these bytes say. Raises ValueError, RecursionError."""
    content = json.loads(data)
    with Fields(content) as fields:
        digest = fields.text("checksum", SHA256)
        bare = {name: value for name, value in content.items() if name != "checksum"}
        if hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest() != digest:
            raise ValueError("it does not match its own checksum")
        fields.choice("version", [VERSION])
        with fields.object("tokenizer") as named:
            sha256 = named.take("sha256")
            if sha256 is not None:
                sha256 = Fields({"sha256": sha256}).text("sha256", SHA256)
            tokenizer = fmt.TokenizerEntry(
                named.choice("kind", fmt.TOKENIZER_KINDS),
                named.text("source"),
                sha256,
                named.text("query_prefix"),
            )
        shards = []
        for each in fields.objects("shards"):
            with each as shard:
                files = {}
                with shard.object("files") as listed:
                    for name in listed.names():
                        if name not in (*FILES, *OPTIONAL):
                            raise ValueError(f"no such file is known: {name!r:.60}")
                        with listed.object(name) as file:
                            files[name] = fmt.FileEntry(
                                file.integer("bytes"), file.text("sha256", SHA256)
                            )
                shards.append(
                    AttachedShard(
                        shard.text("name", re.compile(r"shard(\.\d{1,6})?")),
                        shard.text("fingerprint", SHA256),
                        shard.integer("key_bits", 1, 32),
                        shard.integer("fence_spacing", 1, 1 << 32),
                        files,
                    )
                )
        return Attached(
            fields.text("folder"), fields.integer("vocab_size", 1), tokenizer, tuple(shards)
        )


def read(folder: Path) -> Attached | None:
    """What an attachment's `attached.json` says; None where there is none.

    Raises DamagedIndexError, FormatError.
    """
    path = folder / INFO
    try:
        data = read_file(path, folder, MOST_INFO)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _decoded(data)
    except (ValueError, RecursionError) as error:
        raise DamagedIndexError(f"{path}: damaged: {error}; {AGAIN}") from None


def place_of(path: Path) -> tuple[Path, Path]:
    """The folder of an index that is opened by a path, and the folder of its attachment, which need
    not be there. Raises DamagedIndexError, FormatError."""
    if is_infini_gram(path):
        return path, path / FOLDER
    attached = read(path)
    if attached is None:
        raise FormatError(f"'{path}': not an attachment of an index; {AGAIN}")
    folder = path / attached.folder
    if not is_infini_gram(folder):
        raise FormatError(
            f"'{path}': attached to the index in '{folder}', where none is now: put it back, or "
            "run 'everygram attach' for where it is"
        )
    return folder, path


def stamp_of(path: Path) -> str:
    """16 hex digits that are others once a file of the index or of its attachment has changed.

    Raises as `place_of`, and FormatError for what cannot be read.
    """
    folder, attachment = place_of(path)
    digest = hashlib.sha256()
    try:
        for each in (*sorted(folder.iterdir()), attachment / INFO):
            if each.is_file():
                found = each.stat()
                digest.update(
                    f"{each.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n".encode()
                )
    except OSError as error:
        raise FormatError(f"index '{path}': cannot be read: {error}") from None
    return digest.hexdigest()[:16]


def open_foreign(
    path: Path, tokenizer: Tokenizer | None = None, verify: bool = False
) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
    """An index of infini-gram's as `directory.open_index` opens one of ours.

    tokenizer: the one that made its ids; None: the one it was attached with, if any. verify: check
    the checksums of what was attached. Raises FormatError, DamagedIndexError, OptionError.
    """
    stamp = stamp_of(path)
    folder, place = place_of(path)
    try:
        files = shards_of(folder)
        attached = read(place)
        opened: list[Segment] = []
        first = 0
        for each in files:
            shard = Shard(each, first)
            if attached is None:
                shard.complete_plainly()
            else:
                _complete(shard, each, place, attached, verify)
            opened.append(shard)
            first += shard.num_documents
        json_bytes = None
        if attached is not None and attached.tokenizer.sha256 is not None:
            json_bytes = tokenizer_json(place, attached.tokenizer)
    except OSError as error:
        raise FormatError(f"index '{path}': cannot be read: {error}") from None
    dtype = files[0].dtype
    entry, vocab_size = entry_of(None, family(folder, opened)), fmt.separator_of(dtype)
    if attached is not None:
        entry, vocab_size = attached.tokenizer, attached.vocab_size
    if tokenizer is not None:
        entry, vocab_size, json_bytes = entry_of(tokenizer), tokenizer.vocab_size, tokenizer.json
        check_vocabulary(tokenizer, opened)
    manifest = fmt.Manifest(
        dtype=dtype,
        separator=fmt.separator_of(dtype),
        vocab_size=vocab_size,
        tokenizer=entry,
        segments=tuple(shard.entry for shard in opened),
        build={fmt.FOREIGN: stamp},
        next_document=first,
        next_segment=len(opened) + 1,
        format_version=0,
        document_counts=all(shard.document_counts is not None for shard in opened),
    )
    return manifest, opened, json_bytes


def check_vocabulary(tokenizer: Tokenizer, shards: Sequence[Segment]) -> None:
    """Raise OptionError if a tokenizer cannot have made the ids of shards, as far as is known."""
    most = 0
    for shard in shards:
        tokens = shard.tokens[:LOOKED_AT]
        most = max(most, int(tokens[tokens != shard.separator].max(initial=0)))
        if shard.unigram_ids.shape[0]:
            ids = shard.unigram_ids[shard.unigram_ids != shard.separator]
            most = max(most, int(ids.max(initial=0)))
    if tokenizer.vocab_size > shards[0].separator:
        raise OptionError(
            f"tokenizer '{tokenizer.source}': {tokenizer.vocab_size:,} ids do not go into tokens "
            f"of {8 * shards[0].tokens.itemsize} bits: it did not make this index; name the one "
            "that did"
        )
    if most >= tokenizer.vocab_size:
        raise OptionError(
            f"tokenizer '{tokenizer.source}': has ids below {tokenizer.vocab_size:,}, the index "
            f"has {most:,}: it did not make this index; name the one that did"
        )


def _complete(
    shard: Shard, files: ShardFiles, place: Path, attached: Attached, verify: bool
) -> None:
    """Add to a shard what was made for it. Raises DamagedIndexError, FormatError."""
    name = shard.entry.name
    made = next((each for each in attached.shards if each.name == name), None)
    if made is None or made.fingerprint != fingerprint(files):
        raise FormatError(
            f"{place}: made for other files than those in '{files.folder}' ('{name}' differs); "
            f"{AGAIN}"
        )
    folder = place / name
    n = shard.stream_len
    expected = {
        fmt.FENCES: 8 * fmt.fence_keys(n, made.fence_spacing),
        fmt.DOCUMENT_OFFSETS: 8 * shard.num_documents,
        fmt.DOCUMENT_COUNTS: fmt.document_counts_bytes(n, shard.num_documents),
    }
    needed = {*FILES, *([fmt.DOCUMENT_OFFSETS] if shard.shift else [])}
    if missing := needed - made.files.keys():
        raise DamagedIndexError(f"{folder / min(missing)}: not listed; {AGAIN}")
    for each, file in made.files.items():
        try:
            found = stat_inside(folder / each, place)
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedIndexError(f"{folder / each}: missing; {AGAIN}") from None
        if found != file.bytes or found != expected.get(each, found):
            raise DamagedIndexError(
                f"{folder / each}: expected {expected.get(each, file.bytes):,} bytes, found "
                f"{found:,}; {AGAIN}"
            )
    if verify:
        for problem in wrong_files(folder, made.files, lambda _: None):
            raise DamagedIndexError(f"{folder}: {problem}; {AGAIN}")
    stretches = map_file(folder / STRETCHES, np.dtype("<i8")).reshape(-1, 2)
    _check_stretches(stretches, n, folder)
    shard.complete(
        stretches,
        map_file(folder / fmt.FENCES, fmt.KEY),
        made.fence_spacing,
        made.key_bits,
        map_file(folder / fmt.UNIGRAMS, np.dtype("u1")),
    )
    if shard.shift:
        offsets = map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET)
        shard._offsets = lambda: offsets
    if fmt.DOCUMENT_COUNTS in made.files:
        shard.document_counts = map_file(folder / fmt.DOCUMENT_COUNTS, fmt.OFFSET)
        entry = {fmt.DOCUMENT_COUNTS: made.files[fmt.DOCUMENT_COUNTS]}
        shard.entry = replace(shard.entry, files=shard.entry.files | entry)


def _check_stretches(stretches: np.ndarray, n: int, folder: Path) -> None:
    """Raise DamagedIndexError if ranks would lead out of a shard's table."""
    if not stretches.shape[0]:
        return
    first, there = stretches.T
    ends = np.append(first[1:], n)
    sound = first[0] == 0 and (ends >= first).all() and (there >= 0).all()
    if not sound or (there + (ends - first) > n).any():
        raise DamagedIndexError(f"{folder / STRETCHES}: not stretches of {n:,} ranks; {AGAIN}")


def kept_tokenizer(place: Path) -> Tokenizer | None:
    """The tokenizer that an attachment keeps; None without one, or without an attachment.

    Raises DamagedIndexError, FormatError, TokenizerError.
    """
    made = read(place)
    if made is None or made.tokenizer.kind == "none":
        return None
    entry = made.tokenizer
    data = None if entry.sha256 is None else tokenizer_json(place, entry)
    return stored_tokenizer(entry.kind, entry.source, data)


def tokenizer_json(place: Path, entry: fmt.TokenizerEntry) -> bytes:
    """The tokenizer's file of an attachment. Raises DamagedIndexError."""
    path = place / fmt.TOKENIZER
    try:
        data = read_file(path, place, MOST_TOKENIZER)
    except FileNotFoundError:
        raise DamagedIndexError(f"{path}: missing; {AGAIN}") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedIndexError(f"{path}: not the tokenizer it was attached with; {AGAIN}")
    return data


def family(folder: Path, shards: Sequence[Segment]) -> str:
    """What is said of the tokenizer: what the folder's name says, if ids allow it."""
    name = folder.absolute().name.lower()
    some = [shard.tokens[:LOOKED_AT] for shard in shards]
    most = max(int(each[each != shards[0].separator].max(initial=0)) for each in some)
    for family, ids in FAMILIES.items():
        if family in name and most < ids:
            return f"unknown; {family} by the folder's name"
    return "unknown"


def write_info(folder: Path, attached: Attached) -> None:
    """Write `attached.json`, which makes an attachment one."""
    write_synced(folder / INFO, encode(attached))

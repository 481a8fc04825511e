"""`manifest.json`: a `Manifest` in, its bytes out, and back, with every field checked.

Nothing of a manifest is believed: it may be damaged, or somebody's who means harm, with a checksum
that fits. Knows what fields there are and what they may be; knows no other file.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from everygram.errors import DamagedIndexError, FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import LFS_BEGINS, LFS_POINTER
from everygram.storage.fields import SHA256, Fields
from everygram.storage.self_index import key_bits
from everygram.storage.sizes import expected_sizes

# A position takes 5 bytes at most.
MOST_TOKENS = 256**fmt.WIDE_POSITION_BYTES
# Fences further apart than this lead nowhere.
MOST_SPACING = 1 << 32
# Entries of Ψ are signed 64-bit numbers where they are searched.
MOST_KEY_BITS = 63


def encode_manifest(manifest: fmt.Manifest) -> bytes:
    """The exact bytes of `manifest.json`."""
    fields = asdict(manifest)
    return _dump(fields | {"checksum": hashlib.sha256(_dump(fields)).hexdigest()})


def decode_manifest(data: bytes, path: Path | str) -> fmt.Manifest:
    """Read the bytes of `manifest.json`; `path` is the index, for the messages.

    Raises FormatError for something that is no everygram manifest or of another version, and
    DamagedIndexError for one that was changed after it was written, or never was one.
    """
    try:
        if data.startswith(LFS_BEGINS):
            raise ValueError(LFS_POINTER)
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedIndexError(
            f"index '{path}': {fmt.MANIFEST} is not JSON ({error}); restore it or rebuild the index"
        ) from None
    if not isinstance(fields, dict) or "format_version" not in fields or "checksum" not in fields:
        raise FormatError(
            f"index '{path}': {fmt.MANIFEST} is not an everygram manifest: expected an object with "
            "'format_version' and 'checksum'"
        )
    version = fields["format_version"]
    sound = _is_sound(fields, data)
    if type(version) is not int or (version not in fmt.READABLE_VERSIONS and sound):
        readable = ", ".join(str(number) for number in fmt.READABLE_VERSIONS)
        raise FormatError(
            f"index '{path}': format {version!r:.60}, this version reads {readable}; "
            "rebuild it or upgrade everygram"
        )
    if not sound:
        raise DamagedIndexError(
            f"index '{path}': {fmt.MANIFEST} does not match its own checksum: it was changed or "
            "damaged after it was written; restore it or rebuild the index"
        )
    try:
        return _manifest(fields, version)
    except ValueError as error:
        raise DamagedIndexError(
            f"index '{path}': {fmt.MANIFEST}: {error}; its checksum fits, but everygram did not "
            "write it: restore it or rebuild the index"
        ) from None


def _is_sound(fields: dict[str, Any], data: bytes) -> bool:
    """Whether the bytes are those of the fields, and the checksum is theirs."""
    others = {name: value for name, value in fields.items() if name != "checksum"}
    try:
        return (
            data == _dump(fields)
            and hashlib.sha256(_dump(others)).hexdigest() == fields["checksum"]
        )
    except (ValueError, RecursionError):  # a lone surrogate; nested deeper than can be written
        return False


def _manifest(given: dict[str, Any], version: int) -> fmt.Manifest:
    """The manifest of these fields, of a version that is read. Raises ValueError."""
    with Fields(given) as fields:
        fields.text("checksum", SHA256)
        fields.integer("format_version")
        dtype = fields.choice("dtype", fmt.TOKEN_DTYPES)
        separator = fmt.separator_of(dtype)
        fields.integer("separator", separator, separator)
        segments = tuple(segment_entry(each, version, dtype) for each in fields.objects("segments"))
        kind, sample_every = _kind(fields, version)
        _check_together(fields, segments)
        if version < 3:
            next_document = sum(segment.num_documents for segment in segments)
            next_segment = max((_number(segment) for segment in segments), default=0) + 1
        else:
            next_document = fields.integer("next_document")
            next_segment = fields.integer("next_segment")
        for segment in segments:
            if segment.first_document + segment.num_documents > next_document:
                raise fields.refuse("next_document", f"is not above those of {segment.name}")
            if _number(segment) >= next_segment:
                raise fields.refuse("next_segment", f"is not above {segment.name}")
        return fmt.Manifest(
            dtype=dtype,
            separator=separator,
            vocab_size=fields.integer("vocab_size", 0, separator),
            tokenizer=_tokenizer(fields.object("tokenizer")),
            segments=segments,
            build=fields.object("build").rest(),
            document_counts=fields.boolean("document_counts") if version > 4 else True,
            next_document=next_document,
            next_segment=next_segment,
            kind=kind,
            sample_every=sample_every,
            everygram_version=fields.text("everygram_version"),
            format_version=version,
        )


def _check_together(fields: Fields, segments: tuple[fmt.SegmentEntry, ...]) -> None:
    """Raise ValueError unless segments have names of their own, and no more is deleted than is."""
    if len({segment.name for segment in segments}) < len(segments):
        raise fields.refuse("segments", "two have one name")
    for count in ("num_documents", "num_tokens"):
        if sum(segment.sign * getattr(segment, count) for segment in segments) < 0:
            raise fields.refuse("segments", f"{count}: more are deleted than there are")


def _tokenizer(given: Fields) -> fmt.TokenizerEntry:
    with given as fields:
        kind = fields.choice("kind", fmt.TOKENIZER_KINDS)
        source = fields.text("source")
        sha256 = None
        if kind in ("bytes", "none"):
            fields.choice("sha256", [None])
        else:
            sha256 = fields.text("sha256", SHA256)
        return fmt.TokenizerEntry(kind, source, sha256, fields.text("query_prefix"))


def segment_entry(given: Fields, version: int, dtype: str) -> fmt.SegmentEntry:
    """A segment of an index of this version and dtype. Raises ValueError."""
    with given as fields:
        kind, sample_every = _kind(fields, version)
        bits = 8 * fmt.TOKEN_DTYPES[dtype].itemsize
        if kind == fmt.SELF_INDEX_KIND:
            bits = MOST_KEY_BITS
        # (A segment of version 1 keeps one level of fences in later manifests.)
        fanout = 0 if version == 1 else fields.choice("fence_fanout", [0, fmt.FENCE_FANOUT])
        entry = fmt.SegmentEntry(
            name=fields.text("name", fmt.SEGMENT_NAME),
            sign=fields.choice("sign", [1, -1]),
            first_document=fields.integer("first_document"),
            num_documents=fields.integer("num_documents", 1, MOST_TOKENS),
            num_tokens=fields.integer("num_tokens", 0, MOST_TOKENS),
            position_bytes=fields.choice(
                "position_bytes", [fmt.POSITION.itemsize, fmt.WIDE_POSITION_BYTES]
            ),
            fence_spacing=fields.integer("fence_spacing", 1, MOST_SPACING),
            fence_fanout=fanout,
            key_bits=bits if version == 1 else fields.integer("key_bits", 1, bits),
            files=_files(fields.object("files"), kind),
            kind=kind,
            sample_every=sample_every,
        )
        if entry.stream_len > 256**entry.position_bytes:
            raise fields.refuse("num_tokens", f"more than {entry.position_bytes} bytes can number")
        if kind == fmt.SELF_INDEX_KIND:
            _check_self_index(fields, entry)
        for name, size in expected_sizes(entry, dtype):
            if name in entry.files and entry.files[name].bytes != size:
                found = entry.files[name].bytes
                raise fields.refuse("files", f"{name}: {found:,} bytes, its counts give {size:,}")
        unigrams = entry.files[fmt.UNIGRAMS].bytes
        if unigrams == 0 or unigrams % fmt.UNIGRAM_ENTRY_BYTES:
            raise fields.refuse("files", f"{fmt.UNIGRAMS}: {unigrams:,} bytes, not a table of ids")
        return entry


def _kind(fields: Fields, version: int) -> tuple[str, int]:
    """`kind` and `sample_every` of a segment or an index."""
    if version < 6:
        return fmt.SUFFIX_ARRAY_KIND, 0
    kind: str = fields.choice("kind", fmt.KINDS)
    if kind == fmt.SUFFIX_ARRAY_KIND:
        return kind, fields.integer("sample_every", 0, 0)
    return kind, fields.integer("sample_every", 1, fmt.MOST_SAMPLE_EVERY)


def _check_self_index(fields: Fields, entry: fmt.SegmentEntry) -> None:
    """Raise ValueError unless the widths of a self-index are some that one can have."""
    spacing = entry.fence_spacing
    if spacing & (spacing - 1) or spacing > fmt.MOST_PSI_BLOCK:
        raise fields.refuse(
            "fence_spacing",
            f"expected a power of 2 up to {fmt.MOST_PSI_BLOCK} in a self-index, found {spacing:,}",
        )
    if entry.fence_fanout != fmt.FENCE_FANOUT:
        raise fields.refuse("fence_fanout", f"expected {fmt.FENCE_FANOUT} in a self-index")
    if entry.key_bits != (bits := key_bits(entry.stream_len, entry.num_documents)):
        raise fields.refuse("key_bits", f"expected {bits}, the bits of an entry of Ψ")
    # (Readers do not look where a block ends: there must be as many words behind any.)
    words, rest = divmod(entry.files[fmt.PSI].bytes, fmt.KEY.itemsize)
    if rest or words < fmt.PSI_ZEROS:
        raise fields.refuse(
            "files",
            f"{fmt.PSI}: {entry.files[fmt.PSI].bytes:,} bytes, expected words of "
            f"{fmt.KEY.itemsize} bytes, at least {fmt.PSI_ZEROS}",
        )


def _files(given: Fields, kind: str) -> dict[str, fmt.FileEntry]:
    with given as fields:
        optional = [name for name in fmt.OPTIONAL_FILES if name in fields.names()]
        names = sorted((*fmt.FILES_OF_KIND[kind], *fmt.COMMON_FILES, *optional))
        return {name: file_entry(fields.object(name)) for name in names}


def file_entry(given: Fields) -> fmt.FileEntry:
    """Size and SHA-256 of a file. Raises ValueError."""
    with given as fields:
        return fmt.FileEntry(fields.integer("bytes"), fields.text("sha256", SHA256))


def _number(segment: fmt.SegmentEntry) -> int:
    return int(segment.name.removeprefix(fmt.SEGMENT_PREFIX))


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

"""The sizes of a segment's files that follow from its counts, for whoever reads a manifest."""

from collections.abc import Iterator

from everygram.storage import format as fmt


def expected_sizes(segment: fmt.SegmentEntry, dtype: str) -> Iterator[tuple[str, int]]:
    """The segment's files with sizes that follow from its counts, and these sizes in bytes."""
    n = segment.stream_len
    yield fmt.TOKENS, n * fmt.TOKEN_DTYPES[dtype].itemsize
    yield fmt.SUFFIX_ARRAY, n * segment.position_bytes
    if segment.kind == fmt.SELF_INDEX_KIND:
        blocks = -(-n // segment.fence_spacing)
        yield fmt.PSI_BLOCKS, (blocks + -(-blocks // fmt.FENCE_FANOUT)) * fmt.OFFSET.itemsize
        samples = 2 * -(-n // segment.sample_every) + segment.num_documents
        yield fmt.SAMPLES, samples * segment.position_bytes
    keys = -(-n // segment.fence_spacing)
    if segment.fence_fanout:
        keys = fmt.fence_keys(n, segment.fence_spacing)
    yield fmt.FENCES, keys * fmt.KEY.itemsize
    yield fmt.DOCUMENT_OFFSETS, segment.num_documents * fmt.OFFSET.itemsize
    yield fmt.METADATA_OFFSETS, (segment.num_documents + 1) * fmt.OFFSET.itemsize
    yield fmt.DOCUMENT_NUMBERS, segment.num_documents * fmt.OFFSET.itemsize
    yield fmt.DOCUMENT_COUNTS, fmt.document_counts_bytes(n, segment.num_documents)
    blocks = sum(count for _, _, count in checksum_blocks(segment.files))
    yield fmt.CHECKSUMS, blocks * fmt.CHECKSUM.itemsize


def checksum_blocks(files: dict[str, fmt.FileEntry]) -> Iterator[tuple[str, int, int]]:
    """The files in checksums.bin, in its order: name, first checksum, number of checksums."""
    first = 0
    for name in sorted(files.keys() - {fmt.CHECKSUMS}):
        count = -(-files[name].bytes // fmt.CHECKSUM_BLOCK)
        yield name, first, count
        first += count

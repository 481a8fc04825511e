"""`open`: an index in a folder, several as one, in an object store, or on a cluster."""

import os
from collections.abc import Sequence

from everygram import arguments
from everygram.addresses import is_address
from everygram.errors import OptionError
from everygram.index import Index


def open(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    preload: str | Sequence[str] = (),
    verify: bool = False,
    minus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    missing_ok: bool = False,
    tokenizer: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | str | None = None,
    ray: str | None = None,
    actors: int | None = None,
    replicas: int = 1,
    partial: bool = False,
) -> Index:
    """Open an index, which needs nothing but its folder, or several as one.

    Reads the manifest and checks the files' sizes: milliseconds at any size. With `verify`, and of
    indexes of up to 16 MiB in any case, every byte is checked against its checksum first, at about
    a gigabyte a second; any other that was damaged after it was written may answer wrongly.

    What queries read of the files the system keeps in memory while there is room. `preload` reads
    parts into memory of this process's own right away, where nothing drives them out: some of
    "fences" (a tenth of the index; what every search reads), "suffix_array" and "tokens", or
    "all".

    A list of folders is a union: every query is answered as by one index of all their documents,
    which are known by their index (its place in the list) and number. `minus`, an index or a list
    of them, takes documents away: for each of its documents one with the same tokens, of several
    the lowest; then no query sees it. That reads the tokens of `minus`. A document of `minus` that
    is not there is an error; `missing_ok` ignores such ones. A path with `minus` is a union, too.

    A folder of infini-gram's (version 4; of version 6 each folder is an index, so a list of them is
    a union) is read as it is, and so is what `everygram.attach` made for one. `tokenizer` names the
    tokenizer that made its ids, as in `build`: its files do not say. Without one it is asked with
    ids.

    An address, such as s3://bucket/index (see `push`), is read from afar: `cache` is a folder here
    for what was read, which processes may share. A tenth of the index is copied there at once; the
    rest comes in blocks, each compared with its checksum before it is used, and `cache_bytes` of
    them stay (a number or "8GiB", the default), those that were read last. A search waits for two
    or three rounds of reads, and takes a millisecond besides: a process of its own answers, by
    interpreted code. What would need the whole index raises OptionError: `pull` it.

    `ray` asks it on the machines of a Ray cluster, all of which read the folder at the same path:
    the address of the cluster, "auto" for the one on this machine, or "local" for a new one, which
    ends with the index. `actors` processes (default: one for each machine, at most one for each
    segment) share the segments by size; there are `replicas` of each. Answers are the same. One
    that dies is started again, and asked again. If a segment cannot be reached, that is an
    UnreachableSegmentError; with `partial` the index is opened without it, and its
    `missing_segments` says which ones its answers lack.

    Raises FormatError for a folder that is no index of a version this one reads,
    DamagedIndexError for one with files missing, cut off or changed, OptionError or QueryError for
    arguments of a wrong type, OptionError for indexes whose token ids are not the same.
    """
    # (What few need is imported when it is needed.)
    if is_address(path):
        from everygram.index.stored import open_stored

        if minus is not None or missing_ok or tokenizer is not None or ray is not None:
            raise OptionError(
                f"{path}: minus, missing_ok, tokenizer and ray go with folders: pull it"
            )
        return open_stored(path, cache, cache_bytes, preload, verify)
    if cache is not None or cache_bytes is not None:
        raise OptionError("cache: goes with an address such as s3://bucket/index")
    if ray is not None:
        if isinstance(path, list | tuple) or minus is not None or missing_ok:
            raise OptionError("ray: goes with one index, not with a union; compact them into one")
        from everygram.distributed.querying import RayIndex

        path = arguments.path("index", path)
        return RayIndex(
            path,
            ray=ray,
            actors=actors,
            replicas=replicas,
            partial=partial,
            preload=preload,
            verify=verify,
            tokenizer=tokenizer,
        )
    replicas, partial = (
        arguments.natural("replicas", replicas, 1),
        arguments.flag("partial", partial),
    )
    if actors is not None or replicas != 1 or partial:
        raise OptionError("actors, replicas, partial: go with ray")
    if isinstance(path, list | tuple) or minus is not None:
        from everygram.index.union import UnionIndex

        without = () if minus is None else minus
        return UnionIndex(
            path,
            preload=preload,
            verify=verify,
            minus=without,
            missing_ok=missing_ok,
            tokenizer=tokenizer,
        )
    if arguments.flag("missing_ok", missing_ok):
        raise OptionError("missing_ok: goes with minus")
    path = arguments.path("index", path)
    return Index(path, preload=preload, verify=verify, tokenizer=tokenizer)

"""The commands that change an index that is there, or write it out: delete, compact, export."""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

import everygram
from everygram.cli import compiling
from everygram.cli.answering import opened, print_answer
from everygram.cli.keeping import say_least, says_what_is_kept
from everygram.cli.options import (
    PATH,
    content_option,
    examples,
    format_option,
    index_argument,
    json_option,
    kind_options,
    parse_ids,
    parse_numbers,
    raw_option,
    resource_options,
    restart_option,
)
from everygram.cli.show_indexing import (
    build_progress,
    show_compaction,
    show_deletion,
    show_export,
    show_preparation,
    show_upgrade,
)
from everygram.errors import OptionError


@click.command(
    epilog=examples(
        "everygram delete my-index --where source=mailing-list --dry-run",
        'everygram delete my-index --matching "a sentence to forget"',
        "everygram delete my-index --documents 3,17",
        "everygram delete my-index --documents numbers.txt --missing-ok",
    )
)
@index_argument
@click.option(
    "--documents",
    metavar="3,17|FILE|-",
    help="Documents with these numbers, or with the numbers in a file or on standard input (-).",
)
@click.option(
    "--where",
    metavar="FIELD=VALUE",
    help="Documents whose metadata has this value in this field (a.b: field b inside a).",
)
@click.option("--matching", metavar="TEXT", help="Documents that contain this n-gram.")
@click.option("--matching-ids", metavar="1,2,3", help="Documents that contain these token ids.")
@raw_option
@click.option(
    "--missing-ok",
    is_flag=True,
    help="With --documents: ignore documents that were deleted before.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would be deleted, and stop. Needs no permission to write.",
)
@resource_options
@json_option
@says_what_is_kept("index")
def delete(
    index: Path,
    documents: str | None,
    where: str | None,
    matching: str | None,
    matching_ids: str | None,
    raw: bool,
    missing_ok: bool,
    dry_run: bool,
    memory: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Delete documents from an index.

    No query sees them from then on. Their numbers are not used again. 'everygram compact' frees
    their disk space.
    """
    ways = [way for way in (documents, where, matching, matching_ids) if way is not None]
    if len(ways) != 1:
        raise OptionError(
            "expected one of --documents, --where, --matching and --matching-ids, "
            f"found {len(ways) or 'none'}"
        )
    field, equals, value = (where or "").partition("=")
    if where is not None and not (field and equals):
        raise OptionError(f"--where: expected FIELD=VALUE, found {where!r}")
    gc.enable()
    say_least(memory, 0)
    with compiling.announced():
        deletion = everygram.delete(
            index,
            documents=None if documents is None else parse_numbers(documents, "--documents"),
            where=None if where is None else (field, value),
            matching=matching
            if matching_ids is None
            else parse_ids(matching_ids, "--matching-ids"),
            raw=raw,
            missing_ok=missing_ok,
            dry_run=dry_run,
            memory=memory,
            threads=threads,
        )
    print_answer(deletion.as_dict(), show_deletion, as_json)


@click.command(
    epilog=examples(
        "everygram compact my-index",
        "everygram compact my-index --full --memory 4GiB",
        "everygram compact my-index --kind self-index",
        "everygram compact /shared/index --full --ray head-node:6379",
    )
)
@index_argument
@click.option("--full", is_flag=True, help="Merge all segments, and drop every deleted document.")
@kind_options("that of the index", "as it was, or 32")
@resource_options
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="local",
    help="Merge suffix arrays in tasks of the Ray cluster at ADDRESS, 'auto' for the one of this "
    "machine; without ADDRESS, of a new one on this machine. INDEX is then a folder that all its "
    "machines share; --memory and --threads are those of what is done here.",
)
@restart_option
@json_option
@says_what_is_kept("index")
def compact(
    index: Path,
    full: bool,
    kind: str | None,
    sample_every: int | None,
    memory: str | None,
    threads: int | None,
    ray: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Merge segments and drop deleted documents.

    Without --full only where it pays. With another --kind the index has that kind from now on.
    Readers go on meanwhile.
    """
    gc.enable()
    say_least(memory, 0)
    given: dict[str, Any] = {"kind": kind, "sample_every": sample_every, "memory": memory}
    given |= {"full": full, "threads": threads, "restart": restart}
    with build_progress() as progress:
        if ray is None:
            compaction = everygram.compact(index, **given, progress=progress)
        else:
            from everygram import distributed

            compaction = distributed.compact(index, ray=ray, **given, progress=progress)
    print_answer(compaction.as_dict(), show_compaction, as_json)


@click.command(
    epilog=examples(
        "everygram upgrade my-index",
        "everygram upgrade my-index --memory 4GiB --json",
    )
)
@index_argument
@resource_options
@json_option
def upgrade(index: Path, memory: str | None, threads: int | None, as_json: bool) -> None:
    """Bring an index to the current format.

    Segments that have no document counts get them (0.26 bytes per token, and up to 1.5 more on disk
    meanwhile): then 'count --documents' and 'search' need not look at every occurrence.
    Answers stay the same. Readers go on meanwhile, and see the counts once they refresh or reopen.
    After an interruption the same command goes on with the next segment.
    """
    gc.enable()
    say_least(memory, 0)
    with build_progress() as progress:
        upgraded = everygram.upgrade(index, memory=memory, threads=threads, progress=progress)
    print_answer(upgraded.as_dict(), show_upgrade, as_json)


@click.command(
    epilog=examples(
        "everygram prepare my-index",
        "everygram prepare my-index --memory 4GiB --json",
    )
)
@index_argument
@resource_options
@json_option
def prepare(index: Path, memory: str | None, threads: int | None, as_json: bool) -> None:
    """Prepare an index for modified Kneser-Ney smoothing.

    Counts the different tokens before every n-gram, and of the frequent ones how often each
    continuation occurs: half a byte per token, in the folder of the index. It takes less time than
    sorting. The index needs one segment without deleted documents ('everygram compact --full').
    The next change of the index drops what was prepared; the same command makes it again.
    """
    gc.enable()
    say_least(memory, 0)
    with build_progress() as progress:
        prepared = everygram.prepare(index, memory=memory, threads=threads, progress=progress)
    print_answer(prepared.as_dict(), show_preparation, as_json)


@click.command(
    epilog=examples(
        "everygram export my-index --out documents.jsonl.zst",
        "everygram export my-index | gzip > documents.jsonl.gz",
        "everygram export my-index --format infini-gram --out v4_my-index",
    )
)
@index_argument
@format_option
@click.option(
    "--out",
    type=PATH,
    help="A new file (default: standard output), compressed if its name ends in .gz, .zst, .xz or "
    ".bz2; with --format infini-gram, a new folder.",
)
@content_option
@resource_options
@json_option
def export(
    index: Path,
    file_format: str,
    out: Path | None,
    text_field: str | None,
    memory: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write the documents of an index as JSON lines.

    With their metadata, as 'everygram build' reads them. Or, with --format infini-gram, as an index
    that infini-gram's own engine opens; --memory, --threads and --json go with that. Deleted
    documents are left out of both.
    """
    ours = file_format == "jsonl"
    if out is not None and os.path.lexists(out):
        what = "file" if ours else "folder"
        raise OptionError(f"--out: expected a new {what}, found '{out}'; choose another name")
    if not ours:
        if out is None or text_field is not None:
            given = "--text-field" if out is not None else "no --out"
            raise OptionError(f"--format infini-gram: expected --out with a folder, found {given}")
        gc.enable()
        say_least(memory, 0)
        with opened(index) as source, build_progress() as progress:
            made = everygram.export_infini_gram(
                source, out, memory=memory, threads=threads, progress=progress
            )
        print_answer(made.as_dict(), show_export, as_json)
        return
    if memory is not None or threads is not None or as_json:
        raise OptionError("--memory, --threads and --json go with --format infini-gram")
    with opened(index) as source:
        records = everygram.export(source, text_field=text_field)
        if out is not None:
            from everygram.corpus.writing import write_records

            write_records(out, records)
            return
        sys.stdout.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in records)

"""The commands that index a corpus: build, convert, add."""

import gc
import json
import os
import shlex
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

import everygram
from everygram.cli.answering import opened, print_answer
from everygram.cli.keeping import say_least, says_what_is_kept
from everygram.cli.options import (
    PATH,
    PLACE,
    completes,
    corpus_argument,
    corpus_options,
    examples,
    index_argument,
    json_option,
    kind_options,
    parse_fields,
    resource_options,
    restart_option,
)
from everygram.cli.show_indexing import (
    build_progress,
    show_plan,
    show_report,
)
from everygram.progress import BuildReport

out_option = click.option(
    "--out",
    type=PATH,
    shell_complete=completes("dir"),
    required=True,
    help="Folder for the new index.",
)
document_counts_option = click.option(
    "--document-counts/--no-document-counts",
    default=True,
    help="Whether to store document counts (0.26 bytes per token). Without them, to count "
    "documents, every occurrence is looked at.",
)


@click.command(
    epilog=examples(
        "everygram build corpus.jsonl.zst --out my-index --tokenizer gpt2/tokenizer.json",
        "everygram build books/ --out books-index --tokenizer train:16000",
        'everygram build "data/*.parquet" --out p --text-field doc.body --id-field url',
        "everygram build web/ --out web-index --tokenizer t.json --kind self-index",
        "everygram build s3://bucket/corpus/ --out s3-index --dry-run",
        "everygram build train.bin --out ids-index --pretokenized u16 --separator-id 50256",
        "everygram build my_text_document.idx --out m --tokenizer tokenizer.json",
        "everygram build huge.jsonl.zst --out huge-index --tokenizer t.json --memory 4GiB",
        "everygram build big.jsonl --out big-index --tokenizer t.json --parts 16 --memory 4GiB",
        "everygram build web/ --out /shared/index --tokenizer t.json --ray head-node:6379",
        "everygram build s3://bucket/web/ --out s3://bucket/web-index --ray head-node:6379",
        "zcat old.jsonl.Z | everygram build - --out old-index",
    )
)
@corpus_argument
@click.option(
    "--out",
    type=PLACE,
    shell_complete=completes("dir"),
    required=True,
    help="Folder for the new index; with --ray also an address such as s3://bucket/index.",
)
@click.option(
    "--tokenizer",
    metavar="T",
    shell_complete=completes("file"),
    help="bytes, a tokenizer.json, a SentencePiece or tiktoken file, train:VOCAB_SIZE, or a name "
    "on the Hugging Face hub (default: bytes).",
)
@corpus_options
@click.option(
    "--vocab-size",
    type=int,
    metavar="N",
    help="For token ids without a tokenizer: every id is below N (default: as the width allows).",
)
@document_counts_option
@kind_options("suffix-array")
@resource_options
@click.option(
    "--parts",
    type=click.IntRange(1),
    metavar="N",
    help="Divide the corpus into N parts, which become a segment each; files of JSON lines are "
    "divided, others are in one part. --memory and --threads are those of one part.",
)
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="local",
    help="Build the parts as tasks of the Ray cluster at ADDRESS, 'auto' for the one of this "
    "machine; without ADDRESS, of a new one on this machine. --out is then a folder that all its "
    "machines share, or an address.",
)
@restart_option
@click.option("--dry-run", is_flag=True, help="Show what the build would read and need, and stop.")
@json_option
@says_what_is_kept("out")
def build(
    corpus: tuple[str, ...],
    out: Path | str,
    tokenizer: str | None,
    metadata_fields: str | None,
    document_counts: bool,
    kind: str | None,
    sample_every: int | None,
    memory: str | None,
    parts: int | None,
    ray: str | None,
    restart: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Index a corpus.

    First it shows what it will read and need: files, fields, about how many tokens, disk, memory.
    After an interruption the same command continues where it stopped.
    """
    from everygram.building.indexer import build_of
    from everygram.building.plan import plan_of
    from everygram.building.source import open_source

    gc.enable()
    _limit_libraries(options["threads"])
    limits: dict[str, Any] = {"memory": memory, "threads": options.pop("threads"), "parts": parts}
    limits |= {"kind": kind, "sample_every": sample_every, "document_counts": document_counts}
    options["metadata_fields"] = parse_fields(metadata_fields)
    source = open_source(corpus, tokenizer, **options)
    with ExitStack() as stack:
        run = None
        folder: str | os.PathLike[str] = out
        if ray is not None:
            from everygram.distributed.building import tasks

            given = parts, memory, limits["threads"], restart and not dry_run
            tasks_given = stack.enter_context(tasks(source, out, ray, *given))
            run, folder = tasks_given.run, tasks_given.folder
            limits |= tasks_given.limits
        plan = plan_of(source, folder, **limits)
        say_least(memory, source.beside)
        if dry_run:
            print_answer(asdict(plan), lambda _: show_plan(plan, options["text_field"]), as_json)
            return
        # (What is skipped is in the report, in full; what is not read is said before it begins.)
        click.echo(show_plan(replace(plan, skips=()), options["text_field"]), err=True)
        with build_progress() as progress:
            report = build_of(source, folder, **limits, run=run, restart=restart, progress=progress)
            if run is not None:
                report = tasks_given.publish(report)
    _warn(corpus, report, "the index is empty")
    _show_new(out, report, as_json)


@click.command(
    epilog=examples(
        "everygram convert infini-gram-index/ --out my-index",
        "everygram convert v4_pileval_llama/ --out pile --tokenizer llama2/tokenizer.json",
        "everygram convert part-0/ part-1/ --out whole --memory 16GiB",
        "everygram convert my-index --kind self-index --out my-small-index",
    )
)
@click.argument(
    "folders",
    metavar="INDEX...",
    nargs=-1,
    required=True,
    type=PATH,
    shell_complete=completes("dir"),
    help="One index of everygram's, with --kind; or index folders of infini-gram's, of its version "
    "4 or 6, whose documents are numbered in the order of folders and of the shards in them.",
)
@out_option
@click.option(
    "--tokenizer",
    metavar="T",
    shell_complete=completes("file"),
    help="Of infini-gram's: the tokenizer that made the ids, as for 'build': no file of a folder "
    "says which (default: that of 'everygram attach', or none: the index then takes ids alone).",
)
@document_counts_option
@kind_options("suffix-array; for an everygram index, name it")
@resource_options
@restart_option
@json_option
@says_what_is_kept("out")
def convert(
    folders: tuple[Path, ...],
    out: Path,
    tokenizer: str | None,
    document_counts: bool,
    kind: str | None,
    sample_every: int | None,
    memory: str | None,
    threads: int | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Make an index of another kind, or of index folders of infini-gram's.

    Of an everygram index: each segment becomes one of --kind; documents, their numbers, metadata
    and answers stay as they are. Of infini-gram's folders: the index that 'build' would make of the
    same token ids, with the metadata that is there. After an interruption the same command
    continues where it stopped.
    """
    from everygram.building.convert import convert_index, everygram_index, open_folders
    from everygram.building.indexer import build_of
    from everygram.building.plan import plan_of

    gc.enable()
    limits: dict[str, Any] = {"memory": memory, "threads": threads}
    limits |= {"kind": kind, "sample_every": sample_every, "document_counts": document_counts}
    if (index := everygram_index(folders)) is not None:
        say_least(memory, 0)
        with build_progress() as progress:
            report = convert_index(
                index, out, tokenizer, **limits, restart=restart, progress=progress
            )
        _show_new(out, report, as_json)
        return
    source = open_folders(folders, tokenizer)
    plan = plan_of(source, out, **limits)
    say_least(memory, source.beside)
    click.echo(show_plan(plan, ""), err=True)
    with build_progress() as progress:
        report = build_of(source, out, **limits, restart=restart, progress=progress)
    _show_new(out, report, as_json)


@click.command(
    epilog=examples(
        "everygram add my-index new-articles.jsonl.zst",
        "everygram add ids-index more.bin --pretokenized u16 --separator-id 50256",
    )
)
@index_argument
@corpus_argument
@corpus_options
@resource_options
@restart_option
@json_option
@says_what_is_kept("index")
def add(
    index: Path,
    corpus: tuple[str, ...],
    metadata_fields: str | None,
    memory: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Add documents to an index.

    They are encoded with the index's own tokenizer. Running servers notice them by themselves.
    """
    from everygram.building.tokenize import ENCODING

    gc.enable()
    options |= {"metadata_fields": parse_fields(metadata_fields), "memory": memory}
    _limit_libraries(options["threads"])
    if memory is not None:
        with opened(index) as found:
            say_least(memory, 0 if found.info()["tokenizer"] == "none" else ENCODING)
    with build_progress() as progress:
        report = everygram.add(index, corpus, **options, progress=progress)
    _warn(corpus, report, "the index is what it was")
    click.echo(json.dumps(asdict(report), default=str) if as_json else show_report(report))


def _warn(corpus: tuple[str, ...], report: BuildReport, so: str) -> None:
    """Say what is hardly meant: fields that no record has, and a corpus without documents."""
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    if report.num_documents:
        return
    names = ", ".join(corpus[:3]) + (f" and {len(corpus) - 3:,} more" if len(corpus) > 3 else "")
    said = f"warning: no documents were read from {names}: {so}"
    if report.skipped:
        said += f"; {report.skipped:,} skipped, the first: {report.skips[0]}"
    click.echo(said, err=True)


def _show_new(out: Path | str, report: BuildReport, as_json: bool) -> None:
    """Show what made a new index, and what it may be asked."""
    if as_json:
        click.echo(json.dumps(asdict(report), default=str))
        return
    click.echo(show_report(replace(report, passed_over={})))
    if not report.num_tokens:
        return
    if isinstance(out, str):
        click.echo(f"ask it: everygram count {shlex.quote(out)} … --cache FOLDER")
    else:
        click.echo(f"ask it: everygram count {shlex.quote(str(out))} {_first_query(out)}")


def _first_query(index: Path) -> str:
    """What a new index may be asked: words, or, without a tokenizer, ids that it begins with.

    (It is not opened for searches: a first small build does without what these load.)
    """
    from everygram.storage import directory

    manifest = directory.read_manifest(index)
    if manifest.tokenizer.kind != "none":
        return '"some words"'
    first = replace(manifest, segments=manifest.segments[:1])
    (segment,) = directory.open_segments(index, first)
    ids = segment.text(0, min(100, segment.stream_len))
    words = ids[ids != manifest.separator][:3].tolist()
    return f"--ids {','.join(map(str, words or [manifest.separator]))}"


def _limit_libraries(threads: int | None) -> None:
    """Keep tokenizers' own threads to --threads: the libraries read it from the environment."""
    if threads is not None:
        for name in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS"):
            os.environ.setdefault(name, str(threads))

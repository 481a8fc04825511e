"""The commands that make and change indexes: build, add, delete, compact, export."""

import gc
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

import everygram
from everygram.arguments import size
from everygram.cli import compiling
from everygram.cli.answering import opened, print_answer
from everygram.cli.options import (
    PATH,
    completes,
    corpus_argument,
    corpus_options,
    examples,
    index_argument,
    json_option,
    parse_fields,
    parse_ids,
    parse_numbers,
    raw_option,
    resource_options,
    restart_option,
)
from everygram.cli.show import counted
from everygram.cli.show_indexing import (
    build_progress,
    show_compaction,
    show_deletion,
    show_plan,
    show_report,
)
from everygram.errors import OptionError
from everygram.progress import BuildReport

F = TypeVar("F", bound=Callable[..., None])


def _says_what_is_kept(name: str) -> Callable[[F], F]:
    """Have an interrupted command say what is kept; `name`: the parameter with the index's path."""

    def decorate(command: F) -> F:
        @wraps(command)
        def run(**options: Any) -> None:
            path = options[name]
            before = _published(path)
            try:
                command(**options)
            except KeyboardInterrupt:
                click.echo(f"interrupted: {_kept(path, before)}", err=True)
                raise

        return cast(F, run)

    return decorate


def _published(path: Path) -> bytes | None:
    """The manifest of the index at `path`, if there is one."""
    from everygram.storage import format as fmt

    try:
        return (path / fmt.MANIFEST).read_bytes()
    except OSError:
        return None


def _kept(path: Path, before: bytes | None) -> str:
    """What an interrupted change keeps, and what to do. `before`: the manifest at its start."""
    from everygram.storage.build_state import BuildState

    state = BuildState.read(path)
    if _published(path) != before:
        return f"'{path}' is complete already"
    if state is None or state.segment is None:
        unchanged = "nothing is kept" if before is None else f"'{path}' is unchanged"
        return f"{unchanged}; the same command starts over"
    finished = f"{counted(state.segment.num_documents, 'document')} read"
    if state.blocks:
        finished += f", {counted(len(state.blocks), 'block')} sorted"
    if state.merged:
        finished += ", suffixes in order"
    return (
        f"'{path}' keeps what is finished ({finished}); run the same command again to continue, or "
        "with --restart to start over"
    )


@click.command(
    epilog=examples(
        "everygram build corpus.jsonl.zst --out my-index --tokenizer gpt2/tokenizer.json",
        "everygram build books/ --out books-index --tokenizer train:16000",
        'everygram build "data/*.parquet" --out p --text-field doc.body --id-field url',
        "everygram build s3://bucket/corpus/ --out s3-index --dry-run",
        "everygram build train.bin --out ids-index --pretokenized u16 --separator-id 50256",
        "everygram build my_text_document.idx --out m --tokenizer tokenizer.json",
        "everygram build huge.jsonl.zst --out huge-index --tokenizer t.json --memory 4GiB",
        "zcat old.jsonl.Z | everygram build - --out old-index",
    )
)
@corpus_argument
@click.option(
    "--out",
    type=PATH,
    shell_complete=completes("dir"),
    required=True,
    help="Folder for the new index.",
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
@resource_options
@restart_option
@click.option("--dry-run", is_flag=True, help="Show what the build would read and need, and stop.")
@json_option
@_says_what_is_kept("out")
def build(
    corpus: tuple[str, ...],
    out: Path,
    tokenizer: str | None,
    metadata_fields: str | None,
    memory: str | None,
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
    limits = {"memory": memory, "threads": options.pop("threads")}
    _limit_libraries(limits["threads"])
    options["metadata_fields"] = parse_fields(metadata_fields)
    source = open_source(corpus, tokenizer, **options)
    plan = plan_of(source, out, **limits)
    _say_least(memory, source.beside)
    if dry_run:
        print_answer(asdict(plan), lambda _: show_plan(plan, options["text_field"]), as_json)
        return
    # (What is skipped is in the report, in full; what is not read is said once, before it begins.)
    click.echo(show_plan(replace(plan, skips=()), options["text_field"]), err=True)
    with build_progress() as progress:
        report = build_of(source, out, **limits, restart=restart, progress=progress)
    _warn(corpus, report, "the index is empty")
    if as_json:
        click.echo(json.dumps(asdict(report), default=str))
        return
    click.echo(show_report(replace(report, passed_over={})))
    if report.num_tokens:
        click.echo(f"ask it: everygram count {shlex.quote(str(out))} {_first_query(out)}")


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
@_says_what_is_kept("index")
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
            _say_least(memory, 0 if found.info()["tokenizer"] == "none" else ENCODING)
    with build_progress() as progress:
        report = everygram.add(index, corpus, **options, progress=progress)
    _warn(corpus, report, "the index is what it was")
    click.echo(json.dumps(asdict(report), default=str) if as_json else show_report(report))


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
@_says_what_is_kept("index")
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
    _say_least(memory, 0)
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
    )
)
@index_argument
@click.option("--full", is_flag=True, help="Merge all segments, and drop every deleted document.")
@resource_options
@restart_option
@json_option
@_says_what_is_kept("index")
def compact(
    index: Path, full: bool, memory: str | None, threads: int | None, restart: bool, as_json: bool
) -> None:
    """Merge segments and drop deleted documents.

    Without --full only where it pays. Readers go on meanwhile.
    """
    gc.enable()
    _say_least(memory, 0)
    with build_progress() as progress:
        compaction = everygram.compact(
            index,
            full=full,
            memory=memory,
            threads=threads,
            restart=restart,
            progress=progress,
        )
    print_answer(compaction.as_dict(), show_compaction, as_json)


@click.command(
    epilog=examples(
        "everygram export my-index --out documents.jsonl",
        "everygram export my-index | zstd > documents.jsonl.zst",
    )
)
@index_argument
@click.option(
    "--out",
    type=PATH,
    help="A new file (default: standard output).",
)
def export(index: Path, out: Path | None) -> None:
    """Write the documents of an index as JSON lines.

    With their metadata, as 'everygram build' reads them.
    """
    if out is not None and out.exists():
        raise OptionError(f"--out: expected a new file, found '{out}'; choose another name")
    with opened(index) as source:
        lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in everygram.export(source))
        if out is None:
            sys.stdout.writelines(lines)
            return
        try:
            with out.open("x", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
        except BaseException:
            out.unlink(missing_ok=True)
            raise


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


def _first_query(index: Path) -> str:
    """What a new index may be asked: words, or, without a tokenizer, ids that it begins with."""
    with opened(index) as found:
        if found.info()["tokenizer"] != "none":
            return '"some words"'
        ids = next(ids for _, ids, _ in found.engine.documents() if ids.size)
        return "--ids " + ",".join(map(str, ids[:3].tolist()))


def _limit_libraries(threads: int | None) -> None:
    """Keep tokenizers' own threads to --threads: the libraries read it from the environment."""
    if threads is not None:
        for name in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS"):
            os.environ.setdefault(name, str(threads))


def _say_least(memory: str | None, beside: int) -> None:
    """Say when a limit is below the memory that a change takes in any case."""
    from everygram.building.plan import least_memory

    given, least = size("--memory", memory), least_memory(beside)
    if given is not None and given < least:
        click.echo(
            f"--memory {memory} is too little: this takes about {least / 2**20:,.0f} MiB at least, "
            "besides about 100 MiB for Python; it is done with that",
            err=True,
        )

"""The command that finds what a corpus has of benchmarks: contamination."""

import gc
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli.answering import opened, print_answer
from everygram.cli.keeping import signals_exit
from everygram.cli.options import PATH, completes, examples, index_argument
from everygram.cli.reading import without_build
from everygram.cli.show_curation import show_contamination
from everygram.cli.show_indexing import build_progress
from everygram.cli.writing import (
    check_apart,
    check_not_read,
    check_place,
    check_records,
    records,
    write_whole,
)
from everygram.curation.rule import PRESETS
from everygram.errors import CorpusError, OptionError

if TYPE_CHECKING:
    from everygram.corpus.files import File


@click.command(
    epilog=examples(
        "everygram contamination my-index gsm8k.jsonl --fields question,answer",
        "everygram contamination my-index mmlu.parquet --fields question,choices --preset palm",
        "everygram contamination my-index test.csv --normalize --report report.html",
        "everygram contamination my-index test.jsonl --clean clean.jsonl --dirty dirty.jsonl",
        "everygram contamination my-index test.jsonl --drop - |",
        "    everygram delete my-index --documents -",
        "everygram contamination benchmarks --documents corpus.jsonl.zst --clean kept.jsonl",
    )
)
@index_argument
@click.argument(
    "benchmarks",
    metavar="BENCHMARK...",
    nargs=-1,
    required=True,
    shell_complete=completes("file"),
    help="Files of items: .jsonl, .csv, .parquet, … (also compressed), folders, patterns, "
    "addresses, or datasets:NAME; or - for standard input.",
)
@click.option(
    "--documents",
    is_flag=True,
    help="The other way round: INDEX is an index of benchmarks, and the files are documents of a "
    "corpus, which are held against it.",
)
@click.option(
    "--fields",
    metavar="A,B.C",
    help="Fields of a record that have its texts (a.b: field b inside a), each a string or a list "
    "of strings. Each text is looked for by itself (default: text).",
)
@click.option(
    "--preset",
    type=click.Choice([*PRESETS]),
    help="The rule of a paper, from which the options below then differ. gpt3: an n-gram of 13 "
    "words. palm: 70% of 8-grams. llama2: 80% of tokens in matches of more than 10. infini-gram: "
    "80% of 13-grams. 8-gram, 50-token: an n-gram of 8 or 50 tokens.",
)
@click.option(
    "--n", type=click.IntRange(1), metavar="N", help="Tokens (or words) of an n-gram (default: 13)."
)
@click.option(
    "--normalize/--tokens",
    default=None,
    help="Compare words without case, white space and punctuation, or tokens (default: tokens).",
)
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="An item is a hit only if this share of its n-grams is found (default: 0, any).",
)
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="An item is a hit only if this share of its tokens is inside n-grams that are found "
    "(default: 0, any).",
)
@click.option(
    "--min-length",
    type=click.IntRange(1),
    metavar="N",
    help="Leave out items of fewer than N tokens; those of fewer than an n-gram are looked for as "
    "a whole (default: 5).",
)
@click.option(
    "--max-documents",
    type=click.IntRange(1),
    metavar="N",
    help="N-grams in more than N documents mean nothing (default: all mean something).",
)
@click.option(
    "--skips",
    type=click.IntRange(0),
    metavar="N",
    help="N tokens of a match may differ, but not its first 10, nor its last (default: 0; of "
    "--preset llama2: 4).",
)
@click.option(
    "--examples",
    "num_examples",
    type=click.IntRange(0),
    metavar="N",
    default=3,
    help="Show N documents of each item's longest match.",
)
@click.option(
    "--context",
    type=click.IntRange(0),
    metavar="N",
    default=20,
    help="Show N tokens on each side of it.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="Write a JSON line per item, compressed if the name ends in .gz, .zst, .xz or .bz2.",
)
@click.option(
    "--clean",
    type=PATH,
    metavar="FILE",
    help="Write the records that are no hits, as JSON lines, too.",
)
@click.option(
    "--dirty",
    type=PATH,
    metavar="FILE",
    help="Write the records that are hits, as JSON lines, too.",
)
@click.option(
    "--drop",
    type=PATH,
    metavar="FILE",
    help="Write the numbers of the corpus's documents that have an n-gram of a hit, as 'everygram "
    "delete --documents' takes them; - prints them, and nothing else.",
)
@click.option("--report", type=PATH, metavar="PAGE", help="Write a report, one page of HTML.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def contamination(
    index: Path,
    benchmarks: tuple[str, ...],
    documents: bool,
    fields: str | None,
    num_examples: int,
    context: int,
    out: Path | None,
    clean: Path | None,
    dirty: Path | None,
    drop: Path | None,
    report: Path | None,
    as_json: bool,
    **rule: Any,
) -> None:
    """Find which items of benchmarks a corpus has, and how much of each.

    For each item: the share of its tokens inside n-grams that the corpus has, its longest match,
    how often and where that occurs. By tokens, or by words without case, white space and
    punctuation. All numbers are exact.
    """
    import everygram

    printed = drop == Path("-")
    if printed and as_json:
        raise click.UsageError("--drop - prints numbers alone: expected it without --json")
    files = {"--out": out, "--clean": clean, "--dirty": dirty, "--drop": drop, "--report": report}
    _check_files(files)
    for option, path in files.items():
        if path is not None and option not in ("--drop", "--report"):
            check_records(option, path)
    if report is not None:
        check_place("--report", report, (".html", ".htm"), ".html")
    check_apart(files)
    if drop is not None and documents:
        raise OptionError("--drop: goes with an index of the corpus; with --documents, use --clean")
    gc.enable()
    with signals_exit(), ExitStack() as stack:
        kept = None if clean is None else stack.enter_context(records(clean))
        left = None if dirty is None else stack.enter_context(records(dirty))

        def write(record: Any, hit: bool) -> None:
            file = left if hit else kept
            if file is not None:
                file.write(_line(record))

        try:
            check_not_read(files, (file.name for name in benchmarks for file in _files(name)))
            with opened(index) as asked, build_progress() as progress:
                found = everygram.contamination(
                    asked,
                    benchmarks,
                    fields=None if fields is None else [each.strip() for each in fields.split(",")],
                    documents=documents,
                    examples=num_examples,
                    context=context,
                    drop=drop is not None,
                    each=None if kept is left is None else write,
                    progress=progress,
                    **rule,
                )
        except CorpusError as error:
            raise CorpusError(without_build(str(error))) from None
    if out is not None:
        with records(out) as file:
            for item in found.items:
                file.write(_line(item.as_dict()))
    if report is not None:
        write_whole(report, found.to_html().encode())
    if drop is not None and found.drop is not None:
        numbers = "".join(f"{number}\n" for number in found.drop.tolist())
        if printed:
            click.echo(numbers, nl=False)
            return
        write_whole(drop, numbers.encode())
    print_answer(found.as_dict(), show_contamination, as_json)


def _check_files(given: dict[str, Path | None]) -> None:
    """Raise OptionError for what cannot be written."""
    for option, path in given.items():
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir():
            why = "a folder" if path.is_dir() else "in a folder that is not there"
            raise OptionError(f"{option}: expected a file to write, found '{path}', {why}")


def _files(name: str) -> "list[File]":
    """The files here that are read by a name."""
    # (Imported here: `--help` needs none of it.)
    from everygram.addresses import is_address
    from everygram.corpus.files import STDIN, list_files

    if name == STDIN or is_address(name) or name.startswith("datasets:"):
        return []
    return list_files(name)


def _line(record: Any) -> bytes:
    # (A lone surrogate, which other fields of a record may have, is escaped, as it was.)
    text = json.dumps(record, ensure_ascii=False, default=_listed)
    return text.encode(errors="backslashreplace") + b"\n"


def _listed(value: Any) -> Any:
    """Token ids of a record as a list."""
    return value.tolist()

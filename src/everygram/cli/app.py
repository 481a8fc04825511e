"""The command line: `everygram build`, `info`, `verify`, the queries, `serve`, `warmup`.

Exit codes: 0 done; 1 it could not be done (a damaged index, a bad corpus, a failed query among
many); 2 it was asked wrongly; 130 it was interrupted. Heavy imports wait until a command needs
them. What a command takes and only hands on is not listed again in its function.
"""

import contextlib
import gc
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

import everygram
from everygram.cli.options import (
    answer_options,
    continuation_options,
    corpus_argument,
    corpus_options,
    distribution_options,
    examples,
    index_argument,
    json_option,
    query_arguments,
    raw_option,
    resource_options,
    restart_option,
    text_arguments,
)
from everygram.errors import EverygramError, MissingExtraError, OptionError, QueryError

if TYPE_CHECKING:
    from everygram.index import Index, Query

# A single query of up to so many bytes, about no later occurrence than this, is answered by
# kernels that are interpreted, in milliseconds: numba and their code are loaded in half a second.
FEW_BYTES, FEW_OCCURRENCES = 256, 1_000
# Lines of standard input that are searched together.
GROUP = 1_000
# Distributions that are held at once: one can be as long as the vocabulary.
DISTRIBUTIONS = 64

# Whether this process is the command line's own.
alone = False


def run() -> None:
    """`main` as a program of its own, which starts and ends as quickly as it can.

    Of the time that one query takes from a shell most is Python's: looking for garbage among what
    imports make, and at the end letting go, piece by piece, of what the system takes back at once.
    """
    gc.disable()
    global alone
    alone = True
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads on
            stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))


def main() -> None:
    """Run the command line; errors go to standard error, as one message."""
    # A terminal that cannot show a character, or bytes on standard input that are no text, must
    # not end in a traceback: the one is escaped, the other refused as a query.
    for stream, errors in ((sys.stdout, "backslashreplace"), (sys.stdin, "surrogateescape")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        app()
    except EverygramError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, (QueryError, OptionError)) else 1)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


class Commands(click.Group):
    """The commands, and how they end early."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order they have here."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. (click would call what ends it an error.)"""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)  # as shells say
        except BrokenPipeError:  # the reader of our output left: nobody to tell
            sys.stdout = None
            sys.exit(0)


@click.group(cls=Commands, context_settings={"show_default": True, "max_content_width": 100})
@click.version_option(
    package_name="everygram", message="everygram %(version)s", help="Show the version."
)
def app() -> None:
    """Exact n-gram and ∞-gram queries over a tokenized corpus."""


@app.command(
    epilog=examples(
        "everygram build corpus.jsonl.zst --out my-index --tokenizer gpt2/tokenizer.json",
        "everygram build books/ --out books-index --tokenizer train:16000",
        'everygram build "data/*.parquet" --out p --text-field doc.body --id-field url',
        "everygram build s3://bucket/corpus/ --out s3-index --dry-run",
        "everygram build train.bin --out ids-index --pretokenized u16 --separator-id 50256",
        "everygram build my_text_document.idx --out m --tokenizer tokenizer.json",
        "everygram build huge.jsonl.zst --out huge-index --tokenizer t.json --memory 4GiB",
    )
)
@corpus_argument
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to make the index in."
)
@click.option(
    "--tokenizer",
    metavar="T",
    help="bytes (the default), a tokenizer.json, a SentencePiece or tiktoken file, "
    "train:VOCAB, or a name on the hub.",
)
@corpus_options
@click.option(
    "--vocab-size",
    type=int,
    metavar="N",
    help="With token ids and no tokenizer: they are below this.",
)
@resource_options
@restart_option
@click.option("--dry-run", is_flag=True, help="Say what would be read and needed, and stop.")
@json_option
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
    """Index a corpus. A build that is interrupted goes on where it was when run again.

    First it says what it understood: files, fields, about how many tokens, disk and memory.
    """
    from everygram.building.indexer import build_of
    from everygram.building.plan import plan_of
    from everygram.building.source import open_source
    from everygram.cli.show import build_progress, show_plan, show_report

    gc.enable()
    resources = {"memory": _parse_size(memory), "threads": options.pop("threads")}
    options |= {"metadata_fields": _fields(metadata_fields)}
    source = open_source(corpus, tokenizer, **options)
    understood = plan_of(source, out, **resources)
    if dry_run:
        shown = asdict(understood)
        click.echo(json.dumps(shown) if as_json else show_plan(understood, options["text_field"]))
        return
    click.echo(show_plan(understood, options["text_field"]), err=True)
    with build_progress() as report:
        made = build_of(source, out, **resources, restart=restart, progress=report)
    if as_json:
        click.echo(json.dumps(asdict(made), default=str))
        return
    click.echo(show_report(made))
    click.echo(f'ask it: everygram count {out} "some words"')


@app.command(
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
def add(
    index: Path,
    corpus: tuple[str, ...],
    metadata_fields: str | None,
    memory: str | None,
    **options: Any,
) -> None:
    """Add documents to an index. With its own tokenizer; servers see them by themselves."""
    from everygram.building import indexer
    from everygram.cli.show import build_progress, show_report

    gc.enable()
    options |= {"metadata_fields": _fields(metadata_fields), "memory": _parse_size(memory)}
    with build_progress() as report:
        made = indexer.add(index, corpus, **options, progress=report)
    click.echo(show_report(made))


@app.command(
    epilog=examples(
        "everygram delete my-index --where source=mailing-list --dry-run",
        'everygram delete my-index --matching "a sentence to forget"',
    )
)
@index_argument
@click.option("--documents", metavar="3,17", help="These documents, by number.")
@click.option(
    "--where", metavar="FIELD=VALUE", help="Those whose metadata has this field (a.b: inside a)."
)
@click.option("--matching", metavar="N-GRAM", help="Those that contain this text.")
@click.option("--matching-ids", metavar="1,2,3", help="Those that contain these token ids.")
@raw_option
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@resource_options
@json_option
def delete(
    index: Path,
    documents: str | None,
    where: str | None,
    matching: str | None,
    matching_ids: str | None,
    raw: bool,
    dry_run: bool,
    memory: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Delete documents: no query sees them any more. Numbers are never given again."""
    from everygram.building import deletion as changes
    from everygram.cli.show import show_deletion

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
    found = changes.delete(
        index,
        documents=None if documents is None else _parse_ids(documents, "--documents"),
        where=None if where is None else (field, value),
        matching=matching if matching_ids is None else _parse_ids(matching_ids, "--matching-ids"),
        raw=raw,
        dry_run=dry_run,
        memory=_parse_size(memory),
        threads=threads,
    )
    _print(found.as_dict(), show_deletion, as_json)


@app.command(
    epilog=examples(
        "everygram compact my-index",
        "everygram compact my-index --full --memory 4GiB",
    )
)
@index_argument
@click.option("--full", is_flag=True, help="Merge all, and drop every deleted document.")
@resource_options
@restart_option
@json_option
def compact(
    index: Path, full: bool, memory: str | None, threads: int | None, restart: bool, as_json: bool
) -> None:
    """Merge segments where that pays. Without what was deleted; readers go on meanwhile."""
    from everygram.building import compaction
    from everygram.cli.show import build_progress, show_compaction

    gc.enable()
    with build_progress() as report:
        done = compaction.compact(
            index,
            full=full,
            memory=_parse_size(memory),
            threads=threads,
            restart=restart,
            progress=report,
        )
    _print(done.as_dict(), show_compaction, as_json)


@app.command(epilog=examples("everygram export my-index --out documents.jsonl"))
@index_argument
@click.option(
    "--out", type=click.Path(path_type=Path), help="A new file; standard output unless given."
)
def export(index: Path, out: Path | None) -> None:
    """Write the documents back as JSON lines. Metadata is in them: an index is no trap."""
    from everygram.building.convert import export as export_all

    if out is not None and out.exists():
        raise OptionError(f"--out: '{out}' is there already; choose a new file")
    with _opened(index) as opened:
        lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in export_all(opened))
        if out is None:
            sys.stdout.writelines(lines)
            return
        try:
            with out.open("x", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
        except BaseException:
            out.unlink(missing_ok=True)
            raise


@app.command(epilog=examples("everygram info my-index"))
@index_argument
@json_option
def info(index: Path, as_json: bool) -> None:
    """Show what an index is. Its counts, widths, tokenizer and versions."""
    from everygram.cli.show import show_info

    _interpret()
    with everygram.open(index) as opened:
        _print(opened.info(), show_info, as_json)


@app.command(epilog=examples("everygram verify my-index"))
@index_argument
@click.option("--quick", is_flag=True, help="The manifest and the files' sizes only.")
@json_option
def verify(index: Path, quick: bool, as_json: bool) -> None:
    """Check an index in full: checksums, order, offsets. Exit code 1 if anything is wrong."""
    if quick:
        _interpret()
    from everygram.cli.show import build_progress
    from everygram.progress import Clock
    from everygram.storage.verify import verify as verify_all

    if quick:
        problems = verify_all(index, lambda done, total: None, quick)
    else:
        with build_progress() as report:
            clock = Clock(report)
            clock.enter("check")

            def progress(done: int, total: int) -> None:
                clock.report(done, total)
                if done == total:
                    clock.enter("order")

            problems = verify_all(index, progress)
    answer = {"path": str(index), "sound": not problems, "problems": problems}
    _print(answer, lambda _: "\n".join(problems) or f"{index}: sound", as_json)
    sys.exit(1 if problems else 0)


@app.command(
    epilog=examples(
        'everygram count my-index "natural language processing"',
        "everygram count my-index --ids 11802,3303,7587 --json",
        "everygram count my-index - < queries.txt > answers.jsonl",
    )
)
@query_arguments
@answer_options
def count(index: Path, query: str | None, ids: str | None, raw: bool, as_json: bool) -> None:
    """Count the occurrences of an n-gram, of any length."""
    from everygram.cli.show import show_count

    def answers(opened: "Index", queries: list[Any]) -> list[dict[str, Any]]:
        counts = opened.count_batch(queries).tolist()
        return [
            everygram.Count.of(number, opened.reading, asked).as_dict()
            for number, asked in zip(counts, queries, strict=True)
        ]

    _answer(
        index,
        query,
        ids,
        as_json,
        show_count,
        lambda i, q: i.encode(q, raw=raw),
        answers,
        few_steps=True,
    )


@app.command(epilog=examples('everygram prob my-index "natural language processing"'))
@query_arguments
@continuation_options
@answer_options
def prob(**asked: Any) -> None:
    """The n-gram probability of a token after a prompt.

    The token is QUERY's last, after what precedes it, or --continuation, after all of QUERY.
    """
    _answer_probs("prob_batch", **asked)


@app.command(epilog=examples('everygram ntd my-index "natural language" --top 5'))
@query_arguments
@distribution_options
@answer_options
def ntd(**asked: Any) -> None:
    """The next-token distribution after a prompt. Exact, unless --max-support is given."""
    _answer_distributions("ntd_batch", **asked)


@app.command(
    epilog=examples('everygram infgram-prob my-index "a sentence of any length and its last word"')
)
@query_arguments
@continuation_options
@answer_options
def infgram_prob(**asked: Any) -> None:
    """The ∞-gram probability of a token after a prompt.

    As prob, after the longest suffix of the prompt that occurs in the corpus.
    """
    _answer_probs("infgram_prob_batch", **asked)


@app.command(epilog=examples('everygram infgram-ntd my-index "a prompt of any length"'))
@query_arguments
@distribution_options
@answer_options
def infgram_ntd(**asked: Any) -> None:
    """The ∞-gram distribution after a prompt.

    As ntd, after the longest suffix of the prompt that occurs in the corpus.
    """
    _answer_distributions("infgram_ntd_batch", **asked)


@app.command(
    epilog=examples(
        'everygram score my-index "a text of any length"',
        'everygram score my-index "a text of any length" --order 5 --json',
    )
)
@text_arguments
@click.option(
    "--order", type=click.IntRange(1), metavar="N", help="By the N-gram model; ∞-gram unless given."
)
@answer_options
def score(
    index: Path, text: str | None, ids: str | None, order: int | None, raw: bool, as_json: bool
) -> None:
    """The probability of every token of a text. After those before it, ∞-gram or --order N."""
    from everygram.cli.show import show_scores

    _answer(
        index,
        text,
        ids,
        as_json,
        show_scores,
        lambda i, q: i.score(q, order=order, raw=raw).as_dict(),
    )


@app.command(
    epilog=examples(
        'everygram longest-matches my-index "a text that may be in the corpus"',
        "everygram longest-matches my-index - < test-set.txt > matches.jsonl",
    )
)
@text_arguments
@answer_options
def longest_matches(
    index: Path, text: str | None, ids: str | None, raw: bool, as_json: bool
) -> None:
    """The longest match at every token of a text. And how often each occurs."""
    from everygram.cli.show import show_longest_matches

    _answer(
        index,
        text,
        ids,
        as_json,
        show_longest_matches,
        lambda i, q: i.longest_matches(q, raw=raw).as_dict(),
    )


@app.command(
    epilog=examples(
        'everygram find my-index "natural language" --limit 3',
        'everygram find my-index "natural language" --sample 100 --seed 7 --json',
    )
)
@query_arguments
@click.option(
    "--offset", type=click.IntRange(0), metavar="N", default=0, help="Skip this many occurrences."
)
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", default=10, help="List this many occurrences."
)
@click.option(
    "--sample",
    type=click.IntRange(0),
    metavar="N",
    help="List this many drawn at random, none twice.",
)
@click.option("--seed", type=int, metavar="N", default=0, help="Of the random draw.")
@answer_options
def find(
    index: Path,
    query: str | None,
    ids: str | None,
    offset: int,
    limit: int,
    sample: int | None,
    seed: int,
    raw: bool,
    as_json: bool,
) -> None:
    """Where an n-gram occurs: documents, offsets, positions."""
    from everygram.cli.show import show_matches

    _answer(
        index,
        query,
        ids,
        as_json,
        show_matches,
        lambda i, q: i.find(
            q, offset=offset, limit=limit, sample=sample, seed=seed, raw=raw
        ).as_dict(),
        few_steps=sample is None and offset + limit <= FEW_OCCURRENCES,
    )


@app.command(
    epilog=examples(
        "everygram document my-index --number 17",
        'everygram document my-index "natural language" --occurrence 2 --context 30',
    )
)
@query_arguments
@click.option(
    "--number",
    type=click.IntRange(0),
    metavar="N",
    help="The document's number, in place of a query.",
)
@click.option(
    "--occurrence",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Which occurrence of the query, as find lists them.",
)
@click.option(
    "--context",
    type=click.IntRange(0),
    metavar="N",
    help="Tokens on each side of the match; with --number, the first.",
)
@answer_options
def document(
    index: Path,
    query: str | None,
    ids: str | None,
    number: int | None,
    occurrence: int,
    context: int | None,
    raw: bool,
    as_json: bool,
) -> None:
    """A document, by its number or around an occurrence."""
    from everygram.cli.show import show_document

    if number is not None:
        if query is not None or ids is not None:
            raise click.UsageError("expected a query or --number, not both")
        _interpret()
        with _opened(index) as opened:
            _print(opened.document(number, context=context).as_dict(), show_document, as_json)
        return
    _answer(
        index,
        query,
        ids,
        as_json,
        show_document,
        lambda i, q: i.document(query=q, occurrence=occurrence, context=context, raw=raw).as_dict(),
        few_steps=occurrence <= FEW_OCCURRENCES,
    )


@app.command(
    epilog=examples(
        "everygram serve my-index other-index --port 8000",
        "everygram serve my-index --preload fences --preload tokens",
    )
)
@click.argument(
    "indexes",
    metavar="INDEX...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    help="The folders.",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8000,
    help="The port to listen on.",
)
@click.option(
    "--preload",
    multiple=True,
    metavar="PART",
    help="Read this part of the indexes into memory first: fences, suffix_array, tokens "
    "or all; may be repeated.",
)
@click.option(
    "--verify", is_flag=True, help="Check every byte against its checksum before serving."
)
def serve(
    indexes: tuple[Path, ...], host: str, port: int, preload: tuple[str, ...], verify: bool
) -> None:
    """Serve indexes over HTTP. A REST interface; its manual is at /docs."""
    try:
        from everygram.server.app import serve as serve_all
    except ImportError as error:
        raise MissingExtraError(
            f"'everygram serve' needs {error.name or 'the server extra'}: "
            "pip install 'everygram[server]'"
        ) from None
    _announce_compilation()
    gc.enable()
    try:
        serve_all(indexes, host, port, preload, verify)
    except SystemExit as left:  # uvicorn's own codes, for an address that is taken and the like
        sys.exit(1 if left.code else 0)


@app.command(
    epilog=examples(
        "everygram warmup",
        "everygram warmup my-index",
    )
)
@click.argument(
    "indexes",
    metavar="[INDEX...]",
    nargs=-1,
    type=click.Path(path_type=Path),
    help="Compile what these need, and read them into memory.",
)
def warmup(indexes: tuple[Path, ...]) -> None:
    """Compile everything, now and for this machine. No build or query then waits for it.

    What is compiled stays on disk until everygram or numba is upgraded. Indexes that are named are
    read into the system's memory, in huge pages where it has them, for all processes alike.
    """
    import tempfile

    from everygram.storage import directory

    compiled = _announce_compilation()

    def warm(index: Path, width: int | None = None) -> None:
        before, start = compiled(), time.monotonic()
        what, read = f"{index}", ""
        if width is None:
            size = directory.read_in(index)
            read = f", {size / 1e6:,.1f} MB in memory" if size else ", too large for the memory"
        else:
            what = f"tokens of {8 * width} bits"
            _build_for_warmup(index, width)
        with everygram.open(index) as opened:
            opened.engine.warm_up()
        number, seconds = compiled() - before, time.monotonic() - start
        done = f"{number} functions compiled" if number else "nothing left to compile"
        click.echo(f"{what}: {done}{read}, {seconds:.1f} s")

    for index in indexes:
        warm(index)
    if not indexes:
        with tempfile.TemporaryDirectory(prefix="everygram-") as folder:
            for width in (1, 2, 4):
                warm(Path(folder) / str(width), width)


def _build_for_warmup(out: Path, width: int) -> None:
    """Build an index that goes through all that a build can."""
    import random

    corpus = out.with_suffix(".bin")
    # A document longer than the smallest block, in no memory: sorted in pieces, and merged.
    ids = random.Random(0).choices(range(200), k=100_000)
    corpus.write_bytes(b"".join(token_id.to_bytes(width, "little") for token_id in ids))
    everygram.build(
        corpus,
        out,
        pretokenized=f"u{8 * width}",
        separator_id=0,
        vocab_size=256**width - 1,
        memory=1,
    )


def _answer_probs(
    method: str,
    index: Path,
    query: str | None,
    ids: str | None,
    continuation: str | None,
    continuation_id: int | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Answer `prob` or `infgram-prob`, by that method of the index."""
    from everygram.cli.show import show_prob

    if continuation is not None and continuation_id is not None:
        raise click.UsageError("expected --continuation or --continuation-id, not both")
    token = continuation if continuation_id is None else continuation_id
    _answer(
        index,
        query,
        ids,
        as_json,
        show_prob,
        lambda i, q: i.encode_prob(q, token, raw=raw),
        lambda i, queries: [prob.as_dict() for prob in getattr(i, method)(queries)],
        few_steps=True,
    )


def _answer_distributions(
    method: str,
    index: Path,
    query: str | None,
    ids: str | None,
    top: int,
    every: bool,
    max_support: int | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Answer `ntd` or `infgram-ntd`, by that method of the index."""
    from everygram.cli.show import show_distribution

    limit = None if every else top
    _answer(
        index,
        query,
        ids,
        as_json,
        show_distribution,
        lambda i, q: i.encode(q, raw=raw),
        lambda i, prompts: [
            distribution.as_dict(limit)
            for start in range(0, len(prompts), DISTRIBUTIONS)
            for distribution in getattr(i, method)(
                prompts[start : start + DISTRIBUTIONS], max_support=max_support
            )
        ],
    )


def _answer(
    path: Path,
    query: str | None,
    ids: str | None,
    as_json: bool,
    show: Callable[[dict[str, Any]], str],
    take: Callable[["Index", "Query"], Any],
    answers: Callable[["Index", list[Any]], list[dict[str, Any]]] | None = None,
    few_steps: bool = False,
) -> None:
    """Answer one query, or each line of standard input, and print what comes back.

    `take` refuses a query, or makes it what `answers` answers many of; without `answers` it makes
    the answer. With `few_steps` one query takes so few that it need not be compiled code.
    """
    if (query is None) == (ids is None):
        raise click.UsageError("expected a query or --ids, one of the two")

    def answer_all(index: "Index", lines: list[str]) -> Iterator[dict[str, Any]]:
        """An answer or an error for each line."""
        taken: list[Any] = []
        errors: list[str | None] = []
        for line in lines:
            try:
                taken.append(take(index, line if ids is None else _parse_ids(line)))
                errors.append(None)
            except EverygramError as error:
                errors.append(str(error))
        found = iter(taken if answers is None else answers(index, taken))
        return (next(found) if error is None else {"error": error} for error in errors)

    asked = query or ids or ""
    if few_steps and asked != "-" and len(os.fsencode(asked)) <= FEW_BYTES:
        _interpret()
    with _opened(path) as index:
        if query != "-" and ids != "-":
            taken = take(index, _parse_ids(ids) if query is None else query)
            _print(taken if answers is None else answers(index, [taken])[0], show, as_json)
            return
        gc.enable()
        failed = False
        for lines in _lines(1 if answers is None else GROUP):
            group = list(answer_all(index, lines))
            failed = failed or any("error" in answer for answer in group)
            click.echo("\n".join(json.dumps(answer, ensure_ascii=False) for answer in group))
        sys.exit(1 if failed else 0)


def _lines(most: int) -> Iterator[list[str]]:
    """Lines of standard input, up to so many at a time.

    Those that are there: a program at the other end of a pipe gets its answer before it asks on.
    """
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    begun: list[bytes] = []
    while chunk := stdin.read1(1 << 20):
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun = []
        begun.append(rest)
        for start in range(0, len(lines), most):
            yield [_decoded(line) for line in lines[start : start + most]]
    if any(begun):
        yield [_decoded(b"".join(begun))]


def _decoded(line: bytes) -> str:
    # Bytes that are no text become lone surrogates, which are refused as a query.
    return line.removesuffix(b"\r").decode(sys.stdin.encoding, "surrogateescape")


def _interpret() -> None:
    """Have kernels interpreted where this process was started for the command at hand."""
    if alone:
        os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["Index"]:
    _announce_compilation()
    with everygram.open(path) as index:
        yield index


def _parse_ids(text: str | None, option: str = "--ids") -> list[int]:
    """Ids out of `1,2,3`, `1 2 3` or `[1, 2, 3]`; nothing is no ids."""
    parts = re.split(r"[,\s]+", (text or "").strip().removeprefix("[").removesuffix("]").strip())
    if not all(re.fullmatch("-?[0-9]+|", part) for part in parts):
        raise QueryError(f"{option}: expected token ids like 1,2,3, found {text!r}")
    return [int(part) for part in parts if part]


def _fields(names: str | None) -> list[str] | None:
    """The fields of a list with commas; none of an empty one."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _parse_size(text: str | None) -> int | None:
    """Bytes out of `4GiB`, `512M`, `2e9`; none of nothing."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None:
        raise OptionError(f"--memory: expected a size like 4GiB or 500MB, found {text!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def _print(answer: dict[str, Any], show: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else show(answer))


def _announce_compilation() -> Callable[[], int]:
    """Say so on standard error when numba has to compile: seconds, once after installation.

    Returns what tells how many functions it has compiled since.
    """
    from everygram.kernels import INTERPRETED

    if INTERPRETED:
        return lambda: 0
    from numba.core import event

    class Announcer(event.Listener):
        compiled = 0

        def on_start(self, _: object) -> None:
            if not self.compiled:
                click.echo("compiling for this machine, once after installation…", err=True)
            self.compiled += 1

        def on_end(self, _: object) -> None: ...

    announcer = Announcer()
    event.register("numba:compile", announcer)  # type: ignore[no-untyped-call]
    return lambda: announcer.compiled

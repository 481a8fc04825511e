"""The command line: `everygram build`, `info`, `verify`, the queries, `serve`.

Exit codes: 0 done; 1 it could not be done (a damaged index, a bad corpus, a failed query among
many); 2 it was asked wrongly. Heavy imports wait until a command needs them.
"""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from everygram.errors import EverygramError, MissingExtraError, OptionError, QueryError

if TYPE_CHECKING:
    from everygram.api import Index

app = typer.Typer(
    name="everygram",
    help="Exact n-gram and ∞-gram queries over a tokenized corpus.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="The index's folder.")]
QueryArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[QUERY]", help="Text, or - for one query a line on standard input, JSON lines out."
    ),
]
IdsOption = Annotated[
    str | None,
    typer.Option(metavar="1,2,3", help="Token ids in place of text; - for one list a line."),
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="Encode the text as it is, without the query prefix.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, one line a query.")]
ContinuationOption = Annotated[
    str | None,
    typer.Option(help="The token whose probability is asked; without it, QUERY's last."),
]
ContinuationIdOption = Annotated[
    int | None, typer.Option(metavar="N", help="The same as a token id.")
]
TopOption = Annotated[int, typer.Option(min=0, help="Show this many of the tokens that follow.")]
AllOption = Annotated[bool, typer.Option("--all", help="Show every token that follows.")]


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
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, (QueryError, OptionError)) else 1)
    except BrokenPipeError:  # the reader of our output left: nobody to tell
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"everygram {version('everygram')}")
        raise typer.Exit


@app.callback()
def everygram(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Exact n-gram and ∞-gram queries over a tokenized corpus."""


@app.command()
def build(
    corpus: Annotated[
        list[Path],
        typer.Argument(help="Files (.jsonl, .jsonl.gz, .jsonl.zst, .txt) and directories."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to make the index in.")],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="bytes (the default), a tokenizer.json, train:VOCAB, or a name on the hub.",
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="The JSON field that is the text.")] = "text",
    on_error: Annotated[
        Literal["raise", "skip"],
        typer.Option(help="What to do about a document that cannot be read: stop, or leave out."),
    ] = "raise",
    pretokenized: Annotated[
        Literal["u8", "u16", "u32"] | None,
        typer.Option(help="The corpus is raw little-endian token ids of this width."),
    ] = None,
    separator_id: Annotated[
        int | None,
        typer.Option(help="With --pretokenized: the id that marks documents (GPT-2: 50256)."),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(help="With --pretokenized and no tokenizer: ids are below this."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="4GiB", help="To hold at most; half of what is free unless given."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="To use at most; one a processor unless given.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an interrupted build finished.")
    ] = False,
) -> None:
    """Index a corpus. A build that is interrupted goes on where it was when run again.

    [dim]everygram build corpus.jsonl.zst --out my-index --tokenizer gpt2/tokenizer.json[/dim]

    [dim]everygram build books/ --out books-index --tokenizer train:16000[/dim]

    [dim]everygram build train.bin --out ids-index --pretokenized u16 --separator-id 50256[/dim]

    [dim]everygram build huge.jsonl.zst --out huge-index --tokenizer t.json --memory 4GiB[/dim]
    """
    from everygram import indexer
    from everygram.display import build_progress, show_report

    with build_progress() as report:
        made = indexer.build(
            list(corpus),
            out,
            tokenizer,
            text_field=text_field,
            on_error=on_error,
            pretokenized=pretokenized,
            separator_id=separator_id,
            vocab_size=vocab_size,
            memory=None if memory is None else _parse_size(memory),
            threads=threads,
            restart=restart,
            progress=report,
        )
    typer.echo(show_report(made))
    typer.echo(f'ask it: everygram count {out} "some words"')


@app.command()
def info(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Show what an index is: counts, widths, tokenizer, versions.

    [dim]everygram info my-index[/dim]
    """
    import everygram
    from everygram.display import show_info

    with everygram.open(index) as opened:
        _print(opened.info(), show_info, as_json)


@app.command()
def verify(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Check an index in full: checksums, order, offsets. Exit code 1 if anything is wrong.

    [dim]everygram verify my-index[/dim]
    """
    from everygram import index as directory

    shown = -1

    def progress(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(1, total)
        if sys.stderr.isatty() and percent != shown:
            shown = percent
            last = "\n" if done == total else ""
            print(f"\rchecksums {percent} %", end=last, file=sys.stderr, flush=True)

    problems = directory.verify(index, progress)
    answer = {"path": str(index), "sound": not problems, "problems": problems}
    _print(answer, lambda _: "\n".join(problems) or f"{index}: sound", as_json)
    raise typer.Exit(1 if problems else 0)


@app.command()
def count(
    index: IndexArgument,
    query: QueryArgument = None,
    ids: IdsOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Count the occurrences of an n-gram, of any length.

    [dim]everygram count my-index "natural language processing"[/dim]

    [dim]everygram count my-index --ids 11802,3303,7587 --json[/dim]

    [dim]everygram count my-index - < queries.txt > answers.jsonl[/dim]
    """
    from everygram.display import show_count

    _answer(index, query, ids, as_json, show_count, lambda i, q: i.count(q, raw=raw).as_dict())


@app.command()
def prob(
    index: IndexArgument,
    query: QueryArgument = None,
    continuation: ContinuationOption = None,
    continuation_id: ContinuationIdOption = None,
    ids: IdsOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """The n-gram probability of QUERY's last token (or of --continuation) after what precedes it.

    [dim]everygram prob my-index "natural language processing"[/dim]
    """
    from everygram.display import show_prob

    if continuation is not None and continuation_id is not None:
        raise typer.BadParameter("expected --continuation or --continuation-id, not both")
    token = continuation if continuation_id is None else continuation_id
    _answer(
        index,
        query,
        ids,
        as_json,
        show_prob,
        lambda i, q: i.prob(q, token, raw=raw).as_dict(),
    )


@app.command()
def ntd(
    index: IndexArgument,
    query: QueryArgument = None,
    ids: IdsOption = None,
    top: TopOption = 10,
    every: AllOption = False,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """The next-token distribution after a prompt, exact.

    [dim]everygram ntd my-index "natural language" --top 5[/dim]
    """
    from everygram.display import show_distribution

    limit = None if every else top
    _answer(
        index,
        query,
        ids,
        as_json,
        show_distribution,
        lambda i, q: i.ntd(q, raw=raw).as_dict(limit),
    )


@app.command()
def infgram_prob(
    index: IndexArgument,
    query: QueryArgument = None,
    continuation: ContinuationOption = None,
    continuation_id: ContinuationIdOption = None,
    ids: IdsOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """The ∞-gram probability: after the longest suffix of the prompt that occurs.

    [dim]everygram infgram-prob my-index "a sentence of any length and its last word"[/dim]
    """
    from everygram.display import show_prob

    if continuation is not None and continuation_id is not None:
        raise typer.BadParameter("expected --continuation or --continuation-id, not both")
    token = continuation if continuation_id is None else continuation_id
    _answer(
        index,
        query,
        ids,
        as_json,
        show_prob,
        lambda i, q: i.infgram_prob(q, token, raw=raw).as_dict(),
    )


@app.command()
def infgram_ntd(
    index: IndexArgument,
    query: QueryArgument = None,
    ids: IdsOption = None,
    top: TopOption = 10,
    every: AllOption = False,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """The ∞-gram distribution: after the longest suffix of the prompt that occurs, exact.

    [dim]everygram infgram-ntd my-index "a prompt of any length"[/dim]
    """
    from everygram.display import show_distribution

    limit = None if every else top
    _answer(
        index,
        query,
        ids,
        as_json,
        show_distribution,
        lambda i, q: i.infgram_ntd(q, raw=raw).as_dict(limit),
    )


@app.command()
def find(
    index: IndexArgument,
    query: QueryArgument = None,
    ids: IdsOption = None,
    offset: Annotated[int, typer.Option(min=0, help="Skip this many occurrences.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="List this many occurrences.")] = 10,
    sample: Annotated[
        int | None, typer.Option(min=0, help="List this many drawn at random, none twice.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random draw.")] = 0,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Where an n-gram occurs: documents, offsets, positions.

    [dim]everygram find my-index "natural language" --limit 3[/dim]

    [dim]everygram find my-index "natural language" --sample 100 --seed 7 --json[/dim]
    """
    from everygram.display import show_matches

    _answer(
        index,
        query,
        ids,
        as_json,
        show_matches,
        lambda i, q: i.find(
            q, offset=offset, limit=limit, sample=sample, seed=seed, raw=raw
        ).as_dict(),
    )


@app.command()
def document(
    index: IndexArgument,
    query: QueryArgument = None,
    number: Annotated[
        int | None, typer.Option(min=0, help="The document's number, in place of a query.")
    ] = None,
    ids: IdsOption = None,
    occurrence: Annotated[
        int, typer.Option(min=0, help="Which occurrence of the query, as find lists them.")
    ] = 0,
    context: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens on each side of the match; with --number, the first."),
    ] = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """A document: by its number, or around an occurrence of an n-gram.

    [dim]everygram document my-index --number 17[/dim]

    [dim]everygram document my-index "natural language" --occurrence 2 --context 30[/dim]
    """
    from everygram.display import show_document

    if number is not None:
        if query is not None or ids is not None:
            raise typer.BadParameter("expected a query or --number, not both")
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
    )


@app.command()
def serve(
    indexes: Annotated[list[Path], typer.Argument(metavar="INDEX...", help="The folders.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8000,
) -> None:
    """Serve indexes over HTTP: a REST interface whose manual is at /docs.

    [dim]everygram serve my-index other-index --port 8000[/dim]
    """
    try:
        from everygram.server.app import serve as run
    except ImportError as error:
        raise MissingExtraError(
            f"'everygram serve' needs {error.name or 'the server extra'}: "
            "pip install 'everygram[server]'"
        ) from None
    _announce_compilation()
    try:
        run(indexes, host, port)
    except SystemExit as left:  # uvicorn's own codes, for an address that is taken and the like
        raise typer.Exit(1 if left.code else 0) from None


def _answer(
    path: Path,
    query: str | None,
    ids: str | None,
    as_json: bool,
    show: Callable[[dict[str, Any]], str],
    ask: Callable[["Index", str | list[int]], dict[str, Any]],
) -> None:
    """Ask one query, or each line of standard input, and print what comes back."""
    if (query is None) == (ids is None):
        raise typer.BadParameter("expected a query or --ids, one of the two")
    with _opened(path) as index:
        if query == "-" or ids == "-":
            failed = False
            for line in sys.stdin:
                text = line.removesuffix("\n").removesuffix("\r")
                try:
                    answer = ask(index, text if ids is None else _parse_ids(text))
                except EverygramError as error:
                    failed = True
                    answer = {"error": str(error)}
                _print(answer, show, as_json=True)
            raise typer.Exit(1 if failed else 0)
        _print(ask(index, _parse_ids(ids) if query is None else query), show, as_json)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["Index"]:
    import everygram

    _announce_compilation()
    with everygram.open(path) as index:
        yield index


def _parse_ids(text: str | None) -> list[int]:
    """Ids out of `1,2,3`, `1 2 3` or `[1, 2, 3]`; nothing is no ids."""
    parts = re.split(r"[,\s]+", (text or "").strip().removeprefix("[").removesuffix("]").strip())
    if not all(re.fullmatch("-?[0-9]+|", part) for part in parts):
        raise QueryError(f"--ids: expected token ids like 1,2,3, found {text!r}")
    return [int(part) for part in parts if part]


def _parse_size(text: str) -> int:
    """Bytes out of `4GiB`, `512M`, `2e9`."""
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if match is None:
        raise OptionError(f"--memory: expected a size like 4GiB or 500MB, found {text!r}")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " "))


def _print(answer: dict[str, Any], show: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else show(answer))


def _announce_compilation() -> None:
    """Say so on standard error when numba has to compile: seconds, once after installation."""
    from numba.core import event

    class Announcer(event.Listener):
        said = False

        def on_start(self, _: object) -> None:
            if not self.said:
                self.said = True
                typer.echo("compiling for this machine, once after installation…", err=True)

        def on_end(self, _: object) -> None: ...

    event.register("numba:compile", Announcer())  # type: ignore[no-untyped-call]

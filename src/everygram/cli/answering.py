"""How queries are read from arguments or standard input, asked, and printed.

A single query goes to the `Index` method of its name; lines of standard input go to the batch
method, a group at a time. What comes back is printed as the results' `as_dict()` or in words.
"""

import contextlib
import gc
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

import everygram
from everygram.addresses import is_address
from everygram.cli import compiling
from everygram.cli.options import CACHE, CACHE_BYTES, REMOTE_URL, parse_ids
from everygram.errors import EverygramError, QueryError

if TYPE_CHECKING:
    from everygram.encoding import Query
    from everygram.index import Index

# Kernels are interpreted for a single query of up to so many bytes: that takes milliseconds, where
# loading numba and the compiled code takes half a second.
FEW_BYTES = 256
# Lines of standard input that are searched together.
GROUP = 1_000
# What stands at the start of some files, and is not text.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def answer(
    index: Path,
    query: str | None,
    ids: str | None,
    text_field: str | None,
    as_json: bool,
    show: Callable[[dict[str, Any]], str],
    ask: Callable[["Index", "Query"], Any],
    ask_all: Callable[["Index", list["Query"]], Iterable[Any]] | None = None,
    *,
    as_dict: Callable[[Any], dict[str, Any]] = lambda result: result.as_dict(),
    group: int | None = None,
    few_steps: bool = False,
    reads_text: bool = False,
) -> None:
    """Answer one query, or each line of standard input, and print the results.

    text_field: of lines that are JSON records, the field that is the query.
    ask: gives a query's result; a query is text or ids.
    ask_all: gives the results of several; without it each is asked alone.
    group: how many lines are asked together (default: GROUP).
    few_steps: a single short query takes so few steps that it is answered by interpreted code.
    reads_text: as of `interpret`.
    """
    if (query is None) == (ids is None):
        given = "neither" if query is None else "both"
        raise click.UsageError(f"expected a query or --ids, found {given}; give one of the two")
    given = cast(str, query if ids is None else ids)
    if text_field is not None and query != "-":
        raise click.UsageError("--text-field goes with - in place of a query: it reads records")
    if given == "-":
        gc.enable()
        read = reads(ids is not None, text_field)
        most = 1 if ask_all is None else group or GROUP
        with opened(index) as asked:
            failed = False
            for lines in lines_of_stdin(most, skip_blank=text_field is not None):
                with compiling.announced():
                    answers = _answers(asked, lines, read, ask, ask_all, as_dict)
                failed = failed or any("error" in each for each in answers)
                click.echo("\n".join(json.dumps(each, ensure_ascii=False) for each in answers))
        sys.exit(1 if failed else 0)
    if few_steps and len(os.fsencode(given)) <= FEW_BYTES:
        interpret(index, reads_text)
    with opened(index) as asked:
        with compiling.announced():
            found = as_dict(ask(asked, given if ids is None else parse_ids(ids)))
        print_answer(found, show, as_json)


def _answers(
    index: "Index",
    lines: list[tuple[int, str]],
    read: Callable[[str, str], "Query"],
    ask: Callable[["Index", "Query"], Any],
    ask_all: Callable[["Index", list["Query"]], Iterable[Any]] | None,
    as_dict: Callable[[Any], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The answer to each line, or its error, which names the line by its number."""
    if ask_all is not None and len(lines) > 1:
        # A line that is refused refuses its batch: then each line is asked alone.
        with contextlib.suppress(EverygramError):
            queries = [read(line, f"line {number}") for number, line in lines]
            return [as_dict(result) for result in ask_all(index, queries)]
    answers = []
    for number, line in lines:
        place = f"line {number}"
        try:
            answers.append(as_dict(ask(index, read(line, place))))
        except EverygramError as error:
            said = str(error)
            answers.append({"error": said if said.startswith(f"{place}:") else f"{place}: {said}"})
    return answers


def reads(are_ids: bool, text_field: str | None) -> Callable[[str, str], "Query"]:
    """What makes a line of standard input, with its place for messages, a query."""
    if are_ids:
        return lambda line, place: parse_ids(line)
    if text_field is not None:
        from everygram.corpus.text import text_of_line

        return lambda line, place: text_of_line(line, text_field, place)
    first = True

    def text(line: str, place: str) -> str:
        nonlocal first
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise QueryError(
                f"{place}: not {sys.stdin.encoding.upper()}: byte "
                f"{len(line[: error.start].encode()) + 1} is 0x{ord(line[error.start]) & 0xFF:02x}"
            ) from None
        if first:
            notice_json(line)
        first = first and not line.strip()
        return line

    return text


def notice_json(line: str) -> None:
    """Say so on standard error if a first line is JSON that nobody has said is JSON."""
    if _is_json(line):
        click.echo(
            "the first line is JSON, and is asked as it stands: to ask a field of JSON lines, "
            "name it with --text-field",
            err=True,
        )


def _is_json(line: str) -> bool:
    """Whether a line is a JSON record, or an array of them."""
    try:
        value = json.loads(line) if line.lstrip().startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(value[0] if isinstance(value, list) and value else value, dict)


def lines_of_stdin(most: int, skip_blank: bool) -> Iterator[list[tuple[int, str]]]:
    """Lines of standard input with their numbers, up to so many at a time.

    skip_blank: without blank ones.

    It does not wait for more than has arrived: a program at the other end of a pipe gets its
    answer before it sends the next query.
    """
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    begun: list[bytes] = []
    first = True
    number = 1
    while chunk := stdin.read1(1 << 20):
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            if first:
                lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
            begun, first = [], False
        begun.append(rest)
        numbered = list(enumerate(lines, number))
        number += len(lines)
        if skip_blank:
            numbered = [each for each in numbered if each[1] and not each[1].isspace()]
        for start in range(0, len(numbered), most):
            yield [(at, _decoded(line)) for at, line in numbered[start : start + most]]
    last = b"".join(begun)
    if first:
        last = last.removeprefix(BYTE_ORDER_MARK)
    if last and not (skip_blank and last.isspace()):
        yield [(number, _decoded(last))]


def _decoded(line: bytes) -> str:
    # Bytes that are not text become lone surrogates, by which they are found and refused.
    return line.removesuffix(b"\r").decode(sys.stdin.encoding, "surrogateescape")


def interpret(index: Path, reads_text: bool) -> None:
    """Have kernels interpreted, if this process was started for this one command.

    reads_text: the command reads texts or positions, which takes many steps in a self-index: then
    they are compiled.
    """
    from everygram.storage import format as fmt

    many = reads_text and not is_address(index) and any(index.glob(f"*/{fmt.PSI}"))
    if click.get_current_context().obj and not many:
        os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


def service() -> str | None:
    """The address of the service to ask; None: an index is opened here."""
    url: str | None = click.get_current_context().meta.get(REMOTE_URL)
    return url


@contextlib.contextmanager
def opened(path: Path, fixed: bool = False) -> Iterator["Index"]:
    """The index at a path; or, of that name, the service's.

    fixed: whether all answers must be of one state of the service's index, as those of an open one
    are: they are added up.
    """
    url = service()
    if url is not None:
        with everygram.Client(url) as client:
            remote = client.index(str(path))
            remote.fixed = fixed
            # (It has the methods of an index that commands call.)
            yield cast("Index", remote)
        return
    with compiling.announced():
        index = _open(path)
    with index:
        yield index


def _open(path: Path) -> "Index":
    """The index at a path or an address."""
    context = click.get_current_context()
    cache, most = (context.meta.get(name) for name in (CACHE, CACHE_BYTES))
    if not is_address(path):
        if cache is not None or most is not None:
            raise click.UsageError("--cache goes with an address such as s3://bucket/index")
        return everygram.open(path)
    if cache is None:
        raise click.UsageError(
            f"{path}: expected --cache DIR, a folder for what is read there; or copy the index "
            "with 'everygram pull'"
        )
    if context.obj:  # this process was started for one command
        os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
    return everygram.open(path, cache=cache, cache_bytes=most)


def print_answer(
    answer: dict[str, Any], show: Callable[[dict[str, Any]], str], as_json: bool
) -> None:
    """Print an answer as JSON, or in words."""
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else show(answer))

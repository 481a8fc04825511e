"""What commands ask about that take a file: a text, or records with a text and a prompt each.

Files are read as those of a corpus are: by their names, compressed or not, here or at an address.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from everygram.cli.answering import lines_of_stdin, notice_json
from everygram.errors import CorpusError, OptionError

STDIN, STANDARD_INPUT = "-", "standard input"
# The field of records that has the text, unless the user names another.
TEXT_FIELD = "text"
# Advice that names options of `build`: the part of a message after ": " or "; ".
OF_BUILD = re.compile(r"[:;] [^:;]*--(on-error|quoting)\b[^:;]*")


class Asked(NamedTuple):
    """A text, and the prompt that it answers, if there is one."""

    text: str
    prompt: str | None


# Where a record is, and what makes of it what is asked, or raises CorpusError.
Many = Iterator[tuple[str, Callable[[], Asked]]]


def read(name: str, text_field: str | None, prompt_field: str | None) -> str | Many:
    """The text that a file is; or what the records ask that are in it.

    It has records if it is of such a kind by its name, or if a field is given: then JSON lines.
    Raises OptionError for an empty name, CorpusError for what is no file or no text.
    """
    # (Imported here: `--help` needs none of it.)
    from everygram.corpus.decoding import NO_LIMITS, read_whole
    from everygram.corpus.files import list_files
    from everygram.corpus.not_text import text_of
    from everygram.corpus.text import record_of_line, records_of

    of_records = text_field is not None or prompt_field is not None
    make = partial(_asked, TEXT_FIELD if text_field is None else text_field, prompt_field)
    if name == STDIN:
        if of_records:
            lines = (each for some in lines_of_stdin(1, skip_blank=True) for each in some)
            places = ((f"line {number}", line) for number, line in lines)
            return (
                (place, partial(make, partial(record_of_line, line, place), place))
                for place, line in places
            )
        text = text_of(sys.stdin.buffer.read(), STANDARD_INPUT)
        notice_json(text.lstrip().partition("\n")[0])
        return text
    if not name:
        raise OptionError("FILE: expected a path, found an empty one")
    try:
        files = list_files(name)
    except CorpusError as error:
        raise CorpusError(
            f"{error}; to ask about a text itself, pipe it in, with - as file"
        ) from None
    if len(files) != 1:
        raise CorpusError(f"{name}: expected one file, found {len(files):,}; name one of them")
    records = records_of(files[0], as_lines=of_records)
    if records is None:
        return text_of(read_whole(files[0], NO_LIMITS), files[0].name)
    return ((place, partial(make, record, place)) for place, record in records)


def without_build(message: str) -> str:
    """The message of an error, without advice that names options which only `build` has."""
    return OF_BUILD.sub("", message)


def _asked(
    text_field: str, prompt_field: str | None, record: Callable[[], dict[str, Any]], place: str
) -> Asked:
    from everygram.corpus.text import text_in

    fields = record()
    text = text_in(fields, text_field, place)
    prompt = None
    if prompt_field is not None:
        prompt = text_in(fields, prompt_field, place, "name the prompt with --prompt-field")
    return Asked(text, prompt)

"""How good an index's drafts are for recorded streams of tokens, and how long they take.

In: streams that a model has generated, or texts. Out: what a server with speculative decoding would
have gained. No model is needed: what it accepts is known, because what it generated is.
"""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from everygram import arguments
from everygram.analysis.per_token import checked_index, encoded
from everygram.corpus.files import list_files
from everygram.corpus.text import records_of, text_in
from everygram.encoding import Query
from everygram.errors import CorpusError, OptionError, QueryError
from everygram.index import Index
from everygram.results.base import Value

# The fields of records: ids, or texts.
IDS, PROMPT_IDS, TEXT, PROMPT = "token_ids", "prompt_ids", "text", "prompt"


class Stream(NamedTuple):
    """What was generated, and the prompt before it: text or ids."""

    tokens: Query
    prompt: Query = ()


@dataclass(eq=False, repr=False)
class Replay(Value):
    """The steps of a replay; each is one forward pass of the model.

    Arrays of shape (steps,). int64: stream (its number, from 0), position (of the step's first
    token in its stream), suffix_len, drafted (tokens of the draft, those after the stream's end
    left out), accepted (of these, up to the first that is wrong), tokens (accepted, and the one
    that the pass itself gives). float64: score (how many tokens the draft expects to be accepted),
    microseconds (that the draft took).
    """

    num_streams: int
    stream: np.ndarray
    position: np.ndarray
    suffix_len: np.ndarray
    drafted: np.ndarray
    accepted: np.ndarray
    tokens: np.ndarray
    score: np.ndarray
    microseconds: np.ndarray

    @property
    def num_steps(self) -> int:
        """Forward passes with drafts."""
        return int(self.stream.shape[0])

    @property
    def num_tokens(self) -> int:
        """Tokens of all streams, which are as many forward passes without drafts."""
        return int(self.tokens.sum())

    @property
    def acceptance_rate(self) -> float | None:
        """The share of drafted tokens that were accepted; None if none was drafted."""
        drafted = int(self.drafted.sum())
        return int(self.accepted.sum()) / drafted if drafted else None

    def as_dict(self) -> dict[str, Any]:
        """The sums and means of all steps, as JSON values; of no steps, means are None."""
        steps, tokens = self.num_steps, self.num_tokens
        return {
            "num_streams": self.num_streams,
            "num_tokens": tokens,
            "num_steps": steps,
            "saved_passes": tokens - steps,
            "saved_share": (tokens - steps) / tokens if tokens else None,
            "tokens_per_step": _mean(self.tokens),
            "accepted_per_step": _mean(self.accepted),
            "drafted_per_step": _mean(self.drafted),
            "acceptance_rate": self.acceptance_rate,
            "mean_score": _mean(self.score),
            "mean_suffix_len": _mean(self.suffix_len),
            "median_microseconds": float(np.median(self.microseconds)) if steps else None,
            "p99_microseconds": float(np.percentile(self.microseconds, 99)) if steps else None,
        }

    def csv(self) -> str:
        """The steps as a table, a line each, under the names of the arrays."""
        columns = {name: value for name, value in vars(self).items() if name != "num_streams"}
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        return written.getvalue()

    def __repr__(self) -> str:
        return (
            f"Replay({self.num_streams:,} streams, {self.num_tokens:,} tokens in "
            f"{self.num_steps:,} steps)"
        )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def replay_drafts(index: Index, streams: Iterable[Stream | Query], **options: Any) -> Replay:
    """Replay streams of tokens as a model would have generated them with an index's drafts.

    streams: each a `Stream`, or text or ids without a prompt. options: those of `Index.draft`.

    A step drafts after the prompt and what was generated so far, accepts the draft up to its first
    wrong token, and adds the token that the model itself gives in every forward pass. So does the
    simulator of suffix decoding in `arctic_inference`. Raises OptionError for what has no streams,
    QueryError and TokenizerError as `Index.draft` does; messages count streams from 0.
    """
    checked_index(index).draft([], **options)
    steps: list[tuple[float, ...]] = []
    number = 0
    for number, given in enumerate(_listed(streams), 1):
        stream = given if isinstance(given, Stream) else Stream(given)
        place = f"stream {number - 1:,}"
        prompt = encoded(index, stream.prompt, "prompt", place).tolist()
        truth = encoded(index, stream.tokens, "tokens", place).tolist()
        context, at = prompt + truth, 0
        while at < len(truth):
            before = context[: len(prompt) + at]
            start = perf_counter_ns()
            draft = index.draft(before, **options)
            spent = perf_counter_ns() - start
            drafted = draft.token_ids[: len(truth) - at]
            wrong = (i for i, token in enumerate(drafted) if token != truth[at + i])
            accepted = next(wrong, len(drafted))
            gained = min(accepted + 1, len(truth) - at)
            counts = number - 1, at, draft.suffix_len, len(drafted), accepted, gained
            steps.append((*counts, draft.score, spent / 1000))
            at += gained
    table = np.array(steps, np.float64).reshape(len(steps), 8).T
    return Replay(number, *table[:6].astype(np.int64), *table[6:])


def _listed(streams: Any) -> Iterator[Stream | Query]:
    """The streams. Raises OptionError for what is one stream, or none."""
    try:
        if isinstance(streams, str | bytes | bytearray | Mapping | Stream):
            raise TypeError
        return iter(streams)
    except TypeError:
        raise OptionError(
            "streams: expected a list, or another iterable, of texts, token ids or Stream, found "
            f"{arguments.short(streams)}"
        ) from None


def read_streams(path: str | os.PathLike[str], index: Index) -> Iterator[Stream]:
    """The streams of a file of records, as ids of the index.

    A record has `token_ids` and, if there was a prompt, `prompt_ids`; or `text` and `prompt`, which
    are encoded as they stand. JSON lines, or other records that an index can be built from, also
    compressed. Raises CorpusError, with the file and the line, for what is none of these and for
    ids that are outside the index's vocabulary.
    """
    checked = checked_index(index)
    name = arguments.place("streams", path, "a path or an address")
    if not name:
        raise OptionError("streams: expected a path, found an empty one")
    files = list_files(name)
    if len(files) != 1:
        raise CorpusError(f"{name}: expected one file, found {len(files):,}; name one of them")
    for place, record in records_of(files[0], as_lines=True) or ():
        yield _stream(checked, place, record)


def _stream(index: Index, place: str, record: Callable[[], dict[str, Any]]) -> Stream:
    fields = record()
    names = (IDS, PROMPT_IDS) if IDS in fields else (TEXT, PROMPT)
    tokens: Query
    prompt: Query
    if IDS in fields:
        tokens, prompt = fields[IDS], fields.get(PROMPT_IDS, [])
        for name, ids in zip(names, (tokens, prompt), strict=True):
            if not isinstance(ids, list):
                raise CorpusError(
                    f"{place}: field '{name}': expected a list of token ids, found "
                    f"{arguments.short(ids)}"
                )
    else:
        tokens = text_in(fields, TEXT, place, f"expected '{IDS}' or '{TEXT}'")
        prompt = text_in(fields, PROMPT, place) if PROMPT in fields else ""
    try:
        given = zip((tokens, prompt), names, strict=True)
        return Stream(*(encoded(index, each, name, place) for each, name in given))
    except QueryError as error:
        raise CorpusError(str(error)) from None

"""Answers of a service as results: a function for each operation, and for batches."""

import math
from bisect import bisect_right
from typing import Any

import numpy as np

from everygram.client.asking import Answer
from everygram.encoding import Reading
from everygram.results.attribution import (
    AttributedSpan,
    Attribution,
    MergedSpan,
    SourceDocument,
    SpanDocument,
    Surroundings,
    UnionSourceDocument,
    UnionSpanDocument,
)
from everygram.results.documents import Document, Matches
from everygram.results.drafts import Draft
from everygram.results.ngrams import (
    Count,
    Counts,
    Distribution,
    Distributions,
    DocumentCount,
    DocumentCounts,
    Prob,
    Probs,
)
from everygram.results.novelty import Novelty
from everygram.results.perplexity import Perplexity
from everygram.results.samples import Sample
from everygram.results.search import Hit, Hits, Span, TermCount, UnionHit
from everygram.results.strings import TextCount, TextMatches, Tokenization, Tokenizations
from everygram.results.texts import LongestMatches, Scores


def _array(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def _asked(reading: Reading, ids: list[int]) -> bytes:
    return np.array(ids, reading.dtype).tobytes()


def ids(answer: Answer, reading: Reading) -> np.ndarray:
    """Of `encode`."""
    return _array(answer["token_ids"])


def count(answer: Answer, reading: Reading) -> Count:
    """Of `count`."""
    return Count.of(answer["count"], reading, _asked(reading, answer["token_ids"]))


def document_count(answer: Answer, reading: Reading) -> DocumentCount:
    """Of `count` in documents."""
    ids = _asked(reading, answer["token_ids"])
    return DocumentCount.of_both(answer["document_count"], answer["count"], reading, ids)


def _column(answers: list[Answer], name: str) -> np.ndarray:
    return np.array([answer[name] for answer in answers], np.int64)


def _together(
    queries: list[list[int]], reading: Reading
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries as one array of ids, and where each begins and ends."""
    ends = np.cumsum([len(ids) for ids in queries], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    ids = np.array([one for ids in queries for one in ids], reading.dtype)
    return ids, starts, ends


def counts(answers: list[Answer], reading: Reading) -> Counts:
    """Of a batch of `count`."""
    asked = _together([answer["token_ids"] for answer in answers], reading)
    return Counts(reading, *asked, _column(answers, "count"))


def document_counts(answers: list[Answer], reading: Reading) -> DocumentCounts:
    """Of a batch of `count` in documents."""
    asked = _together([answer["token_ids"] for answer in answers], reading)
    both = _column(answers, "document_count"), _column(answers, "count")
    return DocumentCounts(reading, *asked, *both)


def prob(answer: Answer, reading: Reading) -> Prob:
    """Of `prob` and `infgram_prob`."""
    asked = _asked(reading, [*answer["token_ids"], answer["continuation_id"]])
    numbers = answer["prompt_count"], answer["continuation_count"], answer["suffix_len"]
    return Prob(reading, asked, *numbers)


def probs(answers: list[Answer], reading: Reading) -> Probs:
    """Of a batch of `prob` or `infgram_prob`."""
    asked = [[*answer["token_ids"], answer["continuation_id"]] for answer in answers]
    names = "prompt_count", "continuation_count", "suffix_len"
    columns = [_column(answers, name) for name in names]
    return Probs(reading, *_together(asked, reading), *columns)


def _table(answer: Answer) -> np.ndarray:
    """Ids, counts and the bits of probabilities of what follows, by id: int64, shape (3, k)."""
    following = sorted(answer["next"], key=lambda token: int(token["token_id"]))
    table = np.empty((3, len(following)), np.int64)
    table[0] = [token["token_id"] for token in following]
    table[1] = [token["count"] for token in following]
    table[2] = np.array([token["prob"] for token in following], np.float64).view(np.int64)
    return table


def ntd(answer: Answer, reading: Reading) -> Distribution:
    """Of `ntd` and `infgram_ntd`, with all tokens that follow."""
    return Distribution(
        reading,
        _asked(reading, answer["token_ids"]),
        answer["prompt_count"],
        _table(answer).tobytes(),
        answer["suffix_len"],
        answer["error_bound"],
    )


def ntds(answers: list[Answer], reading: Reading) -> Distributions:
    """Of a batch of `ntd` or `infgram_ntd`, with all tokens that follow."""
    tables = [_table(answer) for answer in answers]
    asked = _together([answer["token_ids"] for answer in answers], reading)
    return Distributions(
        reading,
        *asked,
        np.cumsum([0, *(table.shape[1] for table in tables)], dtype=np.int64),
        np.concatenate([np.empty((3, 0), np.int64), *tables], 1),
        _column(answers, "prompt_count"),
        _column(answers, "suffix_len"),
        _column(answers, "error_bound"),
    )


def score(answer: Answer, reading: Reading) -> Scores:
    """Of `score`."""
    return Scores(
        reading,
        _array(answer["token_ids"]),
        answer["order"],
        _array(answer["suffix_lens"]),
        _array(answer["prompt_counts"]),
        _array(answer["continuation_counts"]),
        np.array(answer["sparse"], np.bool_),
    )


def longest_matches(answer: Answer, reading: Reading) -> LongestMatches:
    """Of `longest_matches`."""
    found = _array(answer["lengths"]), _array(answer["counts"])
    return LongestMatches(reading, _array(answer["token_ids"]), *found)


def novelty(answer: Answer, reading: Reading) -> Novelty:
    """Of `novelty`."""
    first, last = answer["creativity_bounds"]
    return Novelty(
        answer["num_texts"],
        answer["num_tokens"],
        answer["longest"],
        _array(answer["covered_tokens"]),
        _array(answer["num_ngrams"]),
        _array(answer["new_ngrams"]),
        (first, last),
        answer["unmatched_tokens"],
    )


def count_text(answer: Answer, reading: Reading) -> TextCount:
    """Of `count_text`."""
    return TextCount.of(answer["count"], answer["text"])


def tokenizations(answer: Answer, reading: Reading) -> Tokenizations:
    """Of `tokenizations`."""
    listed = tuple(
        Tokenization(tuple(each["token_ids"]), tuple(each["tokens"]), each["offset"], each["count"])
        for each in answer["tokenizations"]
    )
    return Tokenizations(answer["text"], answer["count"], answer["tokenization_count"], listed)


def _passages(listed: list[Answer], parts: bool) -> list[tuple[str, str, str]] | None:
    if not parts:
        return None
    return [(before, match, after) for before, match, after in (each["parts"] for each in listed)]


def _owners(listed: list[Answer], reading: Reading) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Of a union, whose the documents are, and what its indexes are called."""
    names: tuple[str, ...] = getattr(reading, "indexes", ())
    return (_column(listed, "index") if names else None), names


PLACES = ("document", "start", "end", "byte_start", "byte_end", "token_start", "token_end")


def find_text(answer: Answer, reading: Reading, parts: bool = False) -> TextMatches:
    """Of `find_text`; parts: with a context."""
    listed = answer["occurrences"]
    rows = [[each[name] for name in PLACES] for each in listed]
    return TextMatches(
        answer["text"],
        answer["count"],
        answer["document_count"],
        _array(rows).reshape(-1, len(PLACES)),
        _passages(listed, parts),
        *_owners(listed, reading),
    )


def find(answer: Answer, reading: Reading, parts: bool = False) -> Matches:
    """Of `find`; parts: with a context."""
    listed = answer["occurrences"]
    return Matches(
        reading,
        _array(answer["token_ids"]),
        answer["count"],
        _array(answer["intervals"]).reshape(-1, 2),
        _column(listed, "segment"),
        _column(listed, "rank"),
        _column(listed, "position"),
        _column(listed, "document"),
        _column(listed, "offset"),
        _passages(listed, parts),
        *_owners(listed, reading),
    )


def document(answer: Answer, reading: Reading, by_text: bool = False) -> Document:
    """Of `document`; by_text: of one that was asked for by a text in it."""
    match, parts = answer["match"], answer["parts"]
    ids = np.array(answer["token_ids"], reading.dtype)
    cut = None
    if by_text and parts is not None:
        cut = _bytes_of(parts, reading.spelled(ids, inside=answer["start"] > 0))
    return Document(
        reading,
        answer["number"],
        answer["metadata"],
        answer["length"],
        answer["start"],
        ids,
        None if match is None else (match[0], match[1]),
        answer["occurrence"],
        answer["count"],
        cut,
        answer.get("index"),
        answer.get("index_name"),
    )


def _bytes_of(parts: list[str], spelled: bytes) -> tuple[int, int]:
    """Where the middle part begins and ends in bytes, of which all parts are the text.

    (They may begin or end within a character, whose bytes are not those it is shown as.)
    """

    def characters(size: int) -> int:
        return len(spelled[:size].decode(errors="replace"))

    def place(after: int) -> int:
        return bisect_right(range(len(spelled) + 1), after, key=characters) - 1

    before, match, _ = map(len, parts)
    return place(before), place(before + match)


def draft(answer: Answer, reading: Reading) -> Draft:
    """Of `draft`."""
    table = _array([answer["token_ids"], answer["counts"]]).reshape(2, -1)
    return Draft(
        reading,
        _array(answer["context_ids"]),
        answer["suffix_len"],
        answer["count"],
        table,
        answer["from_context"],
    )


def search(answer: Answer, reading: Reading) -> Hits:
    """Of `search`."""
    return Hits(
        **answer
        | {
            "terms": [TermCount(**each) for each in answer["terms"]],
            "hits": [_hit(each) for each in answer["hits"]],
        }
    )


def _hit(said: Answer) -> Hit:
    windows = said["windows"]
    given = said | {
        "spans": [Span(**span) for span in said["spans"]],
        "windows": None if windows is None else [(a, z) for a, z in windows],
        "marks": [(a, z) for a, z in said["marks"]],
    }
    return UnionHit(**given) if "index" in given else Hit(**given)


def attribute(answer: Answer, reading: Reading) -> Attribution:
    """Of `attribute`."""
    spans = [
        AttributedSpan(**each | {"documents": [_span_document(one) for one in each["documents"]]})
        for each in answer["spans"]
    ]
    return Attribution(
        reading,
        _array(answer["token_ids"]),
        answer["text"],
        spans,
        answer["span_count"],
        [MergedSpan(**each) for each in answer["merged_spans"]],
        [
            UnionSourceDocument(**each) if "index" in each else SourceDocument(**each)
            for each in answer["documents"]
        ],
        answer["options"],
        answer["index"],
    )


def _span_document(said: Answer) -> SpanDocument:
    given = dict(said)
    long = {"text": given.pop("text"), "match": given.pop("match")}
    around = long, given.pop("medium"), given.pop("snippet")
    surroundings = None
    if long["match"] is not None:
        first, second, third = (Surroundings(each["text"], *each["match"]) for each in around)
        surroundings = first, second, third
    given["surroundings"] = surroundings
    return UnionSpanDocument(**given) if "index" in given else SpanDocument(**given)


def perplexity(answer: Answer, reading: Reading) -> Perplexity:
    """Of `perplexity`."""
    likelihood = answer["log_likelihood"]
    return Perplexity(
        answer["documents"],
        answer["tokens"],
        answer["words"],
        answer["bytes"],
        -math.inf if likelihood is None else likelihood,
        answer["zeros"],
        answer["log_likelihood_without_zeros"],
    )


def sample(answer: Answer, reading: Reading) -> Sample:
    """Of `sample`."""
    return Sample(
        reading,
        _array(answer["prompt_ids"]),
        _array(answer["token_ids"]),
        np.array(answer["log_probs"], np.float64),
        answer["finished"],
    )

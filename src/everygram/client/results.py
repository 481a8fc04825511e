"""Answers of a service as results: a function for each operation, and for batches."""

import math
from typing import Any

import numpy as np

from everygram.client.asking import Answer
from everygram.encoding import Reading
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
from everygram.results.texts import LongestMatches, Scores


def _array(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def _asked(reading: Reading, ids: list[int]) -> bytes:
    return np.array(ids, reading.dtype).tobytes()


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

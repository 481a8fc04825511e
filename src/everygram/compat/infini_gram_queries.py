"""The types of queries of infini-gram's web API: each is asked, and answered in its names.

In: an index, ids, clauses, and the request's numbers, all checked. Out: the fields of an answer.
`infini_gram_web` says what differs from theirs.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from everygram.compat.infini_gram_shards import (
    MAX_DIFF_TOKENS,
    MAX_DISP_LEN,
    MAXNUM,
    Cnf,
    Place,
    Shards,
    around,
    document_of,
)
from everygram.index import Index
from everygram.results.ngrams import Distribution, Prob

# Pointers that one answer lists.
LISTED = 10_000
# What tokenizers call the end of a text.
ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>")
_ENDS: dict[str, int | None] = {}


class Refused(Exception):
    """A request that is refused: status, message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


# The types of queries. Each takes the index, the ids, the clauses if there are some, and numbers.


def _count(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    if cnf is None:
        return {"count": int(index.count(ids)), "approx": False}
    count, _, _ = Shards(index.engine).matches(*_clauses(cnf, numbers), 0)
    return {"count": count, "approx": False}


def _prob(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    return _of_prob(index.prob(*_divided(ids, cnf)))


def _infgram_prob(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    found = index.infgram_prob(*_divided(ids, cnf))
    suffix = ids[len(ids) - 1 - found.suffix_len : -1]
    said = _of_prob(found) | {"suffix_len": found.suffix_len}
    return said | {"longest_suffix": _decoded(index, suffix)}


def _ntd(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    return _of_distribution(index, index.ntd(_simple(ids, cnf)))


def _infgram_ntd(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    found = index.infgram_ntd(_simple(ids, cnf))
    suffix = ids[len(ids) - found.suffix_len :]
    said = _of_distribution(index, found) | {"suffix_len": found.suffix_len}
    return said | {"longest_suffix": _decoded(index, suffix)}


def _find(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    found = index.find(_simple(ids, cnf), limit=0)
    return {
        "cnt": found.count,
        "segment_by_shard": [[*each] for each in Shards(index.engine).intervals(found.intervals)],
    }


def _find_cnf(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    if cnf is None:
        raise Refused(200, "query_ids must be a triply-nested list of integers!")
    shards = Shards(index.engine)
    count, documents, offsets = shards.matches(*_clauses(cnf, numbers), LISTED)
    listed = shards.pointers(documents[:LISTED], offsets[:LISTED])
    return {"cnt": count, "approx": False, "ptrs_by_shard": listed}


def _doc_by_rank(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    shards = Shards(index.engine)
    shard, rank = _shard(shards, numbers["s"]), numbers["rank"]
    length = shards.segments[shard].stream_len
    if not is_number(rank, 0, length - 1):
        raise Refused(200, f"rank must be in range [0, {length})!")
    (place,) = shards.at_ranks([shard], [rank])
    return _document(index, place, [[ids]] if cnf is None else cnf, numbers)


def _doc_by_ptr(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    shards = Shards(index.engine)
    shard, pointer, width = _shard(shards, numbers["s"]), numbers["ptr"], shards.width
    size = shards.segments[shard].stream_len * width
    if not is_number(pointer, 0, size - 1) or pointer % width:
        raise Refused(200, f"ptr must be a multiple of {width} in range [0, {size})!")
    (place,) = shards.at_pointers([shard], [pointer])
    return _document(index, place, [[ids]] if cnf is None else cnf, numbers)


def _search_docs(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    most, shards = numbers.get("maxnum", MAXNUM), Shards(index.engine)
    if cnf is None:
        clauses = [[ids]]
        count, idxs, places = shards.drawn(ids, most)
    else:
        clauses = cnf
        count, idxs, places = shards.first_matches(*_clauses(cnf, numbers), most)
    message = "0 occurrences found"
    if count:
        message = f"{count} occurrences found. Displaying the documents of occurrences #{idxs}"
    return {
        "cnt": count,
        "approx": False,
        "idxs": idxs,
        "documents": [_document(index, place, clauses, numbers) for place in places],
        "message": message,
    }


# What they need.


def is_number(value: object, least: int, most: int) -> bool:
    """Whether a value is an integer from `least` to `most`."""
    return type(value) is int and least <= value <= most


def tokens_of(index: Index, ids: Sequence[int]) -> list[str] | None:
    """What ids are as tokens; None without a tokenizer."""
    return index.count(ids).tokens if index.tokenizer is not None else None


def _simple(ids: Any, cnf: Cnf | None) -> list[int]:
    if cnf is not None:
        raise Refused(200, "query_ids must be a list of integers!")
    simple: list[int] = ids
    return simple


def _divided(ids: Any, cnf: Cnf | None) -> tuple[list[int], int]:
    """The prompt and its continuation."""
    simple = _simple(ids, cnf)
    if not simple:
        raise Refused(200, "Please provide a non-empty query!")
    return simple[:-1], simple[-1]


def _of_prob(found: Prob) -> dict[str, Any]:
    return {
        "prompt_cnt": found.prompt_count,
        "cont_cnt": found.continuation_count,
        "prob": found.prob if found.prompt_count else -1.0,
    }


def _of_distribution(index: Index, found: Distribution) -> dict[str, Any]:
    texts: Sequence[str | None] = found.next_tokens or (None,) * len(found)
    end = _end_of_text(index)
    results: dict[str, dict[str, Any]] = {}
    rows = zip(found.next_ids.tolist(), found.counts.tolist(), texts, strict=True)
    for token, count, text in rows:
        if token == index.separator and end is not None:
            token, text = end
        known = results.setdefault(
            str(token), {"cont_cnt": 0, "prob": 0.0, **({} if text is None else {"token": text})}
        )
        known["cont_cnt"] += count
        known["prob"] = known["cont_cnt"] / found.prompt_count
    return {"prompt_cnt": found.prompt_count, "result_by_token_id": results, "approx": False}


def _end_of_text(index: Index) -> tuple[int, str] | None:
    """The token that tokenizers put between documents: its id and what it is called."""
    tokenizer, entry = index.tokenizer, index.manifest.tokenizer
    if tokenizer is None or entry.kind != "huggingface" or tokenizer.json is None:
        return None
    known = entry.sha256 or entry.source
    if known not in _ENDS:
        added = json.loads(tokenizer.json).get("added_tokens", ())
        ids = {each["content"]: each["id"] for each in added}
        _ENDS[known] = next((ids[name] for name in ENDS if name in ids), None)
    end = _ENDS[known]
    return None if end is None else (end, tokenizer.token_text(end))


def _decoded(index: Index, ids: list[int]) -> str:
    return index.decode(ids) if index.tokenizer is not None else ""


def _clauses(cnf: Cnf, numbers: dict[str, int]) -> tuple[Cnf, int]:
    """Clauses, and the tokens that a window of several may have."""
    if not cnf or any(not clause or not all(clause) for clause in cnf):
        raise Refused(200, "Please provide non-empty clauses and terms!")
    return cnf, numbers.get("max_diff_tokens", MAX_DIFF_TOKENS)


def _shard(shards: Shards, shard: object) -> int:
    if type(shard) is not int or not 0 <= shard < len(shards):
        raise Refused(200, f"s must be in range [0, {len(shards)})!")
    return shard


def _document(index: Index, place: Place, clauses: Cnf, numbers: dict[str, int]) -> dict[str, Any]:
    """The document of a place, or the part of it around that, with what matches marked."""
    said = document_of(place, *around(numbers.get("max_disp_len", MAX_DISP_LEN)))
    return said | {"spans": _spans(index, said["token_ids"], clauses)}


def _spans(index: Index, ids: list[int], clauses: Cnf) -> list[tuple[str, str | None]]:
    """The text of ids in pieces, each with the clause that it matches, or None.

    Terms that overlap: the first in the text, of the first clause, is marked.
    """
    marks: list[tuple[int, int, str]] = []
    for number, clause in enumerate(clauses):
        for term in clause:
            asked = [each for each in term if each != index.separator]
            for start in range(len(ids) - len(asked) + 1) if asked else ():
                if ids[start : start + len(asked)] == asked:
                    marks.append((start, start + len(asked), str(number)))
    pieces: list[tuple[list[int], str | None]] = []
    at = 0
    for start, end, name in sorted(marks):
        if start >= at:
            pieces += [(ids[at:start], None), (ids[start:end], name)]
            at = end
    pieces.append((ids[at:], None))
    return [(_decoded(index, some), name) for some, name in pieces if some]


_Ask = Callable[[Index, Any, Cnf | None, dict[str, int]], dict[str, Any]]
# The types of queries: what asks, the fields that may be there, and those that must.
QUERY_TYPES: dict[str, tuple[_Ask, tuple[str, ...], tuple[str, ...]]] = {
    "count": (_count, ("max_clause_freq", "max_diff_tokens"), ()),
    "prob": (_prob, (), ()),
    "ntd": (_ntd, ("max_support",), ()),
    "infgram_prob": (_infgram_prob, (), ()),
    "infgram_ntd": (_infgram_ntd, ("max_support",), ()),
    "find": (_find, (), ()),
    "find_cnf": (_find_cnf, ("max_clause_freq", "max_diff_tokens"), ()),
    "get_doc_by_rank": (_doc_by_rank, ("s", "rank", "max_disp_len"), ("s", "rank")),
    "get_doc_by_ptr": (_doc_by_ptr, ("s", "ptr", "max_disp_len"), ("s", "ptr")),
    "search_docs": (
        _search_docs,
        ("maxnum", "max_disp_len", "max_clause_freq", "max_diff_tokens"),
        (),
    ),
}

"""The types of queries of infini-gram's web API: each is asked, and answered in its names.

In: an index, ids, clauses, and the request's numbers, all checked. Out: the fields of an answer.
`infini_gram_web` says what differs from theirs.
"""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from everygram.index import Index
from everygram.index.documents import choice
from everygram.results.ngrams import Distribution, Prob

Cnf = list[list[list[int]]]

MAX_DIFF_TOKENS, MAXNUM, MAX_DISP_LEN = 100, 1, 1_000
# Pointers that one answer lists.
LISTED = 10_000
# Occurrences that are drawn, at most, to find different documents.
DRAWN = 10_000
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
    count = int(index.count(ids)) if cnf is None else _matches(index, cnf, numbers, 0)[0]
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
    return {"cnt": found.count, "segment_by_shard": found.intervals.tolist()}


def _find_cnf(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    if cnf is None:
        raise Refused(200, "query_ids must be a triply-nested list of integers!")
    count, matches = _matches(index, cnf, numbers, LISTED)
    places = [(document, offset) for document, offsets in matches for offset in offsets]
    shards: list[list[int]] = [[] for _ in index.engine.segments]
    for document, offset in places[:LISTED]:
        shard, pointer = _pointer(index, document, offset)
        shards[shard].append(pointer)
    return {"cnt": count, "approx": False, "ptrs_by_shard": shards}


def _doc_by_rank(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    segments = index.engine.segments
    shard, rank = _shard(index, numbers["s"]), numbers["rank"]
    length = segments[shard].stream_len
    if not is_number(rank, 0, length - 1):
        raise Refused(200, f"rank must be in range [0, {length})!")
    position = int(segments[shard].positions_of(np.array([rank]))[0])
    return _shown(index, shard, position, ids, cnf, numbers)


def _doc_by_ptr(index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]) -> dict[str, Any]:
    segments = index.engine.segments
    shard, pointer = _shard(index, numbers["s"]), numbers["ptr"]
    width = segments[shard].tokens.itemsize
    size = segments[shard].stream_len * width
    if not is_number(pointer, 0, size - 1) or pointer % width:
        raise Refused(200, f"ptr must be a multiple of {width} in range [0, {size})!")
    return _shown(index, shard, pointer // width, ids, cnf, numbers)


def _search_docs(
    index: Index, ids: Any, cnf: Cnf | None, numbers: dict[str, int]
) -> dict[str, Any]:
    most = numbers.get("maxnum", MAXNUM)
    if cnf is None:
        clauses = [[ids]]
        count, chosen = _drawn(index, ids, most)
    else:
        clauses = cnf
        count, matches = _matches(index, cnf, numbers, most)
        # (The number of a document's first match: so many are in those before it.)
        before = itertools.accumulate((len(offsets) for _, offsets in matches), initial=0)
        chosen = [
            (at, number, offsets[0]) for at, (number, offsets) in zip(before, matches, strict=False)
        ]
    idxs = [at for at, _, _ in chosen]
    documents = [_document(index, number, offset, clauses, numbers) for _, number, offset in chosen]
    message = "0 occurrences found"
    if count:
        message = f"{count} occurrences found. Displaying the documents of occurrences #{idxs}"
    return {
        "cnt": count,
        "approx": False,
        "idxs": idxs,
        "documents": documents,
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


def _drawn(index: Index, ids: list[int], most: int) -> tuple[int, list[tuple[int, int, int]]]:
    """How often ids occur, and an occurrence in each of at most so many documents, which are drawn:
    (its number, the document's in the whole index, its offset in the document's tokens)."""
    chosen: dict[int, tuple[int, int, int]] = {}
    # Few documents may have most of the occurrences: then more of these are drawn.
    for sample in (10 * most, DRAWN):
        found = index.find(ids, sample=sample)
        drawn = list(zip(choice(0, None, sample, 0)(found.count).tolist(), found, strict=True))
        # (In the order of ranks the first ones would be of the first continuations alone.)
        random.Random(0).shuffle(drawn)
        for at, each in drawn:
            document = index.engine.number_of(each.document, getattr(each, "index", None))
            if len(chosen) < most:
                chosen.setdefault(document, (at, document, max(0, each.offset)))
        if len(chosen) == most or sample >= found.count:
            break
    return found.count, list(chosen.values())


def _matches(
    index: Index, cnf: Cnf, numbers: dict[str, int], most: int
) -> tuple[int, list[tuple[int, list[int]]]]:
    """How often clauses match, and the first documents: their numbers in the whole index, and the
    offsets of all matches in their tokens."""
    if not cnf or any(not clause or not all(clause) for clause in cnf):
        raise Refused(200, "Please provide non-empty clauses and terms!")
    within: str | int = "document"
    if len(cnf) > 1:
        within = numbers.get("max_diff_tokens", MAX_DIFF_TOKENS)
    found = index.search(cnf, within=within, limit=most, context=0)
    matches = []
    for hit in found.hits:
        number = index.engine.number_of(hit.document, getattr(hit, "index", None))
        if hit.windows is None:
            starts = [span.token_start for span in hit.spans]
        else:
            starts = [start for start, _ in hit.windows]
        matches.append((number, starts))
    return found.occurrence_count, matches


def _pointer(index: Index, document: int, offset: int) -> tuple[int, int]:
    """The shard and the pointer of a token of a document."""
    for shard, segment in enumerate(index.engine.segments):
        local = int(segment.local_of(np.array([document]))[0])
        if segment.entry.sign > 0 and local >= 0:
            start, _ = segment.document_bounds(local)
            return shard, (start + offset) * segment.tokens.itemsize
    raise Refused(200, f"document {document} is not there any more!")


def _shard(index: Index, shard: object) -> int:
    count = len(index.engine.segments)
    if type(shard) is not int or not 0 <= shard < count:
        raise Refused(200, f"s must be in range [0, {count})!")
    return shard


def _shown(
    index: Index,
    shard: int,
    position: int,
    ids: Any,
    cnf: Cnf | None,
    numbers: dict[str, int],
) -> dict[str, Any]:
    """The document that a position is in, with what matches marked."""
    documents, offsets = index.engine.documents_at(np.array([shard]), np.array([position]))
    clauses = [[ids]] if cnf is None else cnf
    return _document(index, int(documents[0]), max(0, int(offsets[0])), clauses, numbers)


def _document(
    index: Index, number: int, offset: int, clauses: Cnf, numbers: dict[str, int]
) -> dict[str, Any]:
    """A document, or the part of it around an offset in its tokens."""
    if index.engine.deleted(np.array([number]))[0]:
        return {
            "doc_ix": number,
            "doc_len": 0,
            "disp_len": 0,
            "needle_offset": 0,
            "metadata": "",
            "token_ids": [],
            "blocked": True,
            "spans": [],
        }
    ids, metadata = index.engine.document(number)
    # (Of an odd length, the match has the token more.)
    length = numbers.get("max_disp_len", MAX_DISP_LEN)
    begin = max(0, offset - length // 2)
    shown = ids[begin : offset + (length + 1) // 2].tolist()
    return {
        "doc_ix": number,
        "doc_len": int(ids.shape[0]),
        "disp_len": len(shown),
        "needle_offset": offset - begin,
        "metadata": json.dumps(metadata, ensure_ascii=False),
        "token_ids": shown,
        "blocked": False,
        "spans": _spans(index, shown, clauses),
    }


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

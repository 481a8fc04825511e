"""infini-gram's web API, `POST /` (infini-gram 2.6.0, api_server.py), over our indexes.

In: a request body in its names, and indexes by name. Out: a status and a body in its shape. Knows
nothing of HTTP. What is refused has `error` and status 200 where a value of the query is wrong,
400 where the request itself is, as there.

What is meant to differ:

- Counts, probabilities and distributions are exact, whatever the number of occurrences: `approx` is
  false, and `max_support` and `max_clause_freq` are checked and change nothing.
- Of several clauses, the smallest windows of at most `max_diff_tokens` tokens are counted that have
  a match of each, in whatever order the clauses stand. There, matches of one clause are counted
  that have the others near, and another order gives another count.
- `ptrs_by_shard` has at most LISTED pointers; `cnt` is of all.
- `tokens` and `token` are what tokens spell (" of"), not what a vocabulary writes ("Ġof", "▁of").
- Suffixes that are equal up to their document's end stand in the order of places; there, what comes
  after the document decides, and the end of a shard comes first. Intervals are as long, and
  may begin at other ranks.
- A shard is a segment of documents, a rank one of its suffix array, a pointer the byte at which a
  token stands in its token file. A rank of a deleted document has `blocked` and no text.
- `metadata` is the document's own, as JSON.
- A distribution's end of a document has the id of the tokenizer's end-of-text token, as there, or
  the separator's where there is none. Its count is right wherever documents end.
- The probability after a prompt that does not occur is -1, also for the ∞-gram.
- `search_docs` has different documents, the same for the same request: of one n-gram drawn ones, as
  far as 10,000 drawn occurrences have them; of clauses the first. There, one may come twice.
- Intervals of ranks have those of deleted documents, too; `cnt` and `idxs` count without them.
- Equal terms of one clause count once; there, as often as they stand in it.
- Fields that are not known are errors with status 400; there, 500.

As there, `token_ids` of a document's answer are the query's: their documentation says the
document's, their server sends the query's. `spans` have the document's text.
"""

import time
from collections.abc import Callable
from typing import Any

from everygram.compat.infini_gram_queries import (
    QUERY_TYPES,
    Refused,
    is_number,
    tokens_of,
)
from everygram.compat.infini_gram_shards import Cnf
from everygram.errors import EverygramError
from everygram.index import Index

QUERY_CHARACTERS, QUERY_TOKENS = 1_000, 500
CLAUSES, TERMS = 4, 4
# The most of each number that a request may give.
MOST = {
    "max_support": 1_000,
    "max_clause_freq": 500_000,
    "max_diff_tokens": 1_000,
    "maxnum": 10,
    "max_disp_len": 10_000,
}
# Types of queries that may be short, and the occurrences up to which a distribution is.
SHORT = ("count", "prob", "infgram_prob", "ntd", "infgram_ntd")
FEW = 1_000
# Names that are only of their server's log.
IGNORED = ("engine", "source", "timestamp")
# The id by which their indexes know a document's start.
THEIR_SEPARATOR = 65_535


def index_named(body: object) -> str:
    """The name of the index that a request asks; empty, where it names none."""
    name = body.get("corpus", body.get("index")) if isinstance(body, dict) else None
    return name if isinstance(name, str) else ""


class Lengthy(Exception):
    """A query that may take longer than it was to."""


def answer(
    body: object, get: Callable[[str], Index | None], short: bool = False
) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a request.

    body: its JSON values. get: the index of a name, or None. short: whether to raise Lengthy for
    what may take longer than a millisecond.
    """
    try:
        query_type, index, given = _parsed(body, get)
        began = time.perf_counter()
        found, ids, tokens = _asked(query_type, index, given, short)
    except Refused as wrong:
        return wrong.status, {"error": wrong.message}
    except EverygramError as error:
        return 200, {"error": str(error)}
    milliseconds = (time.perf_counter() - began) * 1e3
    return 200, {**found, "latency": milliseconds, "token_ids": ids, "tokens": tokens}


def _is_short(query_type: str, index: Index, ids: list[int], cnf: Cnf | None) -> bool:
    """Whether a query takes less than a millisecond."""
    if cnf is not None or query_type not in SHORT:
        return False
    if query_type not in ("ntd", "infgram_ntd"):
        return True
    return index.infgram_prob(ids, index.separator).prompt_count <= FEW


def _parsed(body: object, get: Callable[[str], Index | None]) -> tuple[str, Index, dict[str, Any]]:
    """The type of a query, its index, and the other fields."""
    if not isinstance(body, dict):
        raise Refused(400, "[Flask] Expected a JSON object!")
    given = {name: value for name, value in body.items() if name not in IGNORED}
    if "query_type" not in given:
        raise Refused(400, "[Flask] Missing required field: 'query_type'")
    if "index" not in given and "corpus" not in given:
        raise Refused(400, "[Flask] Missing required field: 'index'")
    name = index_named(given)
    given.pop("index", None)
    given.pop("corpus", None)
    query_type = given.pop("query_type")
    if ("query" in given) == ("query_ids" in given):
        raise Refused(400, "[Flask] Exactly one of query and query_ids must be present!")
    index = get(name)
    if index is None:
        raise Refused(400, f"[Flask] Invalid index: {name[:200]}")
    if not isinstance(query_type, str) or query_type not in QUERY_TYPES:
        raise Refused(400, f"[Flask] Invalid query_type: {str(query_type)[:200]}")
    _, fields, needed = QUERY_TYPES[query_type]
    unknown = [field for field in given if field not in ("query", "query_ids", *fields)]
    if unknown:
        raise Refused(400, f"[Flask] Unknown field: {unknown[0][:200]}")
    for field in needed:
        if field not in given:
            raise Refused(400, f"[Flask] Missing required field: '{field}'")
    return query_type, index, given


def _asked(
    query_type: str, index: Index, given: dict[str, Any], short: bool
) -> tuple[dict[str, Any], Any, Any]:
    """What is found, and the query's ids and tokens."""
    ids = _ids(index, given)
    cnf: Cnf | None = ids if ids and isinstance(ids[0], list) else None
    clauses = [[ids]] if cnf is None else cnf
    _check_sizes(clauses)
    _check_ids(clauses, index)
    ask, _, _ = QUERY_TYPES[query_type]
    for field, value in given.items():
        if field in MOST and not is_number(value, 1, MOST[field]):
            raise Refused(200, f"{field} must be an integer in [1, {MOST[field]}]!")
    numbers = {field: value for field, value in given.items() if field not in QUERIES}
    if short and not _is_short(query_type, index, ids, cnf):
        raise Lengthy
    found = ask(index, ids, cnf, numbers)
    if cnf is None:
        return found, ids, tokens_of(index, ids)
    return found, cnf, [[tokens_of(index, term) for term in clause] for clause in cnf]


QUERIES = ("query", "query_ids")


def _ids(index: Index, given: dict[str, Any]) -> Any:
    """The ids of a query: a list, or a list of clauses, which are lists of terms."""
    if "query" not in given:
        ids = given["query_ids"]
        if not _are_ids(ids) and not _are_clauses(ids):
            raise Refused(
                200, "query_ids must be a list of integers, or a triply-nested list of integers!"
            )
        return ids
    query = given["query"]
    if not isinstance(query, str):
        raise Refused(200, "query must be a string!")
    if len(query) > QUERY_CHARACTERS:
        raise Refused(200, f"Please limit your input to <= {QUERY_CHARACTERS} characters!")
    if " AND " not in query and " OR " not in query:
        return index.encode(query).tolist()
    return [
        [index.encode(term).tolist() for term in clause.split(" OR ")]
        for clause in query.split(" AND ")
    ]


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int for each in value)


def _are_clauses(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(clause, list) and all(map(_are_ids, clause)) for clause in value
    )


def _check_sizes(clauses: Cnf) -> None:
    if sum(len(term) for clause in clauses for term in clause) > QUERY_TOKENS:
        raise Refused(200, f"Please limit your input to <= {QUERY_TOKENS} tokens!")
    if len(clauses) > CLAUSES:
        raise Refused(200, f"Please enter at most {CLAUSES} disjunctive clauses!")
    if any(len(clause) > TERMS for clause in clauses):
        raise Refused(200, f"Please enter at most {TERMS} terms in each disjunctive clause!")


def _check_ids(clauses: Cnf, index: Index) -> None:
    known = (index.separator, THEIR_SEPARATOR)
    for clause in clauses:
        for term in clause:
            if any(not (0 <= each < index.vocab_size) and each not in known for each in term):
                raise Refused(200, "Some item(s) in your query_ids are out-of-range!")
            # (Their separator is ours, whatever the width of ids.)
            term[:] = [index.separator if each >= index.vocab_size else each for each in term]

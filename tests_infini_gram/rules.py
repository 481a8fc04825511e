"""Why infini-gram's answer to a call is another than ours.

First, each of its answers must be what it defines (`Theirs`), but for errors of its program that
are known: `error_of` names the one that an answer shows. What it defines and what we define
(`Ours`) must be the same, but for definitions that differ on purpose: `difference_of` names the one
that a call meets.
"""

import math

from cases import Call
from exact import Theirs

DIED = "died"


def same(a, b) -> bool:
    """Whether answers are the same, in values and in types. Sums of logarithms may differ in the
    last digits."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [*a] == [*b] and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# What is wrong in infini-gram's program. Each takes what is defined, the call, what is defined for
# it, and infini-gram's answer.


def it_calls_what_is_not_there(theirs, name, arguments, named, defined, answer):
    """`get_docs_by_ranks` raises an AttributeError, whatever it is asked."""
    return name == "get_docs_by_ranks" and answer == ("raised", "AttributeError")


def it_refuses_odd_pointers_to_bytes(theirs, name, arguments, named, defined, answer):
    """Pointers have to be even, though tokens of a byte stand at odd ones, too."""
    if "by_ptr" not in name or theirs.shards[0].width != 1 or not isinstance(answer, dict):
        return False
    pointers = (
        [each["ptr"] for one in arguments[0] for each in one["docs"]]
        if name.endswith("grouped")
        else [each[1] for each in (arguments[0] if "docs" in name else [arguments])]
    )
    said = answer.get("error", "")
    return said.startswith("ptr must be an even integer") and any(p % 2 for p in pointers)


def it_ends_itself_where_nothing_is_shown(theirs, name, arguments, named, defined, answer):
    """Of a separator with no token after it, a text of less than no token is made: an error, which
    ends the process if it is raised in one of several threads."""
    if answer not in (DIED, ("raised", "ValueError")) or "_2" not in name:
        return False
    flat = defined if isinstance(defined, list) else [defined]
    flat = [doc for each in flat for doc in (each if isinstance(each, list) else [each])]
    return any(each["disp_len"] < 0 for each in flat)


def it_samples_what_comes_next(theirs, name, arguments, named, defined, answer):
    """Of more than `max_support` occurrences some are looked at."""
    return (
        name in ("ntd", "infgram_ntd")
        and answer["approx"]
        and answer["prompt_cnt"] == defined["prompt_cnt"] > named.get("max_support", 1000)
        and answer.get("suffix_len") == defined.get("suffix_len")
    )


def it_takes_ends_for_all(theirs, name, arguments, named, defined, answer):
    """Where the first and the last of some occurrences are followed by the end of a document, it
    takes all between for ends: where one ends the shard, which sorts first, or is followed by a
    token with the id of the end."""
    if name not in ("ntd", "infgram_ntd") or answer["approx"]:
        return False
    prompt = arguments[0][len(arguments[0]) - defined.get("suffix_len", len(arguments[0])) :]
    query = theirs.bytes_of(prompt)
    at_the_end = any(shard.data.endswith(query) for shard in theirs.shards)
    as_a_token = any(map(len, theirs.occurrences([*prompt, theirs.end])))
    known, counted = (
        {token: each["cont_cnt"] for token, each in one["result_by_token_id"].items()}
        for one in (answer, defined)
    )
    return (
        (at_the_end or as_a_token)
        and answer["prompt_cnt"] == defined["prompt_cnt"] == sum(known.values())
        and known.pop(theirs.end) > counted.pop(theirs.end)
        and all(count <= counted[token] for token, count in known.items())
    )


def it_does_not_look_at_the_first_suffix(theirs, name, arguments, named, defined, answer):
    """The longest match of what sorts before all suffixes of a shard is at most that of the first
    of them, which is not looked at."""
    if name not in ("creativity", "attribute"):
        return False
    ids = arguments[0]
    starts = range(len(ids))
    if name == "creativity":
        pairs = zip(starts, defined["rs"], answer["rs"], strict=True)
        starts = [start for start, a, b in pairs if a != b]
        if any(answer["rs"][start] > defined["rs"][start] for start in starts):
            return False
    before = [
        any(shard.is_before_all(theirs.bytes_of(ids[start:])) for shard in theirs.shards)
        for start in starts
    ]
    return all(before) if name == "creativity" else any(before)


def it_counts_below_zero_without_a_sign(theirs, name, arguments, named, defined, answer):
    """A separator stands a token before its document: at −1, which is written without a sign."""
    if not name.startswith("get_doc") or not isinstance(answer, dict | list):
        return False
    return same(_signed(answer, theirs.shards[0].width), defined)


def _signed(answer, width):
    if isinstance(answer, list):
        return [_signed(each, width) for each in answer]
    wrapped = answer.get("needle_offset") == (2**64 - width) // width
    return {**answer, "needle_offset": -1} if wrapped else answer


ERRORS = [
    it_calls_what_is_not_there,
    it_refuses_odd_pointers_to_bytes,
    it_ends_itself_where_nothing_is_shown,
    it_samples_what_comes_next,
    it_takes_ends_for_all,
    it_does_not_look_at_the_first_suffix,
    it_counts_below_zero_without_a_sign,
]


def error_of(theirs: Theirs, call: Call, defined, answer) -> str | None:
    """The name of the error by which infini-gram's answer is not what it defines."""
    return next((each.__name__ for each in ERRORS if each(theirs, *call, defined, answer)), None)


# What is defined otherwise. Each takes infini-gram's definitions and the call.


def we_draw_different_documents(theirs, name, arguments, named):
    """There, a document may be drawn twice; the documents that clauses match in are drawn, too."""
    return name.startswith("search_docs")


def we_count_clauses_in_any_order(theirs, name, arguments, named):
    """Several clauses match in the smallest windows that have all of them; there, each occurrence
    of the rarest of them is looked at. Of one clause pointers ascend; equal terms count once."""
    return name.endswith("_cnf")


def our_ngrams_are_in_one_document(theirs, name, arguments, named):
    """A separator is the start or the end of a document, the last one's too, and nothing goes on
    after it."""
    return name in (
        "find",
        "count",
        "prob",
        "ntd",
        "infgram_prob",
        "infgram_ntd",
    ) and theirs.separator in [*arguments[0], *arguments[1:]]


def our_ends_sort_last(theirs, name, arguments, named):
    """The end of a shard sorts as a separator, there before all tokens: other ranks."""
    return "by_rank" in name or name in ("find", "attribute")


def our_documents_are_shown_otherwise(theirs, name, arguments, named):
    """A separator has the place of the first token that is shown; where that would be less than
    nothing, nothing is shown. What is converted has metadata without spaces, and an empty object
    for none."""
    return name.startswith("get_doc")


DIFFERENCES = [
    we_draw_different_documents,
    we_count_clauses_in_any_order,
    our_ngrams_are_in_one_document,
    our_ends_sort_last,
    our_documents_are_shown_otherwise,
]


def difference_of(theirs: Theirs, call: Call) -> str | None:
    """The name of the definition that a call meets and that differs."""
    return next((each.__name__ for each in DIFFERENCES if each(theirs, *call)), None)

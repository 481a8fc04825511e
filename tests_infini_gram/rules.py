"""Why infini-gram's answer to a call is another than ours: one rule has to tell, and each rule
checks that ours is the exact one.
"""

import math

from cases import Call
from exact import Exact

DIED = "died"
DOCUMENTS = ("get_doc", "get_docs")


def same(a, b) -> bool:
    """Whether answers are the same, in values and in types. Sums of logarithms may differ in the
    last digits."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def rule_of(exact: Exact, call: Call, ours, theirs) -> str | None:
    """The name of the rule that tells why `theirs` is not `ours`; None if there is none."""
    name, arguments, named = call
    for rule in RULES:
        if rule(exact, name, arguments, named, ours, theirs):
            return rule.__name__
    return None


def is_exact(exact: Exact, name, arguments, named, ours) -> bool:
    return same(ours, getattr(exact, name)(*arguments, **named))


def it_calls_what_is_not_there(exact, name, arguments, named, ours, theirs):
    """`get_docs_by_ranks` raises an AttributeError, whatever it is asked."""
    return (
        name == "get_docs_by_ranks"
        and theirs == ("raised", "AttributeError")
        and is_exact(exact, name, arguments, named, ours)
    )


def it_refuses_odd_pointers_to_bytes(exact, name, arguments, named, ours, theirs):
    """Pointers have to be even, though tokens of a byte stand at odd ones, too."""
    several = arguments[0] if name.startswith("get_docs_by_ptrs") else [arguments]
    return (
        "by_ptr" in name
        and exact.shards[0].width == 1
        and any(pointer % 2 for _, pointer, *_ in several)
        and isinstance(theirs, dict)
        and theirs["error"].startswith("ptr must be an even integer")
        and is_exact(exact, name, arguments, named, ours)
    )


def it_ends_itself_where_nothing_is_shown(exact, name, arguments, named, ours, theirs):
    """Of a separator with no token after it, a text of less than no token is made: an error, which
    ends the process if it is raised in one of several threads."""
    if theirs not in (DIED, ("raised", "ValueError")) or not (
        name.startswith(DOCUMENTS) and name.endswith("_2")
    ):
        return False
    several = arguments[0] if name.startswith("get_docs") else [arguments]
    nothing = [each for each in several if len(each) == 4 and each[2:] == [0, 0]]
    found = [
        exact.get_doc_by_ptr_2(*each) if "ptr" in name else exact.get_doc_by_rank_2(*each)
        for each in nothing
    ]
    return any(each["needle_offset"] < 0 for each in found) and is_exact(
        exact, name, arguments, named, ours
    )


def it_counts_from_a_separator_in_unsigned_numbers(exact, name, arguments, named, ours, theirs):
    """A separator stands a token before its document: −1, which they write without a sign."""
    if not name.startswith(DOCUMENTS) or not isinstance(theirs, dict | list):
        return False
    width = exact.shards[0].width
    wrapped = (2**64 - width) // width
    known = [
        {**each, "needle_offset": -1} if each.get("needle_offset") == wrapped else each
        for each in (theirs if isinstance(theirs, list) else [theirs])
    ]
    return same(known if isinstance(theirs, list) else known[0], ours) and is_exact(
        exact, name, arguments, named, ours
    )


def it_samples_what_comes_next(exact, name, arguments, named, ours, theirs):
    """Of more than `max_support` occurrences some are looked at."""
    return (
        name in ("ntd", "infgram_ntd")
        and theirs["approx"]
        and theirs["prompt_cnt"] == ours["prompt_cnt"] > named.get("max_support", 1000)
        and theirs.get("suffix_len") == ours.get("suffix_len")
        and is_exact(exact, name, arguments, named, ours)
    )


def it_takes_ends_for_all(exact, name, arguments, named, ours, theirs):
    """Where the first and the last of some occurrences are followed by the end of a document, it
    takes all between for ends: where one ends the shard, which sorts first, or is followed by a
    token with the id of the end."""
    if name not in ("ntd", "infgram_ntd") or theirs["approx"]:
        return False
    prompt = arguments[0][len(arguments[0]) - ours.get("suffix_len", len(arguments[0])) :]
    query = exact.bytes_of(prompt)
    at_the_end = any(shard.data.endswith(query) for shard in exact.shards)
    as_a_token = any(map(len, exact.occurrences([*prompt, exact.end])))
    known = {token: each["cont_cnt"] for token, each in theirs["result_by_token_id"].items()}
    counted = {token: each["cont_cnt"] for token, each in ours["result_by_token_id"].items()}
    return (
        (at_the_end or as_a_token)
        and theirs["prompt_cnt"] == ours["prompt_cnt"] == sum(known.values())
        and known.pop(exact.end) > counted.pop(exact.end)
        and all(count <= counted[token] for token, count in known.items())
        and is_exact(exact, name, arguments, named, ours)
    )


def it_does_not_look_at_the_first_suffix(exact, name, arguments, named, ours, theirs):
    """The longest match of what sorts before all suffixes of a shard is at most that of the first
    of them, which is not looked at."""
    if name not in ("creativity", "attribute"):
        return False
    ids = arguments[0]
    starts = range(len(ids))
    if name == "creativity":
        pairs = zip(starts, ours["rs"], theirs["rs"], strict=True)
        starts = [start for start, a, b in pairs if a != b]
        if any(theirs["rs"][start] > ours["rs"][start] for start in starts):
            return False
    before = [
        any(shard.is_before_all(exact.bytes_of(ids[start:])) for shard in exact.shards)
        for start in starts
    ]
    reason = all(before) if name == "creativity" else any(before)
    return reason and is_exact(exact, name, arguments, named, ours)


def it_draws_documents(exact, name, arguments, named, ours, theirs):
    """Which documents are shown is drawn, there with repetitions; those shown are occurrences."""
    if name != "search_docs":
        return False
    found = exact.occurrences(arguments[0])
    places = [(s, pointer) for s, pointers in enumerate(found) for pointer in pointers]

    def is_sound(answer) -> bool:
        shown = [
            exact.get_doc_by_ptr(*places[at], max_disp_len=named["max_disp_len"])
            for at in answer["idxs"]
        ]
        return same([without_sign(each) for each in answer["documents"]], shown)

    def without_sign(document):
        wrapped = document["needle_offset"] >= 2**60
        return document | ({"needle_offset": -1} if wrapped else {})

    different = {exact.get_doc_by_ptr(*place)["doc_ix"] for place in places}
    return (
        theirs["cnt"] == ours["cnt"] == len(places)
        and theirs["approx"] is ours["approx"] is False
        and is_sound(theirs)
        and is_sound(ours)
        and len(ours["idxs"]) == min(named["maxnum"], len(different))
        and len({each["doc_ix"] for each in ours["documents"]}) == len(ours["documents"])
    )


RULES = [
    it_calls_what_is_not_there,
    it_refuses_odd_pointers_to_bytes,
    it_ends_itself_where_nothing_is_shown,
    it_counts_from_a_separator_in_unsigned_numbers,
    it_samples_what_comes_next,
    it_takes_ends_for_all,
    it_does_not_look_at_the_first_suffix,
    it_draws_documents,
]

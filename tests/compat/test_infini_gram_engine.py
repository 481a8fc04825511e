"""infini-gram's Python engine: the answers of infini-gram 2.6.0, and right ones where it is wrong.

Every recorded call (tests/data/infini_gram/record_engine.py) is answered as the oracle says; where
the recorded answer is another one, a rule with a name says why: these are what
docs/infini-gram-engine.md lists.
"""

import inspect
import itertools
import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.compat.infini_gram import InfiniGramEngine, InfiniGramEngineDiff
from everygram.errors import FormatError, OptionError
from naive import NaiveIndex
from shards import write_shard

DATA = Path(__file__).parents[1] / "data" / "infini_gram"
RECORDED = json.loads((DATA / "recorded_engine.json").read_text())
VOCABULARY, END, SEPARATOR = 302, 301, 65_535
WORDS = [0, 2, 4, 6, 256]
A, B, TAKEN = (RECORDED["corpus"][name] for name in "abt")
SHARDS = {"union": [*A, *B], "one": A, "minus": [*A, *B]}
# What shows the end of a document.
ENDS = {"union": END, "one": 5, "minus": END}
DOCUMENTS = {name: [*itertools.chain(*shards)] for name, shards in SHARDS.items()}
# The documents that are taken away, of copies the first.
GONE = {
    next(number for number, document in enumerate(DOCUMENTS["minus"]) if document == taken)
    for taken in TAKEN[0]
    if taken in DOCUMENTS["minus"]
}
LIVE = {
    name: [each for at, each in enumerate(documents) if name != "minus" or at not in GONE]
    for name, documents in DOCUMENTS.items()
}
RIGHT = {name: NaiveIndex(documents, SEPARATOR) for name, documents in LIVE.items()}
# As if nothing were taken away.
WHOLE = {name: NaiveIndex(documents, SEPARATOR) for name, documents in DOCUMENTS.items()}
# By infini-gram: needle_offset of a separator.
BELOW_ZERO = 2**63 - 1


@pytest.fixture(scope="module", params=["everygram", "infini-gram"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory, kind):
    """The recorded indexes, as ours and as infini-gram's own."""
    folder = tmp_path_factory.mktemp("engine")
    for name, shards in RECORDED["corpus"].items():
        if kind == "infini-gram":
            for number, shard in enumerate(shards):
                write_shard(folder / name, shard, 2, f".{number}", [{}] * len(shard))
            continue
        documents = [*itertools.chain(*shards)]
        lines = [
            {"path": "c.jsonl", "linenum": line_of(shards, at), "metadata": {}}
            for at in range(len(documents))
        ]
        write_index(folder / name, documents, "u16", len(shards), VOCABULARY, metadata=lines)
    (folder / "words").write_text("".join(f"{each}\n" for each in WORDS))
    return folder


def line_of(shards, number):
    """The number of a document in its shard."""
    return next(at for shard in shards for at in [number - first(shards, shard)] if at < len(shard))


def first(shards, shard):
    place = next(at for at, each in enumerate(shards) if each is shard)
    return sum(map(len, shards[:place]))


def options(folder):
    """As when the answers were recorded."""
    both = [str(folder / "a"), str(folder / "b")]
    full = {"bow_ids_path": folder / "words", "precompute_unigram_logprobs": True}
    return {
        "union": {"index_dir": both, "eos_token_id": END, "vocab_size": VOCABULARY, **full},
        "one": {
            "index_dir": folder / "a",
            "eos_token_id": 5,
            "vocab_size": VOCABULARY,
            "max_support": 4,
        },
        "minus": {
            "index_dir": both,
            "index_dir_diff": str(folder / "t"),
            "eos_token_id": END,
            "vocab_size": VOCABULARY,
            **full,
        },
    }


@pytest.fixture(scope="module")
def engines(folder):
    return {
        name: (InfiniGramEngineDiff if name == "minus" else InfiniGramEngine)(**given)
        for name, given in options(folder).items()
    }


# The oracle: answers by brute force.


def count(name, ids):
    return {"count": RIGHT[name].count(ids), "approx": False}


def find(name, ids):
    live = RIGHT[name].count(ids)
    sizes = [NaiveIndex(shard, SEPARATOR).count(ids) for shard in SHARDS[name]]
    return {"cnt": live, "sizes": sizes}


def prob(name, prompt, token, oracle=RIGHT):
    total, seen, value = oracle[name].prob(prompt, token)
    return {"prompt_cnt": total, "cont_cnt": seen, "prob": value if total else -1.0}


def infgram_prob(name, prompt, token, oracle=RIGHT):
    suffix = oracle[name].longest_suffix(prompt)
    return prob(name, suffix, token, oracle) | {"suffix_len": len(suffix)}


def ntd(name, prompt, oracle=RIGHT):
    counts = Counter()
    for token, seen in oracle[name].following(prompt).items():
        counts[ENDS[name] if token == SEPARATOR else token] += seen
    total = sum(counts.values())
    found = {str(each): {"cont_cnt": counts[each], "prob": counts[each] / total} for each in counts}
    return {"prompt_cnt": total, "result_by_token_id": found, "approx": False}


def infgram_ntd(name, prompt, oracle=RIGHT):
    suffix = oracle[name].longest_suffix(prompt)
    return ntd(name, suffix, oracle) | {"suffix_len": len(suffix)}


def creativity(name, ids, oracle=RIGHT):
    lengths = [oracle[name].beginning_len(ids[at:]) for at in range(len(ids))]
    return {"rs": [at + length for at, length in enumerate(lengths)]}


def attribute(name, ids, delimiters, least, most, words, oracle=RIGHT):
    spans, last = [], 0
    begin_words = [] if name == "one" else WORDS  # (it has no file of them)
    tokens = oracle[name].count([])
    for start in range(len(ids)):
        length = oracle[name].beginning_len(ids[start:])
        if words and ids[start] not in begin_words:
            continue
        for at in range(start, start + length):
            if ids[at] in delimiters:
                length = at + 1 - start
                break
        while words and length and start + length < len(ids):
            if ids[start + length] in begin_words:
                break
            length -= 1
        found = places(name, ids[start : start + length], oracle)
        if length < least or len(found) > most or start + length <= last:
            continue
        last = start + length
        unigrams = [oracle[name].count([each]) for each in ids[start:last]]
        logs = [math.log(each / tokens) if each else -10_000.0 for each in unigrams]
        spans.append(
            {
                "l": start,
                "r": last,
                "length": length,
                "count": len(found),
                "unigram_logprob_sum": sum(logs) if name != "one" else -10_000.0 * length,
                "docs": [{"s": s, "ptr": ptr} for s, ptr in found],
            }
        )
    return {"spans": spans}


def places(name, ids, oracle=RIGHT):
    """(shard, pointer) of each occurrence, ascending."""
    numbers = [at for at in range(len(DOCUMENTS[name])) if oracle is WHOLE or alive(name, at)]
    return sorted(
        pointer(name, numbers[at], offset) for at, offset in oracle[name].occurrences(ids)
    )


def alive(name, number):
    return name != "minus" or number not in GONE


def pointer(name, number, offset):
    for shard, documents in enumerate(SHARDS[name]):
        if number < len(documents):
            before = sum(len(each) + 1 for each in documents[:number])
            return shard, 2 * (before + 1 + offset)
        number -= len(documents)
    raise AssertionError


def matches(name, cnf, within=100):
    """(shard, pointer) of all matches of clauses, ascending."""
    found = []
    for number, document in enumerate(LIVE[name]):
        starts = []
        for clause in cnf:
            terms = {tuple(term) for term in clause}
            starts.append(
                [
                    (at, at + len(term))
                    for term in terms
                    for at in range(len(document))
                    if tuple(document[at : at + len(term)]) == term
                ]
            )
        if len(cnf) == 1:
            windows = [start for start, _ in starts[0]]
        else:
            windows = smallest_windows(starts, within)
        numbers = [at for at in range(len(DOCUMENTS[name])) if alive(name, at)]
        found += [pointer(name, numbers[number], start) for start in windows]
    return sorted(found)


def smallest_windows(clauses, within):
    begins = sorted({begin for clause in clauses for begin, _ in clause})
    ends = sorted({end for clause in clauses for _, end in clause})
    held = [
        (begin, end)
        for begin in begins
        for end in ends
        if end - begin <= within
        and all(any(begin <= a and b <= end for a, b in clause) for clause in clauses)
    ]
    return [
        begin
        for begin, end in held
        if not any(
            (begin, end) != other and begin <= other[0] and other[1] <= end for other in held
        )
    ]


def count_cnf(name, cnf, freq=None, within=100):
    return {"count": len(matches(name, cnf, within)), "approx": False}


def find_cnf(name, cnf, freq=None, within=100):
    pointers = [[] for _ in SHARDS[name]]
    for shard, at in matches(name, cnf, within):
        pointers[shard].append(at)
    return {"cnt": sum(map(len, pointers)), "approx": False, "ptrs_by_shard": pointers}


def shown(name, number, offset, before, after):
    """A document around an offset in it."""
    if not alive(name, number):
        return {
            "doc_ix": number,
            "doc_len": 0,
            "disp_len": 0,
            "needle_offset": 0,
            "metadata": "",
            "token_ids": [],
            "blocked": True,
        }
    document = DOCUMENTS[name][number]
    begin = max(0, offset - before)
    part = document[begin : max(begin, offset + after)]
    line = line_of(SHARDS[name], number)
    return {
        "doc_ix": number,
        "doc_len": len(document),
        "disp_len": len(part),
        "needle_offset": max(0, offset - begin),
        "metadata": json.dumps({"path": "c.jsonl", "linenum": line, "metadata": {}}) + "\n",
        "token_ids": part,
        "blocked": False,
    }


def get_doc_by_ptr(name, shard, at, most):
    return by_pointer(name, shard, at, most // 2, (most + 1) // 2)


def by_pointer(name, shard, at, before, after):
    number = sum(map(len, SHARDS[name][:shard]))
    offset = at // 2 - 1
    for document in SHARDS[name][shard]:
        if offset <= len(document) - 1:
            return shown(name, number, offset, before, after)
        number, offset = number + 1, offset - len(document) - 1
    raise AssertionError


def get_doc_by_ptr_2(name, shard, at, needle, context):
    return by_pointer(name, shard, at, context, needle + context)


def at_rank(kind, name, shard, rank, before, after):
    """The documents of the suffixes that may be at a rank: those that are the same up to a
    separator, which the end of a shard is, too."""
    stream = [token for document in SHARDS[name][shard] for token in [SEPARATOR, *document]]

    def key(position):
        suffix = [*stream[position:], SEPARATOR]
        suffix = suffix[: suffix.index(SEPARATOR, 1) + 1]
        return as_bytes(suffix) if kind == "infini-gram" else suffix

    keys = [key(position) for position in range(len(stream))]
    wanted = sorted(keys)[rank]
    found = [position for position, each in enumerate(keys) if each == wanted]
    return [by_pointer(name, shard, 2 * position, before, after) for position in found]


def as_bytes(ids):
    return np.array(ids, "<u2").tobytes()


def get_doc_by_ix(name, number, most):
    return shown(name, number, 0, 0, most)


get_doc_by_ix_2 = get_doc_by_ix


def get_docs_by_ptrs(name, rows, most):
    return [get_doc_by_ptr(name, *row, most) for row in rows]


def get_docs_by_ptrs_2(name, rows):
    return [get_doc_by_ptr_2(name, *row) for row in rows]


def get_docs_by_ixs(name, numbers, most):
    return [get_doc_by_ix(name, number, most) for number in numbers]


def get_docs_by_ixs_2(name, rows):
    return [get_doc_by_ix_2(name, *row) for row in rows]


def get_docs_by_ptrs_2_grouped(name, requests):
    return [
        [
            get_doc_by_ptr_2(
                name, each["s"], each["ptr"], request["needle_len"], request["max_ctx_len"]
            )
            for each in request["docs"]
        ]
        for request in requests
    ]


def get_total_doc_cnt(name):
    return len(DOCUMENTS[name])


def compute_unigram_counts(name, shard):
    first = sum(map(len, SHARDS[name][:shard]))
    counts = Counter(
        token
        for number, document in enumerate(SHARDS[name][shard], first)
        if alive(name, number)
        for token in [SEPARATOR, *document]
    )
    return {str(each): counts[each] for each in (*range(VOCABULARY), SEPARATOR)}


def plain(value):
    """A value as JSON has it; it consists of what `json` reads, and of tuples."""

    def check(each):
        assert type(each) in (int, float, str, bool, list, tuple, dict), type(each)
        if isinstance(each, dict):
            every = [*each, *each.values()]
        else:
            every = each if isinstance(each, list | tuple) else []
        for one in every:
            check(one)

    check(value)
    return json.loads(json.dumps(value))


def compared(method, answer):
    """An answer without what may stand in any order, or is any of several."""
    if method == "find":
        sizes = [high - low for low, high in answer["segment_by_shard"]]
        return {"cnt": answer["cnt"], "sizes": sizes}
    if method == "find_cnf":
        return {**answer, "ptrs_by_shard": [*map(sorted, answer["ptrs_by_shard"])]}
    if method == "attribute":
        return {
            "spans": [
                {**span, "docs": sorted(span["docs"], key=lambda doc: (doc["s"], doc["ptr"]))}
                for span in answer["spans"]
            ]
        }
    return answer


def same(one, other):
    """Whether two values are equal, floats nearly."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return {*one} == {*other} and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


CALLS = defaultdict(list)
for _engine, _method, _arguments, _answer in RECORDED["answers"]:
    CALLS[_method].append((_engine, _arguments, _answer))
SEARCHES = ("search_docs", "search_docs_cnf")
RANKED = ("get_doc_by_rank", "get_doc_by_rank_2", "get_docs_by_ranks", "get_docs_by_ranks_2")


@pytest.mark.parametrize("method", RANKED)
def test_documents_at_ranks_are_right(kind, engines, method):
    for name, arguments, _ in CALLS[method]:
        answers = plain(getattr(engines[name], method)(*arguments))
        if method.startswith("get_doc_"):
            answers, rows = [answers], [arguments]
        else:
            rows = [[*row, *arguments[1:]] for row in arguments[0]]
        for answer, (shard, rank, *shown_there) in zip(answers, rows, strict=True):
            most = shown_there[-1]
            window = (most, sum(shown_there)) if "_2" in method else (most // 2, (most + 1) // 2)
            assert answer in at_rank(kind, name, shard, rank, *window)


@pytest.mark.parametrize("method", [each for each in CALLS if each not in (*SEARCHES, *RANKED)])
def test_answers_are_right(engines, method):
    for name, arguments, _ in CALLS[method]:
        answer = plain(getattr(engines[name], method)(*arguments))
        if method == "ntd" or method == "infgram_ntd":
            keys = [*map(int, answer["result_by_token_id"])]
            assert keys == sorted(keys)
        expected = globals()[method](name, *arguments)
        assert same(compared(method, answer), expected), (name, arguments)


@pytest.mark.parametrize("seed", range(60))
def test_random_indexes(tmp_path, monkeypatch, kind, seed):
    """Few different tokens: all that may be equal is, documents and ends of shards too."""
    draw = random.Random(seed)
    tokens = draw.sample([0, 1, 2, 256, 257, 511], draw.randrange(1, 4))

    def ids(most):
        return [draw.choice(tokens) for _ in range(draw.randrange(most + 1))]

    shards = [[ids(6) for _ in range(4)] for _ in range(draw.randrange(1, 4))]
    if kind == "infini-gram":
        for number, shard in enumerate(shards):
            write_shard(tmp_path / "i", shard, 2, f".{number}", [{}] * len(shard))
    else:
        lines = [{"path": "c.jsonl", "linenum": at % 4, "metadata": {}} for at in range(99)]
        documents = [*itertools.chain(*shards)]
        write_index(tmp_path / "i", documents, "u16", len(shards), 600, metadata=lines)
    (tmp_path / "words").write_text(f"{tokens[0]}\n")
    engine = InfiniGramEngine(
        tmp_path / "i",
        tokens[0],
        600,
        bow_ids_path=tmp_path / "words",
        precompute_unigram_logprobs=True,
    )
    monkeypatch.setitem(SHARDS, "x", shards)
    monkeypatch.setitem(DOCUMENTS, "x", [*itertools.chain(*shards)])
    monkeypatch.setitem(LIVE, "x", DOCUMENTS["x"])
    monkeypatch.setitem(ENDS, "x", tokens[0])
    for oracle in (RIGHT, WHOLE):
        monkeypatch.setitem(oracle, "x", NaiveIndex(DOCUMENTS["x"], SEPARATOR))
    monkeypatch.setattr(f"{__name__}.WORDS", tokens[:1])
    for _ in range(25):
        query = ids(5)
        for place in (0, len(query)):
            query[place:place] = [SEPARATOR] * (draw.random() < 0.2)
        text = [each for _ in range(3) for each in (*ids(5), draw.choice([tokens[0], SEPARATOR]))]
        cnf = [[[draw.choice(tokens)]], [[draw.choice(tokens)], [draw.choice(tokens)] * 2]]
        marks, least, words = (
            tokens[-1:] * draw.randrange(2),
            draw.randrange(4),
            draw.random() < 0.5,
        )
        for method, *arguments in (
            ("find", query),
            ("count", query),
            ("prob", query, draw.choice([*tokens, SEPARATOR])),
            ("infgram_prob", query, draw.choice([*tokens, SEPARATOR])),
            ("ntd", query),
            ("infgram_ntd", query),
            ("creativity", text),
            ("attribute", text, marks, least, draw.choice([1, 3, 100]), words),
            ("find_cnf", cnf, None, draw.randrange(1, 5)),
            ("find_cnf", cnf[1:]),
            ("get_doc_by_ix_2", draw.randrange(len(DOCUMENTS["x"])), draw.randrange(7)),
        ):
            answer = plain(getattr(engine, method)(*arguments))
            expected = globals()[method]("x", *arguments)
            assert same(compared(method, answer), expected), (method, arguments)
        s = draw.randrange(len(shards))
        at, before, after = draw.randrange(sum(map(len, shards[s])) + 4), draw.randrange(4), 2
        assert engine.get_doc_by_ptr_2(s, 2 * at, after, before) == by_pointer(
            "x", s, 2 * at, before, after + before
        )
        found = engine.get_doc_by_rank_2(s, at, after, before)
        assert found in at_rank(kind, "x", s, at, before, after + before)


# Why infini-gram 2.6.0 gives other answers. Each rule looks at a call only.


def ends_a_shard(name, ids):
    """Ids that stand at the end of a shard, with a separator after them."""
    return any(
        len(ids) > 1
        and ids[-1] == SEPARATOR
        and [SEPARATOR, *shard[-1]][-(len(ids) - 1) :] == ids[:-1]
        for shard in SHARDS[name]
    )


def rules_of_query(name, ids):
    if ends_a_shard(name, ids):
        yield "the end of a shard"
    if SEPARATOR in ids[1:-1]:
        yield "across documents"
    if WHOLE[name].count(ids) != RIGHT[name].count(ids):
        yield "taken away"


def rules_of_prompt(name, prompt, token=None):
    if SEPARATOR in prompt[1:]:
        yield "across documents"
    if token is not None:
        yield from rules_of_query(name, [*prompt, token])
    if WHOLE[name].following(prompt) != RIGHT[name].following(prompt):
        yield "taken away"


def rules_of_distribution(name, prompt):
    yield from rules_of_prompt(name, prompt)
    total = sum(WHOLE[name].following(prompt).values())
    if total > (4 if name == "one" else 1_000):
        yield "sampled"
    for shard in SHARDS[name]:
        ends = [[SEPARATOR, *each][-len(prompt) :] == prompt for each in shard]
        if prompt and ends[-1] and sum(ends) > 1:
            yield "a prompt that ends a shard"


def rules_of_text(name, ids, asked):
    if SEPARATOR in ids[1:]:
        yield "across documents"
        parts = [ids[at : end + 1] for end in range(1, len(ids)) for at in range(end)]
        if any(ends_a_shard(name, part) for part in parts):
            yield "the end of a shard"
    if asked(WHOLE) != asked(RIGHT):
        yield "taken away"
    for shard in SHARDS[name]:
        stream = [token for document in shard for token in [SEPARATOR, *document]]
        lowest = min(as_bytes(stream[at:]) for at in range(len(stream)))
        if any(as_bytes(ids[at:]) < lowest for at in range(len(ids))):
            yield "the first suffix"


def rules(method, name, arguments):
    """The rules that hold of a call."""
    if method in ("find", "count"):
        return {*rules_of_query(name, *arguments)}
    if method == "prob":
        return {*rules_of_prompt(name, *arguments)}
    if method == "infgram_prob":
        prompt, token = arguments
        suffix = RIGHT[name].longest_suffix(prompt)
        found = {*rules_of_prompt(name, suffix, token)}
        if SEPARATOR in prompt[1:]:
            found.add("across documents")
        if infgram_prob(name, *arguments, WHOLE) != infgram_prob(name, *arguments):
            found.add("taken away")
        return found
    if method == "ntd":
        return {*rules_of_distribution(name, *arguments)}
    if method == "infgram_ntd":
        found = {*rules_of_distribution(name, RIGHT[name].longest_suffix(*arguments))}
        if SEPARATOR in arguments[0][1:]:
            found.add("across documents")
        if infgram_ntd(name, *arguments, WHOLE) != infgram_ntd(name, *arguments):
            found.add("taken away")
        return found
    if method in ("creativity", "attribute"):
        ask = creativity if method == "creativity" else attribute
        asked = [ask(name, *arguments, oracle) for oracle in (WHOLE, RIGHT)]
        answers = dict(zip(("whole", "right"), asked, strict=True))
        return {
            *rules_of_text(
                name,
                arguments[0],
                lambda oracle: answers["whole" if oracle is WHOLE else "right"],
            )
        }
    if method in ("find_cnf", "count_cnf", "search_docs_cnf"):
        cnf, *limits = arguments
        found = {"windows"} if len(cnf) > 1 else set()
        counts = [sum(map(WHOLE[name].count, clause)) for clause in cnf]
        if method == "find_cnf" and 0 in counts:
            found.add("clauses that do not occur")
        if limits and limits[0] and max(counts) > limits[0]:
            found.add("max_clause_freq")
        terms = [term for clause in cnf for term in clause]
        if len({*map(tuple, terms)}) < len(terms):
            found.add("equal terms")
        if any(WHOLE[name].count(term) != RIGHT[name].count(term) for term in terms):
            found.add("taken away")
        return found
    if method == "compute_unigram_counts":
        return {"taken away"} if name == "minus" else set()
    if method == "get_docs_by_ranks":
        return {"get_docs_by_ranks"}
    if "_rank" in method:
        return {"the order of ranks"}
    if method.startswith("get_doc"):
        documents = globals()[method](name, *arguments)
        documents = documents if isinstance(documents, list) else [documents]
        if method == "get_docs_by_ptrs_2_grouped":
            documents = [*itertools.chain(*documents)]
        found = {"taken away"} if any(each["blocked"] for each in documents) else set()
        if method == "get_docs_by_ptrs_2_grouped":
            if any(DOCUMENTS[name][each["doc_ix"]] in TAKEN[0] for each in documents):
                found = {"copies"}
        elif "_ptr" in method:
            rows = arguments[0] if method.startswith("get_docs") else [arguments]
            if any(is_separator(name, *row[:2]) for row in rows):
                found.add("a separator")
        return found
    return set()


def is_separator(name, shard, at):
    stream = [token for document in SHARDS[name][shard] for token in [SEPARATOR, *document]]
    return stream[at // 2] == SEPARATOR


RULES = [
    "the end of a shard",
    "across documents",
    "taken away",
    "copies",
    "sampled",
    "a prompt that ends a shard",
    "the first suffix",
    "windows",
    "clauses that do not occur",
    "max_clause_freq",
    "equal terms",
    "the order of ranks",
    "get_docs_by_ranks",
    "a separator",
]


def differing(engines):
    """(rules, method, engine, arguments, ours, theirs) of every answer that differs from theirs."""
    for method, calls in CALLS.items():
        if method in SEARCHES:
            continue
        for name, arguments, theirs in calls:
            ours = compared(method, plain(getattr(engines[name], method)(*arguments)))
            said = compared(method, theirs) if isinstance(theirs, dict) else theirs
            if not same(ours, said):
                yield rules(method, name, arguments), method, name, arguments, ours, said


def test_every_difference_has_a_reason(engines):
    for found, *each in differing(engines):
        assert found, each


@pytest.mark.parametrize("rule", RULES)
def test_what_differs(engines, rule):
    """Each reason is one: a recorded answer differs where it alone holds."""
    assert any(found == {rule} for found, *_ in differing(engines))


def test_ranks_of_their_own_files_are_theirs(kind, engines):
    """But for those of suffixes at the end of a shard, and those between."""
    differ = [each for found, *each in differing(engines) if found == {"the order of ranks"}]
    for _, name, arguments, _, _ in differ if kind == "infini-gram" else ():
        shards = engines[name].index.engine.segments
        rows = arguments[0] if isinstance(arguments[0], list) else [arguments]
        places = [(shard, rank, at_their_rank(shard, rank)) for shard, rank, *_ in rows]
        moved = [
            shards[shard].positions_of(np.array([rank])).tolist() != [at]
            for shard, rank, at in places
        ]
        # (Of a separator, `needle_offset` differs.)
        separators = [is_separator(name, shard, 2 * at) for shard, _, at in places]
        assert name == "minus" or any(moved) or any(separators)
    ranked = [each for each in differ if each[1] == "union"]
    calls = [each for method in RANKED for each in CALLS[method] if each[0] == "union"]
    assert len(ranked) < len(calls) / 2 if kind == "infini-gram" else len(ranked) > len(calls) / 2


def at_their_rank(shard, rank):
    """The position at a rank of a shard of the union, as their table has it."""
    stream = [token for document in SHARDS["union"][shard] for token in [SEPARATOR, *document]]
    return sorted(range(len(stream)), key=lambda at: as_bytes(stream[at:]))[rank]


def test_most_answers_are_the_same(engines):
    calls = sum(len(calls) for method, calls in CALLS.items() if method not in SEARCHES)
    assert len([*differing(engines)]) < calls / 3
    # Without documents taken away, nearly all.
    others = [each for each in differing(engines) if each[2] == "union"]
    assert len([each for each in others if "_rank" not in each[1]]) < 20


def test_their_ranks_are_in_the_order_of_bytes():
    """What is at a rank is the same document, but of another suffix: theirs are by bytes, and an
    end of a shard comes first."""
    for _, (shard, rank, most), theirs in CALLS["get_doc_by_rank"]:
        at = 2 * at_their_rank(shard, rank)
        ours = by_pointer("union", shard, at, most // 2, (most + 1) // 2)
        if theirs["needle_offset"] != BELOW_ZERO:
            assert ours == theirs


def test_a_separator_is_before_the_first_token(engines):
    """needle_offset: there it is below zero, and read as if it were not."""
    found = [
        (plain(getattr(engines["union"], method)(*arguments)), theirs)
        for method in ("get_doc_by_ptr", "get_doc_by_ptr_2")
        for name, arguments, theirs in CALLS[method]
        if name == "union" and theirs["needle_offset"] == BELOW_ZERO
    ]
    assert found
    for ours, theirs in found:
        assert ours == {**theirs, "needle_offset": 0}
    # There, this raises ValueError.
    assert engines["one"].get_doc_by_ptr_2(0, 0, 0, 0)["token_ids"] == []


def test_what_is_said_of_documents_taken_away(engines):
    """Their number alone; there, their lengths and metadata too, and by pointer their tokens."""
    shown = [
        (ours, theirs)
        for name, (requests,), theirs_of_all in CALLS["get_docs_by_ptrs_2_grouped"]
        for ours_of, theirs_of in zip(
            engines[name].get_docs_by_ptrs_2_grouped(requests), theirs_of_all, strict=True
        )
        for ours, theirs in zip(ours_of, theirs_of, strict=True)
        if ours["blocked"]
    ]
    assert {ours["doc_ix"] for ours, _ in shown} == GONE
    for ours, theirs in shown:
        assert theirs["blocked"]
        assert theirs["metadata"]
        assert ours == shown_of_none(ours["doc_ix"])
    for number in GONE:
        assert engines["minus"].get_doc_by_ix(number) == shown_of_none(number)


def shown_of_none(number):
    said = {"doc_ix": number, "doc_len": 0, "disp_len": 0, "needle_offset": 0, "metadata": ""}
    return {**said, "token_ids": [], "blocked": True}


def test_of_copies_as_many_are_taken_away_as_are_given(engines):
    """There, all documents are blocked that show the same tokens as one that was taken down."""
    copied = DOCUMENTS["minus"][1]
    copies = [at for at, document in enumerate(DOCUMENTS["minus"]) if document == copied]
    assert (len(copies), TAKEN[0].count(copied)) == (3, 1)
    rows = [pointer("minus", number, 0) for number in copies]
    request = {
        "docs": [{"s": s, "ptr": at} for s, at in rows],
        "span_ids": copied,
        "needle_len": len(copied),
        "max_ctx_len": 30,
    }
    (found,) = engines["minus"].get_docs_by_ptrs_2_grouped([request])
    assert [each["blocked"] for each in found] == [True, False, False]
    theirs = [
        each["blocked"]
        for _, (requests,), said in CALLS["get_docs_by_ptrs_2_grouped"]
        for asked, documents in zip(requests, said, strict=True)
        for each in documents
        if asked["span_ids"] == copied
    ]
    assert theirs == [True, True, True]


@pytest.mark.parametrize("method", SEARCHES)
def test_search_docs(engines, method):
    """As many different documents as there are, and the same for the same request; there, any."""
    repeated = 0
    for name, arguments, theirs in CALLS[method]:
        ours = plain(getattr(engines[name], method)(*arguments))
        assert ours == getattr(engines[name], method)(*arguments)
        query, most, length = arguments
        cnf = query if method == "search_docs_cnf" else None
        live = matches(name, cnf) if cnf else places(name, query)
        numbers = {by_pointer(name, *each, 0, 0)["doc_ix"] for each in live}
        assert (ours["cnt"], ours["approx"]) == (len(live), False)
        assert len(ours["documents"]) == len(ours["idxs"]) == min(most, len(numbers))
        assert len({each["doc_ix"] for each in ours["documents"]}) == len(ours["documents"])
        assert len({*ours["idxs"]}) == len(ours["idxs"])
        right = [by_pointer(name, *each, length // 2, (length + 1) // 2) for each in live]
        assert all(each in right for each in ours["documents"])
        assert all(0 <= at < len(live) for at in ours["idxs"])
        if name != "minus":
            assert theirs["cnt"] == ours["cnt"] or rules_of_query(name, query)
            repeated += len({each["doc_ix"] for each in theirs["documents"]}) < min(
                most, len(numbers)
            )
    assert repeated


def test_documents_of_idxs(engines):
    """An idx is the number of an occurrence, in the order of shards and ranks."""
    engine = engines["one"]
    for query in ([0], [SEPARATOR], [4]):
        found = engine.search_docs(query, 20, 9)
        ranks = [
            (s, rank)
            for s, (low, high) in enumerate(engine.find(query)["segment_by_shard"])
            for rank in range(low, high)
        ]
        chosen = [ranks[at] for at in found["idxs"]]
        assert found["documents"] == engine.get_docs_by_ranks(chosen, 9)
    cnf = [[[0], [4]]]
    found, listed = engine.search_docs_cnf(cnf, 20, 9), engine.find_cnf(cnf)["ptrs_by_shard"]
    pointers = [(s, at) for s, each in enumerate(listed) for at in each]
    chosen = [pointers[at] for at in found["idxs"]]
    assert found["documents"] == engine.get_docs_by_ptrs(chosen, 9)


def test_intervals_are_of_the_suffixes_that_begin_with_the_query(engines):
    for name, (ids,), _ in CALLS["find"]:
        found = engines[name].find(ids)["segment_by_shard"]
        assert all(type(each) is tuple for each in found)
        asked = [each for each in ids if each != SEPARATOR]
        for shard, (low, high) in enumerate(found):
            rows = [(shard, rank, len(ids), 0) for rank in range(low, high)]
            for shown_there in engines[name].get_docs_by_ranks_2(rows):
                assert shown_there["blocked"] or shown_there["token_ids"] == asked


def test_clauses_with_a_separator_are_none(engines):
    """There, a separator is a token among others."""
    for method in ("find_cnf", "count_cnf", "search_docs_cnf"):
        answer = getattr(engines["one"], method)([[[SEPARATOR, 4]]])
        assert "65535 separates documents" in answer["error"]


def test_ids_that_the_index_has_not(engines):
    """They occur nowhere, whatever the index's vocabulary."""
    engine = engines["union"]
    for ids in ([9_999], [0, 9_999], [9_999, 0], [0, 9_999, 4]):
        assert engine.count(ids) == {"count": 0, "approx": False}
        assert compared("find", engine.find(ids)) == {"cnt": 0, "sizes": [0, 0, 0]}
        assert engine.prob(ids, 0) == {"prompt_cnt": 0, "cont_cnt": 0, "prob": -1.0}
        assert engine.ntd(ids) == {"prompt_cnt": 0, "result_by_token_id": {}, "approx": False}
        assert engine.search_docs(ids) == {"cnt": 0, "approx": False, "idxs": [], "documents": []}
    assert engine.prob([4], 9_999) == {**engine.prob([4], 0), "cont_cnt": 0, "prob": 0.0}
    assert engine.infgram_prob([9_999, 4], 9_999) == {
        **engine.infgram_prob([4], 0),
        "cont_cnt": 0,
        "prob": 0.0,
    }
    assert engine.infgram_ntd([4, 9_999]) == engine.infgram_ntd([])
    assert engine.count_cnf([[[4], [9_999]]]) == engine.count_cnf([[[4]]])
    assert engine.count_cnf([[[4]], [[9_999]]])["count"] == 0
    assert engine.search_docs_cnf([[[9_999]]])["documents"] == []
    # (A text of many, with a separator beside one.)
    text = [9_999, SEPARATOR, 9_999, *A[0][0], 9_999, 9_998, SEPARATOR, *A[0][1], SEPARATOR, 9_999]
    assert engine.creativity(text) == creativity("union", text)
    assert same(
        compared("attribute", engine.attribute(text, [], 1, 50, False)),
        attribute("union", text, [], 1, 50, False),
    )


# Arguments of any kind.

LARGE = "2**70"


@pytest.mark.parametrize("each", RECORDED["hostile"], ids=lambda each: each["call"])
def test_hostile_calls(folder, engines, each):
    """What is refused there is refused here, in the same words; what raises, or is too large for
    64 bits, is refused or answered."""
    names = {
        "e": engines["one"],
        "d": engines["minus"],
        "A": str(folder / "a"),
        "np": np,
        "InfiniGramEngine": InfiniGramEngine,
        "InfiniGramEngineDiff": InfiniGramEngineDiff,
    }
    own = (folder / "a" / "manifest.json").exists()
    call = each["call"].replace("offset.0", "manifest.json") if own else each["call"]
    if call.startswith("InfiniGramEngine"):
        if "raises" in each or call in REFUSED:
            with pytest.raises((OptionError, FormatError, FileNotFoundError)) as raised:
                eval(call, names)
            assert isinstance(raised.value, OptionError) or "'none'" in call
        else:
            assert type(eval(call, names)) in (dict, InfiniGramEngine)
        return
    answer = eval(call, names)
    if "raises" not in each:
        assert plain(answer) == each["answer"]
    elif LARGE in call:
        assert answer == eval(call.replace(LARGE, "10**4"), names)
        assert "error" not in answer
    elif call in ANSWERED:
        assert answer == ANSWERED[call]
    else:
        assert {*answer} == {"error"}


# What is opened there and refused here.
REFUSED = {
    "InfiniGramEngine([], 301)",
    "InfiniGramEngine(A, 301, 302, version=5)",
    "InfiniGramEngine(A, 301, 302, precompute_unigram_logprobs=2)",
}
# What is answered here, and raises there.
ANSWERED = {
    "e.get_docs_by_ranks([])": [],
    "e.get_doc_by_ptr_2(0, 0, 0, 0)": {
        "doc_ix": 0,
        "doc_len": len(A[0][0]),
        "disp_len": 0,
        "needle_offset": 0,
        "metadata": '{"path": "c.jsonl", "linenum": 0, "metadata": {}}\n',
        "token_ids": [],
        "blocked": False,
    },
}


def test_signatures():
    """Names, places and defaults of all arguments, of every method."""
    for engine in (InfiniGramEngine, InfiniGramEngineDiff):
        for name, theirs in RECORDED["signatures"][engine.__name__].items():
            parameters = inspect.signature(getattr(engine, name)).parameters.values()
            ours = [
                [each.name, None if each.default is each.empty else repr(each.default)]
                for each in parameters
            ]
            assert ours == theirs, name


# Opening.


def test_an_index_must_agree_with_what_is_said_of_it(folder):
    for wrong, message in (
        ({"token_dtype": "u8", "vocab_size": 255}, "pass token_dtype='u16'"),
        ({"token_dtype": "u32"}, "pass token_dtype='u16'"),
        ({"vocab_size": 300}, "has token 300, expected more than that"),
        ({"version": 5}, "expected 4, found 5, whose documents are reversed"),
        ({"eos_token_id": 302, "vocab_size": 302}, "expected an integer from 0 to 301"),
        ({"vocab_size": 65_536}, "an integer from 1 to 65535 for tokens of u16"),
        ({"index_dir": []}, "an empty list"),
    ):
        with pytest.raises(OptionError, match=message) as raised:
            InfiniGramEngine(**{"index_dir": folder / "a", "eos_token_id": 5} | wrong)
        assert isinstance(raised.value, ValueError)
    for few in (301, 302, 65_535):
        engine = InfiniGramEngine(folder / "a", 5, few)
        assert len(engine.compute_unigram_counts(0)) == few + 1


def test_words_are_read_from_a_file(folder, tmp_path):
    (tmp_path / "words").write_text("0\n2\nthree\n")
    with pytest.raises(OptionError, match="line 3: expected a token id"):
        InfiniGramEngine(folder / "a", 5, bow_ids_path=tmp_path / "words")
    (tmp_path / "words").write_text("-1\n")
    with pytest.raises(OptionError, match="expected token ids from 0"):
        InfiniGramEngine(folder / "a", 5, bow_ids_path=str(tmp_path / "words"))


def test_shards_that_are_open_are_not_opened_again(folder):
    first = InfiniGramEngine(str(folder / "a"), END)
    known = first.get_new_shards_by_index_dir()
    assert [*known] == [str(folder / "a")]
    shards = known[str(folder / "a")]
    assert [each.doc_cnt for each in shards] == [*map(len, A)]
    assert [each.tok_cnt for each in shards] == [sum(map(len, each)) + len(each) for each in A]
    assert [each.ds_size for each in shards] == [2 * each.tok_cnt for each in shards]
    both = [str(folder / "a"), str(folder / "b")]
    second = InfiniGramEngine(both, END, prev_shards_by_index_dir=known)
    assert [*second.get_new_shards_by_index_dir()] == [str(folder / "b")]
    assert second.count([4])["count"] == WHOLE["union"].count([4])
    one, other = (each.index.engine.segments[0].own for each in (first, second))
    (name,) = one.parts["tokens"]
    assert np.shares_memory(getattr(one, name), getattr(other, name))
    alone = InfiniGramEngine(str(folder / "a"), END, prev_shards_by_index_dir=known)
    assert alone.index is first.index
    for wrong in (None, [], {"x": [1]}, {"x": 1}):
        with pytest.raises(OptionError, match="prev_shards_by_index_dir"):
            InfiniGramEngine(str(folder / "a"), END, prev_shards_by_index_dir=wrong)


def test_an_empty_index(tmp_path):
    write_index(tmp_path / "i", [], "u16", vocab_size=9)
    first = InfiniGramEngine(tmp_path / "i", 8, 9)
    known = first.get_new_shards_by_index_dir()
    for engine in (first, InfiniGramEngine(tmp_path / "i", 8, 9, prev_shards_by_index_dir=known)):
        assert engine.find([1]) == {"cnt": 0, "segment_by_shard": []}
        assert engine.infgram_prob([1], 2)["prob"] == -1.0
        assert engine.infgram_ntd([1])["result_by_token_id"] == {}
        assert engine.search_docs([])["documents"] == engine.search_docs_cnf([[[1]]])["documents"]
        assert engine.creativity([1, 2]) == {"rs": [0, 1]}
        assert engine.attribute([1, 2], [], 1, 9, False) == {"spans": []}
        assert engine.get_doc_by_ix(0) == {"error": "doc_ix must be an integer in range [0, 0)"}
        assert engine.get_doc_by_rank(0, 0) == {"error": "s must be an integer in range [0, 0)"}
        assert engine.get_docs_by_ranks([]) == engine.get_docs_by_ixs([]) == []


def test_defaults_of_the_constructor_are_those_of_methods(folder):
    engine = InfiniGramEngine(folder / "a", 5, maxnum=4, max_disp_len=3, max_diff_tokens=2)
    assert len(engine.search_docs([4])["documents"]) == 4
    assert engine.search_docs([4]) == engine.search_docs([4], 4, 3)
    assert engine.get_doc_by_ix(0) == engine.get_doc_by_ix(0, 3)
    cnf = [[[0]], [[4]]]
    assert engine.count_cnf(cnf) == engine.count_cnf(cnf, None, 2)
    assert engine.count_cnf(cnf) != engine.count_cnf(cnf, None, 9)


@pytest.mark.parametrize(("dtype", "width"), [("u8", 1), ("u32", 4)])
def test_pointers_are_of_tokens_of_any_width(tmp_path, dtype, width):
    """There they are even in any case: of u8 half of them cannot be given, of u32 half are none."""
    documents = [[1, 2, 3], [2, 3]]
    write_index(tmp_path / "i", documents, dtype, vocab_size=200)
    engine = InfiniGramEngine(tmp_path / "i", 9, 200, token_dtype=dtype)
    assert engine.token_id_max == 256**width - 1
    for at, offset in ((1, 0), (2, 1), (3, 2)):
        shown_there = engine.get_doc_by_ptr(0, at * width, 2)
        assert shown_there["token_ids"] == documents[0][max(0, offset - 1) : offset + 1]
    size = 7 * width
    said = {
        1: f"ptr must be an integer in range [0, {size})",
        4: f"ptr must be a multiple of 4 in range [0, {size})",
    }[width]
    assert engine.get_doc_by_ptr(0, size) == {"error": said}
    if width == 4:
        assert engine.get_doc_by_ptr(0, 2) == {"error": said}
    assert engine.find_cnf([[[2, 3]]])["ptrs_by_shard"] == [[2 * width, 5 * width]]
    found = engine.attribute([2, 3], [], 1, 9, False)["spans"][0]["docs"]
    assert sorted(each["ptr"] for each in found) == [2 * width, 5 * width]


def test_an_index_in_which_documents_were_deleted(tmp_path):
    """They keep their numbers and ranks, and nothing is said of them."""
    documents = [[1, 2, 3], [1, 2], [1, 2, 4]]
    write_index(tmp_path / "i", documents, "u16", 2, 9, deleted=[[1]])
    engine = InfiniGramEngine(tmp_path / "i", 8, 9)
    oracle = NaiveIndex([documents[0], documents[2]], SEPARATOR)
    assert engine.count([1, 2])["count"] == oracle.count([1, 2]) == 2
    assert engine.get_total_doc_cnt() == 3
    assert engine.get_doc_by_ix(1) == shown_of_none(1)
    (first, second) = engine.find([1, 2])["segment_by_shard"]
    assert (first[1] - first[0], second[1] - second[0]) == (1, 2)
    ranks = [(1, rank) for rank in range(*second)]
    assert {each["doc_ix"]: each["blocked"] for each in engine.get_docs_by_ranks(ranks)} == {
        1: True,
        2: False,
    }
    counts = [engine.compute_unigram_counts(s) for s in range(2)]
    assert sum(each[2] for each in counts) == 2
    assert sum(sum(each.values()) for each in counts) == oracle.count([])
    found = engine.attribute([1, 2, 9], [], 1, 9, False)["spans"]
    assert [(each["count"], len(each["docs"])) for each in found] == [(2, 2)]
    assert engine.find_cnf([[[1]]])["ptrs_by_shard"] == [[2], [8]]


def test_taking_away_what_is_not_there(tmp_path):
    """It takes nothing away; there, counts that it never had are subtracted from matches."""
    write_index(tmp_path / "a", DOCUMENTS["one"], "u16", vocab_size=VOCABULARY)
    write_index(tmp_path / "t", [[4], [4, 4]], "u16", vocab_size=VOCABULARY)
    engine = InfiniGramEngineDiff(tmp_path / "a", tmp_path / "t", 5)
    assert engine.count([4])["count"] == WHOLE["one"].count([4])
    assert engine.creativity([4]) == {"rs": [1]}


def test_metadata_is_a_line_of_json(tmp_path):
    records = [{"text": "ab", "title": "é"}, {"text": "b"}]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records), tmp_path / "i")
    engine = InfiniGramEngine(tmp_path / "i", 0, 255, token_dtype="u8")
    found = [each["metadata"] for each in engine.get_docs_by_ixs([0, 1])]
    assert [json.loads(each) for each in found] == [{"title": "é"}, {}]
    assert all(each.endswith("}\n") for each in found)
    assert engine.get_doc_by_ix(0)["token_ids"] == [*b"ab"]


def test_a_match_in_a_difference_ends_with_a_word(tmp_path):
    """There, it is cut to whole words first, and then to what is left."""
    (tmp_path / "words").write_text("1\n5\n")
    write_index(tmp_path / "a", [[1, 2, 3], [1, 2, 4]], "u16", vocab_size=9)
    write_index(tmp_path / "t", [[1, 2, 3]], "u16", vocab_size=9)
    given = {"eos_token_id": 8, "vocab_size": 9, "bow_ids_path": tmp_path / "words"}
    text = [1, 2, 3, 5]
    for engine, ends in (
        (InfiniGramEngine(tmp_path / "a", **given), [3]),
        (InfiniGramEngineDiff(tmp_path / "a", tmp_path / "t", **given), []),
    ):
        found = engine.attribute(text, [], 1, 9, True)["spans"]
        assert [span["r"] for span in found] == ends
    found = engine.attribute(text, [], 1, 9, False)["spans"]
    assert [(span["l"], span["r"], span["count"]) for span in found] == [(0, 2, 1)]

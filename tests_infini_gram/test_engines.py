"""Both engines over the same indexes: every call gets the same answer, or a rule tells why not.

Ours must always be what we define (`ours.Ours`), infini-gram's what it defines (`exact.Theirs`) but
for errors that are known, by brute force. `python -m pytest tests_infini_gram -rP` shows how often
each rule was needed.
"""

import contextlib
import copy
import json
from collections import Counter

import numpy as np
import pytest

import everygram
import infini_gram_index as indexes
from cases import CASES, VOCABULARIES, Draw, make, streams_of
from everygram.compat.infini_gram import InfiniGramEngine, InfiniGramEngineDiff
from exact import Shard, Theirs, TheirsWithout
from ours import Ours
from rules import difference_of, error_of, same
from wheel import Wheel

# Calls of each method over each index.
NUMBER = 30
KINDS = ["as it is", "attached", "converted"]


class Made:
    """A case's index, in each kind, with infini-gram's engine and its answers."""

    def __init__(self, case, folder, peers):
        self.case, self.files = case, folder / "index"
        make(case, self.files, peers)
        self.streams = streams_of(self.files, case.dtype)
        used = sorted({token for stream in self.streams for token in stream.tolist()})
        self.word_ids = [token for i, token in enumerate(used) if i % 2]
        (folder / "words.txt").write_text("".join(f"{token}\n" for token in self.word_ids))
        self.options = {
            "vocab_size": VOCABULARIES[case.dtype],
            "token_dtype": case.dtype,
            "bow_ids_path": str(folder / "words.txt"),
            "precompute_unigram_logprobs": case.has_log_probs,
        }
        self.folders = {
            "as it is": self.files,
            "attached": folder / "attached",
            "converted": folder / "own",
        }
        everygram.attach(self.files, out=self.folders["attached"])
        everygram.convert(self.files, self.folders["converted"])
        self.theirs = Theirs(case, self.files, self.word_ids, case.has_log_probs)
        self.wheel = Wheel("InfiniGramEngine", [str(self.files), case.end], self.options)
        self.asked = [
            (call, self.wheel(*call))
            for call in Draw(self.streams, case.dtype, seed=1).calls(NUMBER)
        ]

    def engine(self, kind):
        return InfiniGramEngine(str(self.folders[kind]), self.case.end, **self.options)

    def ours(self, engine, taken=(), theirs=None):
        """What we define. Ranks are read from the engine: each document as it starts at a rank
        tells the pointer."""
        theirs = theirs or self.theirs
        order, starts = [], starts_of(theirs)
        for s, shard in enumerate(theirs.shards):
            ranks = range(len(shard.ids))
            tokens = engine.get_docs_by_ranks_2([(s, rank, 1, 0) for rank in ranks])
            wholes = engine.get_docs_by_ranks_2([(s, rank, 1 << 30, 1 << 30) for rank in ranks])
            order.append(
                [
                    # (Of a separator no token is shown.)
                    starts[whole["doc_ix"]]
                    + (1 + whole["needle_offset"] if token["disp_len"] else 0) * shard.width
                    for token, whole in zip(tokens, wholes, strict=True)
                ]
            )
        return Ours(theirs, order, taken)


def starts_of(theirs):
    """The pointer of each document."""
    return [start for shard in theirs.shards for start in shard.starts[:-1]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def made(request, tmp_path_factory, peers):
    found = Made(request.param, tmp_path_factory.mktemp("i"), peers)
    yield found
    found.wheel.close()


@pytest.fixture
def wheel_of():
    """Makes infini-gram's engines that end with the test."""
    with contextlib.ExitStack() as ending:

        def make_wheel(*words):
            found = Wheel(*words)
            ending.callback(found.close)
            return found

        yield make_wheel


def check(ours, theirs, call, our_answer, their_answer):
    """Check both answers. Returns the names of the rules by which they are not the same."""
    name, arguments, named = call
    if name == "search_docs":
        assert ours.is_search(our_answer, *arguments, **named), (call, our_answer)
    else:
        expected = getattr(ours, name)(*arguments, **named)
        assert same(placed(our_answer), placed(expected)), (call, our_answer, expected)
    rules = []
    if not name.startswith("search_docs") and not name.endswith("_cnf"):
        defined = getattr(theirs, name)(*arguments, **named)
        if not same(their_answer, defined):
            rules.append(error_of(theirs, call, defined, their_answer))
            assert rules[-1] is not None, (call, their_answer, defined)
    if same(our_answer, their_answer):
        return ["the same"]
    if not rules or not same(placed(our_answer), placed(defined)):
        rules.append(difference_of(theirs, call))
        assert rules[-1] is not None, (call, our_answer, their_answer)
    return rules


def placed(answer):
    """An answer with intervals of nothing at one place."""
    if not isinstance(answer, dict) or "segment_by_shard" not in answer:
        return answer
    pairs = [(low, high) if low < high else (0, 0) for low, high in answer["segment_by_shard"]]
    return {**answer, "segment_by_shard": pairs}


@pytest.mark.parametrize("kind", ["as it is", "attached"])
def test_every_method(made, kind):
    engine, used = made.engine(kind), Counter()
    ours = made.ours(engine)
    for call, theirs in made.asked:
        name, arguments, named = call
        answer = getattr(engine, name)(*arguments, **named)
        used.update(check(ours, made.theirs, call, answer, theirs))
    assert used["the same"] > len(made.asked) / 5
    print(made.case.name, kind, dict(used))


# Calls whose answers know of shards: an index that was converted has one.
OF_SHARDS = ("by_rank", "by_ptr", "find", "attribute")


def test_every_method_of_a_converted_index(made):
    engine, used = made.engine("converted"), Counter()
    joined = copy.copy(made.theirs)
    joined.shards = [Shard.joined(made.theirs.shards)]
    ours = made.ours(engine, theirs=joined)
    stream = np.concatenate(made.streams)
    for call in Draw([stream], made.case.dtype, seed=1).calls(NUMBER):
        name, arguments, named = call
        answer = getattr(engine, name)(*arguments, **named)
        if any(each in name for each in OF_SHARDS) and name != "search_docs":
            expected = getattr(ours, name)(*arguments, **named)
            assert same(placed(answer), placed(expected)), (call, answer, expected)
        else:
            used.update(check(ours, made.theirs, call, answer, made.wheel(*call)))
    assert used["the same"]
    print(made.case.name, "converted", dict(used))


# What a method cannot answer. infini-gram says so with {"error": …}, raises, or ends the process.
REFUSED = [
    ("find", [["a"]], {}),
    ("find", [[-1]], {}),
    ("find", [[1 << 40]], {}),
    ("find", ["abc"], {}),
    ("find", [[True]], {}),
    ("find", [[1.0]], {}),
    ("count", [None], {}),
    ("count", [], {}),
    ("count", [[1]], {"more": 1}),
    ("prob", [[1], -1], {}),
    ("prob", [[1], [1]], {}),
    ("ntd", [[1]], {"max_support": 0}),
    ("ntd", [[1]], {"max_support": "1"}),
    ("infgram_prob", [[1 << 40], 1], {}),
    ("infgram_ntd", [[1]], {"max_support": -1}),
    ("find_cnf", [[]], {}),
    ("find_cnf", [[[]]], {}),
    ("count_cnf", [[[[]]]], {}),
    ("count_cnf", [[[[1]]]], {"max_diff_tokens": 0}),
    ("count_cnf", [[[[1]]]], {"max_clause_freq": 0}),
    ("search_docs", [[1]], {"maxnum": 0}),
    ("search_docs", [[1]], {"max_disp_len": 0}),
    ("search_docs_cnf", [[]], {"maxnum": 1}),
    ("get_doc_by_rank", [99, 0], {}),
    ("get_doc_by_rank", [0, -1], {}),
    ("get_doc_by_rank", [0, 10**9], {}),
    ("get_doc_by_rank", [0, 0], {"max_disp_len": 0}),
    ("get_docs_by_ranks", [[[0, 10**9]]], {}),
    ("get_doc_by_ptr", [0, -2], {}),
    ("get_doc_by_ptr", [0, 10**9], {}),
    ("get_docs_by_ptrs", [[[0, 10**9]]], {}),
    ("get_doc_by_ix", [-1], {}),
    ("get_doc_by_ix", [10**9], {}),
    ("get_docs_by_ixs", [[0, 10**9]], {}),
    ("get_doc_by_rank_2", [0, 0, -1, 1], {}),
    ("get_doc_by_rank_2", [0, 0, 1, -1], {}),
    ("get_docs_by_ranks_2", [[[0, 0, -1, 1]]], {}),
    ("get_doc_by_ptr_2", [0, 0, 1, "1"], {}),
    ("get_docs_by_ptrs_2", [[[0, 10**9, 1, 1]]], {}),
    ("get_doc_by_ix_2", [0, -1], {}),
    ("get_docs_by_ixs_2", [[[10**9, 1]]], {}),
    ("creativity", ["x"], {}),
    ("attribute", [[1], ["x"], 1, 1, False], {}),
    ("attribute", [[1], [], -1, 1, False], {}),
    ("attribute", [[1], [], 1, 0, False], {}),
    ("attribute", [[1], [], 1, 1, 1], {}),
]


@pytest.mark.parametrize("call", REFUSED, ids=lambda call: str(call)[:60])
def test_what_is_refused(made, call):
    """The same error where infini-gram gives one; never an answer where it does not."""
    theirs = made.wheel(*call)
    ours = asked(made.engine("attached"), call)
    if isinstance(theirs, dict):
        assert {*theirs} == {"error"}
        assert {*ours} == {"error"}
    else:
        assert ours[0] == "raised" if isinstance(ours, tuple) else {*ours} == {"error"}


def asked(engine, call):
    """An engine's answer, or ("raised", the error's type), as `Wheel` gives them."""
    name, arguments, named = call
    try:
        return getattr(engine, name)(*arguments, **named)
    except (TypeError, everygram.EverygramError) as error:
        return "raised", type(error).__name__


def test_a_pointer_inside_a_token(made):
    """Of four bytes, half of the even pointers are inside a token. There, they are answered."""
    call = ("get_doc_by_ptr", [0, 2], {})
    ours, theirs = asked(made.engine("as it is"), call), made.wheel(*call)
    if made.case.dtype == "u32":
        assert {*theirs} != {"error"}
        assert {*ours} == {"error"}
    else:
        assert (ours["doc_ix"], ours["token_ids"]) == (theirs["doc_ix"], theirs["token_ids"])


def test_positions_and_names_of_arguments(made):
    """Arguments may be given by infini-gram's names."""
    engine, prompt = made.engine("as it is"), made.streams[0][1:3].tolist()
    for name, named in {
        "find": {"input_ids": prompt},
        "count": {"input_ids": prompt},
        "prob": {"prompt_ids": prompt, "cont_id": 1},
        "ntd": {"prompt_ids": prompt, "max_support": 100_000},
        "infgram_prob": {"prompt_ids": prompt, "cont_id": 1},
        "infgram_ntd": {"prompt_ids": prompt, "max_support": 100_000},
        "find_cnf": {"cnf": [[[1]]], "max_clause_freq": 50_000, "max_diff_tokens": 100},
        "count_cnf": {"cnf": [[[1]]], "max_clause_freq": 50_000, "max_diff_tokens": 100},
        "get_doc_by_rank": {"s": 0, "rank": 0, "max_disp_len": 9},
        "get_doc_by_ptr": {"s": 0, "ptr": 0, "max_disp_len": 9},
        "get_doc_by_ix": {"doc_ix": 0, "max_disp_len": 9},
        "get_doc_by_rank_2": {"s": 0, "rank": 0, "needle_len": 1, "max_ctx_len": 9},
        "get_doc_by_ptr_2": {"s": 0, "ptr": 0, "needle_len": 1, "max_ctx_len": 9},
        "get_doc_by_ix_2": {"doc_ix": 0, "max_ctx_len": 9},
        "get_docs_by_ptrs": {"list_of_s_and_ptr": [[0, 0]], "max_disp_len": 9},
        "get_docs_by_ixs": {"list_of_doc_ix": [0], "max_disp_len": 9},
        "get_docs_by_ranks_2": {"requests": [[0, 0, 1, 1]]},
        "creativity": {"input_ids": prompt},
        "attribute": {
            "input_ids": prompt,
            "delim_ids": [],
            "min_len": 1,
            "max_cnt": 10,
            "enforce_bow": False,
        },
    }.items():
        theirs, answer = made.wheel(name, [], named), getattr(engine, name)(**named)
        assert answer == getattr(engine, name)(*named.values())
        assert theirs == made.wheel(name, [*named.values()], {})


@pytest.mark.parametrize("kind", ["as it is", "attached"])
def test_without_documents(made, kind, tmp_path, wheel_of):
    """InfiniGramEngineDiff: the index less some of its documents. Ours has them nowhere."""
    case, log_probs = made.case, made.case.has_log_probs
    documents = [each.ids for each in made.ours(made.engine(kind)).all_documents]
    taken = [ids for i, ids in enumerate(documents) if i % 3 == 0]
    gone = tmp_path / "gone"
    stream = indexes.stream_of(taken, case.dtype)
    indexes.write_shard(gone, 0, stream, unigrams=case.has_unigrams)
    indexes.sort_as_defined(gone, case.dtype)
    theirs = TheirsWithout(case, made.files, made.word_ids, log_probs)
    theirs.gone = Theirs(case, gone, made.word_ids, log_probs)
    wheel = wheel_of("InfiniGramEngineDiff", [str(made.files), str(gone), case.end], made.options)
    engine = InfiniGramEngineDiff(str(made.folders[kind]), str(gone), case.end, **made.options)
    ours = made.ours(made.engine(kind), taken)
    draw = Draw(made.streams, case.dtype, seed=2)
    calls = [(name, *getattr(draw, f"call_{name}")()) for name in ["creativity", "attribute"] * 20]
    calls += [("get_docs_by_ptrs_2_grouped", *draw.grouped()) for _ in range(40)]
    calls += draw.calls(3)
    used = Counter()
    for call in calls:
        name, arguments, named = call
        answer = getattr(engine, name)(*arguments, **named)
        their_answer = wheel(*call)
        if name.startswith("search_docs") or name.endswith("_cnf"):
            continue
        if name != "find":  # (Intervals have the ranks of deleted documents, too.)
            expected = getattr(ours, name)(*arguments, **named)
            assert same(answer, expected), (call, answer, expected)
        defined = getattr(theirs, name)(*arguments, **named)
        if not same(their_answer, defined):
            used[error_of(theirs, call, defined, their_answer)] += 1
            assert None not in used, (call, their_answer, defined)
        # What they are to answer differs: there, most calls see documents that are taken away.
        used["the same" if same(answer, their_answer) else "we take documents away"] += 1
    print(case.name, kind, dict(used))


def test_exported(made, tmp_path, wheel_of):
    """infini-gram's engine over the files that we write: what they define, but for its errors."""
    case, files = made.case, tmp_path / "back"
    with everygram.open(made.folders["converted"]) as index:
        everygram.export_infini_gram(index, files)
    assert indexes.sorted_by_bytes(files, case.dtype)
    streams = streams_of(files, case.dtype)
    assert np.concatenate(streams).tolist() == np.concatenate(made.streams).tolist()
    if case.shards == 1:
        (table,), (theirs,) = files.glob("table*"), made.files.glob("table*")
        assert table.read_bytes() == theirs.read_bytes()
    log_probs = case.dtype != "u8"  # (There are files of unigrams.)
    defined = Theirs(case, files, made.word_ids, log_probs)
    if case.has_metadata:
        lines, originals = (
            [json.loads(line) for shard in each.shards for line in shard.lines]
            for each in (defined, made.theirs)
        )
        assert lines == originals
    options = made.options | {"precompute_unigram_logprobs": log_probs}
    wheel = wheel_of("InfiniGramEngine", [str(files), case.end], options)
    used = Counter()
    for call in Draw(streams, case.dtype, seed=4).calls(10):
        name, arguments, named = call
        answer = wheel(*call)
        if name.startswith("search_docs") or name.endswith("_cnf"):
            assert "error" not in answer
            continue
        expected = getattr(defined, name)(*arguments, **named)
        said = "as defined"
        if not same(answer, expected):
            said = error_of(defined, call, expected, answer)
        assert said is not None, (call, answer, expected)
        used[said] += 1
    assert used["as defined"] > sum(used.values()) / 2
    print(case.name, "exported", dict(used))


def test_the_index_itself(made):
    """The three kinds are one index: the same answers to everygram's own calls."""
    draw = Draw(made.streams, made.case.dtype, seed=3)
    queries, text = [draw.ids(6, 1) for _ in range(100)], draw.text(40) or [1]
    ours, said = made.ours(made.engine("as it is")), []
    for kind in KINDS:
        with everygram.open(made.folders[kind]) as index:
            said.append(list(answers(index, queries, text, ours)))
    first = said[0]
    for other in said[1:]:
        for a, b in zip(first, other, strict=True):
            assert a == b


def answers(index, queries, text, ours):
    """What an index says of n-grams and a text; counts are compared with the exact ones here."""
    yield index.num_documents, index.num_tokens
    for ids in queries:
        count = int(index.count(ids))
        assert count == ours.count(ids)["count"], ids
        found = index.find(ids, limit=None)
        yield ids, count, sorted((each.document, each.offset) for each in found)
        result = index.ntd(ids)
        yield dict(zip(result.next_ids.tolist(), result.counts.tolist(), strict=True))
        result = index.infgram_prob(ids[:-1], ids[-1])
        yield result.prompt_count, result.continuation_count, result.suffix_len
    yield index.score(text).continuation_counts.tolist()
    yield index.longest_matches(text).lengths.tolist()
    for number in range(0, index.num_documents, 7):
        document = index.document(number)
        yield document.token_ids.tolist(), document.metadata

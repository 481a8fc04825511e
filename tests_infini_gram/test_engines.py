"""Both engines over the same indexes: every call gets the same answer, or a rule tells why not.

`python -m pytest tests_infini_gram -rP` shows how often each rule was needed.
"""

from collections import Counter

import pytest
from everygram.compat.infini_gram import InfiniGramEngine, InfiniGramEngineDiff

import everygram
import infini_gram_index as indexes
from cases import CASES, VOCABULARIES, Draw, make, streams_of
from exact import Exact, ExactDiff
from rules import rule_of, same
from wheel import Wheel

# Calls of each method over each index.
NUMBER = 40
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
            "attached": folder / "att",
            "converted": folder / "own",
        }
        everygram.attach(self.files, out=self.folders["attached"])
        everygram.convert(self.files, self.folders["converted"])
        self.exact = Exact(case, self.files, self.word_ids, case.has_log_probs)
        self.wheel = Wheel("InfiniGramEngine", [str(self.files), case.end], self.options)
        self.asked = [
            (call, self.wheel(*call))
            for call in Draw(self.streams, case.dtype, seed=1).calls(NUMBER)
        ]

    def engine(self, kind):
        return InfiniGramEngine(str(self.folders[kind]), self.case.end, **self.options)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def made(request, tmp_path_factory, peers):
    found = Made(request.param, tmp_path_factory.mktemp("i"), peers)
    yield found
    found.wheel.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_method(made, kind):
    engine, used = made.engine(kind), Counter()
    for call, theirs in made.asked:
        name, arguments, named = call
        ours = getattr(engine, name)(*arguments, **named)
        if same(ours, theirs):
            used["the same"] += 1
            continue
        rule = rule_of(made.exact, call, ours, theirs)
        assert rule is not None, (call, ours, theirs)
        used[rule] += 1
    assert used["the same"] > len(made.asked) / 4
    print(made.case.name, kind, dict(used))


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
    """It ends itself where an even pointer is inside a token of four bytes."""
    call = ("get_doc_by_ptr", [0, 2], {})
    ours, theirs = asked(made.engine("as it is"), call), made.wheel(*call)
    if made.case.dtype == "u32":
        assert theirs == Wheel.DIED
        assert {*ours} == {"error"}
    else:
        assert same(ours, theirs)


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
        ours, theirs = getattr(engine, name)(**named), made.wheel(name, [], named)
        call = (name, [*named.values()], {})
        assert same(ours, theirs) or rule_of(made.exact, call, ours, theirs), (call, ours, theirs)


@pytest.mark.parametrize("kind", ["as it is", "attached"])
def test_without_documents(made, kind, tmp_path):
    """InfiniGramEngineDiff: the index less some of its documents."""
    case, exact = (
        made.case,
        ExactDiff(made.case, made.files, made.word_ids, made.case.has_log_probs),
    )
    taken = [documents_of(stream, case.dtype)[::3] for stream in made.streams]
    diff = tmp_path / "gone"
    number = 0 if case.version == 4 else None
    stream = indexes.stream_of([ids for some in taken for ids in some], case.dtype)
    indexes.write_shard(diff, number, stream, unigrams=case.has_unigrams)
    indexes.sort_as_defined(diff, case.dtype)
    exact.gone = Exact(case, diff, made.word_ids, case.has_log_probs)
    arguments = [str(made.files), str(diff), case.end]
    wheel = Wheel("InfiniGramEngineDiff", arguments, made.options)
    engine = InfiniGramEngineDiff(str(made.folders[kind]), str(diff), case.end, **made.options)
    draw = Draw(made.streams, case.dtype, seed=2)
    calls = [(name, *getattr(draw, f"call_{name}")()) for name in ["creativity", "attribute"] * 20]
    for _ in range(40):
        requests = [
            {
                "docs": [{"s": s, "ptr": p} for s, p in (draw.pointer() for _ in range(3))],
                "span_ids": draw.ids(3, 1),
                "needle_len": draw.length(0),
                "max_ctx_len": draw.length(1),
            }
            for _ in range(2)
        ]
        calls.append(("get_docs_by_ptrs_2_grouped", [requests], {}))
    calls += draw.calls(3)
    used = Counter()
    for call in calls:
        name, arguments, named = call
        ours, theirs = getattr(engine, name)(*arguments, **named), wheel(*call)
        rule = "the same" if same(ours, theirs) else rule_of(exact, call, ours, theirs)
        assert rule is not None, (call, ours, theirs)
        used[rule] += 1
    wheel.close()
    print(case.name, kind, dict(used))


def documents_of(stream, dtype):
    """The documents of a stream."""
    ids, found = stream.tolist(), []
    for token in ids:
        if token == indexes.separator_of(dtype):
            found.append([])
        else:
            found[-1].append(token)
    return found


def test_exported(made, tmp_path):
    """infini-gram answers the same over the files that we write."""
    files = tmp_path / "back"
    with everygram.open(made.folders["converted"]) as index:
        everygram.export_infini_gram(index, files)
    assert indexes.sorted_by_bytes(files, made.case.dtype)
    names = {path.name for path in files.iterdir()}
    for path in made.files.iterdir():
        if path.is_file() and made.case.version == 4:
            assert path.name in names
            assert (files / path.name).read_bytes() == path.read_bytes(), path.name
    wheel = Wheel("InfiniGramEngine", [str(files), made.case.end], made.options)
    for call, theirs in made.asked:
        if not call[0].startswith("search_docs"):
            assert same(wheel(*call), theirs), call
    wheel.close()


def test_the_index_itself(made):
    """The three kinds are one index: the same answers to everygram's own calls."""
    draw = Draw(made.streams, made.case.dtype, seed=3)
    queries = [draw.ids(6, 1) for _ in range(100)]
    said = []
    for kind in KINDS:
        with everygram.open(made.folders[kind]) as index:
            said.append(list(answers(index, queries, draw.text(40) or [1], made.exact)))
    first = said[0]
    for other in said[1:]:
        for a, b in zip(first, other, strict=True):
            assert a == b


def answers(index, queries, text, exact):
    """What an index says of n-grams and a text; counts are compared with the exact ones here."""
    yield index.num_documents, index.num_tokens
    for ids in queries:
        count = int(index.count(ids))
        assert count == exact.count(ids)["count"], ids
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
        yield document.ids.tolist(), document.metadata

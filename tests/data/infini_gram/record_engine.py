"""Records what infini-gram 2.6.0's Python package answers, for test_infini_gram_engine.py.

usage: python record_engine.py      (in an environment with infini-gram==2.6.0, as bench/.peers)

Tiny indexes are written in its format 4 (see tests/shards.py): `a` of two shards, `b` of one, and
`t`, documents to take down. Calls that may raise, or end the process, are made in a process each,
and what comes of them is recorded.
"""

import inspect
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parents[1]))

from shards import write_shard  # noqa: E402

# (Ids of more than a byte: their indexes are in the order of bytes.)
TOKENS = [0, 1, 2, 3, 4, 5, 6, 255, 256, 300]
VOCABULARY, END, SEPARATOR = 302, 301, 65_535
WORDS = [0, 2, 4, 6, 256]


def corpus() -> dict[str, list[list[list[int]]]]:
    """The documents of each shard of each index: some are empty, some there twice."""
    draw = random.Random(17)

    def documents(number: int) -> list[list[int]]:
        return [[draw.choice(TOKENS) for _ in range(draw.randrange(1, 24))] for _ in range(number)]

    first, second, third = documents(8), documents(8), documents(8)
    first[3], second[1] = [], []
    second[4], third[2] = first[1], first[1]
    third[5] = [*second[6], *first[2][:4]]
    taken = [first[2], first[1], second[7], third[6], [7, 7, 7]]
    return {"a": [first, second], "b": [third], "t": [taken]}


def options(folder: Path) -> dict[str, dict]:
    """The constructor's arguments of each engine; `minus`: of the difference."""
    given = {"eos_token_id": END, "vocab_size": VOCABULARY, "token_dtype": "u16"}
    both = [str(folder / "a"), str(folder / "b")]
    full = {"bow_ids_path": str(folder / "words"), "precompute_unigram_logprobs": True}
    return {
        "union": {"index_dir": both, **given, **full},
        "one": {"index_dir": str(folder / "a"), **given, "eos_token_id": 5, "max_support": 4},
        "minus": {"index_dir": both, "index_dir_diff": str(folder / "t"), **given, **full},
    }


def write_words(folder: Path) -> None:
    (folder / "words").write_text("".join(f"{each}\n" for each in WORDS))


def calls(shards: list[list[list[int]]]) -> list[tuple[str, str, list]]:
    """(engine, method, arguments) of what each is asked."""
    draw = random.Random(19)
    documents = [each for shard in shards for each in shard]

    def part(most: int) -> list[int]:
        """Ids that probably stand in a document, and may begin or end it."""
        stream = [SEPARATOR, *draw.choice(documents), SEPARATOR]
        begin = draw.randrange(len(stream))
        return stream[begin : begin + draw.randrange(most + 1)]

    def text(most: int) -> list[int]:
        found = [token for _ in range(draw.randrange(5)) for token in part(9)]
        kept = [each for each in found if each != SEPARATOR or draw.random() < 0.1]
        return [draw.choice(TOKENS) if draw.random() < 0.1 else each for each in kept][:most]

    def query() -> list[int]:
        drawn = draw.random()
        if drawn < 0.3:
            return [draw.choice(TOKENS) for _ in range(draw.randrange(4))]
        if drawn < 0.4:
            return [*part(2), draw.choice([290, 301, 9_999, SEPARATOR]), *part(2)]
        return part(4)

    def term() -> list[int]:
        return [draw.choice(TOKENS) for _ in range(draw.randrange(1, 3))]

    def pointer() -> list[int]:
        shard = draw.randrange(len(shards))
        size = sum(len(document) + 1 for document in shards[shard])
        return [shard, 2 * draw.randrange(size)]

    def attribute() -> list:
        delimiters = draw.choice([[], [1], [3, 255]])
        most = draw.choice([1, 2, 8])
        return [text(30), delimiters, draw.randrange(4), most, draw.random() < 0.5]

    found: list[tuple[str, str, list]] = []
    for engine in ("union", "one", "minus"):
        for _ in range(24):
            found += [(engine, name, [query()]) for name in ("find", "count", "ntd", "infgram_ntd")]
            for name in ("prob", "infgram_prob"):
                next_id = draw.choice([*TOKENS, END, SEPARATOR])
                found.append((engine, name, [query(), next_id]))
            found += [(engine, "creativity", [text(20)]), (engine, "attribute", attribute())]
        for _ in range(6):
            found.append((engine, "count_cnf", [[[term(), term()]]]))
            found.append((engine, "find_cnf", [[[term()], [term()]], None, 5]))
            found.append((engine, "search_docs", [query(), 3, 10]))
            found.append((engine, "search_docs_cnf", [[[term(), term()]], 3, 10]))
    found += [
        ("one", "count_cnf", [[[[0], [0]]]]),
        ("one", "find_cnf", [[[[0], [2, 0], [0]]]]),
        ("one", "find_cnf", [[[[300, 300, 300, 300], [9_999]]]]),
        ("one", "find_cnf", [[[[0]], [[300, 300, 300, 300]]]]),
        ("one", "count_cnf", [[[[0], [4]]], 7]),
        ("one", "find_cnf", [[[[4]]], 7]),
        ("one", "search_docs", [[4], 9, 3]),
        ("one", "search_docs_cnf", [[[[4]]], 9, 3]),
        ("one", "attribute", [[1, 9_999, 9_999, 2], [], 0, 10_000, False]),
    ]
    for engine in ("union", "minus"):
        for _ in range(12):
            shard, at = pointer()
            found.append((engine, "get_doc_by_ptr", [shard, at, draw.randrange(1, 12)]))
            needle = [draw.randrange(1, 4), draw.randrange(6)]
            found.append((engine, "get_doc_by_ptr_2", [shard, at, *needle]))
            found.append((engine, "get_doc_by_rank", [shard, at // 2, draw.randrange(1, 12)]))
            found.append((engine, "get_doc_by_rank_2", [shard, at // 2, *needle]))
            number = draw.randrange(len(documents))
            found.append((engine, "get_doc_by_ix", [number, draw.randrange(1, 12)]))
            found.append((engine, "get_doc_by_ix_2", [number, draw.randrange(12)]))
        both = [pointer(), pointer()]
        found.append((engine, "get_docs_by_ptrs", [both, 7]))
        found.append((engine, "get_docs_by_ptrs_2", [[[*each, 2, 3] for each in both]]))
        found.append((engine, "get_docs_by_ranks", [[[s, at // 2] for s, at in both], 7]))
        found.append((engine, "get_docs_by_ranks_2", [[[s, at // 2, 2, 3] for s, at in both]]))
        found.append((engine, "get_docs_by_ixs", [[3, 0, 20, 3], 7]))
        found.append((engine, "get_docs_by_ixs_2", [[[4, 0], [5, 3]]]))
        found += [(engine, "compute_unigram_counts", [shard]) for shard in range(3)]
        found.append((engine, "get_total_doc_cnt", []))
    return found


# Calls of any values, as Python: of an engine `e` over `a` (np is numpy).
HOSTILE = [
    *(
        f"e.{name}({value}{rest})"
        for name, rest in (("find", ""), ("prob", ", 1"), ("ntd", ""), ("creativity", ""))
        for value in (
            "[True]",
            "[1.0]",
            "[None]",
            "[-1]",
            "[65536]",
            "[2**70]",
            "[[1]]",
            "['1']",
            "[np.int64(1)]",
            "np.array([1])",
            "(1,)",
            "None",
            "'1'",
            "{1}",
            "range(2)",
        )
    ),
    *(f"e.{name}({value})" for name in ("count", "infgram_ntd") for value in ("None", "[False]")),
    "e.infgram_prob([1], 65536)",
    "e.infgram_prob(None, None)",
    *(
        f"e.prob([1], {value})"
        for value in ("None", "True", "1.0", "-1", "65536", "np.int64(1)", "[1]")
    ),
    *(
        f"e.{name}([1], {value})"
        for name in ("ntd", "infgram_ntd", "search_docs")
        for value in ("0", "-1", "True", "1.0", "np.int64(1)", "'1'", "2**70")
    ),
    "e.search_docs([1], 1, 0)",
    "e.search_docs([1], 1, 2**70)",
    "e.search_docs(None, 0, 0)",
    "e.search_docs(None)",
    *(
        f"e.{name}({value})"
        for name in ("find_cnf", "count_cnf", "search_docs_cnf")
        for value in ("[]", "[[]]", "[[[]]]", "[1]", "[[1]]", "None", "[[[True]]]", "[[[65536]]]")
    ),
    *(
        f"e.{name}([[[1]]], {name_of}={value})"
        for name in ("find_cnf", "count_cnf", "search_docs_cnf")
        for name_of in ("max_clause_freq", "max_diff_tokens")
        for value in ("0", "True", "1.5", "2**70")
    ),
    "e.search_docs_cnf([[[1]]], maxnum=0)",
    "e.search_docs_cnf([[[1]]], max_disp_len=-1)",
    *(
        f"e.get_doc_by_{kind}{value}"
        for kind in ("rank", "ptr")
        for value in (
            "(0, 0, 0)",
            "(0, 0, True)",
            "(2, 0)",
            "(-1, 0)",
            "(True, 0)",
            "(None, 0)",
            "(0, -2)",
            "(0, 10**6)",
            "(0, 1.0)",
            "(0, np.int64(0))",
            "(0, 2, 2**70)",
            "_2(0, 0, -1, 0)",
            "_2(0, 0, 0, -1)",
            "_2(0, 0, True, 0)",
            "_2(0, 0, 0, None)",
            "_2(5, 0, 0, 0)",
            "_2(0, 10**6, 0, 0)",
            "_2(0, 2, 2**70, 0)",
        )
    ),
    "e.get_doc_by_ptr(0, 1)",
    "e.get_doc_by_ptr_2(0, 0, 0, 0)",
    "e.get_doc_by_ptr_2(0, 3, 1, 1)",
    *(
        f"e.get_docs_by_{kind}s{value}"
        for kind in ("rank", "ptr")
        for value in (
            "([])",
            "([(0, 0), (9, 0)])",
            "([(0, 10**6)], 5)",
            "([(0, 0)], 0)",
            "(None)",
            "([1])",
            "([(0, 0, 0)])",
            "_2([])",
            "_2([(0, 0, -1, 0)])",
            "_2([(0, 0, 0, -1)])",
            "_2([(9, 0, 0, 0)])",
            "_2([(0, 10**6, 1, 1), (0, 0, -1, 1)])",
            "_2(None)",
            "_2([(0, 0)])",
        )
    ),
    *(
        f"e.get_doc_by_ix{value}"
        for value in (
            "(16)",
            "(-1)",
            "(True)",
            "(None)",
            "(0, 0)",
            "(2**70)",
            "_2(16, 1)",
            "_2(0, -1)",
            "_2(0, None)",
        )
    ),
    *(
        f"e.get_docs_by_ixs{value}"
        for value in (
            "([])",
            "([0, 16])",
            "([0], 0)",
            "(None)",
            "_2([])",
            "_2([(0, -1)])",
            "_2([(16, 1)])",
            "_2([0])",
        )
    ),
    *(
        f"e.attribute({value})"
        for value in (
            "None, [], 1, 1, False",
            "[1], None, 1, 1, False",
            "[1], [True], 1, 1, False",
            "[1], [], -1, 1, False",
            "[1], [], None, 1, False",
            "[1], [], 1, 0, False",
            "[1], [], 1, 1, 0",
            "[1], [], 1, 1, None",
            "[], [], 0, 1, True",
            "[1, 2], [], 0, 2**70, False",
        )
    ),
    *(f"e.compute_unigram_counts({value})" for value in ("'0'", "-1", "None", "1.0")),
    *(
        f"d.get_docs_by_ptrs_2_grouped({value})"
        for value in (
            "[]",
            "[{'docs': [], 'span_ids': [], 'needle_len': 1, 'max_ctx_len': 1}]",
            "[{'docs': [], 'span_ids': [], 'needle_len': -1, 'max_ctx_len': 1}]",
            "[{'docs': [], 'span_ids': [], 'needle_len': 1, 'max_ctx_len': 1.0}]",
            "[{'docs': [{'s': 9, 'ptr': 0}], 'span_ids': [], 'needle_len': 1, 'max_ctx_len': 1}]",
            "[{'docs': [{'s': 0, 'ptr': 1}], 'span_ids': [], 'needle_len': 1, 'max_ctx_len': 1}]",
            "[{'docs': [{'s': 0, 'ptr': 2}], 'span_ids': 1, 'needle_len': 1, 'max_ctx_len': 1}]",
            "[{'docs': []}]",
            "None",
            "[1]",
        )
    ),
    *(
        f"InfiniGramEngine(A, {value})"
        for value in (
            "301",
            "301, 302, 4, 'u8'",
            "301, 302, 4, 'u64'",
            "301, 302, 4, None",
            "True",
            "-1",
            "302, 302",
            "1.0",
            "301, 65536",
            "301, 302.0",
            "301, 302, load_to_ram=1",
            "301, 302, load_to_ram=True",
            "301, 302, ds_prefetch_depth=-1",
            "301, 302, ds_prefetch_depth=2, sa_prefetch_depth=1",
            "301, 302, od_prefetch_depth=None",
            "301, 302, max_support=0",
            "301, 302, max_clause_freq=1.0",
            "301, 302, max_diff_tokens=True",
            "301, 302, maxnum=0",
            "301, 302, max_disp_len=-1",
            "301, 302, bow_ids_path='none'",
            "301, 302, bow_ids_path=A + '/offset.0'",
            "301, 302, version=None",
            "301, 302, version=5",
            "301, 302, attribution_block_size=-1",
            "301, 302, prev_shards_by_index_dir=None",
            "301, 302, precompute_unigram_logprobs=2",
            "301, 300, precompute_unigram_logprobs=True",
        )
    ),
    "InfiniGramEngine('none', 301)",
    "InfiniGramEngine([], 301)",
    "InfiniGramEngine(7, 301)",
    "InfiniGramEngine([A, 7], 301)",
    "InfiniGramEngine([A, A], 301).count([1])",
    "InfiniGramEngineDiff(A, None, 301)",
    "InfiniGramEngineDiff(A, 'none', 301)",
]

ALONE = """
import json, sys
import numpy as np
from infini_gram.engine import InfiniGramEngine, InfiniGramEngineDiff
A, options, minus, call = json.loads(sys.argv[1])
e = InfiniGramEngine(**options)
d = InfiniGramEngineDiff(**minus)
try:
    said = {"answer": eval(call)}
    if not isinstance(said["answer"], (dict, list)):
        said = {"answer": "an engine"}
except Exception as error:
    said = {"raises": type(error).__name__}
print("said", json.dumps(said))
"""


def hostile(folder: Path, given: dict[str, dict], call: str) -> dict:
    """What a call says in a process of its own."""
    asked = json.dumps([str(folder / "a"), given["one"], given["minus"], call])
    done = subprocess.run(
        [sys.executable, "-c", ALONE, asked], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("said ")]
    if not said:
        return {"call": call, "ends": done.returncode}
    return {"call": call, **json.loads(said[0].removeprefix("said "))}


def main() -> None:
    from infini_gram.engine import InfiniGramEngine, InfiniGramEngineDiff

    documents = corpus()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index, shards in documents.items():
            for number, shard in enumerate(shards):
                write_shard(folder / index, shard, 2, f".{number}", [{}] * len(shard))
        write_words(folder)
        given = options(folder)
        depths = dict.fromkeys(("ds_prefetch_depth", "sa_prefetch_depth", "od_prefetch_depth"), 0)
        engines = {
            name: (InfiniGramEngineDiff if "index_dir_diff" in each else InfiniGramEngine)(
                **each, **depths
            )
            for name, each in given.items()
        }
        answers = []
        for engine, method, arguments in calls([*documents["a"], *documents["b"]]):
            if engine == "one" and method.startswith("get_"):
                continue
            try:
                said = getattr(engines[engine], method)(*arguments)
            except AttributeError:  # (one of its methods calls what is not there)
                said = "AttributeError"
            answers.append([engine, method, arguments, said])
        answers += grouped(engines["union"], engines["minus"])
        refused = [hostile(folder, given, call) for call in HOSTILE]
    lines, wrong = (
        ",\n".join(json.dumps(each, separators=(",", ":")) for each in some)
        for some in (answers, refused)
    )
    methods = {
        engine.__name__: {
            name: [
                [each.name, None if each.default is each.empty else repr(each.default)]
                for each in inspect.signature(method).parameters.values()
            ]
            for name, method in inspect.getmembers(engine, inspect.isfunction)
        }
        for engine in (InfiniGramEngine, InfiniGramEngineDiff)
    }
    text = (
        f'{{"corpus": {json.dumps(documents)},\n"signatures": {json.dumps(methods)},\n'
        f'"answers": [\n{lines}\n],\n'
        f'"hostile": [\n{wrong}\n]}}\n'
    )
    (FOLDER / "recorded_engine.json").write_text(text)


def grouped(union, minus) -> list:
    """Documents of spans, as they are fetched after `attribute`, some of them taken down."""
    found = []
    for document in [document for shard in corpus()["t"] for document in shard]:
        spans = union.attribute(document, [], 1, 100, False)["spans"]
        requests = [
            {
                "docs": span["docs"],
                "span_ids": document[span["l"] : span["r"]],
                "needle_len": span["length"],
                "max_ctx_len": 30,
            }
            for span in spans
        ]
        said = minus.get_docs_by_ptrs_2_grouped(requests)
        found.append(["minus", "get_docs_by_ptrs_2_grouped", [requests], said])
    return found


if __name__ == "__main__":
    main()

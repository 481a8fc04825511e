"""Answers and times queries on one side, in that side's environment. `query.py` starts it.

usage: python query_side.py SIDE WORK QUERIES.json

Opens SIDE's index in WORK, then reads requests on stdin, a JSON object a line, and prints `done`
after each: `{"set": …, "call": …, "answers": PATH}` writes the set's answers (which warms up, too);
with `"times": PATH` instead it writes nanoseconds a query. All sides share this file so that all
are timed by the same loop; only the standard library and the side's own package are needed.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

# A call, and what of its result is compared with the other sides.
Calls = dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]]

# These take a whole set at once.
BATCH_CALLS = ("count_batch",)


def everygram(work: Path) -> Calls:
    """everygram's calls; `probs` is read too, because infini-gram's answer has it."""
    from everygram import open as open_index

    index = open_index(work / "everygram")

    def prob(call: Callable[..., Any], prompt: list[int], continuation: int) -> Any:
        result = call(prompt, continuation)
        return result, result.prob

    def ntd(call: Callable[..., Any], prompt: list[int]) -> Any:
        result = call(prompt)
        return result, result.probs

    def counts(answer: Any) -> list[int]:
        return [answer[0].prompt_count, answer[0].continuation_count, answer[0].suffix_len]

    def distribution(answer: Any) -> dict[str, Any]:
        found = dict(zip(answer[0].next_ids.tolist(), answer[0].counts.tolist(), strict=True))
        return {"exact": True, "suffix_len": answer[0].suffix_len, "counts": found}

    return {
        "count": (index.count, int),
        "count_batch": (index.count_batch, lambda counts: counts.tolist()),
        "prob": (partial(prob, index.prob), counts),
        "infgram_prob": (partial(prob, index.infgram_prob), counts),
        "ntd": (partial(ntd, index.ntd), distribution),
        "infgram_ntd": (partial(ntd, index.infgram_ntd), distribution),
    }


def infini_gram(work: Path, **options: int) -> Calls:
    """infini-gram's calls. The end of a document is the last id of the vocabulary to it."""
    from infini_gram.engine import InfiniGramEngine

    vocab_size = json.loads((work / "everygram" / "manifest.json").read_text())["vocab_size"]
    engine = InfiniGramEngine(
        index_dir=str(work / "infini-gram"),
        eos_token_id=vocab_size - 1,
        vocab_size=vocab_size,
        token_dtype="u16",
        **options,
    )

    def counts(answer: Any) -> list[int]:
        return [answer["prompt_cnt"], answer["cont_cnt"], answer.get("suffix_len")]

    def distribution(answer: Any) -> dict[str, Any]:
        found = {token: entry["cont_cnt"] for token, entry in answer["result_by_token_id"].items()}
        exact = not answer["approx"]
        return {"exact": exact, "suffix_len": answer.get("suffix_len"), "counts": found}

    return {
        "count": (engine.count, lambda answer: answer["count"]),
        "prob": (engine.prob, counts),
        "infgram_prob": (engine.infgram_prob, counts),
        "ntd": (engine.ntd, distribution),
        "infgram_ntd": (engine.infgram_ntd, distribution),
    }


def tokengrams(work: Path) -> Calls:
    """tokengrams' calls. `count_next` is its `ntd`, as one count for each id there could be."""
    from tokengrams import MemmapIndex

    index = MemmapIndex(str(work / "tokens.u16"), str(work / "tokengrams.idx"), vocab=65536)

    def distribution(answer: list[int]) -> dict[str, Any]:
        found = {token: count for token, count in enumerate(answer) if count}
        return {"exact": True, "suffix_len": None, "counts": found}

    return {
        "count": (index.count, int),
        "contains": (index.contains, bool),
        "count_next": (index.count_next, distribution),
    }


SIDES: dict[str, Callable[[Path], Calls]] = {
    "everygram": everygram,
    "infini-gram": infini_gram,
    # Its prefetching is for a cold index on disk; a warm one is faster without.
    "infini-gram, no prefetch": partial(
        infini_gram, ds_prefetch_depth=0, sa_prefetch_depth=0, od_prefetch_depth=0
    ),
    "tokengrams": tokengrams,
}


def main() -> None:
    side, work, queries_path = sys.argv[1:]
    # What a peer prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    queries = json.loads(Path(queries_path).read_text())
    calls = SIDES[side](Path(work))
    gc.disable()
    print("ready", file=replies)
    for line in sys.stdin:
        request = json.loads(line)
        call, comparable = calls[request["call"]]
        arguments = queries[request["set"]]
        size = len(arguments)
        batch = request["call"] in BATCH_CALLS
        if batch:
            arguments = [[[words[0] for words in arguments]]]
        if "answers" in request:
            answers = [comparable(call(*words)) for words in arguments]
            Path(request["answers"]).write_text(json.dumps(answers[0] if batch else answers))
        else:
            times = [timed(call, words) for words in arguments]
            each = [times[0] / size] * size if batch else times
            Path(request["times"]).write_text(json.dumps(each))
        gc.collect()
        print("done", file=replies)


def timed(call: Callable[..., Any], words: list[Any]) -> int:
    """Nanoseconds of one call."""
    start = perf_counter_ns()
    call(*words)
    return perf_counter_ns() - start


if __name__ == "__main__":
    main()

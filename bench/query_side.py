"""Answers and times queries on one side, in that side's environment. `query.py` starts it.

usage: python query_side.py SIDE WORK QUERIES.json

Opens SIDE's index in WORK, then reads requests from stdin, one JSON object per line, and prints
`done` after each. `{"set": …, "call": …, "answers": PATH}` writes the set's answers (and warms up);
with `"times": PATH` instead, it writes nanoseconds per query. Calls in BATCH_CALLS take BATCH
queries at once, and each query is assigned an equal share of the time. Calls in ONE_CPU run on one
processor. All sides use this file, so that the same loop times them; it needs only the standard
library and the side's own package.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter_ns
from typing import Any

# Our classes with the names and methods of infini-gram's.
STANDS_IN = "everygram.compat.infini_gram"
# Each call, and the part of its result that is compared with other sides.
Calls = dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]]

# These calls take many queries: a list of the first arguments, and one of the second, if any.
BATCH = 1000
BATCH_CALLS = (
    "count_batch",
    "count_batch, arrays",
    "prob_batch",
    "ntd_batch",
    "infgram_prob_batch",
    "infgram_ntd_batch",
)
# The occurrences that a `find` lists, and the tokens of the beginning of a document.
FOUND, BEGINNING = 1000, 100
# Without this limit, these calls would distribute their searches to threads, one per processor.
ONE_CPU = (*BATCH_CALLS, "score", "longest_matches", "attribute, one processor")


def everygram(work: Path, preload: tuple[str, ...] | str = (), folder: str = "everygram") -> Calls:
    """everygram's calls. They also compute lazy `probs`, which infini-gram's answers contain."""
    import numpy as np

    from everygram import open as open_index

    index = open_index(work / folder, preload=preload)

    def ntd(call: Callable[..., Any], prompt: list[int]) -> Any:
        result = call(prompt)
        return result, result.probs

    def counts(answer: Any) -> list[int]:
        return [answer.prompt_count, answer.continuation_count, answer.suffix_len]

    def distribution(answer: Any) -> dict[str, Any]:
        found = dict(zip(answer[0].next_ids.tolist(), answer[0].counts.tolist(), strict=True))
        return {"exact": True, "suffix_len": answer[0].suffix_len, "counts": found}

    def probs(call: Callable[..., Any], prompts: Any, continuations: Any) -> Any:
        results = call(prompts, continuations)
        return results, results.probs

    def counts_of_all(answer: Any) -> list[list[int]]:
        return [counts(result) for result in answer[0]]

    def distributions(results: Any) -> list[dict[str, Any]]:
        return [distribution((result,)) for result in results]

    def scores(result: Any) -> list[list[int]]:
        columns = (result.prompt_counts, result.continuation_counts, result.suffix_lens)
        return np.stack(columns, axis=1).tolist()

    def attribute(
        ids: list[int], stops: list[int], min_length: int, max_count: int, whole_words: bool
    ) -> Any:
        # (Which tokens are `stops` is told by their texts.)
        return index.attribute(
            ids,
            min_length=min_length,
            max_count=max_count,
            density=None,
            whole_words=whole_words,
            documents=0,
        )

    def spans(result: Any) -> list[list[Any]]:
        return [
            [each.token_start, each.token_end, each.count, each.unigram_log_prob]
            for each in result.spans
        ]

    def ends(result: Any) -> list[int]:
        return (np.arange(result.lengths.shape[0]) + result.lengths).tolist()

    def places(found: Any) -> list[list[int]]:
        columns = (found.ranks, found.positions, found.documents, found.offsets)
        return np.stack(columns, axis=1).tolist()

    def without(name: str, answer: Any) -> dict[str, Any]:
        # (What says which index has answered.)
        return {key: value for key, value in answer.as_dict().items() if key != name}

    return {
        "count": (index.count, int),
        "count_batch": (index.count_batch, lambda counts: counts.counts.tolist()),
        "count_batch, arrays": (index.count_batch, lambda counts: counts.counts.tolist()),
        "prob": (index.prob, counts),
        "prob_batch": (partial(probs, index.prob_batch), counts_of_all),
        "infgram_prob": (index.infgram_prob, counts),
        "infgram_prob_batch": (partial(probs, index.infgram_prob_batch), counts_of_all),
        "ntd": (partial(ntd, index.ntd), distribution),
        "ntd_batch": (index.ntd_batch, distributions),
        "infgram_ntd": (partial(ntd, index.infgram_ntd), distribution),
        "infgram_ntd_batch": (index.infgram_ntd_batch, distributions),
        "score": (index.score, scores),
        "score, all cores": (index.score, scores),
        "longest_matches": (index.longest_matches, ends),
        "longest_matches, all cores": (index.longest_matches, ends),
        "attribute": (attribute, spans),
        "attribute, one processor": (attribute, spans),
        "attribute, spans": (attribute, lambda result: [each[:3] for each in spans(result)]),
        "attribute a text": (index.attribute, partial(without, "index")),
        "find": (partial(index.find, limit=FOUND), places),
        "find, the interval": (
            partial(index.find, limit=0),
            lambda found: [high - low for low, high in found.intervals.tolist()],
        ),
        "document": (index.document, lambda found: found.token_ids.tolist()),
        "document, its beginning": (
            partial(index.document, context=BEGINNING),
            lambda found: found.token_ids.tolist(),
        ),
        "document_count": (index.document_count, lambda found: [int(found), found.count]),
        "count_text": (index.count_text, int),
        "search": (index.search, partial(without, "cursor")),
    }


def infini_gram(
    work: Path,
    package: str = "infini_gram.engine",
    folder: str = "infini-gram",
    **options: Any,
) -> Calls:
    """infini-gram's calls, or those of the package that stands in for it. It treats the last id of
    the vocabulary as the end of a document."""
    engine_class = import_module(package).InfiniGramEngine
    vocab_size = json.loads((work / "everygram" / "manifest.json").read_text())["vocab_size"]
    engine = engine_class(
        index_dir=str(work / folder),
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

    def spans(answer: Any) -> list[list[Any]]:
        names = ("l", "r", "count", "unigram_logprob_sum")
        return [[each[name] for name in names] for each in answer["spans"]]

    def score(ids: list[int]) -> list[Any]:
        return [engine.infgram_prob(ids[:i], token) for i, token in enumerate(ids)]

    def of_documents(answer: Any) -> Any:
        return [answer[name] for name in ("doc_ix", "doc_len", "needle_offset", "token_ids")]

    return {
        "count": (engine.count, lambda answer: answer["count"]),
        "find": (engine.find, lambda answer: answer["segment_by_shard"]),
        "find, the interval": (
            engine.find,
            lambda answer: [high - low for low, high in answer["segment_by_shard"]],
        ),
        "count_cnf": (engine.count_cnf, lambda answer: answer["count"]),
        "get_doc_by_rank": (engine.get_doc_by_rank, of_documents),
        "get_doc_by_ptr": (engine.get_doc_by_ptr, of_documents),
        "get_doc_by_ix": (engine.get_doc_by_ix, of_documents),
        "document, its beginning": (
            partial(engine.get_doc_by_ix, max_disp_len=BEGINNING),
            lambda answer: answer["token_ids"],
        ),
        "get_doc_by_rank_2": (engine.get_doc_by_rank_2, of_documents),
        # (Which documents it draws is another with each call.)
        "search_docs": (engine.search_docs, lambda answer: answer["cnt"]),
        "prob": (engine.prob, counts),
        "infgram_prob": (engine.infgram_prob, counts),
        "ntd": (engine.ntd, distribution),
        "infgram_ntd": (engine.infgram_ntd, distribution),
        "infgram_prob of each token": (score, lambda answers: list(map(counts, answers))),
        "creativity": (engine.creativity, lambda answer: answer["rs"]),
        "attribute": (engine.attribute, spans),
        # (Their log-probabilities are only there if it was opened to precompute them.)
        "attribute, spans": (
            engine.attribute,
            lambda answer: [each[:3] for each in spans(answer)],
        ),
        # (Only infini-gram has an engine of C++ within.)
        "attribute, C++": (
            getattr(getattr(engine, "engine", None), "attribute", None),
            lambda answer: None,
        ),
    }


def for_attribution(work: Path) -> Calls:
    """infini-gram's calls, opened as OLMoTrace's server opens it."""
    return infini_gram(
        work,
        ds_prefetch_depth=0,
        sa_prefetch_depth=0,
        od_prefetch_depth=0,
        attribution_block_size=256,
        precompute_unigram_logprobs=True,
        bow_ids_path=str(work / "bow_ids.txt"),
    )


def tokengrams(work: Path) -> Calls:
    """tokengrams' calls. `count_next` is its `ntd`: one count per possible id."""
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
    "everygram, preloaded": partial(everygram, preload="all"),
    "everygram, fences preloaded": partial(everygram, preload="fences"),
    "self-index, 32": partial(everygram, folder="self-index-32"),
    "self-index, 128": partial(everygram, folder="self-index-128"),
    "everygram over its files": partial(everygram, folder="infini-gram"),
    "everygram, attached": partial(everygram, folder="infini-gram-attached"),
    "everygram.compat, over its files": partial(infini_gram, package=STANDS_IN),
    "everygram.compat, attached": partial(
        infini_gram, package=STANDS_IN, folder="infini-gram-attached"
    ),
    "infini-gram": infini_gram,
    # infini-gram's prefetching is for a cold index on disk; a warm index is faster without it.
    "infini-gram, no prefetch": partial(
        infini_gram, ds_prefetch_depth=0, sa_prefetch_depth=0, od_prefetch_depth=0
    ),
    "infini-gram, attribution": for_attribution,
    "tokengrams": tokengrams,
}


def main() -> None:
    side, work, queries_path = sys.argv[1:]
    # Text that a peer prints must not be mixed with the replies.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    queries = json.loads(Path(queries_path).read_text())
    calls = SIDES[side](Path(work))
    gc.disable()
    print("ready", file=replies)
    everywhere = os.sched_getaffinity(0)
    for line in sys.stdin:
        request = json.loads(line)
        name = request["call"]
        call, comparable = calls[name]
        arguments = queries[request["set"]]
        os.sched_setaffinity(0, {max(everywhere)} if name in ONE_CPU else everywhere)
        if name in BATCH_CALLS:
            arguments = batches(arguments, as_arrays=name.endswith("arrays"))
        if "answers" in request:
            answers = [comparable(call(*words)) for words in arguments]
            if name in BATCH_CALLS:
                answers = [answer for batch in answers for answer in batch]
            Path(request["answers"]).write_text(json.dumps(answers))
        else:
            times: list[float] = [timed(call, words) for words in arguments]
            if name in BATCH_CALLS:
                times = [time / BATCH for time in times for _ in range(BATCH)]
            Path(request["times"]).write_text(json.dumps(times))
        gc.collect()
        print("done", file=replies)


def batches(arguments: list[list[Any]], as_arrays: bool) -> list[list[Any]]:
    """The arguments of queries, BATCH queries at a time; optionally as ids and offsets."""
    assert len(arguments) % BATCH == 0
    parts = [arguments[i : i + BATCH] for i in range(0, len(arguments), BATCH)]
    together = [list(map(list, zip(*part, strict=True))) for part in parts]
    if not as_arrays:
        return together
    import numpy as np

    return [
        [np.concatenate(ids).astype(np.uint16), np.cumsum([0, *map(len, ids)])]
        for (ids,) in together
    ]


def timed(call: Callable[..., Any], words: list[Any]) -> int:
    """Nanoseconds of one call."""
    start = perf_counter_ns()
    call(*words)
    return perf_counter_ns() - start


if __name__ == "__main__":
    main()

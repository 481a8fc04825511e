"""datatrove's filter of documents that have an n-gram of a benchmark; `curation.py` starts it.

Runs in the peers' environment. Its indexer wants benchmarks by name from a hub, so their hashes are
written here, with the filter's own words and hashes, as its indexer would. On one core, as it is:
datatrove uses more by taking more files.

usage: python datatrove_side.py BENCHMARK.jsonl CORPUS.jsonl DOCUMENTS N
"""

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text


def texts(path: str, most: int | None = None) -> list[str]:
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in itertools.islice(file, most)]


def main() -> None:
    benchmark, corpus, most, n = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        held = NGramsDecontFilter(folder, NGramsDecontConfig(n_grams=int(n)))
        words = (
            held.tokenizer.word_tokenize(simplify_text(text, held.config.norm_config))
            for text in texts(benchmark)
        )
        hashes = {held.hash_func(" ".join(gram)) for each in words for gram in ngrams(each, int(n))}
        stored = np.array([*hashes], held.config.hash_config.np_descr)
        stored.tofile(Path(folder) / "benchmark.index.hashes")
        held.load_index_hashes()
        documents = [Document(text, str(at)) for at, text in enumerate(texts(corpus, int(most)))]
        start = time.perf_counter()
        hit = [at for at, each in enumerate(documents) if held.filter(each) is not True]
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": 0, "hit": hit}))


if __name__ == "__main__":
    main()

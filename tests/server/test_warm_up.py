"""What a service compiles before it serves: all that queries run, whatever becomes of indexes."""

import subprocess
import sys

# (In a process of its own: in this one other tests have called kernels.)
PROGRAM = """
import importlib, pkgutil, shutil, sys
import numpy as np
import everygram
from everygram import kernels
from everygram.server.indexes import Indexes
from everygram.server.settings import Settings

def variants():
    modules = [importlib.import_module(f"everygram.kernels.{each.name}")
               for each in pkgutil.iter_modules(kernels.__path__)]
    return {(module.__name__, name): len(kernel.signatures) for module in modules
            for name, kernel in vars(module).items() if hasattr(kernel, "signatures")}

def ask(index, a, b, absent, expressions):
    both = [*a, *b] if isinstance(a, list) else a + b
    index.count(a), index.document_count(a), index.count_batch([a, b])
    index.document_count_batch([a, b])
    index.prob(both), index.infgram_prob(both)
    index.ntd(a), index.ntd_batch([a, b]), index.infgram_ntd(absent), index.infgram_ntd_batch([a])
    index.score(both), index.longest_matches(both), index.novelty(both)
    index.find(a), index.find(a, sample=1), index.document(query=a), index.document(0)
    index.draft(a), index.attribute(both), index.attribute(both, density=None, whole_words=False)
    for expression in expressions:
        for options in ({}, {"order": "bm25"}, {"within": 20}, {"sample": 1}):
            index.search(expression, **options)
    for smoothing in ("modified-kneser-ney", "stupid-backoff", "infgram", "infgram-floor"):
        for order in (None, 2):
            model = index.language_model(smoothing, order=order)
            model.log_probs(both), model.perplexity([both]), model.sample(a, max_tokens=3)

everygram.build("none.jsonl", "text", "bytes")
everygram.build("none.bin", "ids", pretokenized="u16", separator_id=0, vocab_size=300)
np.array([0, 1, 2, 3, 1, 2, 0, 2, 3, 5] * 9, "<u2").tofile("some.bin")
texts = [{"text": f"natural languages of {i} zebras, naturally"} for i in range(9)]
for name, corpus, options in (
    ("text", texts, {}), ("ids", "some.bin", {"pretokenized": "u16", "separator_id": 0}),
):
    shutil.copytree(name, f"{name}-filled")
    everygram.add(f"{name}-filled", corpus, **options)
    everygram.prepare(f"{name}-filled")

Indexes(Settings(indexes={"text": "text", "ids": "ids"})).warm_up()
before = variants()
with everygram.open("text-filled") as index:
    ask(index, "natural", " lang", "xx na",
        ["natural AND zebras", "natural NEAR/9 zebras", 'text:"tural" OR 7', "zebras AND NOT 1",
         'tokens:"nat" NEAR/40 zebras', "natural AND NOT 3"])
    for rules in ({}, {"ignore_case": True}, {"whole_words": True}):
        index.count_text("natural", **rules), index.tokenizations("natural", **rules)
        index.find_text("natural", context=2, **rules)
    index.document(text="natural"), index.find("natural", context=2)
with everygram.open("ids-filled") as index:
    ask(index, [1, 2], [3], [7, 1],
        ["ids:1,2 AND ids:3", "ids:1 NEAR/2 ids:3", "ids:3 AND NOT ids:5"])
assert sum(before.values()) > 20
assert variants() == before, set(variants().items()) - set(before.items())
"""


def test_no_query_waits_for_the_compiler_after_an_empty_index_was_filled_and_prepared(tmp_path):
    (tmp_path / "none.jsonl").touch()
    (tmp_path / "none.bin").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, timeout=900
    )
    assert done.returncode == 0, done.stderr

"""Small corpora whose order of bytes is not that of ids, as infini-gram indexes them, and calls.

The indexes are made by infini-gram's own indexers wherever they can make them (see
`bench/infini_gram_index.py`).
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import infini_gram_index as indexes

# Ids that sort otherwise by their little-endian bytes.
ALPHABETS = {
    "u8": [0, 1, 10, 65, 127, 128, 254],
    "u16": [0, 1, 255, 256, 257, 511, 512, 65_279, 65_534],
    "u32": [0, 1, 255, 256, 65_535, 65_536, 1 << 24, (1 << 24) + 1, (1 << 32) - 2],
}
VOCABULARIES = {"u8": 255, "u16": 65_535, "u32": (1 << 32) - 1}
WORDS = ["natural", "language", "processing", "of", "the", "and", "deep", "naïve", "日本語", "😀"]


@dataclass(frozen=True)
class Case:
    """One index. end: the id that both engines are given as the end of a document."""

    name: str
    dtype: str
    end: int
    shards: int = 1
    version: int = 4
    has_metadata: bool = False
    has_unigrams: bool = False
    # Ids that are drawn (None: all of the alphabet), tokens of a document at most, documents.
    letters: int | None = None
    longest: int = 30
    documents: int = 60
    # Made from texts, which the indexer tokenizes.
    of_text: bool = False

    @property
    def has_log_probs(self) -> bool:
        """Whether infini-gram is told to have the logarithms of the probabilities of tokens. (It
        reads the files of bytes as if their numbers were letters; without files it starts a thread
        for each id of the vocabulary.)"""
        return self.has_unigrams == (self.dtype != "u8")


CASES = [
    Case("u8", "u8", 200),
    Case("u8-end-occurs", "u8", 0, shards=2, has_metadata=True, has_unigrams=True),
    Case("u8-text", "u8", 200, shards=3, has_metadata=True, has_unigrams=True, of_text=True),
    Case("u16", "u16", 1000),
    Case("u16-two-shards", "u16", 256, shards=2, has_metadata=True),
    Case("u16-three-shards", "u16", 1000, shards=3, has_unigrams=True),
    Case("u16-four-shards", "u16", 2, shards=4, has_metadata=True, has_unigrams=True),
    Case("u16-text", "u16", 0, shards=2, has_metadata=True, has_unigrams=True, of_text=True),
    Case("u16-frequent", "u16", 1000, letters=2, documents=200),
    Case("u16-one-token", "u16", 1000, shards=2, letters=1, longest=6),
    Case("u16-one-document", "u16", 1000, documents=1, longest=200),
    Case("u16-empty-documents", "u16", 1000, longest=1, documents=40),
    Case("u32", "u32", 1000, shards=2, has_metadata=True, has_unigrams=True),
    Case("u32-four-shards", "u32", 65_536, shards=4),
    Case("six-u8-text", "u8", 200, version=6, has_metadata=True, has_unigrams=True, of_text=True),
    Case("six-u16", "u16", 1000, version=6, has_metadata=True, has_unigrams=True),
    Case("six-u32", "u32", 1000, version=6),
]


def make(case: Case, folder: Path, peers: Path) -> None:
    """Make the case's index in `folder`, which does not exist."""
    draw = random.Random(case.name)
    sizes = {"metadata": case.has_metadata, "unigrams": case.has_unigrams}
    words = {"version": case.version, "shards": case.shards, **sizes}
    if case.of_text:
        corpus = folder.with_name(f"{folder.name}-corpus")
        corpus.mkdir()
        texts = [
            " ".join(draw.choices(WORDS, k=draw.randrange(case.longest)))
            for _ in range(case.documents * case.shards)
        ]
        lines = [json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(texts)]
        (corpus / "c.jsonl").write_text("".join(lines))
        if case.dtype == "u16":
            tokenizer(texts).save(str(folder.parent / "tokenizer.json"))
            indexes.name_tokenizer(folder.parent, folder.parent / "tokenizer.json")
            words["tokenizer"] = "gpt2"
        indexes.run(indexes.command(folder, peers, case.dtype, corpus, **words), folder.parent)
    else:
        for shard in range(case.shards):
            found = drawn_documents(case, draw)
            number = shard if case.version == 4 else None
            about = [{"n": i} for i in range(len(found))] if case.has_metadata else None
            stream = indexes.stream_of(found, case.dtype)
            indexes.write_shard(folder, number, stream, about, case.has_unigrams)
        if case.dtype == "u32":
            indexes.sort_as_defined(folder, case.dtype)
        else:
            indexes.run(indexes.command(folder, peers, case.dtype, **words), folder.parent)
    assert indexes.sorted_by_bytes(folder, case.dtype)


def drawn_documents(case: Case, draw: random.Random) -> list[list[int]]:
    """Documents of few different tokens; some repeat earlier ones or parts of them, some are
    empty."""
    alphabet = ALPHABETS[case.dtype][: case.letters]
    found: list[list[int]] = []
    for number in range(case.documents):
        ids = draw.choices(alphabet, k=draw.randrange(case.longest + 1))
        if number and draw.random() < 0.3:
            again = draw.choice(found)
            ids = draw.choice([again, again[: draw.randrange(len(again) + 1)], ids + again])
        found.append(ids)
    return found


def tokenizer(texts: list[str]) -> Tokenizer:
    """A small tokenizer of bytes and pairs, with an end of text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made


def streams_of(folder: Path, dtype: str) -> list[np.ndarray]:
    """The stream of each shard."""
    paths = sorted(folder.glob("tokenized*"))
    return [np.fromfile(path, indexes.DTYPES[dtype]) for path in paths]


Call = tuple[str, list, dict]


class Draw:
    """Random calls of every method over the streams of an index."""

    def __init__(self, streams: list[np.ndarray], dtype: str, seed: int) -> None:
        self._streams, self._dtype = streams, dtype
        self._random = random.Random(seed)
        self._separator = indexes.separator_of(dtype)
        self._width = streams[0].itemsize
        self._documents = sum(int((stream == self._separator).sum()) for stream in streams)

    def calls(self, number: int) -> list[Call]:
        """So many calls of each method."""
        makers = {name: maker for name, maker in vars(Draw).items() if name.startswith("call_")}
        return [
            (name.removeprefix("call_"), *maker(self))
            for name, maker in makers.items()
            for _ in range(number)
        ]

    def ids(self, longest: int = 8, least: int = 0) -> list[int]:
        """An n-gram of the corpus, often changed in a token; may hold separators."""
        draw = self._random
        stream = draw.choice(self._streams)
        length = draw.randint(least, longest)
        start = draw.randrange(len(stream))
        if draw.random() < 0.2:  # what ends the shard
            start = max(0, len(stream) - length)
        found = stream[start : start + length].tolist()
        if draw.random() < 0.7:
            found = [token for token in found if token != self._separator]
        if found and draw.random() < 0.3:
            found[draw.randrange(len(found))] = self.token()
        return found if len(found) >= least else self.ids(longest, least)

    def token(self) -> int:
        draw = self._random
        if draw.random() < 0.1:
            return draw.choice([self._separator, self._separator - 1, 3])
        return draw.choice(draw.choice(self._streams).tolist())

    def text(self, longest: int = 40) -> list[int]:
        """A text of pieces of the corpus."""
        found: list[int] = []
        while len(found) < self._random.randint(0, longest):
            found += [token for token in self.ids() if token != self._separator]
        return found

    def cnf(self) -> list[list[list[int]]]:
        draw = self._random
        clauses = draw.choice([1, 1, 2, 2, 3])
        return [
            [self.term(draw.choice([1, 1, 2, 3])) for _ in range(draw.choice([1, 1, 2]))]
            for _ in range(clauses)
        ]

    def term(self, longest: int) -> list[int]:
        ids = self.ids(longest, 1)
        return self.term(longest) if self._separator in ids else ids

    def grouped(self):
        """A call of `get_docs_by_ptrs_2_grouped`."""
        requests = [
            {
                "docs": [{"s": s, "ptr": p} for s, p in (self.pointer() for _ in range(3))],
                "span_ids": self.ids(3, 1),
                "needle_len": self.length(0),
                "max_ctx_len": self.length(),
            }
            for _ in range(2)
        ]
        return [requests], {}

    def shard(self) -> int:
        return self._random.randrange(len(self._streams))

    def rank(self) -> list[int]:
        shard = self.shard()
        return [shard, self._random.randrange(len(self._streams[shard]))]

    def pointer(self) -> list[int]:
        shard, rank = self.rank()
        return [shard, rank * self._width]

    def document(self) -> int:
        return self._random.randrange(self._documents)

    def length(self, least: int = 1) -> int:
        return self._random.choice([least, 1, 2, 3, 10, 1000])

    def several(self, maker) -> list:
        return [maker() for _ in range(self._random.randrange(4))]

    def call_find(self):
        return [self.ids()], {}

    def call_count(self):
        return [self.ids()], {}

    def call_prob(self):
        return [self.ids(), self.token()], {}

    def call_ntd(self):
        named = {"max_support": self._random.choice([1, 5, 100])}
        return [self.ids(self._random.choice([1, 3, 8]))], self._random.choice([{}, named])

    def call_infgram_prob(self):
        return [self.ids(20), self.token()], {}

    def call_infgram_ntd(self):
        named = {"max_support": self._random.choice([1, 5, 100])}
        return [self.ids(20)], self._random.choice([{}, named])

    def call_find_cnf(self):
        return [self.cnf()], self._random.choice([{}, {"max_diff_tokens": self.length()}])

    def call_count_cnf(self):
        return self.call_find_cnf()

    def call_search_docs(self):
        return [self.ids(3)], {"maxnum": self._random.randint(1, 5), "max_disp_len": self.length()}

    def call_search_docs_cnf(self):
        return [self.cnf()], {"maxnum": self._random.randint(1, 5), "max_disp_len": self.length()}

    def call_get_doc_by_rank(self):
        return self.rank(), self._random.choice([{}, {"max_disp_len": self.length()}])

    def call_get_doc_by_ptr(self):
        return self.pointer(), self._random.choice([{}, {"max_disp_len": self.length()}])

    def call_get_doc_by_ix(self):
        return [self.document()], self._random.choice([{}, {"max_disp_len": self.length()}])

    def call_get_docs_by_ranks(self):
        return [self.several(self.rank)], {"max_disp_len": self.length()}

    def call_get_docs_by_ptrs(self):
        return [self.several(self.pointer)], {"max_disp_len": self.length()}

    def call_get_docs_by_ixs(self):
        return [self.several(self.document)], {"max_disp_len": self.length()}

    def call_get_doc_by_rank_2(self):
        return [*self.rank(), self.length(0), self.length(0)], {}

    def call_get_doc_by_ptr_2(self):
        return [*self.pointer(), self.length(0), self.length(0)], {}

    def call_get_doc_by_ix_2(self):
        return [self.document(), self.length(0)], {}

    def call_get_docs_by_ranks_2(self):
        return [self.several(lambda: [*self.rank(), self.length(0), self.length(0)])], {}

    def call_get_docs_by_ptrs_2(self):
        return [self.several(lambda: [*self.pointer(), self.length(0), self.length(0)])], {}

    def call_get_docs_by_ixs_2(self):
        return [self.several(lambda: [self.document(), self.length(0)])], {}

    def call_get_total_doc_cnt(self):
        return [], {}

    def call_creativity(self):
        return [self.text()], {}

    def call_attribute(self):
        delimiters = self._random.choice([[], [self.token()], [self.token(), self.token()]])
        most = self._random.choice([1, 10, 1000])
        starts_words = self._random.random() < 0.5
        return [self.text(), delimiters, self._random.randrange(4), most, starts_words], {}

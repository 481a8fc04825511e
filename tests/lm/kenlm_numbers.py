"""What KenLM's lmplz said of two corpora: one in tests/data/kenlm, one in an issue of KenLM's."""

import gzip
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent.parent / "data" / "kenlm"
START, END, UNKNOWN = "<s>", "</s>", "<unk>"


class Ngram(NamedTuple):
    """log10 of the last token's probability, and of what the whole leaves to shorter contexts."""

    tokens: tuple[int | str, ...]
    log10_prob: float
    log10_backoff: float | None


def documents():
    lines = gzip.decompress((FOLDER / "corpus.txt.gz").read_bytes()).decode().splitlines()
    return [[int(token) for token in line.split()] for line in lines]


def ngrams():
    """{order: [Ngram]}."""
    found = {}
    for line in gzip.decompress((FOLDER / "ngrams.tsv.gz").read_bytes()).decode().splitlines():
        order, prob, backoff, words = line.split("\t")
        tokens = tuple(word if word[0] == "<" else int(word) for word in words.split())
        ngram = Ngram(tokens, float(prob), float(backoff) if backoff else None)
        found.setdefault(int(order), []).append(ngram)
    return found


# github.com/kpu/kenlm, issue 405: the last new word stands twice after one and the same word, and
# lmplz counts it among the words that two different words precede. `lmplz -o 2` of it:
SENTENCES = [
    "I went to",
    "I go to",
    "You went to",
    "You go to",
    "Joe went to",
    "Joe go to",
    "Anna went ski",
    "Anna went ski",
]
UNIGRAMS = {
    UNKNOWN: (-1.30103, 0),
    END: (-1.1249387, 0),
    "I": (-1.0579919, -0.5228788),
    "went": (-0.6726411, -0.022929981),
    "to": (-1.1249387, -0.30103),
    "go": (-0.82390875, 0),
    "You": (-1.0579919, -0.5228788),
    "Joe": (-1.0579919, -0.5228788),
    "Anna": (-1.0579919, -0.059768215),
    "ski": (-1.0579919, -0.059768215),
}
BIGRAMS = {
    "to </s>": -0.26962152,
    "ski </s>": -0.7123581,
    "<s> I": -0.9649993,
    "I went": -0.383262,
    "You went": -0.383262,
}


def sentences():
    """(documents of SENTENCES, {word: its id})."""
    ids = {}
    numbered = [[ids.setdefault(word, len(ids)) for word in each.split()] for each in SENTENCES]
    return numbered, ids

"""Texts over tokens, against brute force over what the documents spell."""

import contextlib
import random
import time

import numpy as np
import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.errors import EverygramError, QueryError, TokenizerError
from everygram.kernels import INTERPRETED
from everygram.search import parts
from everygram.search.pattern import Pattern, folded, forms_of, word_table
from everygram.search.text import TextSearch
from everygram.storage import directory
from everygram.tokenizer.vocabulary import TokenBytes
from naive_text import Spelling, is_word, random_spelling, text_spans

pytestmark = pytest.mark.usefixtures("kinds")

LETTERS = [
    "a",
    "b",
    "A",
    " ",
    "é",
    "É",
    "s",
    "ſ",
    "K",
    "k",
    "\u212a",
    "日",
    "😀",
    "_",
    "\u0301",
    ".",
]


@pytest.mark.parametrize("seed", range(2 if INTERPRETED else sized(12, 300)))
def test_any_vocabulary_any_text(tmp_path, monkeypatch, seed):
    """Bytes split over tokens, tokens without bytes, deletions, one or two segments."""
    rng = random.Random(seed)
    for number in range(6):
        monkeypatch.setattr(parts, "FEW", rng.choice([-9, 0, 1, 3, 1024]))
        monkeypatch.setattr(parts, "SEARCH", rng.choice([0, 1, 4, 64]))
        monkeypatch.setattr(parts, "RUN", rng.choice([0, 0, 1, 64]))
        monkeypatch.setattr(parts, "DEEP", rng.choice([1, 2, 64]))
        letters = rng.sample(LETTERS, rng.randint(2, 5))
        spelling = random_spelling(rng, letters)
        size = len(spelling.bytes_of)
        documents = [rng.choices(range(size), k=rng.randint(0, 12)) for _ in range(9)]
        documents.append([rng.randrange(size)] * 30)
        gone = sorted(rng.sample(range(len(documents)), rng.choice([0, 0, 3])))
        path = write_index(tmp_path / str(number), documents, "u8", rng.randint(1, 3), size, [gone])
        texts = {n: spelling.spelled(ids) for n, ids in enumerate(documents) if n not in set(gone)}
        with everygram.open(path) as index:
            search = TextSearch(index.engine, lambda of=spelling: TokenBytes(of))
            for _ in range(20):
                check(rng, search, texts, letters)


def check(rng, search, texts, letters):
    data = rng.choice(list(texts.values()))
    begin = rng.randrange(len(data) + 1)
    text = data[begin : begin + rng.randint(1, 8)].decode(errors="ignore")
    if not text or rng.random() < 0.3:
        text = "".join(rng.choices(letters, k=rng.randint(1, 4)))
    ignore_case, whole_words = rng.random() < 0.4, rng.random() < 0.4
    expected = [
        (number, *span)
        for number, data in texts.items()
        for span in text_spans(data, text, ignore_case, whole_words)
    ]
    pattern = Pattern(text, ignore_case)
    assert search.count(pattern, whole_words) == len(expected)
    placed = search.placed(search.find(pattern, whole_words)).tolist()
    assert sorted((row[0], row[3], row[4]) for row in placed) == expected
    for number, start, end, *_ in placed:
        found = texts[number].decode(errors="replace")[start:end]
        assert [*map(folded, found)] == [*map(folded, text)] if ignore_case else found == text


TEXTS = [
    "The quick brown fox, the lazy dog. THE END; theory and bathe",
    "Ελληνικά και ελληνικά: ΣΊΣΥΦΟΣ, Σίσυφος",
    "Привет, мир! привет",
    "العربيّة بالحركات: كَتَبَ كَتَبَ",
    "हिन्दी में नमस्ते नमस्तेजी",
    "ภาษาไทย ไม่มีช่องว่าง ภาษาไทย",
    "東京都に行きました。東京",
    "👩\u200d👩\u200d👧\u200d👦 family 👍🏽 👍 \ufffd broken \ufffd here",
    "  two  spaces   three    the\n\nthe",
]


@pytest.mark.parametrize("tokenizer", ["bytes", "train:300", "train:700"])
def test_real_tokenizers_in_many_scripts(tmp_path, tokenizer):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in TEXTS * 3])
    everygram.build(corpus, tmp_path / "index", tokenizer)
    rng = random.Random(tokenizer)
    with everygram.open(tmp_path / "index") as index:
        for _ in range(20 if INTERPRETED else 150):
            text = rng.choice(TEXTS)
            begin = rng.randrange(len(text))
            asked = text[begin : begin + rng.randint(1, 9)]
            for ignore_case, whole_words in ((False, False), (True, False), (True, True)):
                options = {"ignore_case": ignore_case, "whole_words": whole_words}
                expected = [
                    (number, *span)
                    for number, document in enumerate(TEXTS * 3)
                    for span in text_spans(document.encode(), asked, ignore_case, whole_words)
                ]
                count = index.count_text(asked, **options)
                assert (count, count.text) == (len(expected), asked)
                matches = index.find_text(asked, limit=None, **options)
                found = [(each.document, each.byte_start, each.byte_end) for each in matches]
                assert found == expected
                assert matches.document_count == len({number for number, *_ in expected})
                for each in matches:
                    document = index.document(each.document)
                    assert len(document.text[each.start : each.end]) == len(asked)
                    inside = document.token_ids[each.token_start : each.token_end]
                    assert index.decode(inside)  # (of parts of characters, too)


def test_pages_samples_and_batches(tmp_path):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": "aaa b"}, {"text": "ba aa"}])
    everygram.build(corpus, tmp_path / "index", "bytes")
    with everygram.open(tmp_path / "index") as index:
        everything = list(index.find_text("a", limit=None))
        assert [(each.document, each.start) for each in everything] == [
            (0, 0), (0, 1), (0, 2), (1, 1), (1, 3), (1, 4),
        ]  # fmt: skip
        paged = [*index.find_text("a", limit=4), *index.find_text("a", offset=4, limit=4)]
        assert paged == everything
        sampled = list(index.find_text("a", sample=3, seed=5))
        assert sampled == list(index.find_text("a", sample=3, seed=5))
        assert len(set(sampled)) == 3
        assert set(sampled) <= set(everything)
        assert index.count_text_batch(["a", "aa", "zz"]) == [6, 3, 0]
        assert index.document_count_text("aaa") == 1
        assert index.count_text("aa").as_dict() == {"text": "aa", "count": 3}


@pytest.mark.parametrize(
    "text", ["", None, 3, b"a", ["a"], "\ud800", "a\udfff"], ids=lambda text: ascii(text)
)
def test_what_is_no_text(tmp_path, text):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": "a"}])
    everygram.build(corpus, tmp_path / "index", "bytes")
    with everygram.open(tmp_path / "index") as index:
        for ask in (index.count_text, index.find_text, index.document_count_text):
            with pytest.raises(QueryError, match=r"^text: "):
                ask(text)


def test_without_a_tokenizer(tmp_path):
    write_index(tmp_path / "index", [[1, 2]], "u8")
    with everygram.open(tmp_path / "index") as index, pytest.raises(TokenizerError):
        index.count_text("a")


def test_forms_and_word_characters():
    assert set(forms_of("k")) == {"k", "K", "\u212a"}
    assert set(forms_of("Σ")) == {"σ", "ς", "Σ"}
    assert (folded("ẞ"), folded("İ"), forms_of("1")) == ("ß", "İ", "1")
    table = np.unpackbits(word_table(), bitorder="little")
    for number in [*range(0x3000), 0x200C, 0x1F600, 0x10FFFF]:
        assert bool(table[number]) == is_word(chr(number))


def test_a_damaged_index_answers_or_says_so(tmp_path, monkeypatch):
    """Token ids outside the vocabulary, positions and bounds at random: nothing foreign is read."""
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    rng = random.Random(7)
    texts = ["the cat", "a hat the", "", "cat and the rest"] * 5
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    path = tmp_path / "index"
    everygram.build(corpus, path, "train:300")
    everygram.delete(path, documents=[1, 5])
    for file in sorted(path.glob("segment-*/*.bin")) * (1 if INTERPRETED else 6):
        content = file.read_bytes()
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 20, 400])):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 254, rng.randrange(256)])
        file.write_bytes(damaged)
        for asked in ("the", "t", "cat and", " "):
            for words in (False, True):
                with contextlib.suppress(EverygramError), everygram.open(path) as index:
                    assert index.count_text(asked, whole_words=words) >= 0
                    index.find_text(asked, limit=None, whole_words=words).as_dict()
        file.write_bytes(content)


def test_a_document_that_is_one_long_repeat(tmp_path):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": "é" * 5000}])
    everygram.build(corpus, tmp_path / "index", "bytes")
    with everygram.open(tmp_path / "index") as index:
        matches = list(index.find_text("éé", limit=None))
    assert [(each.start, each.byte_end) for each in matches] == [
        (i, 2 * i + 4) for i in range(4999)
    ]


@pytest.mark.parametrize("few", [-9, 1024])
def test_a_character_behind_a_word_that_a_token_cuts(tmp_path, monkeypatch, few):
    """b"b\\xc5" and "\\xbf" behind it are a word of two letters; behind it "\\xc5" is no letter."""
    monkeypatch.setattr(parts, "FEW", few)
    monkeypatch.setattr(parts, "RUN", 0)
    spelling = Spelling([b".b\xc5", b"\xbf", b"\xc5", b".b", b"."], [0] * 5, False)
    documents = [[0, 1], [0, 2], [4, 0, 2], [4, 0, 1], [3], [3, 2, 1], [3, 2, 2]]
    path = write_index(tmp_path / "index", documents, "u8", 1, 5)
    with everygram.open(path) as index:
        search = TextSearch(index.engine, lambda: TokenBytes(spelling))
        for text, expected in (("b", 4), (".b", 4), ("..b", 1)):
            assert search.count(Pattern(text), True) == expected
            assert search.find(Pattern(text), True).shape[0] == expected
            assert search.tokenizations(Pattern(text), True).count == expected


def test_a_text_of_megabytes_is_read_at_once():
    """Not character by character in Python: one request would hold a server for seconds."""
    text = "é日😀q" * 500_000
    begun = time.process_time()
    pattern = Pattern(text)
    assert time.process_time() - begun < 1
    assert pattern.end == len(text.encode())
    assert bytes(pattern.steps[:10, 0].astype(np.uint8)) == "é日😀q".encode()
    assert [pattern.ways(state) for state in (0, 9)] == [[(0xC3, 1)], [(ord("q"), 10)]]

"""The spans of a text that a corpus has verbatim, against brute force."""

import itertools
import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_text_tokenizers import TEXTS, TOKENIZERS

import everygram
import naive_attribution as naive
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.attribution.text import DELIMITERS
from everygram.errors import QueryError, TokenizerError
from everygram.kernels import INTERPRETED
from everygram.tokenizer import tiktoken

pytestmark = pytest.mark.usefixtures("kinds")

# Few, so that documents repeat: words, spaces, ends of sentences, closing quotes; characters of two
# and four bytes; a script without spaces; a combining mark, a joiner.
LETTERS = [*"aab  ..\n”)", "é", "中", "字", "👍", "\u0301", "\u200d"]
OFFSETS = ("start", "end", "byte_start", "byte_end")


class Corpus:
    """An index, and its documents as everybody reads them: by number, in a union by place, too."""

    def __init__(self, index, numbers):
        self.index, self.tokenizer = index, index.tokenizer
        self.documents, self._pieces = {}, {}
        for key in numbers:
            place, number = key if isinstance(key, tuple) else (None, key)
            self.documents[key] = index.document(number, index=place)
        self.ids = {key: each.token_ids.tolist() for key, each in self.documents.items()}

    def pieces(self, key):
        if key not in self._pieces:
            ids = self.documents[key].token_ids
            self._pieces[key] = naive.pieces_of(self.tokenizer, ids)
        return self._pieces[key]

    def of_text(self, text, raw=False):
        """(ids, pieces, own) of a text, or of ids."""
        ids = [int(i) for i in self.index.encode(text, raw=raw)]
        if self.tokenizer is None:
            return ids, None, None
        kept = [i for i in ids if i != self.index.separator]
        inside = naive.pieces_of(self.tokenizer, np.array(kept, np.int64), True)
        if isinstance(text, str):
            lost = len(b"".join(inside)) - len(text.encode())
            pieces = naive.without_first(inside, lost)
            assert b"".join(pieces) == text.encode(), "the tokenizer changes the text"
        else:
            pieces = naive.pieces_of(self.tokenizer, np.array(kept, np.int64))
        own = [self.tokenizer.spelled(np.array([i]), True) for i in kept]
        both = iter(zip(pieces, own, strict=True))
        rows = [(b"", b"") if i == self.index.separator else next(both) for i in ids]
        return ids, [piece for piece, _ in rows], [each for _, each in rows]

    def check(self, text, raw=False, **options):
        """What `attribute` says of a text is what brute force does; returns it."""
        found = self.index.attribute(text, raw=raw, **options)
        ids, pieces, own = self.of_text(text, raw)
        assert found.token_ids == ids
        asked = {"delimiters": DELIMITERS, "max_count": 1_000_000, "density": 0.05} | options
        expected, number = naive.attributed(
            list(self.ids.values()), self.index.separator, ids, pieces, own, **asked
        )
        assert [shape(each) for each in found.spans] == [shape(each) for each in expected]
        assert (found.span_count, len(found)) == (number, len(expected))
        for each, right in zip(found.spans, expected, strict=True):
            assert each.unigram_log_prob == pytest.approx(right.unigram_log_prob)
            assert each.length == each.token_end - each.token_start
        bounds = [(each.token_start, each.token_end) for each in found.spans]
        assert [
            (each.token_start, each.token_end, each.spans) for each in found.merged_spans
        ] == naive.merged(bounds)
        self.check_places(found, text, pieces)
        return found

    def check_places(self, found, text, pieces):
        """Every offset of the spans and of the merged ones."""
        if pieces is None:
            assert found.text is None
            for each in (*found.spans, *found.merged_spans):
                assert [getattr(each, name) for name in (*OFFSETS, "text")] == [None] * 5
            return
        data = b"".join(pieces)
        assert found.text == data.decode(errors="replace")
        if isinstance(text, str):
            assert found.text == text
        for each in (*found.spans, *found.merged_spans):
            right = naive.offsets(pieces, each.token_start, each.token_end)
            assert tuple(getattr(each, name) for name in OFFSETS) == right
            assert found.text[each.start : each.end] == each.text
            spelled = b"".join(pieces[each.token_start : each.token_end])
            assert data[each.byte_start : each.byte_end] == spelled


def shape(span):
    return span.token_start, span.token_end, span.count, span.document_count


def options_of(rng):
    """A choice for every parameter that spans depend on, some left at their defaults."""
    every = {
        "min_length": rng.choice([1, 1, 2, 3, 5]),
        "max_count": rng.choice([None, 1, 2, 5, 1000]),
        "density": rng.choice([None, None, 0, 0.05, 0.1, 0.3, 1, 2.5]),
        "rank_by": rng.choice(["unigram_log_prob", "length"]),
        "delimiters": rng.choice([DELIMITERS, [], ["."], ["\n"], ["ab", " "], ("a.", "中")]),
        "whole_words": rng.random() < 0.6,
    }
    return {name: value for name, value in every.items() if rng.random() < 0.7}


def random_texts(rng, number, letters=LETTERS, most=20):
    return ["".join(rng.choices(letters, k=rng.randint(0, most))) for _ in range(number)]


def build(folder, texts, tokenizer=None, deleted=(), segments=1):
    """An index of texts in that many segments, with some deleted; opened."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index"
    cuts = [len(texts) * i // segments for i in range(segments + 1)]
    for place, (begin, end) in enumerate(itertools.pairwise(cuts)):
        records = [{"text": each, "n": begin + i} for i, each in enumerate(texts[begin:end])]
        corpus = write_jsonl(folder / f"{place}.jsonl", records)
        if place:
            everygram.add(path, corpus)
        else:
            everygram.build(corpus, path, *([] if tokenizer is None else [tokenizer]))
    if deleted:
        everygram.delete(path, documents=list(deleted))
    return everygram.open(path)


def corpus_of(folder, texts, tokenizer=None, deleted=(), segments=1):
    index = build(folder, texts, tokenizer, deleted, segments)
    return Corpus(index, [n for n in range(len(texts)) if n not in deleted])


@pytest.mark.parametrize("seed", range(sized(3, 40)))
def test_texts_of_few_letters(tmp_path, seed):
    """Bytes, so that tokens divide every character."""
    rng = random.Random(seed)
    texts = random_texts(rng, rng.randint(1, 12))
    deleted = rng.sample(range(len(texts)), rng.choice([0, 0, len(texts) // 3]))
    corpus = corpus_of(tmp_path, texts, None, deleted, rng.choice([1, 1, 2, 3]))
    with corpus.index:
        for _ in range(4 if INTERPRETED else 40):
            known = rng.choice(texts)
            text = known + rng.choice(["", *random_texts(rng, 2)]) + known[: rng.randint(0, 9)]
            text = rng.choice([text, text, *random_texts(rng, 1)])
            given = text if rng.random() < 0.7 else [*text.encode(), 255, *known.encode()]
            corpus.check(given, **options_of(rng))


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenized(request, tmp_path_factory, kinds):
    """The texts of many scripts, by tokenizers of a family: two segments, two deleted documents."""
    folder = tmp_path_factory.mktemp("index")
    name, make = TOKENIZERS[request.param]
    (folder / name).write_bytes(make())
    texts = [*TEXTS, *(text[3:] for text in TEXTS), *(text[:-5] for text in TEXTS)]
    corpus = corpus_of(folder, texts, str(folder / name), [2, len(TEXTS) + 1], 2)
    with corpus.index:
        yield corpus


def is_utf8(data):
    try:
        return data.decode() is not None
    except UnicodeDecodeError:
        return False


def kept_texts(corpus, texts):
    """Those that the tokenizer keeps: what its tokens spell is the text."""
    for text in texts:
        ids = corpus.index.encode(text)
        if corpus.tokenizer.spelled(ids, True).endswith(text.encode()):
            yield text


def test_texts_over_tokens_of_real_families(tokenized):
    rng = random.Random(5)
    documents = [each.text for each in tokenized.documents.values()]
    asked = []
    for _ in range(6 if INTERPRETED else sized(30, 200)):
        some = rng.choices(documents, k=rng.randint(1, 3))
        parts = []
        for text in some:
            begin = rng.randrange(len(text) + 1)
            parts.append(text[begin : begin + rng.choice([5, 15, 40])])
        asked.append(rng.choice(["", " ", "\n", "zzz"]).join(parts))
    number = 0
    for text in kept_texts(tokenized, asked):
        for raw in (False, True):
            tokenized.check(text, raw, **options_of(rng))
        # (A separator that divided a character would make another text of it.)
        ids, pieces, _ = tokenized.of_text(text)
        places = [i for i in range(len(ids) + 1) if is_utf8(b"".join(pieces[:i]))]
        cut = rng.choice(places)
        given = [*ids[:cut], tokenized.index.separator, *ids[cut:]]
        tokenized.check(given[rng.randrange(3) :], **options_of(rng))
        number += 1
    # (A tokenizer that composes characters changes some of the texts.)
    assert number >= len(asked) // 3


def test_all_of_a_text_in_every_script(tokenized):
    """Whole documents: a span begins at their start, and all is found."""
    for key, document in tokenized.documents.items():
        for text in kept_texts(tokenized, [document.text]):
            if text:
                whole = {"delimiters": [], "whole_words": False, "density": None}
                found = tokenized.check(document.token_ids, **whole)
                [span] = found.spans
                assert (span.token_start, span.token_end) == (0, document.length), key
                assert span.text == found.text == text


IDS = st.lists(st.integers(0, 3), max_size=12)


@settings(max_examples=sized(60, 2000), deadline=None)
@given(
    documents=st.lists(IDS, min_size=1, max_size=6),
    text=st.lists(st.sampled_from([0, 1, 2, 3, 4, 65535]), max_size=14),
    segments=st.integers(1, 3),
    deleted=st.sets(st.integers(0, 5), max_size=2),
    seed=st.integers(0, 1 << 16),
)
def test_ids_alone(tmp_path_factory, documents, text, segments, deleted, seed):
    """An index without a tokenizer: every place is a boundary, no token a delimiter."""
    folder = tmp_path_factory.mktemp("ids") / "index"
    gone = sorted(each for each in deleted if each < len(documents))
    gone = gone if len(gone) < len(documents) else []
    write_index(folder, documents, "u16", segments, 5, [gone])
    with everygram.open(folder) as index:
        corpus = Corpus(index, [n for n in range(len(documents)) if n not in gone])
        corpus.check(text, **options_of(random.Random(seed)))


def test_the_longest_match_at_each_place_that_reaches_further(tmp_path):
    with corpus_of(tmp_path, ["abcd", "bcde", "cdef"]).index as index:
        loose = {"whole_words": False, "density": None}
        spans = index.attribute("abcdefg", **loose).spans
        assert [each.text for each in spans] == ["abcd", "bcde", "cdef"]
        assert [(each.count, each.document_count) for each in spans] == [(1, 1)] * 3
        [merged] = index.attribute("abcdefg", **loose).merged_spans
        assert (merged.text, merged.spans) == ("abcdef", [0, 1, 2])
        assert [each.text for each in index.attribute("xbcd", **loose).spans] == ["bcd"]


def test_spans_that_touch_are_not_merged(tmp_path):
    with corpus_of(tmp_path, ["ab", "cd"]).index as index:
        found = index.attribute("abcd", whole_words=False, density=None)
        assert [each.text for each in found.merged_spans] == ["ab", "cd"]


def test_a_delimiter_ends_a_span(tmp_path):
    # (Bytes: the end of a Chinese sentence is divided over three tokens, none of which is one.)
    text = 'He said "no." Then he left! 他走了。然后 (end.) so\nit was'
    with corpus_of(tmp_path, [text]).index as index:

        def spans(**options):
            return [each.text for each in index.attribute(text, density=None, **options).spans]

        assert spans(delimiters=[]) == [text]
        assert spans() == [
            'He said "no.',
            '" Then he left!',
            " 他走了。然后 (end.",
            ") so\n",
            "it was",
        ]
        assert spans(delimiters=["\n"]) == [text[: text.index("it")], "it was"]
        assert spans(delimiters=["o"])[0] == 'He said "no'
        # A delimiter of several tokens is none.
        assert spans(delimiters=["said"]) == [text]


def merging(words):
    """A byte-level BPE in which each of the words is one token, wherever it stands."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    char_of = dict(tiktoken.byte_level_chars())
    pieces, merges = list(char_of.values()), []
    for word in words:
        characters = [char_of[byte] for byte in word.encode()]
        for size in range(1, len(characters)):
            pair = "".join(characters[:size]), characters[size]
            if pair not in merges:
                pieces.append("".join(pair))
                merges.append(pair)
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_a_delimiter_is_what_a_token_says(tmp_path):
    """Of a token of several characters: white space anywhere, others at its end."""
    ends = [".", '."', '.")', " .", "\n\nx", "?!\n", "…»", "wow!", ". ", "።", "x。』"]
    others = [".5", "…y", '"', " ", "..z", "\t", "„"]
    for number, word in enumerate((*ends, *others)):
        folder, text = tmp_path / str(number), f"one{word}two"
        folder.mkdir()
        merging(["one", "two", word]).save(str(folder / "tokenizer.json"))
        with build(folder, [text], str(folder / "tokenizer.json")) as index:
            assert len(index.encode(text, raw=True)) == 3
            found = index.attribute(text, density=None, whole_words=False, raw=True)
            divided = [f"one{word}", "two"] if word in ends else [text]
            assert [each.text for each in found.spans] == divided
            none = index.attribute(text, density=None, delimiters=[], raw=True)
            assert [each.text for each in none.spans] == [text]


def test_whole_words(tmp_path):
    with corpus_of(tmp_path, ["the cat sat on the mat"]).index as index:

        def spans(text, **options):
            return [each.text for each in index.attribute(text, density=None, **options).spans]

        assert spans("the cat sang") == ["the cat "]
        assert spans("bathe cat") == [" cat"]
        assert spans("the cats") == ["the "]
        assert spans("the cat, sat") == ["the cat", " sat"]
        assert spans("the cats", whole_words=False) == ["the cat", "s"]
        assert spans("thecat") == []


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("e\u0301tude", "e"),  # a combining mark is a part of its letter
        ("👩\u200d👧", "👩"),  # as a joiner is, and what it joins
        ("👩\u200d👧", "👩\u200d"),
        ("❤\ufe0f", "❤"),  # and a variation selector
        ("नमस्ते", "नमस"),
        ("don't", "don"),  # an apostrophe between letters is a part of the word
        ("l’été", "l’"),
        ("3.14", "3"),  # as a point between digits is
        ("1,000", "1,"),
        ("snake_case", "snake"),  # (connectors are word characters)
        ("ab12", "ab"),
    ],
)
def test_no_span_ends_inside_what_belongs_together(tmp_path, text, inside):
    with corpus_of(tmp_path, [f"{inside} or {text}", "x"]).index as index:
        assert index.attribute(f"x {text}", density=None).spans[-1].text.endswith(text)
    with corpus_of(tmp_path / "less", [f"-{inside}-"]).index as index:
        spans = index.attribute(f"-{text}", density=None).spans
        assert [each.text for each in spans] == ["-"]
        spans = index.attribute(f"-{text}", density=None, whole_words=False).spans
        assert spans[0].text.startswith(f"-{inside}")


def test_scripts_without_spaces_have_a_boundary_at_each_character(tmp_path):
    with corpus_of(tmp_path, ["棕色狐狸跳过", "東京に行", "ภาษา"]).index as index:
        for text, found in (
            ("大狐狸跳起", ["狐狸跳"]),
            ("いま東京にいる", ["東京に"]),
            ("ab狐狸cd", ["狐狸"]),
        ):
            spans = index.attribute(text, density=None).spans
            assert [each.text for each in spans] == found


def test_density_is_of_the_tokens_rounded_up(tmp_path):
    # (0.07 × 100 as doubles is more than 7.)
    text = "".join(f"{a}{b}" for a in "abcdefghij" for b in "klmno")
    pairs = [text[i : i + 2] for i in range(0, 100, 2)]
    with corpus_of(tmp_path, pairs).index as index:
        loose = {"whole_words": False, "min_length": 2}
        every = index.attribute(text, density=None, **loose)
        assert len(every) == every.span_count == 50
        for density, number in [(0, 0), (1e-9, 1), (0.07, 7), (0.05, 5), (0.051, 6), (1, 50)]:
            found = index.attribute(text, density=density, **loose)
            assert (len(found), found.span_count) == (number, 50), density
            starts = [each.start for each in found.spans]
            assert starts == sorted(starts)
        assert len(index.attribute(text, **loose)) == 5


def test_rank(tmp_path):
    """By what is rare, or by what is long; the first of equals."""
    with corpus_of(tmp_path, ["aaaa " * 20, "xyz", "xyz"]).index as index:
        text = "aaaa-xyz-zyx"
        for rank_by, best in (("unigram_log_prob", "xyz"), ("length", "aaaa")):
            found = index.attribute(text, density=1e-9, rank_by=rank_by, whole_words=False)
            assert [each.text for each in found.spans] == [best]
        total = index.count([])
        span = index.attribute("xyz").spans[0]
        assert span.unigram_log_prob == pytest.approx(3 * math.log(2 / total))
    with corpus_of(tmp_path / "more", ["ab", "ba"]).index as index:
        found = index.attribute("ab-ba", density=1e-9)
        assert [each.text for each in found.spans] == ["ab"]


@pytest.mark.parametrize("number", range(3, 15))
def test_the_first_of_equals_whatever_the_order_of_the_tokens(tmp_path, number):
    """Sums of the same numbers in another order may differ in their last digits."""
    texts = ["abcd", "dcba", "a" * number, "b" * 2 * number, "c" * 5 * number]
    with build(tmp_path, texts) as index:
        for text in ("abcd-dcba", "dcba-abcd"):
            [span] = index.attribute(text, density=1e-9).spans
            assert span.start == 0


def test_limits_of_counts_and_lengths(tmp_path):
    with corpus_of(tmp_path, ["to be", "to be", "to see"]).index as index:

        def spans(text, **options):
            found = index.attribute(text, density=None, **options)
            return [(each.text, each.count, each.document_count) for each in found.spans]

        assert spans("to be") == [("to be", 2, 2)]
        assert spans("to be", max_count=2) == [("to be", 2, 2)]
        assert spans("to be", max_count=1) == []
        assert spans("to be", min_length=5) == [("to be", 2, 2)]
        assert spans("to be", min_length=6) == []
        assert spans("to see to be", max_count=1) == [("to see", 1, 1)]


def test_a_text_may_begin_with_a_mark(tmp_path):
    """Behind the space that is put before it, which the text does not have."""
    merging(["nothing"]).save(str(tmp_path / "tokenizer.json"))
    corpus = corpus_of(tmp_path, ["a \u0301b", "-\u0301c"], str(tmp_path / "tokenizer.json"))
    with corpus.index:
        for text in ("\u0301b", "\u0301c"):
            for raw in (False, True):
                found = corpus.check(text, raw, density=None)
                assert found.spans[-1].text == text


def test_nothing_to_find(tmp_path):
    corpus = corpus_of(tmp_path, ["Nothing of it is here.", "日本語"])
    with corpus.index as index:
        for text in ("", "ქართული", [], "Ω", [255], "\U0001f600"):
            found = corpus.check(text)
            assert not found.spans
            assert found.documents == found.merged_spans == []
            assert json.loads(json.dumps(found.as_dict()))["spans"] == []
        assert index.attribute("").text == ""


def test_another_language_has_only_what_is_shared(tmp_path):
    corpus = corpus_of(tmp_path, ["The cat sat on the mat, and that was that."] * 3)
    with corpus.index:
        found = corpus.check("Die Katze saß auf der Matte, und das war es, at home.", density=None)
        assert all(each.length < 6 for each in found.spans)


def test_a_text_that_is_a_document(tmp_path):
    texts = ["It was the best of times", "It was the worst of times", "and so on"]
    corpus = corpus_of(tmp_path, texts)
    with corpus.index:
        for number, text in enumerate(texts):
            [span] = corpus.check(text).spans
            assert (span.text, span.count) == (text, 1)
            [document] = span.documents
            assert (document.number, document.start, document.end) == (number, 0, len(text))


def test_no_span_has_a_separator(tmp_path):
    corpus = corpus_of(tmp_path, ["ab", "cd", "ab"])
    with corpus.index as index:
        separator = index.separator
        loose = {"density": None}
        for ids in (
            [*b"ab", separator, *b"cd"],
            [separator, *b"ab", separator],
            [separator],
            [separator, separator, *b"cd"],
            [*b"a", separator, *b"b"],
        ):
            for whole_words in (False, True):
                found = corpus.check(ids, whole_words=whole_words, **loose)
                assert all(
                    separator not in ids[each.token_start : each.token_end] for each in found.spans
                )


def test_a_text_without_a_tokenizer_is_refused(tmp_path):
    with everygram.open(write_index(tmp_path / "index", [[1, 2]], "u16")) as index:
        with pytest.raises(TokenizerError, match="no tokenizer"):
            index.attribute("a text")
        [span] = index.attribute([1, 2]).spans
        assert (span.token_start, span.token_end, span.text) == (0, 2, None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"text": None}, "text"),
        ({"text": [-1]}, "id"),
        ({"text": [1.5]}, "id"),
        ({"min_length": 0}, "min_length"),
        ({"min_length": 1.5}, "min_length"),
        ({"min_length": None}, "min_length"),
        ({"max_count": 0}, "max_count"),
        ({"max_count": -1}, "max_count"),
        ({"max_count": "many"}, "max_count"),
        ({"density": -0.1}, "density"),
        ({"density": math.nan}, "density"),
        ({"density": math.inf}, "density"),
        ({"density": "0.05"}, "density"),
        ({"density": True}, "density"),
        ({"rank_by": "rarity"}, "rank_by"),
        ({"rank_by": None}, "rank_by"),
        ({"delimiters": "."}, "delimiters"),
        ({"delimiters": [""]}, "delimiters"),
        ({"delimiters": [13]}, "delimiters"),
        ({"delimiters": None}, "delimiters"),
        ({"delimiters": [".", "\udcff"]}, "delimiters: expected texts, found the lone surrogate"),
        ({"whole_words": "yes"}, "whole_words"),
        ({"documents": -1}, "documents"),
        ({"documents": None}, "documents"),
        ({"context": 100}, "context"),
        ({"context": (1, 2)}, "context"),
        ({"context": (1, 2, -3)}, "context"),
        ({"context": (1, 2, 3.5)}, "context"),
        ({"context": "abc"}, "context"),
        ({"seed": "x"}, "seed"),
        ({"seed": None}, "seed"),
        ({"prompt": 5}, "prompt"),
        ({"raw": "no"}, "raw"),
    ],
)
def test_wrong_arguments(text_index, options, says):
    asked = {"text": "the quick"} | options
    with pytest.raises(QueryError, match=says):
        text_index.attribute(**asked)


def test_the_parameters_are_in_the_result(text_index):
    found = text_index.attribute("natural language", prompt="What?", density=0.5, context=[9, 5, 2])
    assert found.options == {
        "min_length": 1,
        "max_count": 1_000_000,
        "density": 0.5,
        "rank_by": "unigram_log_prob",
        "delimiters": list(DELIMITERS),
        "whole_words": True,
        "documents": 10,
        "context": [9, 5, 2],
        "seed": 0,
        "prompt": "What?",
    }
    said = json.loads(json.dumps(found.as_dict()))
    assert said["options"] == found.options
    assert said["index"]["version"] == text_index.version
    assert {"name", "num_documents", "num_tokens", "tokenizer"} <= said["index"].keys()
    assert [each["text"] for each in said["spans"]] == [each.text for each in found.spans]

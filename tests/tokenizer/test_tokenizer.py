"""Tokenizers: ids as the library makes them, text back, prefixes, what is not a tokenizer."""

import base64
import hashlib
import io
import itertools
import json
import random
import re
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

import everygram.tokenizer
from everygram.errors import MissingExtraError, OptionError, TokenizerError
from everygram.tokenizer import tiktoken as tiktoken_files
from everygram.tokenizer.base import ByteTokenizer, encode_query
from everygram.tokenizer.choose import (
    load_tokenizer,
    stored_tokenizer,
    train_tokenizer,
    training_vocab_size,
)
from everygram.tokenizer.huggingface import HuggingFaceTokenizer

SAMPLE = ["natural language processing of natural languages", "héllo wörld 日本語 😀 naïve"] * 50


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(SAMPLE, sum(map(len, SAMPLE)), 400)


def sentencepiece_like(tmp_path):
    """A BPE with the normalizer and byte fallback of Llama 2."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocabulary |= {
        token: 256 + i for i, token in enumerate(["▁", "a", "b", "c", "▁a", "▁b", "<s>"])
    }
    description = {
        "version": "1.0",
        "truncation": {
            "max_length": 3,
            "stride": 0,
            "strategy": "LongestFirst",
            "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 8},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<0x00>",
        },
        "added_tokens": [
            {
                "id": 262,
                "content": "<s>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [["▁", "a"], ["▁", "b"]],
        },
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(description))
    return path


@pytest.mark.parametrize("text", ["", "abc", "héllo 日本語 😀", "line\n\0two"])
def test_bytes(text):
    tokenizer = ByteTokenizer()
    (ids,) = tokenizer.encode_batch([text])
    assert ids.tolist() == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert max(ids.tolist(), default=0) < tokenizer.vocab_size == 255


def test_bytes_for_display():
    assert ByteTokenizer().token_text(ord("a")) == "a"
    assert ByteTokenizer().token_text(0xE6) == "\\xe6"
    assert ByteTokenizer().decode(np.array([0xE6, 0x97])) == "\ufffd"


def test_trained(trained):
    assert 256 <= trained.vocab_size <= 400
    texts = [*SAMPLE[:2], "", "unseen \x00 ½ text 漢字"]
    for text, ids in zip(texts, trained.encode_batch(texts), strict=True):
        assert trained.decode(ids) == text
        assert "".join(trained.token_text(i) for i in ids.tolist()).startswith(text[:3])
    again = train_tokenizer(SAMPLE, sum(map(len, SAMPLE)), 400)
    assert again.json == trained.json


def test_a_sample_of_a_large_corpus_is_the_same_each_time():
    texts = [f"word{i} and more" for i in range(2000)]
    first = train_tokenizer(texts, 10 * (32 << 20), 300)
    assert train_tokenizer(texts, 10 * (32 << 20), 300).json == first.json


def test_the_stored_file_is_the_tokenizer(trained):
    stored = stored_tokenizer(trained.kind, trained.source, trained.json)
    assert (
        stored.encode_batch(SAMPLE[:1])[0].tolist() == trained.encode_batch(SAMPLE[:1])[0].tolist()
    )
    assert stored_tokenizer("none", "none", None) is None
    assert isinstance(stored_tokenizer("bytes", "bytes", None), ByteTokenizer)


def test_byte_level_queries_get_a_space_in_front(trained):
    assert trained.query_prefix == " "
    with_space, raw = encode_query(trained, "natural"), encode_query(trained, "natural", raw=True)
    assert trained.decode(with_space) == " natural"
    assert trained.decode(raw) == "natural"
    assert trained.decode(encode_query(trained, " natural")) == " natural"
    assert trained.decode(encode_query(trained, "\nnatural")) == "\nnatural"
    assert encode_query(trained, "").tolist() == []


def test_sentencepiece_families_bring_their_own_space(tmp_path):
    tokenizer = load_tokenizer(str(sentencepiece_like(tmp_path)))
    assert tokenizer.query_prefix == ""
    assert tokenizer.vocab_size == 263
    (ids,) = tokenizer.encode_batch(["a b"])
    assert [tokenizer.token_text(i) for i in ids.tolist()] == [" a", " b"]
    assert tokenizer.decode(ids) == "a b"
    assert tokenizer.token_text(0xE6) == "\\xe6"


def test_raw_leaves_out_the_space_a_tokenizer_adds_itself(tmp_path):
    tokenizer = load_tokenizer(str(sentencepiece_like(tmp_path)))
    shown = [tokenizer.token_text(i) for i in encode_query(tokenizer, "a b").tolist()]
    assert shown == [" a", " b"]
    shown = [tokenizer.token_text(i) for i in encode_query(tokenizer, "a b", raw=True).tolist()]
    assert shown == ["a", " b"]
    shown = [tokenizer.token_text(i) for i in encode_query(tokenizer, "\n", raw=True).tolist()]
    assert shown == ["\n"]


def test_a_text_that_cannot_be_encoded(tmp_path):
    description = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"a": 0, "b": 1},
        },
    }
    tokenizer = HuggingFaceTokenizer(json.dumps(description).encode(), "words")
    assert tokenizer.encode_batch(["a b"])[0].tolist() == [0, 1]
    with pytest.raises(TokenizerError, match=r"'words' cannot encode a text: .*Missing \[UNK\]"):
        tokenizer.encode_batch(["a c"])


def test_truncation_padding_and_special_tokens_are_off(tmp_path):
    """Stored settings that suit a model would cut documents and invent tokens here."""
    tokenizer = load_tokenizer(str(sentencepiece_like(tmp_path)))
    assert len(tokenizer.encode_batch(["a a a a a a"])[0]) == 6
    assert len(tokenizer.encode_batch(["a"])[0]) == 1
    assert tokenizer.encode_batch([""])[0].tolist() == []
    special = 262
    assert special not in tokenizer.encode_batch(["a <s> b"])[0].tolist()
    assert tokenizer.token_text(special) == "<s>"


def test_a_folder_with_a_tokenizer_json_will_do(tmp_path):
    sentencepiece_like(tmp_path)
    assert load_tokenizer(str(tmp_path)).vocab_size == 263


@pytest.mark.parametrize(
    ("specification", "says"),
    [
        ("nowhere/tokenizer.json", "expected a tokenizer.json, found none"),
        ("./nothing", "expected a tokenizer.json, found none"),
        ("train:", "expected train:VOCAB"),
        ("train:255", "from 256"),
        ("train:x", "expected train:VOCAB"),
    ],
)
def test_what_is_no_tokenizer(specification, says):
    with pytest.raises((TokenizerError, OptionError), match=says):
        training_vocab_size(specification)
        load_tokenizer(specification)


def test_a_hub_name_that_does_not_load_says_what_was_expected():
    with pytest.raises(TokenizerError, match="expected 'bytes', 'train:VOCAB', the path of"):
        load_tokenizer("no-such-org/no-such-model")


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff", b'{"model": {"type": "Unknown"}}'])
def test_a_file_that_is_no_tokenizer(data):
    with pytest.raises(TokenizerError, match=r"'x': not a tokenizer.json that"):
        HuggingFaceTokenizer(data, "x")


def test_a_lone_surrogate_in_a_query(trained):
    with pytest.raises(TokenizerError, match="lone surrogate"):
        encode_query(trained, "\ud800")


# Special tokens


def unigram(pieces, **added):
    """A unigram tokenizer of the pieces, each of score -1 unless it is given with another."""
    vocabulary = [piece if isinstance(piece, tuple) else (piece, -1.0) for piece in pieces]
    ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[content],
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": special,
            }
            for content, special in added.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "post_processor": None,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": vocabulary},
    }
    return HuggingFaceTokenizer(json.dumps(description).encode(), "pieces")


def test_no_text_is_a_special_token_not_even_where_the_model_has_it():
    """Unigram models have </s> among their pieces, with the best score of all."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), "▁", *"</s>ab", "<x>"]
    tokenizer = unigram(dict.fromkeys(pieces), **{"</s>": True, "<unk>": True, "<x>": False})
    (ids,) = tokenizer.encode_batch(["a</s>b<x>"])
    shown = [tokenizer.token_text(i) for i in ids.tolist()]
    assert "".join(shown) == " a</s>b<x>"
    assert "</s>" not in shown
    assert "<x>" in shown  # not special: the tokenizer's own word
    assert tokenizer.token_text(1) == "</s>"
    assert tokenizer.decode(np.array([1, 2, 7])).strip() == "</s> a"
    assert tokenizer.vocab_size == len(dict.fromkeys(pieces))
    assert b'"</s>"' in tokenizer.json


def test_special_tokens_that_merges_make_are_text(trained):
    description = json.loads(trained.json)
    word, token_id = "natural", description["model"]["vocab"]["natural"]
    special = {"id": token_id, "content": word, "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    description["added_tokens"] = [special | flags]
    tokenizer = HuggingFaceTokenizer(json.dumps(description).encode(), "x")
    (ids,) = tokenizer.encode_batch([word])
    assert trained.encode_batch([word])[0].tolist() == [token_id]
    assert token_id not in ids
    assert tokenizer.decode(ids) == word
    assert tokenizer.token_text(token_id) == word


# SentencePiece


def sentencepiece_model(**settings):
    """The bytes of a small model, trained on the spot."""
    library = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "ate",
        "a",
        "rat.",
        "that",
        "hat",
        "is",
        "the",
        "fat",
        "cat's",
        "hat,",
        "so",
        "be",
        "it!",
    ]
    rng = random.Random(0)
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(200)]
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **settings,
    )
    return written.getvalue()


LLAMA = {
    "model_type": "bpe",
    "vocab_size": 330,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "control_symbols": ["<ctl>"],
}
MODELS = {
    "unigram": {"model_type": "unigram", "vocab_size": 60},
    "llama": LLAMA,
    "gemma": LLAMA | {"add_dummy_prefix": False},
    "no prefix, spaces removed": LLAMA
    | {"add_dummy_prefix": False, "remove_extra_whitespaces": True},
    "suffix": {"model_type": "unigram", "vocab_size": 60, "treat_whitespace_as_suffix": True},
}


@pytest.fixture(scope="module", params=MODELS)
def sentencepiece(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tokenizer.model"
    path.write_bytes(sentencepiece_model(**MODELS[request.param]))
    return request.param, load_tokenizer(str(path))


TEXTS = [
    "the cat",
    "",
    " ",
    "a  b\n\nhé 日本語 😀",
    "<s>the</s> <unk><ctl> <0x41>",
    "\0",
    "mat" * 500,
]


def test_sentencepiece_ids_are_those_of_the_library(sentencepiece):
    _, tokenizer = sentencepiece
    model = base64.b64decode(json.loads(tokenizer.json)["model"])
    library = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_proto=model)
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.dtype == np.uint32
        assert ids.tolist() == library.encode(text)
        assert not any(library.is_control(i) for i in ids.tolist())
        assert tokenizer.decode(ids) == library.decode(ids.tolist())
    assert tokenizer.vocab_size == library.get_piece_size()
    assert tokenizer.encode_batch([]) == []


def test_a_word_is_looked_up_as_inside_a_sentence(sentencepiece):
    kind, tokenizer = sentencepiece

    def shown(query, raw=False):
        return [tokenizer.token_text(i) for i in encode_query(tokenizer, query, raw).tolist()]

    inside = tokenizer.encode_batch(["so cat be", "so"])
    after_so = inside[0][inside[1].shape[0] :].tolist()
    assert after_so[: len(shown("cat"))] == encode_query(tokenizer, "cat").tolist()
    assert "".join(shown("cat")) == ("cat " if kind == "suffix" else " cat")
    assert tokenizer.query_prefix == (" " if kind in ("gemma", "no prefix, spaces removed") else "")
    if kind == "suffix":
        with pytest.raises(TokenizerError, match="without the space it adds; query with token ids"):
            shown("cat", raw=True)
    else:
        assert "".join(shown("cat", raw=True)) == "cat"
        assert "".join(shown(" cat", raw=True)) == " cat"
    assert shown("") == []


def test_raw_does_not_lose_what_the_tokenizer_does_not_know():
    tokenizer = stored_tokenizer("sentencepiece", "x", stored_model(**MODELS["unigram"]))
    shown = [tokenizer.token_text(i) for i in encode_query(tokenizer, "<a<", raw=True).tolist()]
    assert shown == ["<unk>", "a", "<unk>"]


def stored_model(**settings):
    model = base64.b64encode(sentencepiece_model(**settings)).decode()
    return json.dumps({"type": "sentencepiece", "model": model}).encode()


def test_sentencepiece_for_display():
    tokenizer = stored_tokenizer("sentencepiece", "x", stored_model(**LLAMA))
    (ids,) = tokenizer.encode_batch(["日"])
    assert [tokenizer.token_text(i) for i in ids.tolist()] == [" ", "\\xe6", "\\x97", "\\xa5"]
    assert tokenizer.decode(ids[1:2]) == "\ufffd"
    assert tokenizer.token_text(1) == "<s>"
    assert tokenizer.token_text(0) == "<unk>"


def test_sentencepiece_is_stored_in_the_index(sentencepiece):
    _, tokenizer = sentencepiece
    stored = stored_tokenizer(tokenizer.kind, tokenizer.source, tokenizer.json)
    assert stored.json == tokenizer.json
    assert stored.query_prefix == tokenizer.query_prefix
    assert stored.encode_batch(["the"])[0].tolist() == tokenizer.encode_batch(["the"])[0].tolist()
    with pytest.raises(TokenizerError, match="lone surrogate"):
        tokenizer.encode_batch(["\ud800"])


def test_sentencepiece_without_the_library(tmp_path, monkeypatch):
    path = tmp_path / "some.model"
    path.write_bytes(b"\n\x0e\n\x05<unk>")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'everygram\[sentencepiece\]'"):
        load_tokenizer(str(path))


@pytest.mark.parametrize("data", [b"\n\x0e\n\x05<unk>", b"\n"])
def test_a_file_that_is_no_sentencepiece_model(tmp_path, data):
    pytest.importorskip("sentencepiece")
    path = tmp_path / "some.model"
    path.write_bytes(data)
    with pytest.raises(TokenizerError, match=r"some\.model': not a SentencePiece model that"):
        load_tokenizer(str(path))


def test_a_tokenizer_json_that_begins_with_a_newline(tmp_path):
    path = sentencepiece_like(tmp_path)
    path.write_text("\n" + path.read_text())
    assert load_tokenizer(str(path)).kind == "huggingface"


# tiktoken

ANY_FAMILY = tiktoken_files.Family("any", "", None, {500: "<|endoftext|>"})
TIKTOKEN_PATTERNS = {
    None: r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    tiktoken_files.CL100K: r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"""
    r""" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
}


def made_ranks():
    """Ranks of all bytes and of what a few merges make, as in the published files."""
    ranks = {bytes([byte]): i for i, (byte, _) in enumerate(tiktoken_files.byte_level_chars())}
    rng = random.Random(1)
    common = [
        b" ",
        b"  ",
        b"a",
        b"b",
        b"l",
        b"s",
        b"'",
        b"1",
        b"2",
        b"\n",
        "é".encode(),
        b"<|",
        b"e",
    ]
    for token in common:
        ranks.setdefault(token, len(ranks))
    while len(ranks) < 400:
        left, right = rng.choice(common), rng.choice(common)
        if left + right not in ranks and len(left + right) < 9:
            ranks[left + right] = len(ranks)
            common.append(left + right)
    ranks[b"endoftext"] = 400  # no merges lead to it: it is one token as a word of its own only
    assert list(ranks.values()) == list(range(401))
    return ranks


def rank_file(ranks, newline="\n"):
    lines = (f"{base64.b64encode(token).decode()} {rank}" for token, rank in ranks.items())
    return "".join(line + newline for line in lines).encode()


def made_texts(count, seed=0):
    atoms = ["a", "b", "l", "s", " ", "  ", "\n", "\r\n", "'", "'ll", "'S", "12", "é", "e\u0301"]
    atoms += ["<|endoftext|>", "endoftext", "日", "!?", "\t", "\0", "Ⅷ", "x1"]
    rng = random.Random(seed)
    texts = ["".join(rng.choices(atoms, k=rng.randint(1, 24))) for _ in range(count)]
    return [*texts, everygram.tokenizer.fast.SAMPLE, "", "a" * 5000, " " * 5000]


@pytest.mark.parametrize("family", tiktoken_files.FAMILIES, ids=lambda family: family.name)
def test_tiktoken_ids(family):
    tiktoken = pytest.importorskip("tiktoken")
    pattern = TIKTOKEN_PATTERNS.get(family.pattern, family.pattern)
    encoding = tiktoken.Encoding(
        "x", pat_str=pattern, mergeable_ranks=made_ranks(), special_tokens={}
    )
    data = tiktoken_files.convert(made_ranks(), replace(family, nfc=False))
    tokenizer = HuggingFaceTokenizer(data, "x")
    texts = made_texts(1500)
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert ids.tolist() == encoding.encode_ordinary(text), text
        assert tokenizer.decode(ids) == text
    for token_id, content in family.special.items():
        assert tokenizer.token_text(token_id) == content
    assert tokenizer.vocab_size == max(401, max(family.special) + 1)
    assert tokenizer.query_prefix == " "


def test_qwen_text_is_composed_first():
    (qwen,) = (family for family in tiktoken_files.FAMILIES if family.name == "qwen")
    tokenizer = HuggingFaceTokenizer(tiktoken_files.convert(made_ranks(), qwen), "x")
    composed, apart = tokenizer.encode_batch(["é", "e\u0301"])
    assert composed.tolist() == apart.tolist()


def lowest_first(word, ranks):
    """tiktoken's merges, by the book: the lowest rank, the leftmost of equals, until none is."""
    if word in ranks:
        return [word]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [(ranks.get(a + b), i) for i, (a, b) in enumerate(itertools.pairwise(parts))]
        pairs = [pair for pair in pairs if pair[0] is not None]
        if not pairs:
            return parts
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.mark.parametrize("seed", range(6))
def test_one_merge_a_token_is_enough(seed):
    """Ranks as wild as can be: tokens of many splits, ties, some that no merges lead to."""
    rng = random.Random(seed)
    tokens = {"".join(rng.choices("ab", k=rng.randint(2, 7))).encode() for _ in range(24)}
    letters = [bytes([byte]) for byte, _ in tiktoken_files.byte_level_chars()]
    shuffled = rng.sample(sorted(tokens), len(tokens))
    ranks = {token: rank for rank, token in enumerate([*letters, *shuffled])}
    tokenizer = HuggingFaceTokenizer(tiktoken_files.convert(ranks, ANY_FAMILY), "x")
    words = ["".join(word) for n in range(1, 11) for word in itertools.product("ab", repeat=n)]
    for word, ids in zip(words, tokenizer.encode_batch(words), strict=True):
        assert ids.tolist() == [ranks[part] for part in lowest_first(word.encode(), ranks)]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_a_rank_file_is_known_by_all_of_its_ranks(tmp_path, monkeypatch, newline):
    path = tmp_path / "tokenizer.model"  # Llama 3's name for it
    path.write_bytes(rank_file(made_ranks(), newline))
    with pytest.raises(TokenizerError, match=r"401 ranks,? .*gpt2 .*cl100k_base.*llama3, qwen"):
        load_tokenizer(str(tmp_path))
    published = rank_file(made_ranks())
    known = replace(tiktoken_files.FAMILIES[2], sha256=hashlib.sha256(published).hexdigest())
    monkeypatch.setattr(tiktoken_files, "FAMILIES", (known,))
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.kind == "huggingface"
    assert tokenizer.vocab_size == 100277
    assert stored_tokenizer(tokenizer.kind, "x", tokenizer.json).token_text(400) != ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data + b"YWI=\n", "expected base64, a space and a rank, found b'YWI='"),
        (lambda data: data + b"Y*I= 900\n", "line 402 .*expected base64"),
        (lambda data: data + b"YQ== 900\n", "b'a' has a rank already"),
        (lambda data: data + b"eno= 5\n", "one rank for two tokens"),
        (lambda data: re.sub(rb"YQ== \d+\n", b"", data), "without a rank for the byte 0x61"),
    ],
)
def test_a_damaged_rank_file(tmp_path, change, says):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(change(rank_file(made_ranks())))
    with pytest.raises(TokenizerError, match=says):
        load_tokenizer(str(path))


# The fast engine

FAST_FROM_CHARS = 1 << 15


class Engine:
    """Stands for fastokens: encodes with `tokenizers`, until told to do otherwise."""

    loaded = 0
    fault = None

    @classmethod
    def from_json_str(cls, text):
        import tokenizers

        cls.loaded += 1
        engine = cls()
        engine.tokenizer = tokenizers.Tokenizer.from_str(text)
        engine.tokenizer.encode_special_tokens = True
        return engine

    def encode_batch_flat(self, texts, split_special_tokens):
        assert split_special_tokens
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [np.array(each.ids, np.uint32) for each in encodings]
        if type(self).fault is not None:
            ids = type(self).fault(ids)
        ends = np.cumsum([0, *map(len, ids)]).astype(np.uint64)
        return np.concatenate(ids).tobytes(), ends.tobytes()


def lower_thresholds(monkeypatch):
    monkeypatch.setattr("everygram.tokenizer.fast.FAST_BATCH_CHARS", 1 << 12)
    monkeypatch.setattr("everygram.tokenizer.fast.FAST_FROM_CHARS", FAST_FROM_CHARS)


@pytest.fixture
def engine(monkeypatch):
    class Fresh(Engine):
        pass

    lower_thresholds(monkeypatch)
    monkeypatch.setitem(sys.modules, "fastokens", types.SimpleNamespace(Tokenizer=Fresh))
    return Fresh


def large_batch(scale=1.0):
    texts = [*made_texts(100)[:100], everygram.tokenizer.fast.SAMPLE, "", *SAMPLE[:2]]
    return texts * (int(scale * FAST_FROM_CHARS / sum(map(len, texts))) + 1)


def converted(family=2):
    family = tiktoken_files.FAMILIES[family]
    # At their own ids special tokens would leave gaps of 100,000.
    special = dict(enumerate(family.special.values(), 410))
    data = tiktoken_files.convert(made_ranks(), replace(family, special=special))
    return HuggingFaceTokenizer(data, "x")


def same(some, others):
    return all(
        a.dtype == b.dtype and a.tolist() == b.tolist() for a, b in zip(some, others, strict=True)
    )


def test_large_batches_go_to_the_engine(engine):
    tokenizer, batch = converted(), large_batch()
    tokenizer.encode_batch(SAMPLE[:4])
    assert engine.loaded == 0
    ids = tokenizer.encode_batch(batch)
    assert engine.loaded == 1
    assert len(ids) == len(batch)
    assert same(ids, converted()._exact(batch))
    engine.fault = None
    tokenizer.encode_batch(batch)
    assert engine.loaded == 1


def test_batches_that_come_to_much_load_the_engine_and_queries_never_do(engine):
    tokenizer, batch = converted(), large_batch(0.3)
    for _ in range(2000):
        tokenizer.encode_batch(["a query"])
    for _ in range(FAST_FROM_CHARS // sum(map(len, batch))):
        tokenizer.encode_batch(batch)
        assert engine.loaded == 0
    tokenizer.encode_batch(batch)
    assert engine.loaded == 1


def test_an_engine_that_fails_the_sample_is_not_used(engine):
    engine.fault = lambda ids: [each[:-1] for each in ids]
    batch = large_batch()
    assert same(converted().encode_batch(batch), converted()._exact(batch))


class PanicException(BaseException):
    """As pyo3's, which is no Exception."""


def panic(ids):
    raise PanicException


def test_an_engine_that_fails_later_is_dropped(engine):
    tokenizer, batch = converted(), large_batch()
    expected = converted()._exact(batch)
    assert same(tokenizer.encode_batch(batch), expected)
    engine.fault = panic
    for _ in range(2):
        assert same(tokenizer.encode_batch(batch), expected)


def test_an_engine_that_goes_wrong_later_is_an_error(engine):
    tokenizer, batch = converted(), large_batch()
    tokenizer.encode_batch(batch)
    engine.fault = lambda ids: [each[::-1] for each in ids]
    for _ in range(2):
        with pytest.raises(TokenizerError, match=r"'x': fastokens does not encode .* uninstall"):
            tokenizer.encode_batch(batch)


def test_without_an_engine(monkeypatch):
    lower_thresholds(monkeypatch)
    monkeypatch.setitem(sys.modules, "fastokens", None)
    batch = large_batch()
    assert same(converted().encode_batch(batch), converted()._exact(batch))


def test_an_engine_that_does_not_read_the_tokenizer(engine, monkeypatch):
    def refuse(text):
        raise ValueError("unsupported")

    monkeypatch.setattr(engine, "from_json_str", refuse)
    batch = large_batch()
    assert same(converted().encode_batch(batch), converted()._exact(batch))


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        },
    ],
)
def test_tokenizers_of_no_known_family_do_not_go_to_the_engine(engine, trained, change):
    description = json.loads(trained.json) | change
    tokenizer = HuggingFaceTokenizer(json.dumps(description).encode(), "x")
    tokenizer.encode_batch(large_batch())
    assert engine.loaded == 0


@pytest.mark.parametrize("family", range(len(tiktoken_files.FAMILIES)))
def test_fastokens_encodes_as_tokenizers_does(family, monkeypatch):
    pytest.importorskip("fastokens")
    lower_thresholds(monkeypatch)
    tokenizer = converted(family)
    batch = [*large_batch(), *made_texts(2000, seed=3), "ſ'ſ'ſa"]
    assert same(tokenizer.encode_batch(batch), tokenizer._exact(batch))
    assert tokenizer._fast._encoder is not None


def test_fastokens_with_other_tokenizers(trained, tmp_path, monkeypatch):
    pytest.importorskip("fastokens")
    lower_thresholds(monkeypatch)
    llama = json.loads(sentencepiece_like(tmp_path).read_text())
    vocabulary = llama["model"]["vocab"]
    for char in map(chr, range(ord("!"), ord("~") + 1)):
        vocabulary.setdefault(char, len(vocabulary))
    for data in (trained.json, json.dumps(llama).encode()):
        tokenizer, batch = HuggingFaceTokenizer(data, "x"), large_batch()
        assert same(tokenizer.encode_batch(batch), tokenizer._exact(batch))
        assert tokenizer._fast._encoder is not None


def test_fastokens_is_not_used_where_the_sample_comes_out_otherwise(tmp_path, monkeypatch):
    """Of a vocabulary without "<" it makes <0x0A>, spelled out, the byte."""
    pytest.importorskip("fastokens")
    lower_thresholds(monkeypatch)
    tokenizer, batch = load_tokenizer(str(sentencepiece_like(tmp_path))), large_batch()
    assert same(tokenizer.encode_batch(batch), tokenizer._exact(batch))


@pytest.mark.parametrize("raw", [False, True])
def test_a_lone_surrogate_is_where_it_is_in_the_text_that_was_given(raw):
    """Not where it is behind the query prefix."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = HuggingFaceTokenizer(made.to_str().encode(), "made")
    assert tokenizer.query_prefix == " "
    with pytest.raises(TokenizerError, match="at character 2 is a lone surrogate"):
        encode_query(tokenizer, "a\ud800b", raw)

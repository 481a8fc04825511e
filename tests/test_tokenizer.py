"""Tokenizers: ids as the library makes them, text back, prefixes, what is not a tokenizer."""

import json

import numpy as np
import pytest

from everygram.errors import OptionError, TokenizerError
from everygram.tokenizer import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    encode_query,
    load_tokenizer,
    stored_tokenizer,
    train_tokenizer,
    training_vocab_size,
)

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


def test_a_hub_name_that_does_not_load_says_what_was_expected(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TokenizerError, match="expected 'bytes', 'train:VOCAB', the path of"):
        load_tokenizer("no-such-org/no-such-model")


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff", b'{"model": {"type": "Unknown"}}'])
def test_a_file_that_is_no_tokenizer(data):
    with pytest.raises(TokenizerError, match=r"'x': not a tokenizer.json that"):
        HuggingFaceTokenizer(data, "x")


def test_a_lone_surrogate_in_a_query(trained):
    with pytest.raises(TokenizerError, match="lone surrogate"):
        encode_query(trained, "\ud800")

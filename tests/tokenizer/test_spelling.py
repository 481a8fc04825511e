"""What ids read as: every tokenizer's text is what its tokens' bytes say, cut or whole."""

import base64
import codecs
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_tokenizer import ANY_FAMILY, MODELS, made_ranks, sentencepiece_model

import everygram
from conftest import write_jsonl
from everygram.results.base import labels
from everygram.tokenizer import tiktoken as tiktoken_files
from everygram.tokenizer.base import ByteTokenizer, cut_text
from everygram.tokenizer.choose import load_tokenizer, train_tokenizer
from everygram.tokenizer.huggingface import HuggingFaceTokenizer

# What decoders stumble over: U+FFFD itself, emoji that are joined, combining characters, scripts
# without spaces, marks of tokenizers that stand for a space, spellings of bytes and special tokens.
ATOMS = [
    *(
        "\ufffd",
        "\ufffd\ufffd",
        "\ufffe",
        "😀",
        "👩\u200d👧",
        "🇩🇪",
        "e\u0301",
        "é",
        "日本",
        "語",
        "한",
    ),
    *(" ", "  ", "\n", "\t", "a", "b", "the ", "cat", "▁", "Ġ", "##ing", "<0x41>", "<s>", "</w>"),
    *("<|endoftext|>", "\0", "\x80", "\u202e", "»", "«", "\\xe6", "ſ"),
]


def made_texts(count, seed):
    rng = random.Random(seed)
    return ["".join(rng.choices(ATOMS, k=rng.randint(0, 9))) for _ in range(count)]


def characters(data):
    """Each character of the text of bytes, and where its bytes are: (start, end, character)."""
    gone = []

    def replaced(error):
        gone.append((error.start, error.end))
        return "", error.end

    codecs.register_error("everygram-test", replaced)
    data.decode("utf-8", "everygram-test")
    found, start = [], 0
    for begin, end in [*gone, (len(data), len(data))]:
        for character in data[start:begin].decode():
            found.append((start, start + len(character.encode()), character))
            start = found[-1][1]
        if begin < end:
            found.append((begin, end, "\ufffd"))
        start = end
    assert "".join(character for _, _, character in found) == data.decode(errors="replace")
    return found


def cut_by_hand(data, begin, end):
    parts = ["", "", ""]
    for start, stop, character in characters(data):
        if begin == end:
            place = 0 if stop <= begin else 2
        else:
            place = 0 if stop <= begin else 2 if start >= end else 1
        parts[place] += character
    return tuple(parts)


# Every kind of byte that UTF-8 tells apart.
BYTES = [
    0x41,
    0x80,
    0x8F,
    0x90,
    0x9F,
    0xA0,
    0xBF,
    0xC0,
    0xC3,
    0xE0,
    0xE2,
    0xED,
    0xEF,
    0xF0,
    0xF4,
    0xFF,
]
PIECES = [bytes([byte]) for byte in BYTES] + [text.encode() for text in ("\ufffd", "€", "😀", "é")]


@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join),
    st.integers(0, 24),
    st.integers(0, 24),
)
@example(b"\xef\xbf\xbd", 1, 2)
@example(b"\xe2\x41", 1, 2)
@example(b"\xe2\x82", 0, 1)
@example(b"\xed\xa0\x80", 1, 2)
def test_bytes_are_cut_at_characters(data, one, other):
    begin, end = sorted((min(one, len(data)), min(other, len(data))))
    assert cut_text(data, begin, end) == cut_by_hand(data, begin, end)


def test_bytes_of_every_kind_are_cut_at_characters():
    for data in map(bytes, itertools.product(BYTES, repeat=3)):
        for begin, end in itertools.combinations_with_replacement(range(4), 2):
            assert cut_text(data, begin, end) == cut_by_hand(data, begin, end)


def trained(model, decoder, normalizer=None, pre_tokenizer=None, **settings):
    """A small tokenizer of the `tokenizers` library, trained on texts as the tests have."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        tokenizer.decoder = decoder
    kind = type(model).__name__
    trainer = getattr(tokenizers.trainers, {"BPE": "BpeTrainer"}.get(kind, f"{kind}Trainer"))
    tokenizer.train_from_iterator(made_texts(300, 1), trainer(show_progress=False, **settings))
    return tokenizer


def llama(strip=True):
    """A byte-fallback BPE: the bytes, the characters that are known, merges of some."""
    from tokenizers import decoders

    vocabulary = {"<unk>": 0, "<s>": 1}
    vocabulary |= {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    merges = [["▁", "t"], ["▁t", "he"], ["h", "e"], ["▁", "▁"], ["日", "本"], ["\ufffd", "\ufffd"]]
    for token in [*"▁thecatb日本\ufffd<>sx0A41", *("".join(pair) for pair in merges)]:
        vocabulary.setdefault(token, len(vocabulary))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if strip else [])])
    special = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    return {
        "added_tokens": [{"id": 1, "content": "<s>", "special": True} | special],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [prepend, replace] if strip else [replace],
        },
        "pre_tokenizer": None,
        "decoder": json.loads(decoder.__getstate__()),
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def made(name):
    if name == "bytes":
        return ByteTokenizer()
    if name == "train":
        texts = made_texts(300, 1)
        return train_tokenizer(texts, sum(map(len, texts)), 300)
    if name == "tiktoken":
        return HuggingFaceTokenizer(tiktoken_files.convert(made_ranks(), ANY_FAMILY), name)
    if name.startswith("llama"):
        return HuggingFaceTokenizer(json.dumps(llama("strips" in name)).encode(), name)
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    bytelevel = pre_tokenizers.ByteLevel(add_prefix_space=name != "no decoder")
    alphabet = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "vocab_size": 280}
    metaspace = pre_tokenizers.Metaspace()
    unigram = {"vocab_size": 60, "unk_token": "<unk>", "special_tokens": ["<unk>", "é"]}
    tokenizer = {
        "prefix space": lambda: trained(
            models.BPE(), decoders.ByteLevel(), None, bytelevel, **alphabet
        ),
        "no decoder": lambda: trained(models.BPE(), None, None, bytelevel, **alphabet),
        "metaspace": lambda: trained(
            models.Unigram(), decoders.Metaspace(), None, metaspace, **unigram
        ),
        "wordpiece": lambda: trained(
            models.WordPiece(unk_token="[UNK]"),
            decoders.WordPiece(),
            normalizers.BertNormalizer(),
            pre_tokenizers.BertPreTokenizer(),
            vocab_size=70,
            special_tokens=["[UNK]"],
        ),
    }[name]()
    return HuggingFaceTokenizer(tokenizer.to_str().encode(), name)


BY_BYTES = ["bytes", "train", "tiktoken", "prefix space", "no decoder"]
BY_PIECES = ["llama that strips", "llama", "metaspace", *(f"sentencepiece {n}" for n in MODELS)]
ALL = [*BY_BYTES, *BY_PIECES, "wordpiece"]


@pytest.fixture(scope="module", params=ALL)
def named(request, tmp_path_factory):
    if not request.param.startswith("sentencepiece "):
        return request.param, made(request.param)
    path = tmp_path_factory.mktemp("model") / "tokenizer.model"
    settings = MODELS[request.param.removeprefix("sentencepiece ")]
    path.write_bytes(sentencepiece_model(**settings))
    return request.param, load_tokenizer(str(path))


def bytes_by_hand(name, tokenizer):
    """What each id spells inside a text, from its tokenizer's own files; None for words."""
    if name == "bytes":
        return [bytes([i]) for i in range(255)]
    if name.startswith("sentencepiece "):
        library = pytest.importorskip("sentencepiece").SentencePieceProcessor()
        library.load_from_serialized_proto(base64.b64decode(json.loads(tokenizer.json)["model"]))
        return [
            b"" if library.is_control(i)
            else " ⁇ ".encode() if library.is_unknown(i)
            else bytes.fromhex(piece[3:5]) if library.is_byte(i)
            else piece.replace("▁", " ").encode()
            for i, piece in enumerate(library.id_to_piece(list(range(library.get_piece_size()))))
        ]  # fmt: skip
    description = json.loads(tokenizer.json)
    vocabulary = description["model"]["vocab"]
    named = (
        vocabulary.items()
        if isinstance(vocabulary, dict)
        else ((piece, i) for i, (piece, _) in enumerate(vocabulary))
    )
    added = {each["id"]: each["content"] for each in description["added_tokens"]}
    if name == "wordpiece":
        return None
    byte_of = {char: byte for byte, char in tiktoken_files.byte_level_chars()}
    spelled = [b""] * tokenizer.vocab_size
    for token, i in named:
        if i in added:
            spelled[i] = added[i].encode()
        elif name in BY_BYTES:
            spelled[i] = bytes(byte_of[char] for char in token)
        elif "llama" in name and token.startswith("<0x") and len(token) == 6:
            spelled[i] = bytes.fromhex(token[3:5])
        else:
            spelled[i] = token.replace("▁", " ").encode()
    return spelled


def ids_of(tokenizer, seed):
    """Ids of texts, windows of them, and ids at random, bytes of no character among them."""
    rng = random.Random(seed)
    whole = tokenizer.encode_batch([text for text in made_texts(150, seed) if text])
    for ids in whole:
        yield ids
        start = rng.randrange(len(ids) + 1)
        yield ids[start : rng.randint(start, len(ids))]
    for _ in range(150):
        yield np.array(rng.choices(range(tokenizer.vocab_size), k=rng.randrange(9)), np.uint32)


def test_text_is_what_the_bytes_of_tokens_say(named):
    name, tokenizer = named
    spelled = bytes_by_hand(name, tokenizer)
    rng = random.Random(name)
    for ids in ids_of(tokenizer, 2):
        begin = rng.randrange(len(ids) + 1)
        end = rng.randint(begin, len(ids))
        for inside in (False, True):
            text = tokenizer.decode(ids, inside)
            parts = tokenizer.cut(ids, begin, end, inside)
            assert "".join(parts) == text
            if spelled is None:
                continue
            data = [spelled[i] for i in ids.tolist()]
            cuts = [len(b"".join(data[:place])) for place in (begin, end)]
            whole, by_hand = (
                b"".join(data).decode(errors="replace"),
                cut_by_hand(b"".join(data), *cuts),
            )
            if inside or name in BY_BYTES:
                assert (text, parts) == (whole, by_hand)
                continue
            # At a text's start spaces are left out there, from whichever part they are in.
            assert whole.endswith(text)
            assert whole[: len(whole) - len(text)].strip(" ") == ""
            assert [part.lstrip(" ") for part in parts] == [part.lstrip(" ") for part in by_hand]


def test_text_from_its_start_is_that_of_the_library(named):
    name, tokenizer = named
    if name == "bytes":
        return
    if name.startswith("sentencepiece "):
        model = base64.b64decode(json.loads(tokenizer.json)["model"])
        library = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_proto=model)
        decode = library.decode
    else:

        def decode(ids):
            return tokenizer._decoded(np.array(ids))

    for text in [*made_texts(300, 3), "  two spaces", " one", "the cat", "é the"]:
        (ids,) = tokenizer.encode_batch([text])
        if name != "no decoder":
            assert tokenizer.decode(ids) == decode(ids.tolist())
        if name in BY_BYTES:
            assert (
                tokenizer.decode(ids)
                == (" " if name == "prefix space" and text[:1] not in ("", " ") else "") + text
            )


def test_a_window_keeps_the_space_of_its_first_token(named):
    name, tokenizer = named
    (whole,) = tokenizer.encode_batch(["the cat the cat"])
    shown = "".join(map(tokenizer.token_text, whole.tolist()))
    for start in range(1, len(whole)):
        window = tokenizer.decode(whole[start:], inside=True)
        if name != "wordpiece":
            assert window == "".join(map(tokenizer.token_text, whole[start:].tolist()))
            assert shown.endswith(window)


def test_tokens_for_display_are_their_bytes(named):
    name, tokenizer = named
    for token_id, spelled in enumerate(bytes_by_hand(name, tokenizer) or ()):
        shown = tokenizer.token_text(token_id)
        if name.startswith("sentencepiece ") and spelled in (b"", " ⁇ ".encode()):
            assert shown.startswith("<")
        elif spelled:
            assert shown == spelled.decode(errors="backslashreplace")


def test_a_mark_of_other_tokenizers_is_a_character_as_any():
    """Only where ▁ stands for a space is it one, only where <0x41> is a byte is it one."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<0x41>": 0, "▁": 1, "a": 2}, "a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = HuggingFaceTokenizer(words.to_str().encode(), "words")
    assert [tokenizer.token_text(i) for i in range(3)] == ["<0x41>", "▁", "a"]
    assert tokenizer.decode(np.array([0, 1, 2])) == "<0x41> ▁ a"
    assert tokenizer.cut(np.array([0, 1, 2]), 1, 2) == ("<0x41>", " ▁", " a")


def words(decoder, *tokens, added=()):
    """A tokenizer of these tokens, which only decodes."""
    from tokenizers import AddedToken, Tokenizer, models

    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, tokens[0]))
    if decoder is not None:
        made.decoder = decoder
    made.add_special_tokens([AddedToken(token, special=True) for token in added])
    return HuggingFaceTokenizer(made.to_str().encode(), "words")


def test_added_tokens_are_their_text():
    """Also where a character of theirs is what byte-level tokens write a byte as."""
    from tokenizers import decoders

    tokenizer = words(decoders.ByteLevel(), "Ġa", "é", "Ġ", added=["<é Ġ>", "§"])
    ids = np.array([0, 3, 1, 4, 2])
    assert tokenizer.decode(ids) == " a<é Ġ>\ufffd§ "
    assert tokenizer.cut(ids, 1, 2) == (" a", "<é Ġ>", "\ufffd§ ")
    assert tokenizer.token_text(3) == "<é Ġ>"


def test_other_decoders_of_spaces_and_bytes():
    from tokenizers import decoders

    replace, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    fallback, fuse = decoders.ByteFallback(), decoders.Fuse()
    ids = np.array([0, 1, 2, 3, 4, 0])
    for decoder, start in [
        (decoders.Sequence([fallback, decoders.Metaspace()]), "a"),
        (decoders.Sequence([replace, fallback, fuse, strip]), "a"),
        (decoders.Sequence([replace, fallback]), " a"),
        (decoders.Sequence([fallback, replace, fuse]), " a"),
        (decoders.Metaspace(prepend_scheme="never"), None),
    ]:
        tokenizer = words(decoder, "▁a", "<0xEF>", "<0xBF>", "<0xBD>", "b")
        if start is None:
            assert tokenizer.decode(ids) == " a<0xEF><0xBF><0xBD>b a"
            continue
        assert tokenizer.decode(ids) == tokenizer._decoded(ids) == f"{start}\ufffdb a"
        assert tokenizer.cut(ids, 1, 3) == (start, "\ufffd", "b a")
        assert tokenizer.cut(ids, 1, 3, inside=True) == (" a", "\ufffd", "b a")
        assert tokenizer.cut(ids, 2, 3) == (start, "\ufffd", "b a")


@pytest.mark.parametrize("decoder", ["BPEDecoder", "WordPiece", "CTC", None])
def test_decoders_of_words(decoder):
    from tokenizers import decoders

    made = None if decoder is None else getattr(decoders, decoder)()
    tokenizer = words(made, "a</w>", "##b", "\ufffd", "|", "<pad>", "é</w>")
    rng = random.Random(0)
    for _ in range(300):
        ids = np.array(rng.choices(range(6), k=rng.randrange(7)), np.uint32)
        begin = rng.randrange(len(ids) + 1)
        parts = tokenizer.cut(ids, begin, rng.randint(begin, len(ids)))
        assert "".join(parts) == tokenizer.decode(ids) == tokenizer._decoded(ids)
    assert tokenizer.cut(np.array([0, 2, 0]), 1, 2)[1].strip() == "\ufffd"


# Documents of an index.

TEXTS = [
    "broken \ufffd here, then fine",
    "\ufffd\ufffd",
    "the cat 😀 the \ufffd日本語 cat",
    "e\u0301\ufffdé the  cat\n the cat",
    " the cat",
    "",
]


@pytest.fixture(scope="module")
def index(named, tmp_path_factory):
    name, tokenizer = named
    folder = tmp_path_factory.mktemp("index")
    specification = "bytes"
    if name.startswith("sentencepiece "):
        (folder / "x.model").write_bytes(base64.b64decode(json.loads(tokenizer.json)["model"]))
        specification = str(folder / "x.model")
    elif name != "bytes":
        (folder / "tokenizer.json").write_bytes(tokenizer.json)
        specification = str(folder)
    corpus = write_jsonl(folder / "c.jsonl", [{"text": text} for text in TEXTS])
    everygram.build(corpus, folder / "index", specification)
    with everygram.open(folder / "index") as opened:
        yield opened


def test_the_parts_of_every_match(named, index):
    """Of every window and match of up to three tokens: what the tokens' bytes say."""
    name, tokenizer = named
    spelled = bytes_by_hand(name, tokenizer)
    for number in range(len(TEXTS)):
        whole = index.document(number).token_ids
        for start, length in itertools.product(range(len(whole)), (1, 2, 3)):
            document = index.document(query=whole[start : start + length].tolist(), context=3)
            assert "".join(document.parts) == document.text
            assert document.as_dict()["parts"] == list(document.parts)
            assert document.as_dict()["text"] == document.text
            if spelled is None or (document.start == 0 and name not in BY_BYTES):
                continue
            data = [spelled[i] for i in document.token_ids.tolist()]
            places = (place - document.start for place in document.match)
            cuts = (len(b"".join(data[:place])) for place in places)
            assert document.parts == cut_by_hand(b"".join(data), *cuts)


def test_a_search_for_the_replacement_character_marks_it(named, index, run, tmp_path):
    from fastapi.testclient import TestClient

    from everygram.server.app import create_app
    from everygram.server.settings import Settings

    name, _ = named
    if name not in ("bytes", "train", "tiktoken", "prefix space", "llama"):
        return
    # (As it stands behind a space.)
    query = index.encode(" \ufffd", raw=True).tolist()
    found = [index.document(query=query, occurrence=i) for i in range(index.count(query))]
    first = next(each for each in found if each.number == 0)
    before, match, after = first.parts
    assert (before.strip(), match.strip(), after) == ("broken", "\ufffd", " here, then fine")
    assert f">{match}</mark> here, then fine" in first._repr_html_()
    occurrence = found.index(first)
    ids = " ".join(map(str, query))
    out = run("document", index.path, "--ids", ids, "--occurrence", str(occurrence))[1]
    assert f"{before}»{match}«{after}" in out
    client = TestClient(create_app(Settings(indexes={"index": index.path}, access_log=False)))
    asked = {"query": query, "occurrence": occurrence}
    answer = client.post("/v1/indexes/index/document", json=asked).json()
    assert answer["parts"] == [before, match, after]
    assert answer["text"] == first.text


def test_labels_show_bytes_that_are_no_character():
    class Reading:
        has_tokenizer = True

        def token_texts(self, ids):
            return [ByteTokenizer().token_text(each) for each in ids]

    assert labels("\ufffd".encode(), Reading()) == ["\\xef", "\\xbf", "\\xbd"]

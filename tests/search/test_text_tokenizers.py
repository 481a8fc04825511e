"""Texts over the tokens of real families of tokenizers, in many scripts, against brute force."""

import collections
import io
import json
import random

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.errors import TokenizerError
from everygram.kernels import INTERPRETED
from everygram.search import parts
from everygram.search.pattern import Pattern, folded
from everygram.tokenizer import tiktoken as tiktoken_files
from everygram.tokenizer.choose import stored_tokenizer
from naive_text import text_spans

TEXTS = [
    "The quick brown fox jumps over the lazy dog. THE END; theory, bathe, the-the.\n\nOver it",
    "Mañana el niño comió crème brûlée à la carte; Straße, STRASSE, naïve cafe\u0301 café.",
    "Η γρήγορη αλεπού πηδά πάνω από το σκυλί. ΣΊΣΥΦΟΣ, Σίσυφος· η ΑΛΕΠΟΎ πηδά.",
    "Быстрая лисица прыгает через ленивую собаку. ЛИСИЦА, лисицы; ещё и ещё раз.",
    "القِطُّ عَلَى البِسَاطِ، كَتَبَ الوَلَدُ كِتَابًا. كتب الولد كتابا وكَتَبَ.",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। कुत्ता, कुत्ते; हिन्दी में नमस्ते नमस्तेजी।",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ ภาษาไทยไม่มีช่องว่าง ภาษาไทย",
    "敏捷的棕色狐狸跳过懒狗。狐狸跳过，狐狸跳。東京都に行きました。東京タワー",
    "👩\u200d👩\u200d👧\u200d👦 family 👍🏽👍👍🏽 🇩🇪🇫🇷🇩🇪 ❤\ufe0f👩\u200d👧 end\u200d",
    "    def f(x):\n        return x  # ------ = ------\n\n\n    the  the   the",
    "",
    "the",
    " the the",
]
SPECIAL = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def trained(pre_tokenizer, vocab_size, alphabet=()):
    """The vocabulary and the merges of a BPE that was trained on the texts."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=list(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"], tokenizer


def byte_level():
    """As GPT-2: bytes as characters, a space before a word a part of its token."""
    from tokenizers import decoders, pre_tokenizers

    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    *_, tokenizer = trained(split, 900, pre_tokenizers.ByteLevel.alphabet())
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str().encode()


def byte_fallback():
    """As Llama 2: ▁ for a space, one put before a text and dropped again, bytes for the rest."""
    from tokenizers import decoders, pre_tokenizers

    # (Without the scripts of half of the texts, whose characters are bytes then.)
    vocabulary, merges, _ = trained(pre_tokenizers.Metaspace(prepend_scheme="never"), 500)
    rare = {piece for piece in vocabulary if any("\u0600" <= char < "\u2000" for char in piece)}
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [piece for piece in vocabulary if piece not in rare]
    kept = [pair for pair in merges if not rare & {*pair, "".join(pair)}]
    spelled = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizers = [{"type": "Prepend", "prepend": "▁"}, replace]
    return json.dumps(
        {
            "added_tokens": [{"id": 1, "content": "<s>", "special": True} | SPECIAL],
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": None,
            "decoder": json.loads(spelled.__getstate__()),
            "model": {
                "type": "BPE",
                "unk_token": "<unk>",
                "fuse_unk": True,
                "byte_fallback": True,
                "vocab": {piece: i for i, piece in enumerate(pieces)},
                "merges": kept,
            },
        }
    ).encode()


def tiktoken_like():
    """As cl100k: ranks of byte strings, and a pattern that keeps other texts together."""
    from tokenizers import Regex, pre_tokenizers

    family = next(each for each in tiktoken_files.FAMILIES if each.name == "cl100k_base")
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(family.pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    vocabulary, *_ = trained(split, 700, pre_tokenizers.ByteLevel.alphabet())
    byte_of = {char: byte for byte, char in tiktoken_files.byte_level_chars()}
    ranks = {bytes(map(byte_of.__getitem__, piece)): i for piece, i in vocabulary.items()}
    special = {len(ranks) + 7: "<|endoftext|>"}
    return tiktoken_files.convert(ranks, tiktoken_files.Family("like", "", family.pattern, special))


def sentencepiece_like(**settings):
    """A model that the sentencepiece library has trained."""
    library = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in TEXTS * 3 for line in text.split("\n") if line]),
        model_writer=written,
        vocab_size=600,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return written.getvalue()


KEPT = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
TOKENIZERS = {
    "byte-level": ("tokenizer.json", byte_level),
    "byte fallback": ("tokenizer.json", byte_fallback),
    "tiktoken": ("tokenizer.json", tiktoken_like),
    "sentencepiece unigram": (
        "tokenizer.model",
        lambda: sentencepiece_like(model_type="unigram", character_coverage=1.0),
    ),
    "sentencepiece bpe": (
        "tokenizer.model",
        lambda: sentencepiece_like(
            model_type="bpe", character_coverage=0.98, byte_fallback=True, **KEPT
        ),
    ),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def index(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    name, make = TOKENIZERS[request.param]
    (folder / name).write_bytes(make())
    corpus = write_jsonl(folder / "corpus.jsonl", [{"text": text} for text in TEXTS * 2])
    everygram.build(corpus, folder / "index", str(folder / name))
    more = write_jsonl(folder / "more.jsonl", [{"text": text[3:]} for text in TEXTS])
    everygram.add(folder / "index", more)
    everygram.delete(folder / "index", documents=[2, len(TEXTS) * 2 + 1])
    with everygram.open(folder / "index") as opened:
        yield opened


@pytest.fixture(scope="module")
def documents(index):
    """The documents that are not deleted, as everybody reads them."""
    kept = [n for n in range(len(TEXTS) * 3) if n not in (2, len(TEXTS) * 2 + 1)]
    return {number: index.document(number) for number in kept}


def asked_texts(rng, documents, number):
    """Stretches of documents, some in another case, some that occur nowhere."""
    texts = [document.text for document in documents.values() if document.text]
    for _ in range(number):
        text = rng.choice(texts)
        begin = rng.randrange(len(text))
        asked = text[begin : begin + rng.choice([1, 2, 3, 4, 6, 9, 30])]
        yield rng.choice([asked, asked, asked, asked.upper(), asked.lower(), asked[::-1]])


def test_texts_are_found_as_they_stand(index, documents, monkeypatch):
    rng = random.Random(3)
    data = {number: document.text.encode() for number, document in documents.items()}
    options = [(False, False), (True, False), (False, True), (True, True)]
    for asked in asked_texts(rng, documents, 15 if INTERPRETED else 150):
        monkeypatch.setattr(parts, "FEW", rng.choice([-9, 3, 1024]))
        monkeypatch.setattr(parts, "SEARCH", rng.choice([1, 16, 64]))
        monkeypatch.setattr(parts, "RUN", rng.choice([0, 1, 64]))
        for ignore_case, whole_words in options:
            given = {"ignore_case": ignore_case, "whole_words": whole_words}
            expected = [
                (number, *span)
                for number, each in data.items()
                for span in text_spans(each, asked, ignore_case, whole_words)
            ]
            assert index.count_text(asked, **given) == len(expected)
            matches = index.find_text(asked, limit=None, **given)
            found = [(each.document, each.byte_start, each.byte_end) for each in matches]
            assert sorted(found) == expected
            assert matches.document_count == len({number for number, *_ in expected})
            assert index.document_count_text(asked, **given) == matches.document_count
            for each in matches:
                text = documents[each.document].text[each.start : each.end]
                assert text == asked or (ignore_case and same_folded(text, asked))
                assert data[each.document][each.byte_start : each.byte_end].decode() == text
                inside = index.document(each.document).token_ids[each.token_start : each.token_end]
                assert text.encode() in spelled(index, inside)


def same_folded(one, other):
    return [*map(folded, one)] == [*map(folded, other)]


def spelled(index, ids):
    """The bytes of tokens inside a text."""
    return index._state.encoding.reading.tokenizer.spelled(ids, True)


def test_tokenizations_are_those_of_all_occurrences(index, documents, monkeypatch):
    rng = random.Random(4)
    search = index._state.texts
    lost = {
        number: len(spelled(index, document.token_ids)) - len(document.text.encode())
        for number, document in documents.items()
    }
    for asked in asked_texts(rng, documents, 10 if INTERPRETED else 80):
        for ignore_case, whole_words in ((False, False), (True, True)):
            given = {"ignore_case": ignore_case, "whole_words": whole_words}
            expected = collections.Counter()
            for each in index.find_text(asked, limit=None, **given):
                ids = documents[each.document].token_ids
                before = len(spelled(index, ids[: each.token_start])) - lost[each.document]
                sequence = tuple(ids[each.token_start : each.token_end].tolist())
                expected[sequence, each.byte_start - before] += 1
            ranked = sorted(
                ((-count, *key) for key, count in expected.items()),
            )
            pattern = Pattern(asked, ignore_case)
            for limit in (None, 0, 1, 3):
                found = search.tokenizations(pattern, whole_words, limit)
                listed = [(-each.count, each.token_ids, each.offset) for each in found.listed]
                assert listed == ranked[:limit]
                assert (found.number, found.count) == (len(ranked), sum(expected.values()))


def test_a_text_is_what_its_documents_say(documents):
    """The documents of the tokenizers that keep a text are the texts themselves."""
    kept = sum(
        document.text == TEXTS[number]
        for number, document in documents.items()
        if number < len(TEXTS)
    )
    assert kept >= 5


def test_what_is_stored_is_read_again(index):
    tokenizer = index._state.encoding.reading.tokenizer
    stored = stored_tokenizer(tokenizer.kind, tokenizer.source, tokenizer.json)
    assert stored.spellings() == tokenizer.spellings()
    for i, (inside, at_start) in enumerate(zip(*tokenizer.spellings(), strict=True)):
        assert inside.endswith(at_start)
        assert inside[: len(inside) - len(at_start)].strip(b" ") == b""
        assert spelled(index, np.array([i])) == inside


@pytest.mark.parametrize("mark", ["end_of_word_suffix", "continuing_subword_prefix"])
def test_marks_of_words_that_the_decoder_leaves_are_refused(tmp_path, mark):
    """As CLIP's </w>: "the cat" would be found nowhere."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(**{mark: "</w>"}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.ByteLevel()
    texts = ["the cat sat on the mat", "cats"]
    trainer = trainers.BpeTrainer(vocab_size=20, show_progress=False, **{mark: "</w>"})
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index", tmp_path / "tokenizer.json")
    with everygram.open(tmp_path / "index") as index:
        assert "</w>" in index.document(0).text
        for ask in (index.count_text, index.find_text, index.tokenizations):
            with pytest.raises(TokenizerError, match="its decoder leaves '</w>' of its tokens"):
                ask("the cat")
        assert index.count(index.document(0).token_ids) == 1

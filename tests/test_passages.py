"""Passages: what stands around an occurrence is a part of its document, of whole characters."""

import io
import random

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.errors import QueryError, TokenizerError

TEXTS = [
    "the cat — ein Käse, ein Käse — 日本語のテキスト と 日本 👩\u200d🚀👩🏽\u200d🚀 the end",
    "日本",
    "",
    "naïve  naïve\nnaïve",
]


@pytest.fixture(scope="module", params=["bytes", "byte-level", "sentencepiece"])
def index(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("passages")
    corpus = write_jsonl(folder / "corpus.jsonl", [{"text": text} for text in TEXTS])
    tokenizer = "bytes"
    if request.param != "bytes":
        tokenizer = trained(request.param, folder)
    everygram.build(corpus, folder / "index", tokenizer)
    with everygram.open(folder / "index") as opened:
        yield opened


def trained(kind, folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=kind == "sentencepiece"))
    if kind == "byte-level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=byte_tokens, limit_alphabet=30)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("context", [0, 1, 2, 5, 1000])
def test_around_a_text(index, context):
    whole = [index.document(number).text for number in range(len(TEXTS))]
    assert whole == TEXTS
    for text in ("ein", "a", "本", "日本", " ", "🚀", "naïve", "ï", "the", "\u200d"):
        found = index.find_text(text, limit=None, context=context)
        assert len(found) == sum(each.count(text) for each in TEXTS) > 0
        for i, place in enumerate(found):
            before, match, after = place.parts
            document = TEXTS[place.document]
            assert match == text == document[place.start : place.end]
            assert document[: place.start].endswith(before)
            assert document[place.end :].startswith(after)
            if context == 1000:
                assert before + match + after == document
            shown = index.document(text=text, occurrence=i, context=1000)
            assert shown.number == place.document
            assert shown.match == (place.token_start, place.token_end)
            assert shown.parts == (document[: place.start], text, document[place.end :])
            assert shown.count == len(found)


@pytest.mark.parametrize("context", [0, 1, 3, 1000])
def test_around_an_n_gram(index, context):
    draw = random.Random(context)
    for _ in range(60):
        ids = index.document(draw.choice([0, 0, 1, 3])).token_ids.tolist()
        start = draw.randrange(len(ids))
        query = ids[start : start + draw.randint(1, 4)]
        if draw.random() < 0.2 and start == 0:
            query = [index.separator, *query]
        found = index.find(query, limit=None, context=context)
        assert len(found) == index.count(query) > 0
        for place in found:
            before, match, after = place.parts
            document = TEXTS[place.document]
            assert before in document and after in document
            # (Only of a match itself there may be a part of a character.)
            if "\ufffd" not in match:
                assert before + match + after in document
        assert found.as_dict()["occurrences"][0]["parts"] == list(found.occurrences[0].parts)


def test_no_context_no_parts(index):
    ids = index.document(0).token_ids[:2]
    assert index.find(ids).occurrences[0].parts is None
    assert index.find_text("ein")[0].parts is None
    for wrong in (-1, 1.5, "2", True):
        with pytest.raises(QueryError, match="context: expected"):
            index.find("a", context=wrong)
        with pytest.raises(QueryError, match="context: expected"):
            index.find_text("a", context=wrong)


def test_what_does_not_go_together(index):
    with pytest.raises(QueryError, match="go with a text"):
        index.document(query="ein", ignore_case=True)
    with pytest.raises(QueryError, match="go with a text"):
        index.document(0, whole_words=True)
    with pytest.raises(QueryError, match="one of them"):
        index.document(0, text="a")
    with pytest.raises(QueryError, match="the text does not occur: 'Zebra'"):
        index.document(text="Zebra")
    with pytest.raises(QueryError, match="occurrence 2: the text occurs 2 times"):
        index.document(text="ein", occurrence=2)
    assert index.document(text="EIN", ignore_case=True, whole_words=True).parts[1] == "ein"


def test_without_a_tokenizer(tmp_path):
    write_index(tmp_path / "index", [[1, 2, 1]], "u8")
    with everygram.open(tmp_path / "index") as index:
        assert index.find([1]).count == 2
        with pytest.raises(TokenizerError, match="no tokenizer"):
            index.find([1], context=2)
        with pytest.raises(TokenizerError, match="no tokenizer"):
            index.document(text="a")


@pytest.mark.parametrize("context", [0, 1, 2, 1000])
def test_documents_whose_second_token_loses_a_space(tmp_path, context):
    """As behind SentencePiece's <s>, which has no text, or behind another space."""
    library = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "a cat", "the mat"] * 5),
        model_writer=written,
        vocab_size=29,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(written.getvalue())
    model = library.SentencePieceProcessor(model_proto=written.getvalue())
    start, space = model.bos_id(), model.piece_to_id("▁")
    cat, sat = model.encode("cat"), model.encode("sat cat")
    documents = [[start, *cat, *sat], [start, space, space, *cat], [*cat], [start], [space, *sat]]
    stream = [token for document in documents for token in (999, *document)]
    np.save(tmp_path / "ids.npy", np.array(stream, np.uint16))
    everygram.build(
        tmp_path / "ids.npy", tmp_path / "index", tmp_path / "tokenizer.model", separator_id=999
    )
    with everygram.open(tmp_path / "index") as index:
        whole = [index.document(number).text for number in range(len(documents))]
        assert whole == ["cat sat cat", "cat", "cat", "", "sat cat"]
        for text in ("cat", "t s", "c", "sat", " "):
            found = index.find_text(text, limit=None, context=context)
            assert len(found) == sum(each.count(text) for each in whole) > 0
            for i, place in enumerate(found):
                document = whole[place.document]
                before, match, after = place.parts
                assert match == text == document[place.start : place.end]
                if context == 1000:
                    assert (before, after) == (document[: place.start], document[place.end :])
                assert index.document(text=text, occurrence=i, context=context).parts[1] == text

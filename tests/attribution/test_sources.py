"""The documents of a text's spans: which, where in them, what is around, and how relevant."""

import collections
import json
import random

import numpy as np
import pytest
from test_spans import Corpus, build, corpus_of, kept_texts, options_of, random_texts
from test_spans import tokenized as tokenized
from test_text_tokenizers import TEXTS, TOKENIZERS

import everygram
import naive_attribution as naive
from campaign import sized
from conftest import write_index
from everygram.attribution.relevance import level_of, relevance_of
from everygram.kernels import INTERPRETED

pytestmark = pytest.mark.usefixtures("kinds")

OFFSETS = ("start", "end", "byte_start", "byte_end")
PASSAGES = [
    "In the beginning the Universe was created, which made a lot of people very angry.",
    "Ein großer, süßer Bär läßt sich’s wohl ergehen: »Grüß Gott!«, ruft er über den Fluß.",
    "Ключ от кабинета лежал там же, где и всегда: под горшком с геранью на окне.",
    "كان القمر بدراً تلك الليلة، وكانت القافلة تسير ببطء نحو الواحة البعيدة.",
    "בראשית ברא אלהים את השמים ואת הארץ, והארץ היתה תהו ובהו.",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "话说天下大势，分久必合，合久必分：周末七国分争，并入于秦。",
    "กาลครั้งหนึ่งนานมาแล้ว มีกระต่ายกับเต่าอาศัยอยู่ในป่าใหญ่",
    "एक समय की बात है, किसी गाँव में एक बुद्धिमान किसान रहता था।",
    "The family 👩\u200d👩\u200d👧\u200d👦 waved 👋🏽 from a boat 🚣🏻\u200d♀️ under flags 🇩🇪🇫🇷.",
    "A re\u0301sume\u0301 with combining accents is not the same bytes as a résumé without them.",
    "def attribute(text: str) -> list[Span]:\n    return [span for span in spans if span.kept]",
]


def check_documents(corpus, text, **options):
    """Everything that `attribute` says of documents is what they say themselves; returns it."""
    found = corpus.check(text, **options)
    most = options.get("documents", 10)
    context = options.get("context", (250, 100, 40))
    for span in found.spans:
        assert len(span.documents) == min(most, span.document_count)
        keys = [key_of(each) for each in span.documents]
        assert len({*keys}) == len(keys)
        assert keys == [key for _, key in ranked(span.documents)]
        ids = found.token_ids[span.token_start : span.token_end]
        for each, key in zip(span.documents, keys, strict=True):
            check_place(corpus, each, key, ids)
            check_around(corpus, each, key, context)
            if most >= span.document_count:
                assert each.token_start == first_place(corpus.ids[key], ids)
    check_sources(corpus, found, options)
    return found


def key_of(document):
    index = getattr(document, "index", None)
    return document.number if index is None else (index, document.number)


def ranked(documents):
    return sorted((-(each.score or 0), key_of(each)) for each in documents)


def first_place(document, ids):
    places = range(len(document) - len(ids) + 1)
    return next(place for place in places if document[place : place + len(ids)] == ids)


def check_place(corpus, each, key, ids):
    document = corpus.documents[key]
    assert (each.length, each.metadata) == (document.length, document.metadata)
    assert corpus.ids[key][each.token_start : each.token_end] == ids
    if corpus.tokenizer is None:
        assert [getattr(each, name) for name in OFFSETS] == [None] * 4
        return
    pieces = corpus.pieces(key)
    right = naive.offsets(pieces, each.token_start, each.token_end)
    assert tuple(getattr(each, name) for name in OFFSETS) == right
    spelled = b"".join(pieces[each.token_start : each.token_end])
    assert b"".join(pieces)[each.byte_start : each.byte_end] == spelled
    assert spelled.decode(errors="ignore") in document.text[each.start : each.end]


def check_around(corpus, each, key, context):
    if corpus.tokenizer is None:
        assert each.surroundings is each.text is None
        return
    assert each.text == each.surroundings[0].text
    whole = corpus.documents[key].text[each.start : each.end]
    for tokens, found in zip(context, each.surroundings, strict=True):
        right = naive.surroundings(corpus.pieces(key), each.token_start, each.token_end, tokens)
        assert (found.text, found.start, found.end) == right
        assert found.match == found.text[found.start : found.end]
        if "\ufffd" not in found.match:
            assert found.match == whole


def check_sources(corpus, found, options):
    """The documents of all spans, each once."""
    spans_of = collections.defaultdict(list)
    by_key = {}
    for place, span in enumerate(found.spans):
        for each in span.documents:
            spans_of[key_of(each)].append(place)
            by_key[key_of(each)] = each
    assert {key_of(each): each.spans for each in found.documents} == spans_of
    assert [key_of(each) for each in found.documents] == [key for _, key in ranked(found.documents)]
    scores = {}
    for source in found.documents:
        each = by_key[key_of(source)]
        assert (source.length, source.metadata) == (each.length, each.metadata)
        scores[key_of(source)] = source.score
        if corpus.tokenizer is None:
            assert source.score is source.relevance is None
        else:
            levels = {"high": source.score >= 0.7, "low": source.score < 0.5}
            right = next((name for name, yes in levels.items() if yes), "medium")
            assert source.relevance == right
    for span in found.spans:
        for each in span.documents:
            assert each.score == scores[key_of(each)]


def document_options(rng):
    every = {
        "documents": rng.choice([0, 1, 2, 3, 10, 100]),
        "context": rng.choice([(250, 100, 40), (5, 2, 1), (0, 0, 0), (1, 9, 3), [3, 3, 0]]),
        "seed": rng.choice([0, 1, 99]),
        "prompt": rng.choice(["", "a b", "What is it?"]),
    }
    return {name: value for name, value in every.items() if rng.random() < 0.7}


@pytest.mark.parametrize("seed", range(sized(3, 40)))
def test_documents_of_few_letters(tmp_path, seed):
    rng = random.Random(100 + seed)
    texts = random_texts(rng, rng.randint(1, 15))
    deleted = rng.sample(range(len(texts)), rng.choice([0, len(texts) // 3]))
    corpus = corpus_of(tmp_path, texts, None, deleted, rng.choice([1, 2, 3]))
    with corpus.index:
        for _ in range(3 if INTERPRETED else 30):
            text = rng.choice(texts) + rng.choice(random_texts(rng, 3))
            check_documents(corpus, text, **options_of(rng), **document_options(rng))


def test_documents_of_tokens_of_real_families(tokenized):
    rng = random.Random(6)
    for text in kept_texts(tokenized, [*TEXTS, *(text[2:-2] for text in TEXTS)]):
        asked = {"density": None, **options_of(rng), **document_options(rng)}
        check_documents(tokenized, text, **asked)
        check_documents(tokenized, text, density=None, whole_words=False, context=(2, 1, 0))


def test_documents_of_ids(tmp_path):
    rng = random.Random(8)
    documents = [rng.choices(range(4), k=rng.randint(0, 12)) for _ in range(30)]
    metadata = [{"n": number} for number in range(30)]
    path = write_index(tmp_path / "index", documents, "u16", 3, 5, [[3, 20]], metadata)
    with everygram.open(path) as index:
        corpus = Corpus(index, [number for number in range(30) if number not in (3, 20)])
        for number in range(30):
            for documents_wanted in (0, 2, 10, 30):
                check_documents(corpus, documents[number], documents=documents_wanted)


def test_documents_of_a_union(tmp_path):
    rng = random.Random(9)
    folders, numbers = [], []
    for place in range(3):
        texts = random_texts(rng, 8)
        deleted = [2, 5] if place == 1 else []
        build(tmp_path / str(place), texts, None, deleted, 2).close()
        folders.append(tmp_path / str(place) / "index")
        numbers += [(place, number) for number in range(8) if number not in deleted]
    with everygram.open(folders) as index:
        corpus = Corpus(index, numbers)
        for _ in range(3 if INTERPRETED else 30):
            text = corpus.documents[rng.choice(numbers)].text + rng.choice(random_texts(rng, 3))
            found = check_documents(corpus, text, **options_of(rng), **document_options(rng))
            for each in (*found.documents, *(d for span in found.spans for d in span.documents)):
                assert each.index_name == corpus.documents[each.index, each.number].index_name


FILLER = [
    "the",
    "of",
    "a",
    "in",
    "and",
    "to",
    "is",
    "that",
    "it",
    "for",
    "was",
    "on",
    "with",
    "not",
]


def planted(rng, documents=20):
    """Documents of words at random, each with one passage of its own inside, and where."""
    found = []
    for number in range(documents):
        passage = f"{PASSAGES[number % len(PASSAGES)]} Number {number} of those."
        before, after = (" ".join(rng.choices(FILLER, k=rng.randint(0, 80))) for _ in range(2))
        found.append((passage, f"{before} {passage} {after}", len(before) + 1))
    return found


# (Those that keep all of the passages.)
@pytest.mark.parametrize(
    "kind", ["bytes", "byte-level", "byte fallback", "tiktoken", "sentencepiece bpe"]
)
def test_passages_of_20_documents_are_found_with_their_sources(tmp_path, kind):
    rng = random.Random(11)
    rows = planted(rng)
    tokenizer = None
    if kind != "bytes":
        name, make = TOKENIZERS[kind]
        (tmp_path / name).write_bytes(make())
        tokenizer = str(tmp_path / name)
    corpus = corpus_of(tmp_path, [text for _, text, _ in rows], tokenizer, [], 3)
    with corpus.index as index:
        # A text with all of the passages, in another order, and words between them.
        order = rng.sample(range(20), 20)
        text = "\n".join(f"Quoth xyzzy{number}: {rows[number][0]}" for number in order)
        asked = {"density": None, "delimiters": [], "min_length": 8}
        # (Too long for brute force: what is wanted of it stands below.)
        found = index.attribute(text, **asked)
        assert found.text == text
        for number in order:
            passage, document, place = rows[number]
            [span] = [each for each in found.spans if passage in each.text]
            assert (span.count, span.document_count) == (1, 1)
            [source] = span.documents
            assert source.number == number
            assert text[span.start : span.end] == span.text
            assert text.encode()[span.byte_start : span.byte_end].decode() == span.text
            assert document[source.start : source.end] == span.text
            assert source.start <= place
            assert source.end >= place + len(passage)
            assert source.surroundings[2].match == span.text
            assert source.metadata == {"n": number}
            check_place(corpus, source, number, found.token_ids[span.token_start : span.token_end])
        assert {each.number for each in found.documents} == {*range(20)}


def test_a_sample_of_many_documents(tmp_path):
    """All different, each has the span where it is said to be; another seed, another sample."""
    texts = [f"{number} has the words of it {'the words ' * (number % 4)}" for number in range(60)]
    corpus = corpus_of(tmp_path, texts, None, [7, 8], 2)
    with corpus.index as index:
        asked = {"density": None, "documents": 5}
        found = check_documents(corpus, "the words of", **asked)
        [span] = found.spans
        assert (span.document_count, len(span.documents)) == (58, 5)
        again = index.attribute("the words of", **asked)
        assert again == found
        samples = set()
        for seed in range(10):
            [span] = check_documents(corpus, "the words of", seed=seed, **asked).spans
            samples.add(tuple(sorted(each.number for each in span.documents)))
        assert len(samples) == 10
        assert not {7, 8} & {number for sample in samples for number in sample}


def test_a_sample_does_not_depend_on_the_rest_of_the_text(tmp_path):
    texts = [f"{number} has the words" for number in range(60)]
    with build(tmp_path, texts) as index:

        def sample(text):
            spans = index.attribute(text, density=None, documents=4, min_length=5).spans
            [span] = [each for each in spans if "the words" in each.text]
            return {(each.number, each.token_start) for each in span.documents}

        alone = sample(" has the words")
        assert len(alone) == 4
        assert sample("37 Xerxes\n has the words!") == alone
        assert sample("zzz. has the words. 1 has") == alone


def test_a_sample_is_uniform_over_occurrences(tmp_path):
    """A document that has the span three times is drawn first three times as often."""
    texts = ["x" * 3 if number < 10 else "x" for number in range(30)]
    with build(tmp_path, texts) as index:
        drawn, places = collections.Counter(), collections.Counter()
        runs = sized(600, 5000)
        for seed in range(runs):
            [span] = index.attribute("x", documents=1, seed=seed, max_count=None).spans
            [document] = span.documents
            drawn[document.number] += 1
            places[document.number < 10, document.token_start] += 1
        expected = {n: runs * (3 if n < 10 else 1) / 50 for n in range(30)}
        # Chi-squared, 29 degrees of freedom: above 58 in one of a thousand.
        assert sum((drawn[n] - each) ** 2 / each for n, each in expected.items()) < 58
        assert all(abs(places[True, place] - runs / 5) < runs / 12 for place in range(3))


def test_all_documents_are_shown_at_their_first_occurrence(tmp_path):
    texts = ["the cat, the cat", "no", "a the cat the cat", "the cat"]
    with build(tmp_path, texts) as index:
        [span] = index.attribute("the cat", documents=3).spans
        assert (span.count, span.document_count) == (5, 3)
        places = {each.number: (each.start, each.end) for each in span.documents}
        assert places == {0: (0, 7), 2: (2, 9), 3: (0, 7)}


def test_no_documents(tmp_path):
    with build(tmp_path, ["the cat sat"] * 3) as index:
        found = index.attribute("the cat sat", documents=0)
        [span] = found.spans
        assert (span.count, span.document_count, span.documents) == (3, 3, [])
        assert found.documents == []


def test_deleted_documents_never_show(tmp_path):
    texts = [f"{number}: a sentence of all" for number in range(12)]
    gone = [0, 4, 5, 11]
    corpus = corpus_of(tmp_path, texts, None, gone, 2)
    with corpus.index:
        for most in (1, 3, 8, 50):
            found = check_documents(corpus, ": a sentence of all", documents=most, seed=most)
            [span] = found.spans
            assert (span.count, span.document_count) == (8, 8)
            assert not {*gone} & {each.number for each in found.documents}


def test_a_document_with_several_spans_is_there_once(tmp_path):
    texts = ["one thing here", "another thing there", "one thing here and another thing there"]
    corpus = corpus_of(tmp_path, texts)
    with corpus.index:
        found = check_documents(corpus, "one thing here xx another thing there", density=None)
        by_number = {each.number: each.spans for each in found.documents}
        assert len(by_number[2]) >= 2
        assert len(found.documents) == len(by_number)


def test_a_character_divided_over_tokens_is_shown_whole(tmp_path):
    """👍 and 👎 have three of four bytes in common."""
    corpus = corpus_of(tmp_path, ["yes 👍 yes", "no"])
    with corpus.index as index:
        found = index.attribute("no 👎 no", density=None, whole_words=False, min_length=4)
        [span] = found.spans
        assert (found.text[span.start : span.end], span.text) == (" 👎", " 👎")
        assert span.byte_end - span.byte_start == 4
        [document] = span.documents
        assert "yes 👍 yes"[document.start : document.end] == " 👍"
        assert document.byte_end - document.byte_start == 4
        assert document.surroundings[2].match == " 👍"
        check_documents(corpus, "no 👎 no", density=None, whole_words=False)
        check_documents(corpus, "no 👎 no", density=None, context=(0, 1, 2))


def test_tokens_that_do_not_add_up_to_a_text(tmp_path):
    """As BERT's, whose decoder puts spaces between them: places are those in what it spells."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    texts = [
        "the quick brown fox jumps over the lazy dog",
        "unaffable quickness, foxes and the brown dogs. The end",
        "a b c the quick brown",
    ]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=80, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts * 3, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with build(tmp_path, texts, str(tmp_path / "tokenizer.json")) as index:
        for text in (*texts, "The QUICK brown cat", "xx the lazy dog. and"):
            for options in ({}, {"whole_words": False}, {"context": (2, 1, 0)}):
                found = index.attribute(text, density=None, **options)
                assert found.spans
                for span in found.spans:
                    assert found.text[span.start : span.end] == span.text
                    data = found.text.encode()[span.byte_start : span.byte_end]
                    assert data.decode() == span.text
                    for each in span.documents:
                        document = index.document(each.number)
                        inside = document.token_ids[each.token_start : each.token_end]
                        asked = found.query[span.token_start : span.token_end]
                        assert inside.tolist() == asked.tolist()
                        match = document.text[each.start : each.end]
                        assert match.strip() == span.text.strip()
                        data = document.text.encode()[each.byte_start : each.byte_end]
                        assert data.decode() == match
                        for around in each.surroundings:
                            assert around.match.strip() == match.strip()


def test_relevance_follows_the_prompt_and_the_text(tmp_path):
    words = "the treaty of a small town on the coast was signed by nobody"
    texts = [
        f"xx {words} yy " + ("zebra quagga okapi " * 5 if n == 3 else "of it ") for n in range(9)
    ]
    with build(tmp_path, texts) as index:
        found = index.attribute(words, prompt="zebra quagga okapi", density=None)
        assert found.documents[0].number == 3
        assert found.documents[0].score > found.documents[1].score
        without = index.attribute(words, density=None)
        assert found.documents[0].score > next(
            each.score for each in without.documents if each.number == 3
        )


def test_relevance_is_bm25(tokenized):
    """Of the words of a document's long surroundings, of all of its spans."""
    rng = random.Random(13)
    for text in kept_texts(tokenized, [f"{a} {b}" for a, b in zip(TEXTS, TEXTS[4:], strict=False)]):
        prompt = rng.choice([None, "", "the fox 狐狸 кто?", TEXTS[3]])
        asked = {"density": None, "context": (rng.choice([3, 20, 250]), 9, 1), "min_length": 2}
        found = check_documents(tokenized, text, prompt=prompt, **asked)
        around = {each.number: [] for each in found.documents}
        for span in found.spans:
            for each in span.documents:
                if each.text not in around[each.number]:
                    around[each.number].append(each.text)
        query = f"{prompt or ''} {text}"
        passages = [" ".join(texts) for texts in around.values()]
        right = naive.relevance(passages, query, len(text)) if passages else []
        scores = [each.score for each in found.documents]
        assert scores == pytest.approx(right, rel=1e-4, abs=1e-5)


def test_relevance_of_few_passages_or_words():
    few = relevance_of(["the cat sat", "the dog", "the day"], "the cat the cat", 10)
    assert few[0] > few[1] == few[2] > 0
    [one] = relevance_of(["the cat"], "the cat", 10)
    assert one > 0
    assert relevance_of([], "a", 1).tolist() == []
    assert relevance_of(["", " "], "a b", 3).tolist() == [0, 0]
    assert relevance_of(["a", "b"], "", 3).tolist() == [0, 0]
    assert relevance_of(["a", "", "b", "c"], "a", 3)[1] == 0


def test_relevance_of_scripts_without_spaces(tmp_path):
    source = "这是一个关于山的故事。很久以前，山上有一座庙"
    with build(tmp_path, ["今天", source, "昨天有人来了"]) as index:
        found = index.attribute("有人问：很久以前，山上有一座庙吗？", density=None)
        assert found.documents[0].number == 1
        assert found.documents[0].score > 2 * found.documents[1].score


def test_levels(tmp_path):
    """High for a document with all of the words, low for one with a few of many."""
    rare = [f"word{number}" for number in range(40)]
    others = [f"{number} of no matter {'at all ' * 20}" for number in range(60)]
    texts = [" ".join(rare), f"word3 word4 {'or ' * 60}", *others]
    with build(tmp_path, texts) as index:
        found = index.attribute(f"{' '.join(rare)} of no matter", density=None)
        levels = {each.number: each.relevance for each in found.documents}
        assert levels[0] == "high"
        assert {levels[n] for n in levels if n > 0} == {"low"}
    assert [level_of(score) for score in (0.7, 0.69, 0.5, 0.49, 0, -1)] == [
        "high",
        "medium",
        "medium",
        "low",
        "low",
        "low",
    ]


def test_nothing_is_logged(tmp_path, caplog):
    """The library of BM25 would, at a level that its callers did not choose."""
    with build(tmp_path, ["the cat sat"]) as index:
        index.attribute("the cat sat")
    assert not caplog.records


def test_a_result_is_json(tokenized):
    for text in kept_texts(tokenized, TEXTS):
        found = tokenized.index.attribute(text, density=None, context=(3, 2, 1))
        said = json.loads(json.dumps(found.as_dict()))
        for span in said["spans"]:
            assert span["text"] == said["text"][span["start"] : span["end"]]
            for each in span["documents"]:
                begin, end = each["match"]
                document = tokenized.documents[each["number"]].text
                assert each["text"][begin:end] == document[each["start"] : each["end"]]
                for shorter in (each["medium"], each["snippet"]):
                    assert shorter["text"] in document.replace("\ufffd", "") or "\ufffd" in document


def test_numbers_are_pythons_own(text_index):
    """So that JSON can hold them."""
    found = text_index.attribute("natural language models", density=None)

    def check(value):
        assert not isinstance(value, np.generic)
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list | tuple | np.generic):
                check(each)

    check({name: value for name, value in found.as_dict().items() if name != "token_ids"})


def test_numbers_without_limit(tmp_path):
    with corpus_of(tmp_path, ["one two three.", "one two"]).index as index:
        huge = (10**30, 1 << 62, 0)
        found = index.attribute("one two three.", density=10**300, documents=10**30, context=huge)
        (span,) = found.spans
        (document,) = span.documents
        assert [each.text for each in document.surroundings] == ["one two three."] * 3

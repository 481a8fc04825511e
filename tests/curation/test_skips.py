"""Spans in which a few tokens differ, against brute force, and Llama 2's rule with known truth."""

import random

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.curation.matching import measure
from everygram.curation.sequences import Part
from everygram.curation.variants import documents_with
from everygram.errors import DamagedIndexError, OptionError

pytestmark = pytest.mark.usefixtures("kinds")


def span(text, start, document, at, exact, skips):
    """The tokens of the longest span from text[start:] and document[at:]; 0 without a seed."""
    length = differ = 0
    for i, (a, b) in enumerate(zip(text[start:], document[at:], strict=False)):
        if a == b:
            length = i + 1
        elif i < exact or differ == skips:
            break
        else:
            differ += 1
    return length if length >= exact else 0


def naive(documents, texts, n, least, skips, most=None):
    """An item's numbers by brute force. texts: (ids, other spelling or None) of each."""
    longest_text = max((len(ids) for ids, _ in texts), default=0)
    units = ngrams = 0
    covered, found, grams, dropped, spans = set(), set(), set(), set(), []
    for number, (ids, other) in enumerate(texts):
        size = n if longest_text >= n else len(ids)
        if len(ids) < size or size < least:
            continue
        units += len(ids)
        ngrams += len(ids) - size + 1
        for spelling in (ids,) if other is None else (ids, other):
            shift, of_size = len(ids) - len(spelling), min(size, len(spelling))
            for start in range(len(spelling) - of_size + 1):
                exact = min(of_size, 10)
                where = {
                    (document, at): length
                    for document, tokens in documents.items()
                    for at in range(len(tokens))
                    if (length := span(spelling, start, tokens, at, exact, skips)) >= of_size
                }
                inside = {document for document, _ in where}
                if not where or (most is not None and len(inside) > most):
                    continue
                reach = max(where.values())
                begin = max(0, start + shift) if start else 0
                covered |= {(number, i) for i in range(begin, start + reach + shift)}
                last = min(max(0, start + shift), len(ids) - size)
                found |= {(number, i) for i in range(min(begin, last), last + 1)}
                grams.add(tuple(spelling[start : start + of_size]))
                dropped |= inside
                of_reach = [document for (document, _), size in where.items() if size == reach]
                spans.append((reach, len(of_reach), len(set(of_reach))))
    longest = max((reach for reach, _, _ in spans), default=0)
    return {
        "units": units,
        "places": ngrams,
        "covered": len(covered),
        "found": len(found),
        "distinct": len(grams),
        "longest": longest,
        "documents": dropped,
        "counts": {each[1:] for each in spans if each[0] == longest} or {(0, 0)},
    }


def check(engine, live, items, n, least, skips, most):
    """Compare what is found of items with brute force; returns how many had anything."""
    given = [
        [Part(np.array(a, np.int64), None if b is None else np.array(b)) for a, b in texts]
        for texts in items
    ]
    found = measure(engine, given, n, least, most, skips, grams=True)
    for row, texts in enumerate(items):
        wanted = naive(live, texts, n, least, skips, most)
        for name in ("units", "places", "covered", "found", "distinct", "longest"):
            assert getattr(found, name)[row] == wanted[name], (name, texts, n, skips, most)
        assert (found.counts[row], found.document_counts[row]) in wanted["counts"]
        of_item = found.gram_intervals[found.gram_items == row]
        assert set(documents_with(engine, of_item).tolist()) == wanted["documents"]
    return int((found.distinct > 0).sum())


def changed(draw, ids, alphabet, chance):
    """The ids, of which some are others."""
    return [draw.randrange(alphabet) if draw.random() < chance else each for each in ids]


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
@pytest.mark.parametrize("seed", range(4))
def test_random_ids(tmp_path, seed, dtype):
    draw = random.Random(10 * seed + len(dtype))
    alphabet = 1 + draw.choice([1, 2, 3])
    base = [draw.randrange(alphabet) for _ in range(60)]
    documents = []
    for _ in range(14):
        begin, size = draw.randrange(50), draw.choice([0, 2, 8, 20, 60])
        copy = changed(draw, base[begin : begin + size], alphabet, draw.choice([0, 0.1, 0.3]))
        documents.append(copy + [draw.randrange(alphabet)] * draw.choice([0, 0, 3, 15]))
    deleted = [[], [[1, 7]], [[0, 3], [12]]][seed % 3]
    path = write_index(
        tmp_path / "index", documents, dtype, 1 + seed % 3, vocab_size=10, deleted=deleted
    )
    gone = {number for numbers in deleted for number in numbers}
    live = {i: each for i, each in enumerate(documents) if i not in gone}
    items = []
    for _ in range(12):
        texts = []
        for _ in range(draw.choice([0, 1, 1, 2])):
            begin = draw.randrange(50)
            ids = changed(draw, base[begin : begin + draw.choice([0, 3, 12, 40])], alphabet, 0.1)
            ids += [draw.randrange(alphabet)] * draw.choice([0, 0, 12])
            other = None
            if draw.random() < 0.3 and len(ids) > 3:
                head = [draw.randrange(alphabet) for _ in range(draw.randrange(1, 3))]
                other = head + ids[draw.randrange(1, 3) :]
            texts.append((ids, other))
        items.append(texts)
    some = 0
    with everygram.open(path) as index:
        for n, least, skips, most in (
            (11, 11, 4, None),
            (11, 5, 1, 3),
            (4, 4, 2, None),
            (2, 1, 3, 4),
            (13, 5, 9, None),
            (70, 2, 2, None),
        ):
            some += check(index.engine, live, items, n, least, skips, most)
    assert some


def test_unions(tmp_path):
    draw = random.Random(4)
    base = [draw.randrange(3) for _ in range(50)]
    documents = [changed(draw, base, 3, chance) for chance in (0.05, 0.1, 0.2, 0.1, 0.3, 0.15)]
    first = write_index(tmp_path / "a", documents[:3], "u16", 2, vocab_size=5, deleted=[[1]])
    second = write_index(tmp_path / "b", documents[3:], "u16", vocab_size=5, deleted=[[0]])
    with everygram.open([first, second]) as index:
        live = {number: ids.tolist() for number, ids, _ in index.engine.documents()}
        assert len(live) == 4
        items = [[(changed(draw, base, 3, 0.05), None)] for _ in range(8)]
        for n, skips, most in ((11, 4, None), (11, 2, 2), (3, 1, None)):
            assert check(index.engine, live, items, n, n, skips, most)


def test_texts_of_one_token_and_of_periods(tmp_path):
    # (Where each place goes with hundreds of others.)
    documents = [[1] * 150, [1, 2] * 60, [1] * 40 + [3] + [1] * 40, [2] + [1] * 11 + [2]]
    path = write_index(tmp_path / "index", documents, "u8", 2, vocab_size=5)
    items = [[1] * 100, [1] * 30 + [2] + [1] * 30, [1, 2] * 20 + [1, 1] * 10, [3] + [1] * 60]
    with everygram.open(path) as index:
        check(
            index.engine, dict(enumerate(documents)), [[(e, None)] for e in items], 11, 5, 4, None
        )


def test_where_a_match_may_differ(tmp_path):
    text = list(range(40))

    def other(*places):
        return [50 if place in places else each for place, each in enumerate(text)]

    cases = [
        (other(), 40),
        (other(9, 20), 30),  # (From 10 on: the first ten must be the same.)
        (other(10), 40),
        (other(10, 11, 12, 13), 40),
        (other(10, 11, 12, 13, 14), 25),
        (other(15, 20, 25, 30), 40),
        (other(15, 20, 25, 30, 35), 35),
        (other(15, 20, 25, 30, 31), 30),
        (other(36, 37, 38, 39), 36),
        ([*text[:10], 50], 0),
        ([*text[:11], 50], 11),
        ([*text[:10], 50, 50, 50, 50, text[14]], 15),
    ]
    for number, (document, longest) in enumerate(cases):
        path = write_index(tmp_path / str(number), [document], "u8", vocab_size=60)
        with everygram.open(path) as index:
            found = measure(index.engine, [[Part(np.array(text))]], 11, 11, skips=4)
            assert found.longest[0] == longest, document
            # Neighbours go over no document's end.
            assert found.counts[0] == (longest > 0)
    halves = write_index(tmp_path / "halves", [text[:12], text[12:22]], "u8", vocab_size=60)
    with everygram.open(halves) as index:
        found = measure(index.engine, [[Part(np.array(text))]], 11, 11, skips=4)
        assert (found.longest[0], found.covered[0]) == (12, 12)


def test_damaged_tokens(tmp_path):
    path = write_index(tmp_path / "index", [[*range(10), 70, *range(11, 30)]], "u8", vocab_size=60)
    with everygram.open(path) as index:
        text = [Part(np.array([*range(30)]))]
        with pytest.raises(DamagedIndexError, match="other tokens than ids"):
            measure(index.engine, [text], 11, 11, skips=4)


@pytest.fixture(scope="module")
def varied(tmp_path_factory, kinds):
    """An index of random words in which items stand with some words changed; items; what changed.

    Every item has 60 words, a token each, that no other text has.
    """
    folder = tmp_path_factory.mktemp("varied")
    draw = random.Random(2)
    words = [f"w{number}" for number in range(4000)]
    draw.shuffle(words)
    items = [words[60 * number : 60 * number + 60] for number in range(30)]
    rest = words[1800:]
    truth, documents = {}, []
    for number, item in enumerate(items):
        changes = sorted(draw.sample(range(60), draw.choice([0, 1, 2, 4, 6, 9, 14])))
        truth[number] = changes
        copy = [rest[place] if place in changes else word for place, word in enumerate(item)]
        begin, end = (draw.choices(rest, k=draw.randrange(90)) for _ in range(2))
        documents.append([*begin, *(copy if number % 10 else []), *end])
    records = [{"text": " ".join(each)} for each in documents]
    write_jsonl(folder / "a.jsonl", records[:12])
    write_jsonl(folder / "b.jsonl", records[12:])
    write_jsonl(folder / "items.jsonl", [{"text": " ".join(each)} for each in items])
    everygram.build(folder / "a.jsonl", folder / "index", tokenizer="train:6000")
    everygram.add(folder / "index", folder / "b.jsonl")
    everygram.delete(folder / "index", documents=[5])
    return folder, items, documents, truth


def coverage_of(text, documents):
    """Llama 2's: the share of tokens in spans of more than 10 with up to 4 others."""
    covered = set()
    for start in range(len(text) - 10):
        seed = tuple(text[start : start + 10])
        for document in documents:
            for at in range(len(document) - 9):
                if tuple(document[at : at + 10]) == seed:
                    reach = span(text, start, document, at, 10, 4)
                    covered |= set(range(start, start + reach)) if reach > 10 else set()
    return len(covered) / len(text)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_rule_of_llama2(varied, normalize):
    folder, items, documents, _ = varied
    with everygram.open(folder / "index") as index:
        texts = [" ".join(each) for each in items]
        found = everygram.contamination(
            index, texts, preset="llama2", normalize=normalize, drop=True
        )
        assert found.manifest["rule"]["skips"] == 4
        if normalize:
            of, known = items, {i: each for i, each in enumerate(documents) if i != 5}
        else:
            of = [index.encode(text, raw=True).tolist() for text in texts]
            inside = [index.encode(text).tolist() for text in texts]
            known = {number: ids.tolist() for number, ids, _ in index.engine.documents()}
        wanted = []
        for place, text in enumerate(of):
            spellings = [text] if normalize else [text, inside[place]]
            assert len({len(each) for each in spellings}) == 1
            wanted.append(max(coverage_of(each, known.values()) for each in spellings))
        assert [each.coverage for each in found.items] == wanted
        assert {each.item for each in found.items if each.hit} == {
            place for place, share in enumerate(wanted) if share >= 0.8
        }
        assert 5 < sum(share >= 0.8 for share in wanted) < 25
        assert any(0 < share < 0.8 for share in wanted)
        # Each is in the document of its number alone.
        hits = [each.item for each in found.items if each.hit]
        assert found.drop.tolist() == hits
        for each in found.items:
            if each.hits:
                assert [one.document for one in each.documents] == [each.item]
                assert each.documents[0].match.split()[0] in items[each.item]
        strict = everygram.contamination(
            index, texts, preset="llama2", skips=0, normalize=normalize
        )
        assert strict.num_hit < found.num_hit


@pytest.mark.parametrize("normalize", [False, True])
def test_documents_against_benchmarks(varied, tmp_path, normalize):
    folder, items, documents, truth = varied
    everygram.build(
        folder / "items.jsonl", tmp_path / "items", tokenizer=folder / "index/tokenizer.json"
    )
    texts = [" ".join(each) for each in documents]
    with everygram.open(tmp_path / "items") as index:
        found = everygram.contamination(
            index, texts, preset="llama2", documents=True, normalize=normalize
        )
        of, known = documents, items
        if not normalize:
            of = [index.encode(text, raw=True).tolist() for text in texts]
            known = [ids.tolist() for _, ids, _ in index.engine.documents()]
        wanted = {place: coverage_of(text, known) for place, text in enumerate(of)}
        wanted = {place: share for place, share in wanted.items() if share}
        assert {each.item: each.coverage for each in found.items} == wanted
        assert {len(truth[place]) for place in wanted} > {0, 1, 2}


def test_wrong_skips(tmp_path):
    path = write_index(tmp_path / "index", [[1, 2]], "u8", vocab_size=5)
    for wrong in (-1, 1.5, True, "4"):
        with pytest.raises(OptionError, match="skips: expected"):
            everygram.contamination(path, ["a"], skips=wrong)

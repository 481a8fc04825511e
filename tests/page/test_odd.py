"""Indexes with odd names, deleted, empty or no documents, and one that grows while it is looked at;
texts of characters that are two of JavaScript's."""

import random
import time

import pytest
from served import service, write_corpus

import everygram

NAME = "we?ird #1 %41 \"q' <b>ü🎉&amp;"
TEXTS = [
    "🎉🎉 a👩\u200d👧 the quick \U00010428 brown",
    "שלום the quick \u202e world",
    "𝒳 the quick e\u0301 \r\n the quick 🎉",
    "-dash the quick",
    "",
    "🎉 the quick 🎉",
]
VIEWS = {
    "count": {"text": "the quick"},
    "next": {"prompt": "the quick"},
    "text": {"text": "the quick 🎉"},
    "sources": {"text": "𝒳 the quick e\u0301", "all": "1"},
    "search": {"expression": "quick"},
    "document": {},
    "about": {},
}


@pytest.fixture(scope="module")
def made(folder, paths):
    """Indexes by name."""
    tokenizer = folder / "tokenizer-of-odd.json"
    with everygram.open(paths["reference"]) as index:
        tokenizer.write_bytes(index.tokenizer.json)
    made = {}
    for name, texts in {
        NAME: TEXTS,
        "turned": TEXTS[::-1],
        "deleted": TEXTS,
        "empty": [],
        "blank": ["", ""],
        "gone": ["the quick"],
        "growing": ["the quick brown fox"] * 30,
    }.items():
        path = folder / f"odd-{len(made)}"
        records = [{"text": text, "title": f"{name} {i}"} for i, text in enumerate(texts)]
        everygram.build(write_corpus(path.with_suffix(".jsonl"), records), path, tokenizer)
        made[name] = path
    everygram.delete(made["deleted"], documents=[0, 3])
    everygram.delete(made["gone"], documents=[0])
    return made


@pytest.fixture(scope="module")
def odd(folder, made):
    given = [f"{name}={path}" for name, path in made.items()]
    union = ["--union", f"two={NAME},turned", "--alias", f"x y={NAME}"]
    with service(folder, *given, *union) as url:
        yield url


def test_names(look, odd, made):
    tab = look(odd)
    with everygram.open(made[NAME]) as index:
        count = str(int(index.count_text("the quick")))
    for view, params in VIEWS.items():
        page = tab.go(NAME, view, **params)
        assert page.get_by_label("Index", exact=True).input_value() == NAME
        assert NAME in page.title()
        assert not page.locator(".state.error").count(), view
        if view == "count":
            assert page.locator(".large").first.inner_text() == count
    tab.go("x y", "count", text="the quick")
    assert page.locator(".large").first.inner_text() == count


def test_deleted_documents(look, odd):
    tab = look(odd)
    tab.expected = ("422",)
    page = tab.go("deleted", "document", number=0)
    assert page.get_by_text("document 0: it was deleted").is_visible()
    for number in (1, 2, 3, 4, 5):
        page.get_by_role("link", name="Next document").click()
        page.wait_for_url(f"**number={number}")
        tab.settled()
        assert bool(page.get_by_text("it was deleted").count()) == (number == 3)
    assert not page.get_by_role("link", name="Next document").count()
    assert page.get_by_role("link", name="Previous document").is_visible()


@pytest.mark.parametrize("name", ["empty", "blank", "gone"])
def test_nothing_in_it(look, odd, name):
    tab = look(odd)
    tab.expected = ("422",) * (name == "gone")
    for view, params in VIEWS.items():
        page = tab.go(name, view, **params)
        said = page.locator("main").inner_text()
        assert not page.locator(".state.error").count(), (view, said)
        assert "NaN" not in said and "Infinity" not in said and "undefined" not in said, view
    page = tab.go("empty", "next", prompt="the")
    assert page.get_by_text("Nothing follows: the index is empty.").is_visible()


def test_marks_are_at_their_characters(look, odd, made):
    tab = look(odd)
    tab.expected = ("422",)  # (Is there a document after the last one?)
    with everygram.open(made[NAME]) as index:
        for text in ("quick", "🎉", "the quick \U00010428", "e\u0301", "👧"):
            for place, each in enumerate(index.find_text(text, limit=5)):
                page = tab.go(NAME, "count", text=text)
                page.locator(".places a").nth(place).click()
                tab.settled()
                parts = index.document(each.document).text
                marked = page.locator(".document").evaluate(
                    "box => [...box.childNodes].map((each) => [each.nodeName, each.textContent])"
                )
                assert "".join(said for _, said in marked) == parts
                before = "".join(said for kind, said in marked[:1] if kind == "#text")
                assert ["MARK", text] in marked
                assert len(before) == each.start, (text, place)


def test_two_documents_of_one_number(look, odd, made):
    tab = look(odd)
    tab.expected = ("422",)
    texts = {NAME: TEXTS, "turned": TEXTS[::-1]}
    for place, name in enumerate(texts):
        page = tab.page
        page.goto(f"{odd}/#/two/document?number=2&index={place}")
        tab.settled()
        assert page.locator(".document").text_content() == texts[name][2]
        assert page.get_by_label("Of", exact=True).locator("option:checked").inner_text() == name
    page = tab.go("two", "sources", text=TEXTS[2])
    links = (
        page.get_by_role("article")
        .get_by_role("link")
        .evaluate_all("all => all.map((each) => each.getAttribute('href'))")
    )
    found = {tuple(each.partition("?")[2].split("&")[:2]) for each in links}
    assert {("number=2", "index=0"), ("number=3", "index=1")} <= found


def test_an_index_that_grows(look, odd, made, folder):
    tab = look(odd)
    tab.expected = ("409",)
    page = tab.go("growing", "count", text="quick")
    assert page.locator(".large").first.inner_text() == "30"
    more = write_corpus(folder / "more.jsonl", [{"text": "a quick one"}])
    everygram.add(made["growing"], more)
    time.sleep(3)
    page.get_by_role("button", name="More places").press("Enter")
    page.get_by_role("button", name="Ask again").click()
    tab.until("document.querySelector('.large').textContent === '31'")


def test_numbers_of_random_questions(look, url, indexes):
    tab = look(url)
    index, draw = indexes["reference"], random.Random(7)
    for _ in range(12):
        text = index.document(draw.randrange(index.num_documents)).text
        start = draw.randrange(max(1, len(text) - 12))
        part = text[start : start + draw.randrange(1, 12)]
        page = tab.go("reference", "count", text=part)
        large = page.locator(".large").all_inner_texts()
        assert large == [f"{index.count_text(part):,}", f"{int(index.count(part)):,}"], part
        page = tab.go("reference", "next", prompt=part, model="exact")
        counts = page.locator(".bars .number.faint").all_inner_texts()
        assert counts == [f"{each.count:,}" for each in index.ntd(part).top(20)], part

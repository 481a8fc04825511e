"""The page about contamination: what stands on it, and that markup stays text."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from everygram.results.contamination import (
    BenchmarkSummary,
    ContaminatedItem,
    Contamination,
    Example,
)

MARKUP = '<script>alert("x")</script><img src=x onerror=y>'
TAGS = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "pre"}
TAGS |= {"table", "tr", "th", "td", "meter", "details", "summary", "strong", "span", "div", "mark"}
TAGS |= {"dl", "dt", "dd"}


class Page(HTMLParser):
    """The tags of a page, and its text, in which a line begins with each block."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("p", "h1", "h2", "h3", "summary", "div", "tr"):
            self.text += "\n"

    def handle_data(self, data):
        self.text += data


def item(number=0, **given):
    found = {
        "benchmark": "quiz.jsonl",
        "item": number,
        "hit": True,
        "tokens": 20,
        "ngrams": 8,
        "coverage": 0.75,
        "share": 0.5,
        "longest": 15,
        "hits": 4,
        "count": 1,
        "document_count": 1,
        "documents": (Example(7, None, {"source": "web"}, "before ", "the match", " after"),),
        "text": "Who was it?\n\nSomebody",
    }
    return ContaminatedItem(**found | given)


def result(*items, index_of="corpus", drop=None, short=0):
    rule = {"n": 13, "normalize": False, "min_share": 0.0, "min_coverage": 0.0}
    rule |= {"min_length": 5, "max_documents": None, "preset": None}
    index = {"name": "crawl", "version": "0", "num_documents": 40, "num_tokens": 900}
    manifest = {"index": index, "index_of": index_of, "rule": rule}
    number = len(items)
    summary = BenchmarkSummary("quiz.jsonl", 10, number, short, (number,) * 11, (number,) * 11)
    return Contamination([*items], "tokens", (summary,), manifest, drop)


def test_an_item_is_seen_with_its_text_and_where_it_is():
    page = Page(result(item(3), drop=np.array([7])).to_html())
    assert "\n1 of 10 items are contaminated\n" in page.text
    assert "item 3 Who was it? Somebody75% covered, 4 of 8 n-grams, longest match 15" in page.text
    assert "\nWho was it?\n\nSomebody\n" in page.text
    assert "\ndocument 7 of crawl\nbefore the match after" in page.text
    assert "Documents of the corpus with an n-gram of a hit: 1." in page.text
    assert "too short" not in page.text
    assert "1 of 10 are hits; 2 are too short" in Page(result(item(), short=2).to_html()).text


def test_a_document_is_seen_by_its_beginning_beside_the_benchmark():
    text = "A title\nand all of the rest"
    page = Page(result(item(3, text=text), index_of="benchmarks").to_html())
    assert "1 of 10 documents are contaminated" in page.text
    assert "document 3 A title and all of the rest75% covered" in page.text
    assert page.text.count("A title") == 1
    assert "\ndocument 7 of crawl\n" in page.text


@pytest.mark.parametrize(
    ("coverage", "said"), [(0.0001, "<1%"), (0.0099, "<1%"), (0.01, "1%"), (1.0, "100%")]
)
def test_what_is_covered_is_not_said_to_be_none(coverage, said):
    page = Page(result(item(coverage=coverage)).to_html())
    assert f"{said} covered" in page.text


def test_a_long_text_is_cut_where_it_is_listed():
    page = Page(result(item(text="word " * 400)).to_html())
    assert re.search(r"\nitem 0 (word ){16}…75% covered", page.text)


def test_markup_stays_text():
    example = Example(7, MARKUP, {MARKUP: MARKUP}, MARKUP, MARKUP, MARKUP)
    page = Page(result(item(benchmark=MARKUP, text=MARKUP, documents=(example,))).to_html())
    assert page.tags <= TAGS
    assert page.text.count(MARKUP) == 8

"""Reports of attributions: nothing in them runs or loads, all links lead somewhere, all is said."""

import base64
import dataclasses
import hashlib
import math
import random
import re
import unicodedata
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.results import report
from everygram.results.attribution import (
    AttributedSpan,
    Attribution,
    MergedSpan,
    SourceDocument,
    SpanDocument,
    Surroundings,
    UnionSourceDocument,
    UnionSpanDocument,
)

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror=alert(1)> \"q\" 'r' &amp; "
    '</bdi></a></details><!-- ]]> javascript:alert(1) \x00\x1b\u202eabc\u2066 \ud800 " onclick="x'
)
# What elements may have, beside a look and an id.
ATTRIBUTES = {
    "a": {"href", "aria-label", "target", "rel"},
    "bdi": {"lang"},
    "div": {"lang", "dir", "tabindex", "role", "aria-level"},
    "dt": {"dir"},
    "dd": {"dir"},
    "html": {"lang"},
    "meta": {"charset", "http-equiv", "content", "name"},
    "ol": {"role"},
    "section": {"aria-labelledby"},
    "span": {"lang"},
    "summary": {"aria-label"},
    "sup": {"dir"},
} | {
    name: set()
    for name in (
        *("article", "body", "details", "dl", "footer", "h1", "h2", "h3", "h4", "head", "header"),
        *("li", "main", "mark", "p", "script", "strong", "style", "title"),
    )
}


def attribution(
    text, bounds, per_span=2, metadata=None, names=None, log_probs=None, ids=False, **more
):
    """An attribution of a text whose tokens are its characters, with these spans.

    per_span: documents. names: of the indexes of a union. ids: as of an index without a tokenizer.
    """
    spans, sources = [], {}
    for place, (start, end) in enumerate(bounds):
        said = []
        for i in range(per_span):
            around = tuple(
                Surroundings(f"{c * 'b '}{text[start:end]}{c * ' a'}", 2 * c, 2 * c + end - start)
                for c in (9, 5, 2)
            )
            fields = {
                "number": 7 * i,
                "length": 500,
                "metadata": metadata or {"title": f"Book {i}"},
                "relevance": None if ids else ("high", "medium", "low")[i % 3],
                "score": None if ids else 0.9 - i / 10,
            }
            known = {"index": i % len(names), "index_name": names[i % len(names)]} if names else {}
            where = dict.fromkeys(("start", "end", "byte_start", "byte_end"), None if ids else 20)
            said.append(
                (UnionSpanDocument if names else SpanDocument)(
                    **fields,
                    **where,
                    token_start=20,
                    token_end=20 + end - start,
                    **known,
                    surroundings=None if ids else around,
                )
            )
            sources.setdefault(i, (fields | known, []))[1].append(place)
        characters = (None,) * 4 if ids else (start, end, start, end)
        log_prob = log_probs[place] if log_probs else -25.0
        spans.append(
            AttributedSpan(
                *characters,
                start,
                end,
                None if ids else text[start:end],
                3 + per_span,
                2 + per_span,
                log_prob,
                said,
            )
        )
    merged = []
    for place, (start, end) in enumerate(bounds):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], end, [*merged[-1][2], place])
        else:
            merged.append((start, end, [place]))
    source = UnionSourceDocument if names else SourceDocument
    options = {"min_length": 1, "density": 0.05, "documents": per_span, "context": [9, 5, 2]}
    fields = {
        "text": None if ids else text,
        "spans": spans,
        "span_count": len(spans) + 4,
        "merged_spans": [
            MergedSpan(
                *((None,) * 4 if ids else (a, b, a, b)), a, b, None if ids else text[a:b], places
            )
            for a, b, places in merged
        ],
        "documents": [source(**known, spans=places) for known, places in sources.values()],
        "options": options,
        "index": {"name": "books", "version": "v1", "num_documents": 9, "num_tokens": 10**6},
    }
    return Attribution(None, np.array([*map(ord, text)], np.int64), **(fields | more))


class Page(HTMLParser):
    """A report, parsed: every element is one of ours and is closed."""

    def __init__(self, source):
        super().__init__()
        self.source, self.open, self.tags, self.ids, self.hrefs = source, [], [], [], []
        self.labels, self.text, self.scripts, self.marks, self.links = [], "", [], [], []
        self.policy, self.paths, self.running, self.strays = None, {}, "", []
        self.spans = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        assert len(held) == len(attributes)
        assert held.keys() <= ATTRIBUTES[tag] | {"id", "class", "style"}, (tag, held)
        self.tags.append(tag)
        if "id" in held:
            self.ids.append(held["id"])
            self.paths[held["id"]] = [each for each, _ in self.open]
        if "href" in held:
            self.hrefs.append(held["href"])
            self.links.append(held)
        self.labels += [held["aria-label"]] if "aria-label" in held else []
        if "http-equiv" in held:
            self.policy = held["content"]
        if tag == "mark":
            self.marks.append("")
        if tag != "meta":
            self.open.append((tag, held))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        inside = [tag for tag, _ in self.open]
        if "script" in inside:
            self.scripts.append(data)
            return
        if "style" in inside:
            return
        self.text += data
        if "mark" in inside:
            self.marks[-1] += data
        labels = [held.get("aria-labelledby", "") for _, held in self.open]
        if any(each.endswith("-text") for each in labels) and "sup" not in inside:
            self.spans += [data] if "a" in inside else []
            self.running += (
                data if ("dir", "auto") in self.open[-1 - ("a" in inside)][1].items() else ""
            )
        nearest = next((held["lang"] for _, held in self.open[::-1] if "lang" in held), None)
        apart = any(tag == "bdi" or "dir" in held for tag, held in self.open)
        if "title" not in inside and not (nearest == "" and apart):
            self.strays.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_pi = unknown_decl = handle_comment


BOTH = [pytest.param(form, id=form) for form in ("to_html", "_repr_html_")]


def made(result, form):
    source = getattr(result, form)()
    source.encode()
    odd = {c for c in source if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}
    assert not odd
    page = Page(source)
    assert len({*page.ids}) == len(page.ids)
    for href in page.hrefs:
        assert href.lower().startswith(("http://", "https://")) or href[1:] in page.ids, href
    return page


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("names", [None, [HOSTILE, "b"]])
def test_nothing_hostile_becomes_markup(form, names):
    metadata = {HOSTILE: HOSTILE, "list": [HOSTILE, {HOSTILE: None}], "url": f"https://{HOSTILE}"}
    more = {
        "options": {"prompt": HOSTILE, HOSTILE: 1, "context": [9, 5, 2]},
        "index": {"name": HOSTILE, HOSTILE: HOSTILE, "num_tokens": 9},
    }
    result = attribution(HOSTILE, [(3, 60), (40, 90), (95, 180)], 3, metadata, names, **more)
    page = made(result, form)
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "\\u0000" in page.text and "\\u202e" in page.text and "\\ud800" in page.text
    assert page.scripts == ([] if form == "_repr_html_" else [script()])
    assert page.tags.count("style") == len(page.scripts)
    assert not [href for href in page.hrefs if href[0] != "#"]


def script():
    return (files("everygram.results.report") / "script.js").read_text("utf-8")


def test_the_policy_allows_the_script_alone():
    page = made(attribution("some words", [(0, 4)]), "to_html")
    (text,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = dict(each.strip().split(" ", 1) for each in page.policy.split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # The policy stands before all that it holds for.
    assert page.source.index("Content-Security-Policy") < page.source.index("<style")


def test_long_words_are_broken_everywhere():
    # (Metadata names, headings, texts: whatever has no style of its own inherits this one.)
    start = "".join(attribution("some words", [(0, 4)])._repr_html_().partition(">")[:2])
    assert re.fullmatch(r'<div style="[^"]*\boverflow-wrap:anywhere\b[^"]*">', start)
    style = (files("everygram.results.report") / "style.css").read_text("utf-8")
    assert "overflow-wrap: anywhere" in re.search(r"\nbody \{[^}]*\}", style)[0]


@pytest.mark.parametrize("form", BOTH)
def test_no_outside_host_is_named(form):
    source = getattr(attribution("some words", [(0, 4)]), form)()
    assert not re.search(r"https?:|//(?! )|src=|url\(|@import", source)


@pytest.mark.parametrize("form", BOTH)
def test_addresses_in_metadata_are_links(form):
    good = [
        "https://example.org/a?b=c&d=%20#e",
        "HTTP://example.org",
        "https://[::1]:80/",
        "https://example.org?lt&lt;",
    ]
    bad = [
        "javascript:alert(1)", "data:text/html,x", "ftp://example.org", " https://example.org",
        "https://example.org/a b", "https://example.org\n", 'https://example.org/"onclick="x',
        "https://", "//example.org", "https://exa\u202emple.org", "https://exa\u3164mple.org",
        "https://a\\b", "see https://a.b", ["https://example.org"], "https://" + "a" * 3000,
    ]  # fmt: skip
    metadata = {f"field {i}": value for i, value in enumerate(good + bad)}
    page = made(attribution("some words", [(0, 4)], 1, metadata), form)
    links = [held for held in page.links if held["href"][0] != "#"]
    assert [held["href"] for held in links] == 2 * good
    for held in links:
        assert held["rel"] == "noopener noreferrer" and held["target"] == "_blank"


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("ids", [False, True])
def test_the_text_is_shown_whole(form, ids):
    chance = random.Random(5)
    for _ in range(30):
        text = "".join(chance.choices("ab .\n<&é日م", k=60))
        bounds = [sorted(chance.sample(range(61), 2)) for _ in range(4)]
        ends = [0]
        bounds = [
            each for each in sorted(bounds) if each[1] > max(ends) and not ends.append(each[1])
        ]
        page = made(attribution(text, bounds, 1, ids=ids), form)
        shown = " ".join(str(ord(c)) for c in text) if ids else text
        assert page.running == shown
        # White space at the ends of a span is not part of its link.
        assert all(link == link.strip() or not link.strip() for link in page.spans)


@pytest.mark.parametrize("form", BOTH)
def test_spans_may_share_a_character(form):
    merged = [MergedSpan(0, 3, 0, 3, 0, 4, "abc", [0]), MergedSpan(2, 4, 3, 4, 4, 6, "cd", [1])]
    page = made(attribution("abcdef", [(0, 3), (3, 4)], merged_spans=merged), form)
    assert page.running == "abcdef" and page.spans == ["abc", "d"]
    # A reader of the links alone hears what each span has, even if all of it is in the one before.
    merged[1] = MergedSpan(2, 3, 2, 3, 4, 6, "c", [1])
    page = made(attribution("abcdef", [(0, 3), (2, 3)], merged_spans=merged), form)
    assert page.spans == ["abc"]
    assert [label.split(":")[0] for label in page.labels[:2]] == ["abc", "c"]


@pytest.mark.parametrize("form", BOTH)
def test_every_span_leads_to_its_documents(form):
    result = attribution("abcdefghijklmnop", [(0, 4), (5, 9), (7, 12), (13, 15)], 3)
    page = made(result, form)
    assert page.tags.count("details") == 3 + 4 * 3
    prefix = page.ids[0].split("-")[0]
    whole = form == "to_html"
    for name in ("s1", "s2", "s3", *(("p1.1", "p2.1", "p2.2", "p3.1") if whole else ())):
        assert f"#{prefix}-{name}" in page.hrefs
        # A browser opens the boxes around what a link leads to; a notebook only scrolls to it.
        path = page.paths[f"{prefix}-{name}"]
        assert "summary" not in path and ("details" in path) == whole
    for name in ("t1", "t2", "t3"):
        assert f"#{prefix}-{name}" in page.hrefs and f"{prefix}-{name}" in page.ids
    assert page.labels[:3] == [
        "abcd: span 1 of 3, rare, 5 documents",
        "fghijkl: span 2 of 3, rare, 2 overlapping parts",
        "no: span 3 of 3, rare, 5 documents",
    ]
    assert page.text.count("6 occurrences; showing 3 of 5 documents.") == 4
    assert "Part 2.2: hijkl" in page.text
    # (The fourth token of 500 after the longest surroundings is not the last.)
    assert page.marks == [
        text for text in ("abcd", "fghi", "hijkl", "no") for _ in range(3) for _ in "ml"
    ]
    assert f"… {5 * 'b '}abcd{5 * ' a'} …more… {9 * 'b '}abcd{9 * ' a'} …title" in page.text
    assert "Document 14 relevance low (0.70); tokens 20–23 of 500" in page.text
    assert "Document 7 relevance medium (0.80); 500 tokens; in spans 1, 2.1, 2.2, 3" in page.text


def test_rarity_is_said_in_words_and_shown_by_more_than_a_colour():
    # The chance of a span times the tokens of the index: 2, 0.5, 2e-8, 5e-9, 5e-17.
    log_probs = [*map(math.log, (2e-6, 5e-7, 2e-14, 5e-15, 5e-23))]
    bounds = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    result = attribution("abcdefghi", bounds, log_probs=log_probs)
    names = ["common", "uncommon", "rare", "very rare", "extremely rare"]
    page = made(result, "to_html")
    assert [label.split(", ")[1] for label in page.labels[:5]] == names
    assert re.findall(r'class="span r(\d)" a', page.source) == ["1", "2", "3", "4", "5"]
    assert all(f">{name}</span>" in page.source for name in names)
    widths = re.findall(r"border-bottom:(\d)px", result._repr_html_())
    assert widths == ["1", "2", "3", "4", "5"] * 2
    # Of overlapping spans, the rarest counts.
    result = attribution("abcdefgh", [(0, 4), (3, 6)], log_probs=log_probs[2:4])
    assert made(result, "to_html").labels[0].split(", ")[1] == "very rare"
    assert "Rare (unigram log-probability −31.5), 4 tokens" in made(result, "to_html").text


@pytest.mark.parametrize("form", BOTH)
def test_what_is_not_there_is_said(form):
    def text(*given, **more):
        return made(attribution(*given, **more), form).text

    assert "No part of the text is in the index" in text("words", [], span_count=0)
    assert "4 spans found, none kept" in text("words", [])
    assert "Numbered parts" not in text("words", [])
    assert "The text is empty." in text("", [], span_count=0)
    assert "None were requested." in text("words", [(0, 2)], per_span=0)
    assert "There are none." in text("words", [], per_span=0)
    assert "showing 0 of 2 documents" in text("words", [(0, 2)], per_span=0)
    said = text("words", [(0, 2), (1, 5)], ids=True)
    assert "The index has no tokenizer" in said and "relevance" not in said
    assert "119 111 114 100 115" in said and "Part 1.2: 111 114 100 115" in said
    assert "tokens 20–21 of 500" in said


@pytest.mark.parametrize("form", BOTH)
def test_documents_that_are_not_listed_and_surroundings_that_are_all_the_same(form, monkeypatch):
    monkeypatch.setattr(report, "FILE", report.FILE._replace(listed=2))
    monkeypatch.setattr(report, "FRAGMENT", report.FRAGMENT._replace(listed=2))
    result = attribution("words", [(0, 2)], 4)
    page = made(result, form)
    assert sum("-d" in href for href in page.hrefs) == 2
    assert page.labels.count("more of document 0") == 1
    around = (Surroundings("words", 0, 2),) * 3
    documents = [
        dataclasses.replace(each, surroundings=around) for each in result.spans[0].documents
    ]
    spans = [dataclasses.replace(result.spans[0], documents=documents)]
    page = made(attribution("words", [(0, 2)], 4, spans=spans), form)
    assert page.labels.count("more of document 0") == 0 and page.marks == 4 * ["wo"]


@pytest.mark.parametrize("form", BOTH)
def test_documents_of_a_union_name_their_index(form):
    page = made(attribution("words", [(0, 2)], 4, names=["one", "two"]), form)
    assert page.text.count("Document 0 of one") == page.text.count("Document 7 of two") == 2


@pytest.mark.parametrize("form", BOTH)
def test_a_report_ends_with_how_it_was_made(form):
    said = made(attribution("words", [(0, 3), (2, 5)]), form).text
    end = said[said.index("How this was made") :]
    assert f"everygram{everygram.__version__}" in end
    for each in ("tokens5", "2 kept of 6 found", "merged spans1", "documents2", "density0.05",
                 "context[9, 5, 2]", "namebooks", "versionv1"):  # fmt: skip
        assert each in end


@pytest.mark.parametrize("form", BOTH)
def test_texts_of_others_have_no_language_and_their_own_direction(form):
    word = "مرحبا"
    metadata = {word: word, "list": [word]}
    more = {"options": {"prompt": word, "context": [9, 5, 2]}, "index": {"name": word, word: word}}
    result = attribution(f"{word} {word}.", [(0, 4), (3, 9)], 2, metadata, [word, word], **more)
    page = made(result, form)
    assert page.text.count(word) > 20
    assert not [data for data in page.strays if "م" in data]
    # The report's own words have a language.
    assert "How this was made" in page.strays


def test_the_same_result_makes_the_same_report_and_others_do_not_clash():
    def ids(text="some words", more=()):
        return {*made(attribution(text, [(0, 4)], **dict(more)), "_repr_html_").ids}

    assert attribution("some words", [(0, 4)]).to_html() == (
        attribution("some words", [(0, 4)]).to_html()
    )
    assert ids() == ids()
    for others in (ids("some worlds"), ids(more={"index": {}}), ids(more={"per_span": 1}),
                   ids(more={"options": {"seed": 1, "context": [9, 5, 2]}})):  # fmt: skip
        assert not ids() & others


def test_a_report_is_small():
    assert len(attribution("words", []).to_html()) < 14_000
    fragment = attribution("words " * 100, [(0, 9)])._repr_html_()
    assert len(fragment) < 10_000 and "class=" not in fragment
    # Headings would be in the notebook's own table of contents.
    assert not re.search(r"<h\d|<style|<script", fragment)


@pytest.mark.parametrize("form", BOTH)
def test_a_large_report_is_cut_and_says_so(form, monkeypatch):
    monkeypatch.setattr(report, "FILE", report.Most(text=20_000, documents=100_000, listed=50))
    listed = 50 if form == "to_html" else 10

    def page_of(*given):
        page = made(attribution(text, *given), form)
        assert len(page.source) < 200_000 + 5 * len(page.running)
        assert "To stay small, this shows " in page.text
        assert "… The text goes on." in page.text and text.startswith(page.running)
        return page

    text = "some words " * 10_000
    page = page_of([(110 * i, 110 * i + 60) for i in range(1000)], 10)
    shown = re.search("the first ([0-9,]+) of 1,000 spans", page.text)[1]
    assert page.tags.count("sup") == int(shown.replace(",", ""))
    assert len(page.running) <= (20_000 if form == "to_html" else 4000)
    assert "the shortest surroundings of matches, at most " in page.text
    # A span without documents takes place, too.
    page = page_of([(11 * i, 11 * i + 10) for i in range(10_000)], 0)
    assert " of 10,000 spans" in page.text
    # Many spans overlap.
    page = page_of([(11 * i, 11 * i + 15) for i in range(9_000)], 0)
    assert " parts more" in page.text and page.tags.count("sup") == 1
    huge = {f"name {i}" * 100: "value" * 10_000 for i in range(1000)}
    assert "and 970 fields more" in page_of([(0, 100_000)], 10, huge).text
    page = page_of([(0, 40)], 3000)
    assert f"a list of the {listed} most relevant documents" in page.text
    assert f"… and {3000 - listed:,} documents more" in page.text
    # The last document of the list has a span that is not shown.
    bounds = [(11 * i, 11 * i + 1) for i in range(5000)]
    last = SourceDocument(99, 500, {}, "low", 0.1, [1, 4999])
    page = made(attribution(text, bounds, 1, documents=[last]), form)
    assert "Document 99 relevance low (0.10); 500 tokens; in spans 2, (not shown)" in page.text
    page = page_of([(11 * i, 11 * i + 1) for i in range(60)], 1)
    assert ", 30 and 30 more" in page.text


def test_a_book_is_shown_whole():
    text = "some words " * 40_000
    result = attribution(text, [(88 * i, 88 * i + 60) for i in range(5000)], 10)
    source = result.to_html()
    assert len(source) < 12_000_000
    assert source.count("<sup") == 5000 and source.count("<article") == 5000
    assert "at most 1 document per span" in source and "The text goes on" not in source


@pytest.mark.parametrize("form", BOTH)
def test_what_an_index_answers_is_shown(form, tmp_path):
    lines = ["The cat sat on the mat.", "Die Katze saß auf der Matte. 🐈", "قطة على حصيرة"]
    for name, texts in (("one", lines), ("two", lines[:1])):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text, "title": "x"} for text in texts])
        everygram.build(tmp_path / f"{name}.jsonl", tmp_path / name)
    text = "".join(f"I say: {line}\n" for line in lines)
    for paths in (tmp_path / "one", [tmp_path / "one", tmp_path / "two"]):
        with everygram.open(paths) as index:
            result = index.attribute(text, min_length=5, density=None)
        page = made(result, form)
        assert page.running == text
        union = isinstance(paths, list)
        assert set(page.marks) == {span.text for span in result.spans}
        assert {line.rstrip(" 🐈") for line in lines} <= {mark.strip() for mark in page.marks}
        assert page.text.count("Document 0 of two") == union * page.text.count("Document 0 of one")
        assert f"version{result.index['version']}" in page.text and "min_length5" in page.text
    np.array([0, 1, 2, 3, 0, 1, 2, 4], "<u2").tofile(tmp_path / "ids.bin")
    everygram.build(
        tmp_path / "ids.bin", tmp_path / "ids", pretokenized="u16", separator_id=0, vocab_size=10
    )
    with everygram.open(tmp_path / "ids") as index:
        page = made(index.attribute([5, 1, 2, 3, 5], density=None), form)
    assert page.running == "5 1 2 3 5" and "1 2 3: span 1 of 1, " in page.labels[0]


def test_colours_have_enough_contrast():
    def light(colour):
        digits = colour if len(colour) > 3 else "".join(2 * c for c in colour)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(share * x for share, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    style = (files("everygram.results.report") / "style.css").read_text("utf-8")
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 3
    levels = [f"r{i}" for i in range(1, 6)]
    for theme in themes:
        lights = {name: light(colour) for name, colour in re.findall(r"--(\w+): #(\w+)", theme)}
        # WCAG 2.2, level AA: of text, and of lines that say something.
        for front, backs, least in (
            ("ink", ["page", "box", "mark", *levels], 4.5),
            ("quiet", ["page", "box"], 4.5),
            ("link", ["page", "box"], 4.5),
            ("edge", ["page", *levels], 3),
            ("line", ["page", "box"], 3),
        ):
            for back in backs:
                dark, bright = sorted((lights[front], lights[back]))
                assert (bright + 0.05) / (dark + 0.05) >= least, (front, back)

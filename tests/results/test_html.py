"""What notebooks show: escaped, without scripts, of limited size, and saying what it leaves out."""

from html.parser import HTMLParser

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.results import html

HOSTILE = "<script>alert(1)</script> \"q\" 'r' </td></div>&amp;\x00\x1b[31m\u202eabc\tnext\nline"
PLAIN_TAGS = {"div", "span", "code", "table", "tr", "td", "th", "mark", "br"}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    records = [
        {"text": HOSTILE, "title": "</div><img src=x onerror=alert(1)>"},
        {"text": "the cat " * 1000},
        {"text": ""},
        {"text": "".join(map(chr, range(32, 127)))},
    ]
    everygram.build(write_jsonl(folder / "corpus.jsonl", records), folder / "index")
    with everygram.open(folder / "index") as index:
        yield index


class Parser(HTMLParser):
    """Checks that only plain tags with plain attributes are there, each closed; takes the text."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags, self.titles, self.marked, self.opened = "", [], [], [], []
        self.feed(source)
        self.close()
        assert not self.opened

    def handle_starttag(self, tag, attributes):
        assert tag in PLAIN_TAGS
        assert {name for name, _ in attributes} <= {"style", "title"}
        self.titles += [value for name, value in attributes if name == "title"]
        self.tags.append(tag)
        if tag == "mark":
            self.marked.append("")
        if tag != "br":
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "mark" in self.opened:
            self.marked[-1] += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def shown(result, most=30_000):
    source = result._repr_html_()
    assert len(source) < most
    assert not {*source} & {*map(chr, range(10)), "\x1b", "\u202e"}
    return Parser(source)


def test_every_token_is_escaped_and_seen(index):
    for token in sorted(set(HOSTILE.encode())):
        distribution = index.ntd([token])
        assert shown(distribution).tags.count("tr") == len(distribution) + 1
    assert "\\u0000" in shown(index.ntd("amp;")).text
    assert "⏎" in shown(index.ntd("next")).text and "⇥" in shown(index.ntd("abc")).text
    assert "<separator>" in shown(index.ntd("line")).text


def test_a_distribution_shows_its_most_frequent_tokens(index):
    distribution = index.ntd("")
    page = shown(distribution)
    assert page.tags.count("tr") == 25 + 1
    assert f"occurrences: {distribution.prompt_count:,}; different next tokens: " in page.text
    last = distribution.top(25)[-1].count
    assert f"… and {len(distribution) - 25} more with counts up to {last}" in page.text
    assert "The empty query" in page.text
    page = shown(index.infgram_ntd("zzzthe"))
    assert "zzzthe" in page.text and "suffix_len: 3" in page.text
    page = shown(index.ntd("qqq"))
    assert "occurrences: 0" in page.text and "table" not in page.tags
    bounded = index.ntd("t", max_support=5)
    assert bounded.error_bound
    assert f"wrong by at most {bounded.error_bound:,}" in shown(bounded).text
    assert "… " in shown(index.ntd("the cat " * 20)).text


def test_scores_are_shaded_and_tell_their_counts(index):
    scores = index.score(HOSTILE)
    page = shown(scores)
    assert len(page.titles) == len(scores)
    assert (
        page.titles[0] == f"5 / {scores.prompt_counts[0]:,} = {scores.probs[0]:.4g}; suffix_len 0"
    )
    assert page.titles[-1].endswith(f"suffix_len {scores.suffix_lens[-1]}; sparse")
    assert "<script>alert(1)</script>" in page.text and "\\u0000" in page.text
    assert page.text.startswith(f"∞-gram, {len(scores)} tokens")
    assert "0 / 0; suffix_len 2" in shown(index.score("qqq", order=3)).titles
    long = shown(index.score("the cat " * 1000), 100_000)
    assert len(long.titles) == html.TOKENS and "… and 7,500 more tokens" in long.text
    assert shown(index.score("")).titles == []


def test_a_document_marks_its_match(index):
    page = shown(index.document(query="</script>", context=20))
    assert page.marked == ["</script>"]
    assert "<script>alert(1)</script> \"q\" 'r' </t" in page.text
    assert '{"title": "</div><img src=x onerror=alert(1)>"}' in page.text
    assert "occurrence 0 of 1" in page.text
    page = shown(index.document(0))
    assert page.marked == [] and "\\u0000\\u001b[31m\\u202eabc⇥next\nline" in page.text
    assert "none of 0" in shown(index.document(2)).text


def test_a_long_document_is_cut_around_its_match(index):
    page = shown(index.document(query="the cat the", occurrence=500, context=5000))
    assert page.marked == ["the cat the"]
    assert page.text.count("the cat") < html.CHARS / len("the cat")
    assert page.text.count("…") == 2
    assert shown(index.document(1)).text.endswith(" …")
    match = shown(index.document(query="the cat " * 900))
    assert len(match.marked[0]) == html.CHARS + 2


def test_matches_are_a_table(index):
    matches = index.find("the", limit=1000)
    page = shown(matches)
    assert page.tags.count("tr") == html.ROWS + 1
    assert f"occurrences: {matches.count:,}; listed: 1,000" in page.text
    assert f"… and {1000 - html.ROWS:,} more" in page.text
    (place,) = index.find("<script>").occurrences
    numbers = (place.document, place.offset, place.segment, place.rank, place.position)
    assert "".join(f"{number:,}" for number in numbers) in shown(index.find("<script>")).text
    assert "table" not in shown(index.find("qqq")).tags


def test_ids_stand_for_tokens_where_there_is_no_tokenizer(tmp_path):
    np.array([0, 1, 2, 3, 0, 1, 2, 4], "<u2").tofile(tmp_path / "ids.bin")
    everygram.build(
        tmp_path / "ids.bin", tmp_path / "ids", pretokenized="u16", separator_id=0, vocab_size=10
    )
    with everygram.open(tmp_path / "ids") as index:
        assert shown(index.ntd([1, 2])).text.startswith(" 1 2 occurrences: 2")
        assert shown(index.document(query=[2], occurrence=1)).marked == ["2"]
        assert shown(index.document(query=[2], occurrence=1)).text.endswith("1 2 4")
        assert " 1 2 3" in shown(index.score([1, 2, 3])).text
        assert shown(index.find([1])).text.startswith(" 1 occurrences: 2")


@pytest.mark.parametrize("text", ["\ud800", "\u2028", "\ufeff", "\x7f", "\x85", "\u2066"])
def test_what_does_not_show_is_shown_as_a_code(text):
    assert f"\\u{ord(text):04x}" in html.token(text)


def test_novelty_shows_shares_of_the_first_n(index):
    page = shown(index.novelty("the cat", max_n=8))
    assert page.tags.count("tr") == 1 + 8 and "–" in page.text
    assert "7 tokens, creativity index 5.00 of 8, L = 5 to 12; longest match: 7 tokens" in page.text
    page = shown(index.novelty("the cat" * 2, max_n=1000))
    assert page.tags.count("tr") == 1 + html.ROWS and "… and 950 more" in page.text


def test_letters_that_look_like_nothing_are_shown_as_codes():
    assert html.visible("a\u115f\u1160\u3164\uffa0b") == "a\\u115f\\u1160\\u3164\\uffa0b"

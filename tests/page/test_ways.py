"""The lines that each view shows give what the view shows: with curl, in Python, in a shell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
VIEWS = {
    "count": {"text": 'it\'s a "text" with $HOME'},
    "count, ids": {"ids": "300"},
    "next": {"prompt": "If no exception is raised, the"},
    "next, ids": {"ids": "300", "model": "exact"},
    "text": {"text": "If no exception is\nraised"},
    "sources": {
        "text": "If no exception is raised, it's over.",
        "all": "1",
        "least": "2",
        "rank": "length",
        "prompt": "what?",
    },
    "search": {"expression": 'exception AND text:"it\'s"', "within": "50", "order": "matches"},
    "document": {"number": "3"},
    "document, text": {"text": "exception", "occurrence": "2"},
    "about": {},
}


# What both must say, by what is asked: the last part of the address.
FIELDS = {
    "count": "count",
    "count_text": "count",
    "tokenizations": "tokenization_count",
    "find_text": "count",
    "infgram_ntd": "next",
    "ntd": "next",
    "score": "probs",
    "longest_matches": "lengths",
    "novelty": "new",
    "perplexity": "perplexity",
    "attribute": "spans",
    "search": "document_count",
    "document": "token_ids",
}


def questions(page):
    """The places of a view's questions."""
    box = page.locator("details.ways")
    return range(box.get_by_label("Question").locator("option").count() or 1)


def field_of(curl):
    return FIELDS.get(re.search(r"/v1/indexes/[^/ ']+(?:/(\w+))?", curl)[1], "num_tokens")


def lines(page, question=0, languages=("curl", "Python", "shell")):
    """The lines of a question, by language."""
    box = page.locator("details.ways")
    if not box.evaluate("element => element.open"):
        box.locator("summary").click()
    if box.get_by_label("Question").count():
        box.get_by_label("Question").select_option(str(question))
    found = {}
    for language in languages:
        box.get_by_label(language, exact=True).check()
        found[language] = box.locator("code").inner_text()
    return found


def run(command, **more):
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False, **more
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@pytest.mark.parametrize("name", VIEWS)
def test_they_give_what_the_view_shows(tab, name):
    params = VIEWS[name]
    view = name.partition(",")[0]
    page = tab.page
    answers = []

    def keep(response):
        if "/v1/indexes/reference" in response.url and response.ok:
            answers.append((response.request.post_data, response.url, response))

    page.on("response", keep)
    tab.go("reference", view, **params)
    for question in questions(page):
        shown = lines(page, question)
        field = field_of(shown["curl"])
        by_curl = json.loads(run(["sh", "-c", shown["curl"]]))
        same = [each.json() for _, address, each in answers if address in shown["curl"]]
        # (A batch has the answer first.)
        same += [
            each["results"][0] | {"index_version": each["index_version"]}
            for each in same
            if "results" in each
        ]
        assert by_curl in same
        by_shell = json.loads(run(["sh", "-c", shown["shell"]]))
        assert by_shell[field] == by_curl[field]
        by_python = json.loads(run([sys.executable, "-W", "error", "-c", shown["Python"]]))
        assert by_python[field] == by_curl[field]


def test_a_copy(look):
    tab = look(permissions=["clipboard-read", "clipboard-write"])
    page = tab.go("reference", "count", text="for")
    code = lines(page)["shell"]
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == code


# Texts that a shell, a command line or a file of texts takes for something else.
ODD_TEXTS = [
    "--json",
    "-",
    " nul \0 and\r\nline",
    '{"text": "no record"}',
    " ",
    "\u202e turned \x1b[2J",
]


@pytest.mark.parametrize("number", range(len(ODD_TEXTS)), ids=map(repr, ODD_TEXTS))
def test_they_ask_the_same_of_any_text(tab, number):
    """(Each text in two views, each view with half of the texts.)"""
    page, text = tab.page, ODD_TEXTS[number]
    for view in ("count", "next", "text", "sources")[number % 2 :: 2]:
        name = "prompt" if view == "next" else "text"
        tab.go("odd", view, **{name: text})
        assert page.get_by_role("textbox").first.input_value() == text.replace("\r", "")
        for question in questions(page):
            shown = lines(page, question)
            field = field_of(shown["curl"])
            assert json.dumps(text) in shown["curl"].replace("'\\''", "'"), view
            assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", "".join(shown.values())), view
            by_curl = json.loads(run(["sh", "-c", shown["curl"]]))
            by_shell = json.loads(run(["sh", "-c", shown["shell"]]))
            assert by_shell[field] == by_curl[field], (view, field)
            by_python = json.loads(run([sys.executable, "-c", shown["Python"]]))
            assert by_python[field] == by_curl[field], (view, field)


def test_they_ask_the_same_of_a_long_text(tab, indexes):
    """A shell's word takes 128 KiB."""
    text = "é 'x' " * 12_000
    page = tab.go("reference", "text")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("listbox").get_by_role("option").first.wait_for()
    tab.settled()
    shown = lines(page)
    probs = list(indexes["reference"].score(text).probs)
    for language in ("curl", "shell"):
        assert json.loads(run(["sh"], input=shown[language]))["probs"] == probs, language


def test_a_document_of_a_union_has_no_line_for_a_shell(tab):
    """The command line cannot say whose number it is."""
    page = tab.go("both", "document", number=2, index=1)
    page.locator("details.ways summary").click()
    shown = lines(page)
    assert shown["shell"] == "(There is no command for this.)"
    said = run([sys.executable, "-c", shown["Python"]])
    assert "xxx" in said


def test_they_are_right_below_a_path(look, url):
    """Of a proxy that has the service below a path."""
    tab = look()
    tab.page.route(
        "**/ngrams/**",
        lambda route: route.continue_(url=route.request.url.replace("/ngrams/", "/")),
    )
    tab.url = url + "/ngrams"
    page = tab.go("odd", "count", text="bold")
    shown = lines(page)
    assert f"{url}/ngrams/v1/indexes/odd/count_text" in shown["curl"]
    assert f'Client("{url}/ngrams")' in shown["Python"]
    assert f"--remote {url}/ngrams " in shown["shell"]
    assert page.locator(".large").first.inner_text() == "1"

"""The lines that each view shows give what the view shows: with curl, in Python, in a shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
VIEWS = {
    "count": ({"text": 'it\'s a "text" with $HOME'}, "count"),
    "count, ids": ({"ids": "300"}, "count"),
    "next": ({"prompt": "If no exception is raised, the"}, "next"),
    "next, ids": ({"ids": "300", "model": "exact"}, "next"),
    "text": ({"text": "If no exception is\nraised"}, "probs"),
    "sources": (
        {
            "text": "If no exception is raised, it's over.",
            "all": "1",
            "least": "2",
            "rank": "length",
            "prompt": "what?",
        },
        "spans",
    ),
    "search": (
        {"expression": 'exception AND text:"it\'s"', "within": "50", "order": "matches"},
        "document_count",
    ),
    "document": ({"number": "3"}, "token_ids"),
    "document, text": ({"text": "exception", "occurrence": "2"}, "number"),
    "about": ({}, "num_tokens"),
}


def lines(page, place=0):
    """The lines of a view, by language."""
    box = page.locator("details.ways").nth(place)
    if not box.evaluate("element => element.open"):
        box.locator("summary").click()
    found = {}
    for language in ("curl", "Python", "shell"):
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
    params, field = VIEWS[name]
    view = name.partition(",")[0]
    page = tab.page
    answers = []

    def keep(response):
        if "/v1/indexes/reference" in response.url and response.ok:
            answers.append((response.request.post_data, response.url, response))

    page.on("response", keep)
    tab.go("reference", view, **params)
    shown = lines(page)
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
    said = run([sys.executable, "-W", "error", "-c", shown["Python"]])
    assert said.strip()
    numbers = by_curl[field]
    if isinstance(numbers, int):
        assert str(numbers) in said or f"{numbers:,}" in said, said


def test_a_copy(look):
    tab = look(permissions=["clipboard-read", "clipboard-write"])
    page = tab.go("reference", "count", text="for")
    code = lines(page)["shell"]
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == code

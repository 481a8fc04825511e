"""A service that the page is looked at with, and its indexes: what tests and screenshots share."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import numpy as np

import everygram

EVERYGRAM = Path(sys.executable).with_name("everygram")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# (As root, in a container, Chromium's own walls cannot be put up; nor has it anything to fetch.)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
MARKUP = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
# What a page stumbles over: markup, directions, tokens that do not end, and a title for each.
ODD = [
    {"text": f"{MARKUP} & <b>bold</b>", "title": f"Markup {MARKUP}", "license": "CC0"},
    {"text": "שלום עולם. זהו מסמך בעברית, מימין לשמאל.", "title": "עברית", "license": "CC BY 4.0"},
    {"text": "x" * 3000 + " " + "ab" * 1500, "title": "Unbroken", "license": "CC0"},
    {"text": "日本語の文書です。👩‍👧 e\u0301", "title": "日本語", "license": "CC0"},
    {"text": "", "title": "Empty", "license": "CC0"},
    {
        "text": "blanks \t and\r\n\n\n ends \u202e turned \u0000 nul",
        "title": "Blanks",
        "license": "CC0",
    },
]


def launch(playwright):
    """A browser: the system's, or Playwright's own."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    try:
        return playwright.chromium.launch(executable_path=found, args=FLAGS)
    except Exception as error:
        raise RuntimeError(
            "no browser could be started: tests/page/browser.sh installs one"
        ) from error


def write_corpus(path, records):
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def build(folder):
    """Indexes by name: `reference` (the demo's first part), `odd`, `ids` (no tokenizer)."""
    from pydoc_data.topics import topics

    reference = [{"text": text, "kind": "reference", "path": name} for name, text in topics.items()]
    everygram.build(write_corpus(folder / "a.jsonl", reference), folder / "reference", "train:4000")
    everygram.build(write_corpus(folder / "b.jsonl", ODD), folder / "odd", "train:400")
    stream = np.array([0, 1, 2, 3, 0, 1, 2, 4, 1, 2, 3, 0, 500, 1, 2], "<u2")
    stream.tofile(folder / "c.bin")
    everygram.build(
        folder / "c.bin", folder / "ids", pretokenized="u16", separator_id=0, vocab_size=501
    )
    everygram.prepare(folder / "odd")
    return {name: folder / name for name in ("reference", "odd", "ids")}


@contextmanager
def service(folder, *arguments):
    """The address of a service with these arguments."""
    said = folder / f"said-{time.monotonic_ns()}.txt"
    with said.open("w") as file:
        command = [EVERYGRAM, "serve", *map(str, arguments), "--port", "0", "--no-access-log"]
        process = subprocess.Popen(command, stderr=file, env={**os.environ, "COLUMNS": "200"})
    try:
        end = time.monotonic() + 300
        while "the page is at " not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)
        yield said.read_text().partition("the page is at ")[2].partition("/, ")[0]
    finally:
        process.terminate()
        process.wait(60)


class Looking:
    """A tab. What it must not do, it has not done: errors, code of an index, other hosts."""

    def __init__(self, browser, url, **context):
        given = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"} | context
        self.context = browser.new_context(**given)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.url = url
        self.said, self.hosts = [], set()
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self._console(message))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.expected = ()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def go(self, index, view, /, **params):
        """Show a view, and wait until nothing in it is busy."""
        query = urlencode({name: str(value) for name, value in params.items()})
        self.page.goto(f"{self.url}/#/{quote(index, safe='')}/{view}{'?' + query if query else ''}")
        return self.settled()

    def settled(self):
        """Wait until the page is where its address says, and nothing in it is busy."""
        self.until("document.querySelector('main').dataset.at === location.hash")
        self.page.wait_for_selector("main h1")
        self.until("!document.querySelector('#starting, [aria-busy=true]')")
        return self.page

    def until(self, expression, seconds=20):
        """Wait until an expression of JavaScript holds. (The page's policy forbids the way that
        Playwright has for this.)"""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def close(self):
        hurt = self.page.evaluate("window.hurt")
        self.context.close()
        # (A refusal that a test asks for is an error on the console, too.)
        said = [each for each in self.said if not any(part in each for part in self.expected)]
        assert not said, said
        assert hurt is None
        assert self.hosts <= {urlsplit(self.url).netloc}, self.hosts

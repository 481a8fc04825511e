"""A browser, and services that it looks at."""

import time
from urllib.parse import quote, urlencode, urlsplit

import pytest
from playwright.sync_api import sync_playwright
from served import build, launch, service

import everygram


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("looked-at")


@pytest.fixture(scope="session")
def paths(folder):
    """The indexes' folders by name."""
    return build(folder)


@pytest.fixture(scope="session")
def url(folder, paths):
    """A service of all of them, and of two as one."""
    with service(folder, *paths.values(), "--union", "both=reference,odd-too", *more(paths)) as url:
        yield url


def more(paths):
    """An index with the same tokenizer as `reference`, for a union."""
    path = paths["reference"].parent / "odd-too"
    tokenizer = paths["reference"].parent / "tokenizer.json"
    with everygram.open(paths["reference"]) as index:
        tokenizer.write_bytes(index.tokenizer.json)
    everygram.build(path.parent / "b.jsonl", path, tokenizer)
    return [path]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


class Looking:
    """A tab. What it must not do, it has not done: errors, code of an index, other hosts."""

    def __init__(self, browser, url, **context):
        given = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"} | context
        self.context = browser.new_context(**given)
        self.context.set_default_timeout(20_000)
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


@pytest.fixture
def look(browser, url):
    """A function that gives a tab; what a tab must not do is checked at the end."""
    opened = []

    def open_tab(address=url, **context):
        opened.append(Looking(browser, address, **context))
        return opened[-1]

    yield open_tab
    for each in opened:
        each.close()


@pytest.fixture
def tab(look):
    return look()


@pytest.fixture(scope="session")
def indexes(paths, url):
    """The indexes as they are here."""
    opened = {name: everygram.open(path) for name, path in paths.items()}
    yield opened
    for each in opened.values():
        each.close()

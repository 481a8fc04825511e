"""A browser, and services that it looks at."""

import pytest
from playwright.sync_api import sync_playwright
from served import Looking, build, launch, service

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


# (Not for longer: while Playwright is there, nobody else can run a loop of asyncio.)
@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


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

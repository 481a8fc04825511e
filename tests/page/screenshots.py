"""Pictures of every view and of the states, at three widths, light and dark, to be looked at.

    python tests/page/screenshots.py FOLDER [NAME]

With a NAME, only of views or states whose name begins so.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from served import Looking, build, launch, service

WIDTHS = (360, 768, 1440)
SCHEMES = ("light", "dark")
ANSWER = (
    "If no exception is raised, the first element of the list is returned to the caller. The "
    "quick brown fox returns a new iterator object, and raises StopIteration when there is no "
    "further item available."
)
VIEWS = {
    "count": ("reference", "count", {"text": "exception"}),
    "count-empty": ("reference", "count", {}),
    "next": ("reference", "next", {"prompt": "If no exception is"}),
    "text": ("reference", "text", {"text": ANSWER}),
    "sources": ("reference", "sources", {"text": ANSWER, "all": "1", "least": "4"}),
    "search": ("reference", "search", {"expression": "exception NEAR/5 raised"}),
    "search-wrong": ("reference", "search", {"expression": "exception AND (raised OR"}),
    "document": ("reference", "document", {"text": "exception", "occurrence": "3"}),
    "document-rtl": ("odd", "document", {"number": "1"}),
    "document-unbroken": ("odd", "document", {"number": "2"}),
    "about": ("odd", "about", {}),
    "ids-next": ("ids", "next", {"ids": "1,2"}),
    "ids-text": ("ids", "text", {"ids": "9,1,2,3"}),
    "no-such-index": ("nope", "count", {}),
}


def busy(route):
    route.fulfill(status=503, headers={"retry-after": "9"}, json={"title": "Too busy"})


def failed(route):
    said = {"title": "Something failed here", "detail": "the service's log says why"}
    route.fulfill(status=500, json=said)


def unknown(route):
    route.fulfill(status=401, json={"title": "A key is wanted"})


STATES = {
    "state-busy": ("**/search", busy),
    "state-error": ("**/search", failed),
    "state-gone": ("**/search", lambda route: route.abort()),
    "state-key": ("**/v1/indexes", unknown),
    "state-loading": ("**/search", lambda route: None),
    "state-none": ("**/v1/indexes", lambda route: route.fulfill(json={"indexes": []})),
}


def main(folder: Path, wanted: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        paths = build(Path(made))
        with service(Path(made), *paths.values()) as url:
            browser = launch(playwright)
            for width in WIDTHS:
                for scheme in SCHEMES:
                    size = {"width": width, "height": 900}
                    for name in (*VIEWS, *STATES):
                        if name.startswith(wanted):
                            tab = Looking(browser, url, viewport=size, color_scheme=scheme)
                            take(tab, name, folder / f"{name}-{width}-{scheme}.png")
                            tab.context.close()
            browser.close()


def take(tab: Looking, name: str, path: Path) -> None:
    page = tab.page
    if name in STATES:
        page.route(*STATES[name])
        page.goto(f"{tab.url}/#/reference/search?expression=exception")
        page.wait_for_selector(".state, .waiting")
    else:
        index, view, params = VIEWS[name]
        tab.go(index, view, **params)
        if name == "text":
            page.get_by_role("listbox").get_by_role("option").nth(13).click()
            page.get_by_role("heading", name="What follows there").wait_for()
        elif name == "sources":
            page.locator("button.span").first.click()
        elif name == "count":
            page.locator("details.ways summary").click()
    page.screenshot(path=path, full_page=True)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")

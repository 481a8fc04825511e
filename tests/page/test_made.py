"""How the page is made: of what, how large, for whom."""

import json
import re

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from test_ways import VIEWS

from everygram.server.routes.page import FOLDER, files

LARGEST = 150_000
# Views as they are first seen, and with answers.
SEEN = [
    *((view, {}) for view in ("count", "next", "text", "sources", "search", "document", "about")),
    *((name.partition(",")[0], params) for name, params in VIEWS.items() if params),
]


def test_it_is_small_and_plain():
    sources = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert sum(len(each.encode()) for each in sources.values()) < LARGEST
    page = sources["index.html"]
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
    for name, source in sources.items():
        # No other host, and no way from a text to markup or code.
        assert not re.search(r"https?://(?!www\.w3\.org/)", source), name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
            r"|DOMParser|srcdoc|createContextualFragment", source), name  # fmt: skip


def test_files_are_kept_until_there_are_others(url):
    page = httpx2.get(url + "/", headers={"accept": "text/html,*/*"})
    assert page.headers["cache-control"] == "no-cache"
    again = {"accept": "text/html", "if-none-match": page.headers["etag"]}
    assert httpx2.get(url + "/", headers=again).status_code == 304
    loaded = re.findall(r'(?:href|src)="(page/[^"]+)"', page.text)
    assert len(loaded) == 7
    stamp = {each.split("/")[1] for each in loaded}
    assert len(stamp) == 1 and re.fullmatch(r"[0-9a-f]{16}", *stamp)
    for name in files():
        answer = httpx2.get(f"{url}/page/{stamp.copy().pop()}/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        head = httpx2.head(f"{url}/page/{stamp.copy().pop()}/{name}")
        assert head.headers["content-length"] == str(len(answer.content)) and not head.content
    missing = httpx2.get(f"{url}/page/{stamp.copy().pop()}/nope.js")
    assert missing.status_code == 404 and missing.json()["status"] == 404
    assert httpx2.get(f"{url}/page/x/..%2f..%2fsettings.py").status_code == 404


def test_programs_are_told_the_indexes(url):
    assert httpx2.get(url + "/").json() == ["reference", "odd", "ids", "odd-too", "both"]
    limits = httpx2.get(url + "/v1/limits").json()
    assert limits["max_batch"] == 10_000 and limits["max_seconds"] == 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(look, scheme):
    tab = look(color_scheme=scheme)
    for view, params in SEEN:
        page = tab.go("reference", view, **params)
        for each in page.locator("details").all():
            each.evaluate("element => { element.open = true }")
        if view == "text" and params:
            page.get_by_role("listbox").get_by_role("option").nth(3).click()
            page.get_by_role("heading", name="What follows there").wait_for()
            tab.settled()
        if view == "sources" and params:
            page.locator("button.span").first.click()
        found = Axe().run(page).response["violations"]
        assert not found, (view, scheme, json.dumps(found, indent=1)[:3000])


@pytest.mark.parametrize("width", [320, 360, 768, 1440])
def test_nothing_is_wider_than_the_screen(look, width):
    tab = look(viewport={"width": width, "height": 800})
    for view, params in SEEN:
        page = tab.go("reference", view, **params)
        for each in page.locator("details").all():
            each.evaluate("element => { element.open = true }")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_all_by_keyboard(tab):
    page = tab.go("reference", "next", prompt="If no exception is raised, the")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.textContent || document.activeElement.tagName")
        )
        outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined != "none", seen
        if "objects" in seen[-1] or "caller" in seen[-1]:
            break
    before = page.locator(".tokens .chip").count()
    page.keyboard.press("Enter")
    tab.until(f"document.querySelectorAll('.tokens .chip').length === {before + 1}")


def test_what_is_found_is_said(tab):
    page = tab.go("reference", "count", text="exception")
    status = page.get_by_role("status").first
    assert re.fullmatch(r"[\d,]+ occurrences in [\d,]+ documents\.", status.text_content())
    page = tab.go("reference", "search", expression="exception")
    assert re.fullmatch(r"[\d,]+ documents\.", status.text_content())


def test_motion_that_is_not_wanted(look):
    tab = look(reduced_motion="reduce")
    page = tab.go("reference", "count")
    page.route("**/count_text", lambda route: None)
    page.get_by_label("Text to count").fill("for")
    page.get_by_text("Loading…").wait_for()
    moving = page.locator(".waiting").evaluate("element => getComputedStyle(element).animationName")
    assert moving == "none"
    page.unroute("**/count_text")


def test_how_numbers_are_written(tab):
    page = tab.go("reference", "count")
    address = page.locator("link[href$='dom.js']").evaluate("element => element.href")
    said = page.evaluate(
        """async (address) => {
            const { bytes, percent, unitsOf } = await import(address);
            return [
                [0, 0.00001, 0.5, 0.99999, 1, null].map(percent),
                [0, 999, 999_900, 1_500_000].map(bytes),
                unitsOf("a🎉b🎉", [3, 0, 2, 4, 9]),
            ];
        }""",
        address,
    )
    assert said == [
        ["0 %", "1.0e-3 %", "50 %", "> 99.9 %", "100 %", "–"],
        ["0 bytes", "999 bytes", "1000 KB", "1.5 MB"],
        [4, 0, 3, 6, 6],
    ]

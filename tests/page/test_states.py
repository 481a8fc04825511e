"""What the page shows when there is nothing to show: its states, and what leads out of them."""

import json
from contextlib import suppress

import pytest
from playwright.sync_api import Error
from served import service

from everygram.server.keys import add

REFUSED = "Failed to load resource"


def problem(status, title, detail="", **headers):
    return {
        "status": status,
        "content_type": "application/problem+json",
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "body": json.dumps(
            {"type": f"urn:everygram:problem:{title}", "title": title, "detail": detail}
        ),
    }


def test_empty(tab):
    for view, says in {
        "count": "How often does a text occur in",
        "text": "Paste a text to see which of it the corpus has",
        "sources": "Paste what a model wrote",
        "search": "by words, phrases and where they stand",
        "document": "numbered from 0",
    }.items():
        page = tab.go("reference", view)
        assert page.locator(".state").get_by_text(says).is_visible(), view
    # An empty prompt has an answer: what tokens there are.
    page = tab.go("reference", "next")
    assert page.get_by_text("Nothing stands before").is_visible()


def test_loading(tab):
    page = tab.go("reference", "count")
    held = []
    page.route("**/count_text", lambda route: held.append(route))
    page.get_by_label("Text to count").fill("for")
    page.get_by_text("Loading…").wait_for()
    assert page.locator("[aria-busy=true]").count() == 1
    page.wait_for_timeout(50)
    for route in held:
        route.continue_()
    page.get_by_role("heading", name="As a text").wait_for()
    assert not page.get_by_text("Loading…").count()


def test_a_later_question_ends_an_earlier_one(tab):
    page = tab.go("reference", "count")
    held = []
    page.route("**/count_text", lambda route: held.append(route) if not held else route.continue_())
    field = page.get_by_label("Text to count")
    with page.expect_request("**/count_text"):
        field.fill("for")
    while not held:
        page.wait_for_timeout(10)
    field.fill("exception")
    page.get_by_role("heading", name="As a text").wait_for()
    count = page.locator(".large").first.inner_text()
    with suppress(Error):  # (The browser may have given it up already.)
        held[0].fulfill(json={"results": [{"count": 7, "document_count": 7}] * 20})
    page.wait_for_timeout(200)
    assert page.locator(".large").first.inner_text() == count


def test_an_error_and_its_way_out(tab):
    tab.expected = (REFUSED,)
    page = tab.page
    page.route(
        "**/search", lambda route: route.fulfill(**problem(500, "It failed", "its log says why"))
    )
    tab.go("reference", "search", expression="exception")
    assert page.get_by_role("heading", name="It failed").is_visible()
    assert page.locator(".detail").inner_text() == "its log says why"
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    page.locator(".hits").wait_for()


def test_a_service_that_is_gone(tab):
    tab.expected = (REFUSED,)
    page = tab.page
    tab.go("reference", "count")
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_label("Text to count").fill("for")
    page.get_by_role("heading", name="The service cannot be reached").wait_for()
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="As a text").wait_for()


def test_a_part_of_the_page_that_is_not_there(tab):
    tab.expected = (REFUSED,)
    page = tab.go("reference", "about")
    page.route("**/search.js", lambda route: route.abort())
    page.get_by_role("link", name="Search", exact=True).click()
    page.get_by_text("A part of the page could not be loaded.").wait_for()
    page.unroute("**/search.js")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="Search", level=1).wait_for()
    tab.settled()


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_asked_again(tab, status):
    tab.expected = (REFUSED,)
    page, times = tab.page, []

    def busy(route):
        times.append(1)
        if len(times) <= 2:
            route.fulfill(**problem(status, "Too busy", "too many queries wait", retry_after="1"))
        else:
            route.continue_()

    page.route("**/search", busy)
    tab.page.goto(f"{tab.url}/#/reference/search?expression=exception")
    page.get_by_text("The service is busy. Trying again in 1 second…").wait_for()
    page.locator(".hits").wait_for()
    assert len(times) == 3


def test_a_service_that_stays_busy(tab):
    tab.expected = (REFUSED,)
    page = tab.page
    page.route(
        "**/search",
        lambda route: route.fulfill(**problem(503, "Too busy", "too many queries wait")),
    )
    tab.go("reference", "search", expression="exception")
    assert page.locator(".state.busy").get_by_role("heading", name="Too busy").is_visible()
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    page.locator(".hits").wait_for()


def test_an_index_without_a_tokenizer(tab, indexes):
    index = indexes["ids"]
    page = tab.go("ids", "count")
    page.get_by_label("Text to count, as token ids").fill("1 2")
    page.get_by_role("heading", name="These tokens").wait_for()
    assert page.locator(".large").inner_text() == str(int(index.count([1, 2])))
    page = tab.go("ids", "next", ids="1,2")
    rows = page.locator(".bars > li")
    assert rows.count() == len(index.infgram_ntd([1, 2]).top(20))
    assert "#3" in rows.first.inner_text()
    assert page.get_by_text("end of the document").is_visible()
    rows.first.get_by_role("button").click()
    page.wait_for_url("**ids=1%2C2%2C3")
    page = tab.go("ids", "text", ids="9,1,2,3")
    assert page.get_by_role("listbox").get_by_role("option").count() == 4
    page.get_by_role("listbox").get_by_role("option").last.click()
    page.get_by_role("heading", name="What follows there").wait_for()
    tab.settled()
    page = tab.go("ids", "sources", ids="9,1,2,3", all="1")
    assert page.locator("button.span").first.inner_text()
    page = tab.go("ids", "search", expression="ids:1,2")
    assert page.locator(".hits > li").count() == len(index.search("ids:1,2").hits)
    page = tab.go("ids", "document", number=0)
    assert page.locator(".text.ids").inner_text() == "1 2 3"
    page = tab.go("ids", "about")
    assert page.get_by_text("none: token ids only").is_visible()


def test_one_index_needs_no_choice(look, folder, paths):
    with service(folder, paths["odd"]) as url:
        tab = look(url)
        tab.page.goto(url + "/")
        page = tab.settled()
        assert page.url.endswith("#/odd/count")
        assert page.locator("header .index").inner_text().endswith("odd")
        assert not page.get_by_label("Index", exact=True).count()


def test_fifty_indexes(look, folder, paths):
    names = [f"i{number:02}" for number in range(50)]
    with service(
        folder, *(f"{name}={paths['odd']}" for name in names), f"last={paths['ids']}"
    ) as url:
        tab = look(url)
        tab.page.goto(url + "/")
        page = tab.settled()
        choice = page.get_by_label("Index", exact=True)
        assert choice.locator("option").count() == 51
        choice.select_option("i37")
        page.wait_for_url("**#/i37/count")
        page.get_by_role("link", name="About").click()
        choice.select_option("last")
        page.wait_for_url("**#/last/about")
        tab.settled()
        assert page.get_by_text("none: token ids only").is_visible()


def test_an_index_that_is_not_there(tab):
    page = tab.go("nope", "count")
    assert page.get_by_role("heading", name="There is no such index").is_visible()
    page.get_by_label("Index", exact=True).select_option("odd")
    page.wait_for_url("**#/odd/count")
    page.get_by_role("heading", name="Count", level=1).wait_for()
    # What is no view is the first.
    tab.go("odd", "nonsense")
    assert page.url.endswith("#/odd/count")


def test_no_index(tab):
    page = tab.page
    page.route("**/v1/indexes", lambda route: route.fulfill(json={"indexes": []}))
    tab.go("reference", "count")
    assert page.get_by_role("heading", name="No index to read").is_visible()
    page.unroute("**/v1/indexes")
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="Count", level=1).wait_for()


def test_a_key(look, folder, paths):
    keys = folder / "keys.json"
    _, key = add(keys, "reader", {"odd": ["read"]}, None)
    with service(folder, paths["odd"], paths["ids"], "--keys", keys) as url:
        tab = look(url)
        tab.expected = (REFUSED,)
        page = tab.page
        page.goto(f"{url}/#/odd/count?text=bold")
        page.get_by_role("heading", name="This service wants a key").wait_for()
        # (What no header can have is not sent, nor kept.)
        page.get_by_label("API key").fill("eg_ключ")
        page.get_by_role("button", name="Use this key").click()
        page.reload()
        page.get_by_role("heading", name="This service wants a key").wait_for()
        assert not page.get_by_text("The key that was given is not known here.").count()
        page.get_by_label("API key").fill("eg_wrong")
        page.get_by_role("button", name="Use this key").click()
        page.get_by_text("The key that was given is not known here.").wait_for()
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use this key").click()
        page.get_by_role("heading", name="As a text").wait_for()
        # It may read one index; of others it is not told, and a link to one says so.
        assert page.locator("header .index").inner_text().endswith("odd")
        tab.go("ids", "count")
        assert page.get_by_role("heading", name="There is no such index").is_visible()
        tab.go("odd", "count", text="bold")
        page.locator("details.ways summary").click()
        assert "Bearer $EVERYGRAM_KEY" in page.locator("code").first.inner_text()
        assert key not in page.content()
        page.reload()
        tab.settled()
        # Another tab has to be told.
        other = look(url)
        other.expected = (REFUSED,)
        other.page.goto(f"{url}/#/odd/count")
        other.page.get_by_role("heading", name="This service wants a key").wait_for()
        # A key that is revoked meanwhile.
        keys.write_text(json.dumps([]))
        page.wait_for_timeout(1500)
        page.get_by_label("Text to count").fill("markup")
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_role("heading", name="This service wants a key").wait_for()
        assert page.title() == "This service wants a key · everygram"
        _, another = add(keys, "another", {"odd": ["read"]}, None)
        page.wait_for_timeout(1500)
        page.get_by_label("API key").press_sequentially(another)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="As a text").wait_for()
        assert page.evaluate("document.activeElement.id") == "content"

"""Moving about: views that are left, double clicks, where the focus is, fields and addresses."""

import json
import re

import pytest

REFUSED = "Failed to load resource"


def focused(page):
    return page.evaluate("document.activeElement.textContent")


@pytest.mark.parametrize(
    ("view", "label"), [("count", "Text to count"), ("next", "Prompt"), ("text", "Text")]
)
def test_who_types_and_goes_is_not_brought_back(tab, view, label):
    page = tab.go("reference", view)
    # (In one turn of the page: a slow machine would ask before it goes.)
    page.get_by_label(label, exact=True).evaluate(
        """field => {
            field.value = "exception";
            field.dispatchEvent(new Event("input", {bubbles: true}));
            document.querySelector("nav a[href$='/about']").click();
        }"""
    )
    page.wait_for_timeout(700)
    tab.settled()
    assert page.url.endswith("#/reference/about")
    assert page.get_by_role("heading", name="About", level=1).is_visible()
    assert page.get_by_role("status").first.text_content().startswith("reference: ")
    page.go_back()
    tab.settled()
    assert page.url.endswith(f"#/reference/{view}")
    assert page.get_by_label(label, exact=True).input_value() == ""


def test_a_late_answer_of_a_view_that_was_left(tab):
    page = tab.go("reference", "next", prompt="If no exception is raised, the")
    held = []
    page.route("**/encode", lambda route: held.append(route))
    page.locator(".bars button").first.click()
    page.get_by_role("link", name="About").click()
    tab.settled()
    held[0].continue_()
    page.wait_for_timeout(300)
    assert page.url.endswith("#/reference/about")


def test_forms_ask_once(tab):
    page = tab.go("reference", "search")
    asked = []
    page.on("request", lambda request: "/v1/" in request.url and asked.append(request.url))
    page.get_by_label("Expression").fill("exception")
    page.get_by_role("button", name="Search", exact=True).click()
    tab.settled()
    assert len(asked) == 1
    # What is asked again is answered again.
    page.get_by_role("button", name="Search", exact=True).click()
    tab.settled()
    assert len(asked) == 2


def test_fields_follow_the_address(tab):
    steps = [
        ("count", {"text": "of\nthe"}),
        ("count", {"ids": "1,2"}),
        ("next", {"prompt": "If no", "top": "50"}),
        ("next", {"prompt": "x", "model": "exact"}),
        ("text", {"text": "If no exception", "colour": "prob"}),
        (
            "sources",
            {"text": "If no", "all": "1", "rank": "length", "least": "2", "prompt": "a\nb"},
        ),
        ("search", {"expression": "exception\nAND raised", "order": "document", "within": "9"}),
        ("document", {"number": "3"}),
        ("document", {"text": "exception", "occurrence": "2"}),
    ]
    fields = """[...document.querySelectorAll("main :is(input, select, textarea)")]
        .filter((each) => each.type !== "radio")
        .map((each) => each.type === "checkbox" ? each.checked : each.value)"""
    seen = []
    for view, params in steps:
        page = tab.go("reference", view, **params)
        seen.append((page.url, page.evaluate(fields)))
        values = [value for name, value in params.items() if name not in ("all", "occurrence")]
        assert set(values) <= set(seen[-1][1]), view
    for address, values in reversed(seen[:-1]):
        page.go_back()
        tab.settled()
        assert (page.url, page.evaluate(fields)) == (address, values)
    for address, values in seen[1:]:
        page.go_forward()
        tab.settled()
        assert (page.url, page.evaluate(fields)) == (address, values)
    page.reload()
    tab.settled()
    assert (page.url, page.evaluate(fields)) == seen[-1]


def test_line_ends_are_counted_as_they_are(tab, indexes):
    index = indexes["odd"]
    for text in ("and\r\n", "\n\n\n ends", "and\n"):
        page = tab.go("odd", "count", text=text)
        assert page.locator(".large").first.inner_text() == str(int(index.count_text(text))), text
    field = page.get_by_label("Text to count")
    field.fill("and")
    field.press("Shift+Enter")
    tab.settled()
    assert field.input_value() == "and\n"
    field.press("Enter")
    tab.settled()
    assert field.input_value() == "and\n"


def test_ids_that_are_none_and_then_some(tab, indexes):
    page = tab.go("ids", "document")
    field = page.get_by_label("Or find the documents of a text, as token ids")
    field.fill("one")
    field.press("Enter")
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("1 2")
    field.press("Enter")
    page.wait_for_url("**ids=1+2")
    tab.settled()
    assert page.locator(".large").inner_text().startswith("1 of ")
    # What is no id may be a text.
    page = tab.go("reference", "count", ids="raised")
    page.get_by_role("heading", name="These are no token ids").wait_for()
    page.get_by_label("Token ids", exact=True).uncheck()
    field = page.get_by_label("Text to count")
    tab.settled()
    field.press("Enter")
    page.wait_for_url("**text=raised")
    assert field.get_attribute("aria-invalid") == "false"


def test_ids_stay_ids_without_any(tab):
    page = tab.go("reference", "next")
    page.get_by_label("Token ids", exact=True).check()
    page.get_by_label("Model").select_option("exact")
    page.wait_for_url("**model=exact")
    tab.settled()
    assert page.get_by_label("Token ids", exact=True).is_checked()
    page.reload()
    tab.settled()
    assert page.get_by_label("Prompt, as token ids").is_visible()


def test_double_clicks(tab, indexes):
    page = tab.go("reference", "next", prompt="If no exception is raised, the")
    token = indexes["reference"].infgram_ntd("If no exception is raised, the").top(1)[0].token
    page.locator(".bars button").first.dblclick()
    page.wait_for_timeout(500)
    tab.settled()
    assert (
        page.get_by_label("Prompt", exact=True).input_value()
        == "If no exception is raised, the" + token
    )
    page = tab.go("reference", "count", text="the")
    page.get_by_role("button", name="More places").dblclick()
    page.wait_for_timeout(500)
    assert page.get_by_role("heading", name="Count", level=1).is_visible()
    addresses = page.locator(".places a").evaluate_all("all => all.map((each) => each.href)")
    assert 10 <= len(addresses) == len(set(addresses))


def test_the_focus_stays(tab):
    page = tab.go("reference", "count", text="the")
    page.get_by_role("button", name="More places").press("Enter")
    tab.until("document.querySelectorAll('.places li').length === 10")
    tab.settled()
    assert focused(page) == "More places"
    page = tab.go("reference", "document", text="exception")
    for occurrence in (2, 3):
        page.get_by_role("link", name="Next occurrence").press("Enter")
        page.locator(".large", has_text=f"{occurrence} of ").wait_for()
        tab.settled()
        assert focused(page) == "Next occurrence →"
    page.get_by_role("button", name="Show more around it").press("Enter")
    tab.settled()
    assert focused(page) != page.locator("body").text_content()
    choice = page.get_by_label("Index", exact=True)
    choice.focus()
    for name in ("odd", "ids"):
        choice.press("ArrowDown")
        page.wait_for_url(f"**#/{name}/document")
        tab.settled()
        assert choice.evaluate("element => element === document.activeElement"), name


def test_what_is_marked_is_in_sight(look):
    tab = look(viewport={"width": 600, "height": 400})
    page = tab.go("reference", "search", expression="exception")
    page.locator(".hits a").last.click()
    tab.settled()
    inside = """(() => {
        const place = document.getElementById("match").getBoundingClientRect();
        return place.top >= 0 && place.bottom <= innerHeight;
    })()"""
    tab.until(inside)
    # A token that is moved to is not below what is said of it.
    tab.go("reference", "text", text="If no exception is raised, the quick brown fox. " * 30)
    page.get_by_role("listbox").get_by_role("option").first.focus()
    for _ in range(25):
        page.keyboard.press("ArrowDown")
    page.get_by_role("heading", name="What follows there").wait_for()
    tab.settled()
    assert page.evaluate("""(() => {
        const place = document.activeElement.getBoundingClientRect();
        return document.elementFromPoint(place.left + 2, place.top + place.height / 2)
            === document.activeElement;
    })()""")


@pytest.mark.parametrize(
    ("view", "params", "path", "button", "items"),
    [
        ("count", {"text": "the"}, "find_text", "More places", ".places li"),
        ("search", {"expression": "the"}, "search", "More documents", ".hits > li"),
    ],
)
def test_an_index_that_changes_meanwhile(tab, view, params, path, button, items):
    tab.expected = (REFUSED,)
    page = tab.go("reference", view, **params)
    count = page.locator(items).count()
    body = json.dumps({"type": "urn:everygram:problem:changed", "title": "The index has changed"})
    page.route(f"**/{path}", lambda route: route.fulfill(status=409, body=body))
    page.get_by_role("button", name=button).press("Enter")
    page.get_by_text("The index has changed since this list was begun.").wait_for()
    page.unroute(f"**/{path}")
    page.get_by_role("button", name="Ask again").click()
    page.get_by_role("button", name=button).wait_for()
    tab.settled()
    assert page.locator(items).count() == count


def test_colours_that_the_system_chooses(look):
    tab = look(forced_colors="active")
    page = tab.go("reference", "text", text="If no exception is raised")
    grounds = page.locator(".t").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(grounds)) > 1
    current = page.get_by_role("navigation", name="Views").get_by_role("link", name="Text")
    assert current.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page = tab.go("reference", "next", prompt="If")
    filled = page.locator(".filled").first
    ground = filled.evaluate("element => getComputedStyle(element).backgroundColor")
    assert ground != page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")


def test_the_focus_stays_among_sources(tab, indexes):
    text = "If no exception is raised, the first element of the list; it is the name of the class. "
    text += "In this case, there may be objects."
    page = tab.go("reference", "sources", text=text, all="1")
    page.locator("button.span").nth(1).press("Enter")
    page.get_by_role("button", name="Show all").press("Enter")
    assert focused(page).endswith("spans that overlap are marked as one.")
    larger = page.get_by_role("button", name="Show more around it")
    first = page.get_by_role("article").first
    title = first.get_by_role("link").text_content()
    larger.first.press("Enter")
    assert focused(page) == "Show more around it"
    first.get_by_role("button").press("Enter")
    assert focused(page) == title
    page.get_by_role("button", name=re.compile(r"^Show \d+ more$")).press("Enter")
    twentieth = page.get_by_role("article").nth(20).get_by_role("link")
    assert twentieth.evaluate("element => element === document.activeElement")


def test_more_of_a_span_keeps_the_choice(tab, indexes):
    text = "the first element of the list"
    page = tab.go("reference", "sources", text=text, all="1")
    chosen = page.locator("button.span").first
    chosen.click()
    while page.locator(".cards > button").count():
        page.locator(".cards > button").press("Enter")
        tab.settled()
        assert chosen.get_attribute("aria-pressed") == "true"
        assert not page.locator(".state.error").count()
    spans = indexes["reference"].attribute(text, density=None, documents=1000)
    merged = set(spans.merged_spans[0].spans)
    listed = [each for each in spans.documents if merged & set(each.spans)]
    assert page.get_by_role("article").count() == len(listed)

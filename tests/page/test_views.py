"""Every view, by what a person reads and does: numbers are those of the index."""

import re

import pytest

NO_EXCEPTION = "If no exception is raised, the"


def shown(value):
    return f"{value:,}"


def percent(prob):
    text = f"{prob * 100:.3g}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def texts(locator):
    return [" ".join(each.split()) for each in locator.all_inner_texts()]


def test_count(tab, indexes):
    index = indexes["reference"]
    page = tab.go("reference", "count")
    # What there is to try stands in the index.
    for link in page.locator(".examples a").all():
        assert index.count_text(link.inner_text()) > 0
    assert page.locator(".examples a").count()
    page.get_by_label("Text to count").press_sequentially("of the", delay=20)
    page.wait_for_url("**#/reference/count?text=of+the")
    page.get_by_role("heading", name="Written in other ways").wait_for()
    tab.settled()
    found, documents = index.count_text("of the"), index.document_count_text("of the")
    tokens = index.count("of the")
    figures = texts(page.locator(".figure"))
    assert f"{shown(found)} occurrences in {shown(documents)}" in figures[0]
    assert f"As tokens {shown(tokens)} occurrences" in figures[1]
    assert page.locator(".figure .chip").count() == len(tokens.token_ids)
    rows = texts(page.locator("tbody tr"))
    for label, given in {
        "as typed": {},
        "any case": {"ignore_case": True},
        "whole words": {"whole_words": True},
    }.items():
        (row,) = [each for each in rows if each.startswith(label + " ")]
        counts = (
            index.count_text("of the", **given),
            index.document_count_text("of the", **given),
        )
        assert row.endswith(" ".join(map(shown, counts)))
    (row,) = [each for each in rows if each.startswith("CAPITALS ")]
    assert row.split()[-2] == shown(index.count_text("OF THE"))
    divisions = index.tokenizations("of the", limit=5)
    assert page.locator(".divisions li").count() == len(divisions)
    places = page.locator(".places li")
    assert places.count() == 5
    page.get_by_role("button", name="More places").click()
    tab.until("document.querySelectorAll('.places li').length > 5")
    first = next(iter(index.find_text("of the", limit=1)))
    places.first.get_by_role("link").click()
    tab.settled()
    assert f"number={first.document}" in page.url
    assert page.locator("mark#match").inner_text() == "of the"


def test_count_of_a_text_that_has_no_places(tab):
    page = tab.go("reference", "count", text="zyzzyva quux")
    assert texts(page.locator(".large"))[:1] == ["0"]
    assert not page.get_by_role("heading", name="Where it stands").count()


def test_count_of_a_text_that_is_too_long_to_be_one(tab, indexes):
    text = "of the " * 1_500
    page = tab.go("reference", "count")
    page.get_by_label("Text to count").fill(text)
    page.get_by_text("too long for this service to look for it as a text").wait_for()
    tab.settled()
    assert page.locator(".large").inner_text() == shown(int(indexes["reference"].count(text)))


def test_count_of_token_ids(tab, indexes):
    page = tab.go("reference", "count")
    page.get_by_label("Token ids", exact=True).check()
    ids = indexes["reference"].encode("of the").tolist()
    page.get_by_label("Text to count, as token ids").fill(", ".join(map(str, ids)))
    page.get_by_role("heading", name="These tokens").wait_for()
    assert texts(page.locator(".large")) == [shown(indexes["reference"].count(ids))]
    page.get_by_label("Text to count, as token ids").fill("1, two")
    page.get_by_role("heading", name="These are no token ids").wait_for()


def test_the_back_button_and_shared_addresses(tab, look):
    page = tab.go("reference", "count", text="for")
    page.get_by_role("link", name="Next", exact=True).click()
    page.get_by_role("heading", name="Next", level=1).wait_for()
    page.get_by_role("link", name="About").click()
    page.get_by_role("heading", name="About", level=1).wait_for()
    assert page.title() == "About · reference · everygram"
    page.go_back()
    page.get_by_role("heading", name="Next", level=1).wait_for()
    page.go_back()
    page.get_by_role("heading", name="Count", level=1).wait_for()
    assert page.get_by_label("Text to count").input_value() == "for"
    address, count = page.url, page.locator(".large").first.inner_text()
    other = look()
    other.page.goto(address)
    other.settled()
    assert other.page.locator(".large").first.inner_text() == count


def test_next(tab, indexes):
    index = indexes["reference"]
    page = tab.go("reference", "next", prompt=NO_EXCEPTION)
    found = index.infgram_ntd(NO_EXCEPTION)
    ids = index.encode(NO_EXCEPTION).tolist()
    assert page.locator(".chip.used").count() == found.suffix_len
    assert page.locator(".chip.unused").count() == len(ids) - found.suffix_len
    rows = page.locator(".bars > li")
    listed = found.top(20)
    assert rows.count() == len(listed)
    for row, each in zip(texts(rows), listed, strict=True):
        assert row.endswith(f" {shown(each.count)}")
        assert percent(each.prob) in row
    rows.first.get_by_role("button").click()
    tab.until(f"document.querySelectorAll('.tokens .chip').length === {len(ids) + 1}")
    tab.settled()
    longer = index.infgram_ntd([*ids, listed[0].token_id])
    assert page.locator(".chip.used").count() == longer.suffix_len
    page.go_back()
    tab.until(f"document.querySelectorAll('.tokens .chip').length === {len(ids)}")
    page.get_by_label("Model").select_option("exact")
    tab.settled()
    assert index.ntd(NO_EXCEPTION).prompt_count == 0
    assert page.get_by_text("The prompt does not occur").is_visible()


def test_next_after_tokens_that_are_no_text(tab, indexes):
    """A token whose text would be tokenized otherwise takes the prompt over to ids."""
    index = indexes["odd"]
    ids = index.encode("日本語", raw=True).tolist()
    page = tab.go("odd", "next", ids=",".join(map(str, ids[:-1])))
    page.locator(".bars button").first.click()
    count = len(ids)
    tab.until(f"document.querySelectorAll('.tokens .chip').length === {count}")
    tab.settled()
    found = index.infgram_ntd(ids[:-1]).top(1)[0].token_id
    value = page.get_by_label("Prompt, as token ids").input_value()
    assert value == ",".join(map(str, [*ids[:-1], found]))


def test_a_token_that_is_pointed_at(tab):
    page = tab.go("reference", "text", text=TEXT)
    tokens = page.get_by_role("listbox").get_by_role("option")
    tokens.nth(3).hover()
    page.get_by_role("heading", name="What follows there").wait_for()
    shown_id = page.locator(".detail .facts dd").first.inner_text()
    # One that is chosen stays while the pointer goes on.
    tokens.nth(5).click()
    tab.settled()
    chosen = page.locator(".detail .facts dd").first.inner_text()
    assert chosen != shown_id
    tokens.nth(1).hover()
    page.wait_for_timeout(600)
    assert page.locator(".detail .facts dd").first.inner_text() == chosen


def longest_ending(index, ids):
    """The tokens of the longest match that ends with each token."""
    return [
        max((end - start for start in range(end) if index.count(ids[start:end])), default=0)
        for end in range(1, len(ids) + 1)
    ]


TEXT = "If no exception is raised, the quick brown fox returns None."


def test_text(tab, indexes):
    index = indexes["reference"]
    page = tab.go("reference", "text", text=TEXT)
    scores = index.score(TEXT)
    tokens = page.get_by_role("listbox").get_by_role("option")
    assert tokens.count() == len(scores.token_ids)
    assert "".join(page.locator(".t").all_text_contents()) == "".join(scores.tokens)
    tokens.first.focus()
    for i in range(len(scores.token_ids)):
        page.get_by_role("heading", name="What follows there").wait_for()
        tab.until("!document.querySelector('.detail[aria-busy]')")
        facts = texts(page.locator(".detail .facts div"))
        assert f"Token id {shown(int(scores.token_ids[i]))}" in facts
        times = int(scores.continuation_counts[i])
        assert f"Followed by this token {shown(times)} time{'s' * (times != 1)}" in facts
        before = scores.token_ids[i - scores.suffix_lens[i] : i]
        most = index.ntd(before).top(1)[0]
        assert texts(page.locator(".detail .bars li"))[0].endswith(" " + percent(most.prob))
        page.keyboard.press("ArrowRight")
    novelty = index.novelty(TEXT)
    perplexity = index.language_model("infgram-floor").perplexity([TEXT]).perplexity
    page.get_by_role("heading", name="How much is new").wait_for()
    facts = dict(
        each.split("\n", 1)
        for each in page.locator(
            "[aria-label='How the corpus sees the text'] .facts div"
        ).all_inner_texts()
    )
    assert float(facts["Perplexity"].split()[0]) == pytest.approx(perplexity, rel=1e-3)
    assert facts["Longest match"] == f"{novelty.longest} tokens"
    assert float(facts["Creativity index"].split()[0]) == pytest.approx(
        novelty.creativity_index, rel=5e-3
    )
    page.get_by_text("The numbers", exact=True).click()
    rows = texts(page.locator("figure tbody tr"))
    assert len(rows) == 20
    assert rows[0].startswith("1 ") and rows[0].endswith(percent(novelty.covered[0]))


def test_the_sources_of_a_token(tab, indexes):
    page = tab.go("reference", "text", text=NO_EXCEPTION)
    page.get_by_role("listbox").get_by_role("option").last.click()
    link = page.locator(".detail .places a").first
    link.wait_for()
    link.click()
    page.get_by_role("heading", name="Document", level=1).wait_for()
    tab.settled()
    index = indexes["reference"]
    ids = index.encode(NO_EXCEPTION).tolist()
    ids = ids[-longest_ending(index, ids)[-1] :]
    assert page.locator(".document mark").inner_text() == index.document(query=ids).parts[1]


def colours(page):
    """The step of colour of each token."""
    return [
        int(re.search(r"k(\d)", each.get_attribute("class"))[1])
        for each in page.locator(".t").all()
    ]


def test_colours_and_steps(tab, indexes):
    page = tab.go("reference", "text", text=TEXT)
    scores = indexes["reference"].score(TEXT)
    steps = [0, 1, 2, 4, 8, 16]
    lengths = longest_ending(indexes["reference"], scores.token_ids)
    assert colours(page) == [max(i for i, least in enumerate(steps) if least <= n) for n in lengths]
    page.get_by_role("button", name=f"The longest match: {max(lengths)} tokens").click()
    tab.settled()
    facts = texts(page.locator(".detail .facts div"))
    assert f"Longest match that ends with it {max(lengths)} tokens" in facts
    page.get_by_role("button", name="The least likely token").click()
    tab.settled()
    assert "Probability 0 %" in texts(page.locator(".detail .facts div"))
    page.get_by_role("button", name="Close").click()
    assert not page.locator(".detail .facts").count()
    assert page.evaluate("document.activeElement.role") == "option"
    page.get_by_label("Colour by").select_option("prob")
    probs = colours(page)
    steps = [0, 1e-9, 0.001, 0.01, 0.1, 0.5]
    assert probs == [
        max(i for i, least in enumerate(steps) if least <= prob) for prob in scores.probs
    ]
    assert "colour=prob" in page.url


def test_a_text_of_ten_thousand_tokens_is_drawn_as_it_is_seen(tab, indexes):
    text = " ".join(indexes["reference"].document(i).text for i in range(12))
    while len(indexes["reference"].encode(text)) < 10_000:
        text += " " + text
    page = tab.go("reference", "text")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("listbox").get_by_role("option").first.wait_for()
    assert page.locator(".t").count() < 3_000
    blocks = page.locator(".block")
    assert blocks.count() >= 50
    page.locator(".text").evaluate("element => { element.scrollTop = element.scrollHeight }")
    tab.until("document.querySelector('.block:last-child').childElementCount > 0")
    tab.until("document.querySelector('.block').childElementCount === 0")
    assert page.locator(".t").count() < 3_000
    # What is not drawn stands there as text, in the same place.
    said = "".join(blocks.all_text_contents())
    assert said == "".join(indexes["reference"].score(text).tokens)
    # The longest that a frame took while the text was scrolled through.
    longest = page.evaluate(
        """async () => {
            const box = document.querySelector(".text");
            let longest = 0, last = performance.now();
            for (let i = 0; i <= 60; i += 1) {
                box.scrollTop = (box.scrollHeight * i) / 60;
                await new Promise(requestAnimationFrame);
                const now = performance.now();
                longest = Math.max(longest, now - last);
                last = now;
            }
            return longest;
        }"""
    )
    assert longest < 1_000, longest


def test_a_long_prompt_is_not_drawn_whole(tab, indexes):
    index = indexes["reference"]
    text = " ".join(index.document(i).text for i in range(4))
    found = index.infgram_ntd(text)
    page = tab.go("reference", "next")
    page.get_by_label("Prompt", exact=True).fill(text)
    page.get_by_text(f"of {shown(len(found.token_ids))}, which").wait_for()
    used = page.locator(".chip.used")
    assert 0 < used.count() <= 200 and page.locator(".chip.unused").count() <= 200
    assert texts(used)[-1].strip("·⏎") == found.tokens[-1].strip()
    assert texts(page.locator(".bars > li .number.faint")) == [
        shown(each.count) for each in found.top(20)
    ]


def test_sources(tab, indexes):
    text = "If no exception is raised, the first element of the list is returned to the caller. If"
    page = tab.go("reference", "sources", text=text)
    found = indexes["reference"].attribute(text)
    buttons = page.locator("button.span")
    assert texts(buttons) == [" ".join(each.text.split()) for each in found.merged_spans]
    assert "".join(page.locator(".traced").all_text_contents()) == text
    cards = page.get_by_role("article")
    assert cards.count() == min(20, len(found.documents))
    page.get_by_label("All spans, not only the best").check()
    page.get_by_role("button", name="Trace it").click()
    tab.settled()
    every = indexes["reference"].attribute(text, density=None)
    assert buttons.count() == len(every.merged_spans) > 1
    buttons.nth(1).click()
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    parts = set(every.merged_spans[1].spans)
    listed = [each for each in every.documents if parts & set(each.spans)]
    assert cards.count() == min(20, len(listed))
    span = every.spans[min(parts)]
    assert f"Occurs {shown(span.count)} time" in " ".join(texts(page.locator(".about-span")))
    passage = cards.first.locator(".passage")
    short = passage.inner_text()
    cards.first.get_by_role("button", name="Show more around it").click()
    assert len(passage.inner_text()) > len(short)
    page.get_by_role("button", name="Show all").click()
    more = page.get_by_role("button", name="Load more documents of each span")
    while page.get_by_role("button", name=re.compile("^Show .* more$")).count():
        page.get_by_role("button", name=re.compile("^Show .* more$")).click()
    more.click()
    tab.settled()
    twice = indexes["reference"].attribute(text, density=None, documents=20)
    assert (
        f"{shown(len(twice.documents))} documents"
        in page.locator(".beside .hint").first.inner_text()
    )
    cards.first.get_by_role("link").click()
    page.get_by_role("heading", name="Document", level=1).wait_for()
    tab.settled()
    assert page.locator("mark#match").is_visible()


def test_sources_of_nothing(tab, indexes):
    assert not indexes["reference"].attribute("zyzzyva").spans
    page = tab.go("reference", "sources", text="zyzzyva")
    assert page.get_by_text("Nothing of it is in the corpus").is_visible()
    assert not page.locator("button.span").count()


def test_search(tab, indexes):
    index = indexes["reference"]
    page = tab.go("reference", "search")
    page.get_by_label("Expression").fill("exception AND raised")
    page.get_by_role("button", name="Search", exact=True).click()
    tab.settled()
    found = index.search("exception AND raised", order="bm25")
    assert page.locator(".large").inner_text() == f"{shown(found.document_count)} documents"
    hits = page.locator(".hits > li")
    assert hits.count() == 10
    marks = ["exception", "raised"]
    assert {each.lower() for each in hits.first.locator("mark").all_inner_texts()} <= set(marks)
    assert f"document {shown(found.hits[0].document)}" in hits.first.inner_text()
    page.get_by_role("button", name="More documents").click()
    tab.until("document.querySelectorAll('.hits > li').length > 10")
    hits.first.get_by_role("link").click()
    page.get_by_role("heading", name="Document", level=1).wait_for()
    tab.settled()
    assert page.locator("mark#match").inner_text().lower() in marks


def test_an_expression_with_an_error(tab):
    tab.expected = ("422",)
    page = tab.go("reference", "search", expression="exception AND (raised OR")
    assert page.get_by_role("heading", name="The expression cannot be read").is_visible()
    assert page.locator(".detail").get_by_text("Character 25:").is_visible()
    assert page.get_by_label("Expression", exact=True).get_attribute("aria-invalid") == "true"
    link = page.locator(".grammar a").filter(has_text="NEAR/5")
    expression = link.inner_text()
    link.click()
    tab.settled()
    assert page.get_by_label("Expression", exact=True).input_value() == expression
    assert int(page.locator(".large").inner_text().split()[0]) > 0


def test_document(tab, indexes):
    index = indexes["reference"]
    page = tab.go("reference", "document")
    page.get_by_role("link", name="the first").click()
    tab.settled()
    assert page.locator(".document").text_content() == index.document(0, context=1000).text
    assert page.get_by_text(index.document(0).metadata["path"], exact=True).first.is_visible()
    page.get_by_role("link", name="Next document").click()
    page.wait_for_url("**number=1")
    tab.settled()
    assert page.locator(".document").text_content() == index.document(1, context=1000).text
    page.get_by_label("Document number").fill("999999")
    tab.expected = ("422",)
    page.get_by_role("button", name="Show it").click()
    tab.settled()
    assert page.locator(".detail").inner_text().startswith("document 999999: the index has 0 to")
    page.get_by_label("Document number").fill("0")
    page.get_by_role("button", name="Show it").click()
    tab.settled()
    assert page.locator(".document").text_content()


def test_a_long_document_is_shown_in_steps(tab, indexes):
    index = indexes["reference"]
    number = max(
        range(index.num_documents), key=lambda each: index.document(each, context=0).length
    )
    page = tab.go("reference", "document", number=number)
    page.get_by_role("button", name="Show more").click()
    page.wait_for_url("**show=4000")
    tab.settled()
    assert page.locator(".document").text_content() == index.document(number, context=4000).text


def test_the_documents_of_a_text(tab, indexes):
    page = tab.go("reference", "document")
    page.get_by_label("Or find the documents of a text").fill("exception")
    page.get_by_role("button", name="Find it").click()
    tab.settled()
    count = indexes["reference"].count_text("exception")
    assert page.locator(".large").inner_text() == f"1 of {shown(count)} occurrences"
    page.get_by_role("link", name="Next occurrence").click()
    page.wait_for_url("**occurrence=1")
    tab.settled()
    assert page.locator(".large").inner_text() == f"2 of {shown(count)} occurrences"
    assert page.locator(".document mark").inner_text() == "exception"
    page.get_by_role("button", name="Show more around it").click()
    tab.settled()
    page.get_by_role("link", name="From its start").click()
    tab.settled()


def test_about(tab, indexes, url):
    index = indexes["odd"]
    page = tab.go("odd", "about")
    said = texts(page.locator(".figure"))
    assert said[:2] == [
        f"Documents {shown(index.num_documents)}",
        f"Tokens {shown(index.num_tokens)}",
    ]
    facts = dict(each.split("\n", 1) for each in page.locator(".facts div").all_inner_texts())
    assert facts["Tokenizer"] == index.info()["tokenizer"]
    assert facts["Version"] == index.version
    assert facts["Prepared for Kneser-Ney"] == "yes"
    assert facts["Licence"] == "CC0 (5), CC BY 4.0 (1)"
    assert facts["max_batch"] == "10,000"
    page = tab.go("reference", "about")
    assert page.get_by_text("The documents’ metadata does not say.").is_visible()


def test_a_union(tab):
    page = tab.go("both", "count", text="raised")
    page.locator(".places a").first.click()
    page.get_by_role("heading", name="Document", level=1).wait_for()
    tab.settled()
    assert page.get_by_text("of reference").first.is_visible()
    assert page.locator("mark#match").inner_text() == "raised"
    page = tab.go("both", "about")
    assert page.get_by_text("reference, odd-too").is_visible()
    tab.go("both", "search", expression="CC0 OR markup OR bold")
    page.locator(".hits a").first.click()
    tab.settled()


def test_what_documents_have_is_text(tab):
    """Markup in texts and metadata of an index is shown as it is, everywhere."""
    page = tab.go("odd", "document", number=0)
    assert "<script>" in page.locator(".document").inner_text()
    assert "<img src=x" in page.locator("h2").first.inner_text()
    tab.go("odd", "search", expression='text:"bold"')
    assert "<b>" in page.locator(".passage").first.inner_text()
    tab.go("odd", "count", text="<script>")
    tab.go("odd", "text", text="<script>window.hurt = 1</script> bold")
    tab.go("odd", "next", prompt="<img src=x onerror='")
    tab.go(
        "odd",
        "sources",
        text="<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>",
    )
    tab.go("odd", "about")


def test_directions_and_tokens_that_do_not_end(look):
    tab = look(viewport={"width": 320, "height": 700})
    tab.expected = ("422",)  # (Is there a document after the last one?)
    for number in (1, 2, 3, 4, 5):
        page = tab.go("odd", "document", number=number)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page = tab.go("odd", "document", number=1)
    direction = page.locator(".document").evaluate("element => getComputedStyle(element).direction")
    assert direction == "rtl"
    for view, name in (
        ("count", "text"),
        ("text", "text"),
        ("next", "prompt"),
        ("sources", "text"),
    ):
        page = tab.go("odd", view, **{name: "x" * 500})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, view

"""The parts of a report: its head, the text, the spans, the documents, how it was made."""

import math
from importlib.metadata import version
from typing import TYPE_CHECKING

from everygram.results.html import CHARS, visible
from everygram.results.report.excerpt import MATCH, Excerpt, key
from everygram.results.report.markup import Markup, cut, many

if TYPE_CHECKING:
    from everygram.results.attribution import (
        AttributedSpan,
        MergedSpan,
        SourceDocument,
        SpanDocument,
    )

# From common to rare. How often tokens drawn one by one, each as often as it is in the index, would
# spell a span in an index of the same size: a name holds from its number on.
RARITY = (
    ("common", 1.0),
    ("uncommon", 1e-4),
    ("rare", 1e-8),
    ("very rare", 1e-16),
    ("extremely rare", 0.0),
)
# Of the spans that a document has, this many are listed.
PLACES = 30
LEGEND = (
    "Numbered parts of the text are in the index word for word. The rarer the words, the stronger "
    "the colour and the thicker the line: {}. Choose a part to see its documents."
)
METHOD = (
    "Rarity: tokens drawn one by one, each as often as it is in the index, would spell a common "
    "span at least once in an index of this size, an uncommon one at least 10⁻⁴ times, a rare one "
    "10⁻⁸, a very rare one 10⁻¹⁶, an extremely rare one less. The unigram log-probability is the "
    "logarithm of the chance to draw exactly the span's tokens, in nats. Overlapping spans have "
    "the rarity of the rarest of them. Relevance: how much of what the prompt and the text are "
    "about a document shares, next to the others here (BM25 of its surroundings, over 0.18 times "
    "the text's characters; high from 0.7 on, medium from 0.5 on). It does not say which document "
    "is the source: the spans do. Places in tokens count from 0."
)


class Parts:
    """The parts of a report, as HTML."""

    def __init__(self, excerpt: Excerpt, markup: Markup) -> None:
        self._excerpt, self._markup, self._result = excerpt, markup, excerpt.result
        self.index_name = cut(str(self._result.index.get("name", "an index")))
        self._linked = {key(each) for each in excerpt.listed}
        self._metadata: dict[tuple[int, int], str] = {}

    def head(self) -> str:
        result, markup = self._result, self._markup
        numbers = (
            f"{many(len(result.query), 'token')}; {len(result.spans):,} of "
            f"{many(result.span_count, 'span')} kept; {many(len(result.documents), 'document')}"
        )
        title = f'Sources of a text in <bdi lang="">{visible(self.index_name)}</bdi>'
        left_out = markup.quiet(self._excerpt.left_out())
        return f"{markup.heading(1, title)}{markup.quiet(numbers)}{left_out}\n"

    def text(self) -> str:
        """The text, with links to its spans."""
        excerpt, markup = self._excerpt, self._markup
        made, at = [], 0
        for number, span in enumerate(excerpt.merged):
            # (Two spans share a character if the tokens between them divide it.)
            begin, end = (max(at, min(place, excerpt.end)) for place in excerpt.bounds(span))
            made.append(visible(excerpt.source[at:begin], "\n"))
            made.append(self._link(number, excerpt.source[begin:end]))
            at = end
        made.append(visible(excerpt.source[at : excerpt.end], "\n"))
        ids = self._result.text is None
        note = "The index has no tokenizer: these are the ids of the text's tokens." if ids else ""
        look = markup.look("ids" if ids else "running")
        text = f'<div lang="" dir="auto"{look}>{"".join(made)}</div>'
        if not excerpt.source:
            note, text = "", "<p>The text is empty.</p>"
        if excerpt.end < len(excerpt.source):
            text += markup.quiet("… The text goes on.")
        return markup.section("text", "The text", markup.quiet(note) + self._legend() + text)

    def _legend(self) -> str:
        if not self._excerpt.merged:
            return ""
        keys = (
            f"<span{self._markup.look(f'span r{place + 1}')}>{name}</span>"
            for place, (name, _) in enumerate(RARITY)
        )
        return self._markup.quiet(LEGEND.format(", ".join(keys)))

    def _link(self, number: int, text: str) -> str:
        """A merged span in the text."""
        markup, name = self._markup, number + 1
        # White space at its ends is outside, so that the number follows a word.
        core = text.strip() or text
        before, _, after = text.partition(core) if core else ("", "", "")
        # (All that the span has, also what is in the link before because they share a character.)
        whole = self._written(self._excerpt.merged[number])
        label = f"{whole}: span {name:,} of {len(self._excerpt.merged):,}, {self._said(number)}"
        look = markup.look(f"span r{self._merged_rarity(number) + 1}")
        sup = f'<sup dir="ltr"{markup.style("number")}>{name}</sup>'
        return (
            f"{visible(before, chr(10))}<a{markup.id(f't{name}')}{markup.to(f's{name}')}{look} "
            f'aria-label="{visible(label)}">{visible(core, chr(10))}{sup}</a>'
            f"{visible(after, chr(10))}"
        )

    def _parts(self, number: int) -> "list[AttributedSpan]":
        """The spans of a merged span that are shown."""
        places = self._excerpt.merged[number].spans
        return [self._result.spans[place] for place in places if place < self._excerpt.shown]

    def _rarity(self, span: "AttributedSpan") -> int:
        """The place in RARITY of a span."""
        times = math.exp(span.unigram_log_prob) * int(self._result.index.get("num_tokens") or 1)
        return next(i for i, (_, bound) in enumerate(RARITY) if times >= bound)

    def _merged_rarity(self, number: int) -> int:
        return max(map(self._rarity, self._parts(number)))

    def _said(self, number: int) -> str:
        """About a merged span: "rare, 4 documents"."""
        parts = self._parts(number)
        where = many(parts[0].document_count, "document")
        if len(parts) > 1:
            where = f"{len(parts):,} overlapping parts"
        return f"{RARITY[self._merged_rarity(number)][0]}, {where}"

    def spans(self) -> str:
        """A box for each merged span."""
        found, numbers = self._result.span_count, range(len(self._excerpt.merged))
        if numbers:
            content = self._markup.list(f"<li>{self._box(number)}</li>" for number in numbers)
        elif found:
            content = f"<p>{many(found, 'span')} found, none kept: a higher density keeps more.</p>"
        else:
            content = "<p>No part of the text is in the index, with these parameters.</p>"
        return self._markup.section("spans", "Spans and their documents", content)

    def _box(self, number: int) -> str:
        """A merged span, with the documents of its parts."""
        markup, span, parts = self._markup, self._excerpt.merged[number], self._parts(number)
        heading = markup.heading(3, f"{number + 1}. {self._name(span)}")
        said = f"<span{markup.look('quiet')}>{self._said(number)}</span>"
        inside = "".join(self._part(number, i, part) for i, part in enumerate(parts))
        if (more := len(span.spans) - len(parts)) > 0:
            inside += markup.quiet(f"… and {many(more, 'part')} more")
        back = markup.link(f"t{number + 1}", "Back to the text")
        # Browsers open the boxes around what a link leads to. Notebooks follow links themselves, to
        # what is not in a closed box alone.
        box, content = markup.id(f"s{number + 1}"), ""
        if not markup.inline:
            box, content = content, f'{box} tabindex="-1"'
        return (
            f"<details{box}{markup.look('box')}><summary>{heading} {said}</summary>"
            f"<div{content}{markup.look('inside')}>{inside}"
            f"<p{markup.look('control')}>{back}</p></div></details>"
        )

    def _name(self, span: "AttributedSpan | MergedSpan") -> str:
        return f'<bdi lang="">{visible(self._written(span))}</bdi>'

    def _written(self, span: "AttributedSpan | MergedSpan") -> str:
        """The begin of a span's text."""
        begin, end = self._excerpt.bounds(span)
        return cut(self._excerpt.source[begin:end].strip())

    def _part(self, number: int, i: int, span: "AttributedSpan") -> str:
        """A span, with its documents."""
        markup, name, heading = self._markup, f"{number + 1}.{i + 1}", ""
        if len(self._excerpt.merged[number].spans) > 1:
            heading = markup.heading(4, f"Part {name}: {self._name(span)}")
        shown = span.documents[: self._excerpt.per_span]
        rarity = RARITY[self._rarity(span)][0].capitalize()
        nats = f"{span.unigram_log_prob:.1f}".replace("-", "−")
        said = (
            f"{rarity} (unigram log-probability {nats}), "
            f"{many(span.length, 'token')}, {many(span.count, 'occurrence')}; "
            f"showing {len(shown):,} of {many(span.document_count, 'document')}."
        )
        documents = "".join(map(self._document, shown))
        return (
            f"<div{markup.id(f'p{name}')}{markup.look('part')}>{heading}{markup.quiet(said)}"
            f"{documents}</div>\n"
        )

    def _document(self, document: "SpanDocument") -> str:
        """A document of a span: its match in its surroundings."""
        markup, title = self._markup, _title(document)
        if key(document) in self._linked:
            title = markup.link(_id(document), title)
        said = (
            f"{_relevance(document)}tokens {document.token_start:,}–{document.token_end - 1:,} of "
            f"{document.length:,}"
        )
        quotes, around = "", document.surroundings
        if around is not None:
            shown, *longer = self._excerpt.levels
            quotes = self._quote(document, shown)
            for level in longer:
                if len(around[level].text) > len(around[shown].text):
                    label = f' aria-label="more of document {document.number:,}"'
                    quotes += (
                        f"<details{markup.look('more')}><summary{label}>more</summary>"
                        f"{self._quote(document, level)}</details>"
                    )
        return (
            f"<article{markup.look('document')}><div><strong>{title}</strong> "
            f"<span{markup.look('quiet')}>{said}</span></div>{quotes}{self._fields(document)}"
            "</article>"
        )

    def _quote(self, document: "SpanDocument", level: int) -> str:
        """A match in its surroundings; "…" where the document goes on."""
        assert document.surroundings is not None
        around, tokens = document.surroundings[level], self._result.options["context"][level]
        before, match, after = around.text[: around.start], around.match, around.text[around.end :]
        # (Where the match begins in the document is known in characters, where it ends in tokens.)
        begun = document.start is not None and document.start > min(len(before), CHARS)
        ended = len(after) > CHARS or document.token_end + tokens < document.length
        if len(match) > 2 * MATCH:
            match = f"{match[:MATCH]} … {match[-MATCH:]}"
        return (
            f'<div lang="" dir="auto"{self._markup.look("quote")}>{"… " if begun else ""}'
            f"{visible(before[-CHARS:], chr(10))}<mark{self._markup.style('mark')}>"
            f"{visible(match, chr(10))}</mark>{visible(after[:CHARS], chr(10))}"
            f"{' …' if ended else ''}</div>"
        )

    def _fields(self, document: "SpanDocument | SourceDocument") -> str:
        """The metadata of a document, which several spans may have."""
        known = key(document)
        if known not in self._metadata:
            self._metadata[known] = self._markup.fields(document.metadata)
        return self._metadata[known]

    def documents(self) -> str:
        """The documents of all spans."""
        result, markup = self._result, self._markup
        rows = [
            f"<li{markup.id(_id(each))}{markup.look('document')}>"
            f"<div><strong>{_title(each)}</strong> <span{markup.look('quiet')}>{_relevance(each)}"
            f"{many(each.length, 'token')}; {self._places(each)}"
            f"</span></div>{self._fields(each)}</li>\n"
            for each in self._excerpt.listed
        ]
        content = markup.list(rows)
        if (more := len(result.documents) - len(rows)) > 0:
            content += markup.quiet(f"… and {many(more, 'document')} more")
        if not rows:
            unasked = result.spans and result.options.get("documents") == 0
            content = f"<p>{'None were requested.' if unasked else 'There are none.'}</p>"
        ranked = any(each.score is not None for each in self._excerpt.listed)
        title = "Documents, the most relevant first" if ranked else "Documents"
        return markup.section("documents", title, content)

    def _places(self, document: "SourceDocument") -> str:
        """The spans that a document has."""
        links = ", ".join(map(self._place, document.spans[:PLACES]))
        more = len(document.spans) - PLACES
        name = "span" if len(document.spans) == 1 else "spans"
        return f"in {name} {links}" + (f" and {more:,} more" if more > 0 else "")

    def _place(self, place: int) -> str:
        """A link to a span."""
        if place not in self._excerpt.home:
            return "(not shown)"
        number, i = self._excerpt.home[place]
        alone = len(self._excerpt.merged[number].spans) == 1
        name = f"{number + 1}" if alone else f"{number + 1}.{i + 1}"
        to = f"s{number + 1}" if self._markup.inline else f"p{number + 1}.{i + 1}"
        return self._markup.link(to, name, f"span {name}")

    def about(self) -> str:
        """The numbers, the parameters and the index."""
        result, markup = self._result, self._markup
        numbers = [
            ("tokens", f"{len(result.query):,}"),
            ("spans", f"{len(result.spans):,} kept of {result.span_count:,} found"),
            ("merged spans", f"{len(result.merged_spans):,}"),
            ("documents", f"{len(result.documents):,}"),
            ("everygram", visible(version("everygram"))),
        ]
        content = "".join(
            f"{markup.heading(3, title)}{pairs}"
            for title, pairs in (
                ("Numbers", markup.pairs(numbers)),
                ("Parameters", markup.fields(result.options)),
                ("Index", markup.fields(result.index)),
            )
        )
        return markup.section("about", "How this was made", content + markup.quiet(METHOD))


def _id(document: "SpanDocument | SourceDocument") -> str:
    index, number = key(document)
    return f"d{index}.{number}"


def _title(document: "SpanDocument | SourceDocument") -> str:
    name = getattr(document, "index_name", None)
    whose = "" if name is None else f' of <bdi lang="">{visible(name)}</bdi>'
    return f"Document {document.number:,}{whose}"


def _relevance(document: "SpanDocument | SourceDocument") -> str:
    if document.relevance is None or document.score is None:
        return ""
    return f"relevance {visible(document.relevance)} ({document.score:.2f}); "

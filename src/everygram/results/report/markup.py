"""The elements of a report: their looks and ids, metadata values, links."""

import hashlib
import json
import re
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from everygram.results.html import visible

if TYPE_CHECKING:
    from everygram.results.attribution import Attribution

# Of a metadata value, a text in a heading or label, and the metadata of a document, this many
# characters and fields are shown.
VALUE, HEADING, FIELDS = 300, 100, 30
ADDRESS = re.compile(r"https?://[^\s\"'<>\\^`{|}]{1,2000}", re.IGNORECASE)

# The looks of a fragment. Colours are translucent, for light and dark themes.
SPAN = (
    "color:inherit;text-decoration:none;border-bottom:{}px solid #c77700;"
    "background:rgba(255,160,0,{})"
)
INLINE = {
    "box": "margin:4px 0",
    "document": "margin:8px 0",
    "heading": "font-weight:bold;display:inline",
    "ids": "font-family:monospace",
    "inside": "margin-left:1em",
    "link": "color:inherit",
    "list": "list-style:none;padding:0;margin:0",
    "mark": "background:#ffd54f;color:#000",
    "name": "float:left;clear:left;margin-right:8px;opacity:.75",
    "number": "line-height:1;font-size:.7em",
    "pairs": "margin:4px 0",
    "quiet": "margin:4px 0;opacity:.75",
    "quote": "white-space:pre-wrap;padding-left:8px;border-left:3px solid rgba(128,128,128,.4)",
    "running": "white-space:pre-wrap;line-height:1.9;unicode-bidi:plaintext",
    "value": "margin:0",
    "span r1": SPAN.format(1, ".08"),
    "span r2": SPAN.format(2, ".16"),
    "span r3": SPAN.format(3, ".24"),
    "span r4": SPAN.format(4, ".32"),
    "span r5": SPAN.format(5, ".4"),
}


class Markup:
    """Elements. inline: of a fragment, with inline styles in place of a style sheet."""

    def __init__(self, result: "Attribution", inline: bool) -> None:
        self.inline, self._prefix = inline, _prefix(result)

    def look(self, name: str) -> str:
        """The attribute that gives an element the look of this name."""
        if not self.inline:
            return f' class="{name}"'
        return f' style="{INLINE[name]}"' if name in INLINE else ""

    def style(self, name: str) -> str:
        """The same for an element that a style sheet knows without a class."""
        return self.look(name) if self.inline else ""

    def id(self, name: str) -> str:
        """The attribute that names an element, uniquely among the results on one page."""
        return f' id="{self._prefix}{name}"'

    def to(self, name: str) -> str:
        """The attribute that leads to the element of this name."""
        return f' href="#{self._prefix}{name}"'

    def link(self, name: str, content: str, label: str = "") -> str:
        """A link to the element of this name."""
        label = f' aria-label="{label}"' if label else ""
        return f"<a{self.to(name)}{label}{self.style('link')}>{content}</a>"

    def heading(self, level: int, content: str, name: str = "") -> str:
        known = self.id(name) if name else ""
        if not self.inline:
            return f"<h{level}{known}>{content}</h{level}>"
        # Notebooks put every h1 to h6 into their own table of contents.
        role = f' role="heading" aria-level="{level + 2}"'
        return f"<div{known}{role}{self.look('heading')}>{content}</div>"

    def section(self, name: str, title: str, content: str) -> str:
        label = f' aria-labelledby="{self._prefix}{name}"'
        heading = self.heading(2, title, name)
        return f"<section{label}{self.look(name)}>{heading}{content}</section>\n"

    def quiet(self, content: str) -> str:
        return f"<p{self.look('quiet')}>{content}</p>" if content else ""

    def list(self, items: Iterable[str]) -> str:
        """A list; the items are HTML, each with its <li>."""
        return f'<ol role="list"{self.style("list")}>{"".join(items)}</ol>'

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> str:
        """Names and values; both are HTML."""
        made = "".join(
            f'<dt dir="auto"{self.style("name")}>{name}</dt>'
            f'<dd dir="auto"{self.style("value")}>{value}</dd>'
            for name, value in pairs
        )
        return f"<dl{self.style('pairs')}>{made}</dl>" if made else ""

    def fields(self, values: dict[str, Any]) -> str:
        """Names and values, as they are."""
        made = [
            (f'<span lang="">{visible(cut(str(name)))}</span>', self._value(value))
            for name, value in [*values.items()][:FIELDS]
        ]
        if (more := len(values) - FIELDS) > 0:
            made.append(("…", f"and {many(more, 'field')} more"))
        return self.pairs(made)

    def _value(self, value: Any) -> str:
        """A value as JSON, or a text; an address in the web is a link."""
        given = isinstance(value, str)
        text = value if given else json.dumps(value, ensure_ascii=False, default=str)
        shown = f'<span lang="">{visible(cut(text, VALUE))}</span>'
        # (Not if a character is shown as a code: the address would not be the one that is read.)
        if not ADDRESS.fullmatch(text) or visible(text) != escape(text):
            return shown
        return (
            f'<a href="{escape(text)}" target="_blank" rel="noopener noreferrer"'
            f"{self.style('link')}>{shown}</a>"
        )


def cut(text: str, most: int = HEADING) -> str:
    """The begin of a text."""
    return text if len(text) <= most else f"{text[:most]} …"


def many(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def _prefix(result: "Attribution") -> str:
    """What ids begin with: made of the result, so that it is the same for the same result."""
    spans = [
        (span.token_start, span.token_end, [each.number for each in span.documents])
        for span in result.spans
    ]
    said = json.dumps([result.token_ids, spans, result.options, result.index], default=str)
    return f"e{hashlib.sha256(said.encode()).hexdigest()[:10]}-"

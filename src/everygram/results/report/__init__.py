"""An attribution as a page: one HTML file that needs nothing else, or a fragment for notebooks.

In: an `Attribution`. Out: HTML of limited size; where it leaves something out, it says so. Spans
are links to boxes (`<details>`) with their documents, so that both forms work without a script.
The file has a style sheet and a small script, and its policy lets that script alone run; the
fragment has neither, because notebooks and viewers remove them.
"""

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from everygram.results.html import CHARS, visible
from everygram.results.report.excerpt import Excerpt, Most
from everygram.results.report.markup import Markup
from everygram.results.report.parts import Parts

if TYPE_CHECKING:
    from everygram.results.attribution import Attribution

FILE = Most(text=1_000_000, documents=10_000_000, listed=500)
FRAGMENT = Most(text=CHARS, documents=100_000, listed=10)


def page(result: "Attribution") -> str:
    """The report as a file."""
    made = Parts(Excerpt(result, FILE), Markup(result, inline=False))
    script = _resource("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Sources of a text in {visible(made.index_name)}</title>\n"
        f"<style>\n{_resource('style.css')}</style>\n</head>\n<body>\n"
        f"<header>\n{made.head()}</header>\n<main>\n"
        f"{made.text()}{made.spans()}{made.documents()}</main>\n"
        f"<footer>\n{made.about()}</footer>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def fragment(result: "Attribution") -> str:
    """The report as a part of a page: the same markup, with inline styles and without a script."""
    made = Parts(Excerpt(result, FRAGMENT), Markup(result, inline=True))
    parts = (made.head(), made.text(), made.spans(), made.documents(), made.about())
    return f'<div style="line-height:1.5;overflow-wrap:anywhere">{"".join(parts)}</div>\n'


def _resource(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")

"""Results as HTML for notebooks: escaped, small, without scripts, for light and dark themes.

In: tokens, texts and numbers. Out: a fragment with inline styles, because notebooks, editors and
viewers remove some style sheets. Colours are translucent, so that the theme's own text and
background show through. Characters that are invisible or reorder text are shown as a code.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from html import escape

# Of a long result, the first rows, tokens and characters are shown, up to these numbers.
ROWS = 50
TOKENS = 500
CHARS = 4000
# Of a long query, the last tokens are shown, up to this number.
QUERY_TOKENS = 30

CELL = "padding:1px 12px 1px 0;border:none;text-align:"
TOKEN = (
    "font-family:monospace;white-space:pre-wrap;border-radius:3px;padding:0 2px;color:inherit;"
    "background:rgba(128,128,128,.18)"
)
QUIET = "opacity:.7"
QUOTE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;padding-left:8px;"
    "border-left:3px solid rgba(128,128,128,.4)"
)
# All digits have the same width.
DIGITS = "font-variant-numeric:tabular-nums"
# Letters that are shown as nothing at all.
FILLERS = "\u115f\u1160\u3164\uffa0"


def lines(*parts: str) -> str:
    """The parts of a result, one below the other."""
    return f'<div style="line-height:1.5">{"".join(parts)}</div>'


def note(text: str) -> str:
    """A line of plain text in a quieter colour."""
    return f'<div style="{QUIET}">{visible(text)}</div>' if text else ""


def query(tokens: Sequence[str | int], said: str) -> str:
    """The first line: the last tokens of a query, and `said` about it."""
    cut = "… " if len(tokens) > QUERY_TOKENS else ""
    text = "".join(map(_text, tokens[-QUERY_TOKENS:]))
    shown = f'<code style="{TOKEN}">{visible(text)}</code>' if tokens else "The empty query"
    return f"<div>{cut}{shown} {escape(said)}</div>"


def token(token: str | int) -> str:
    """One token in a box, which makes its spaces visible."""
    return f'<code style="{TOKEN}">{visible(_text(token))}</code>'


def bar(share: float) -> str:
    """A bar; `share`: of its full width."""
    return (
        f'<div style="width:{max(1, round(200 * share))}px;height:.8em;'
        'background:rgba(66,133,244,.65);border-radius:2px"></div>'
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are HTML already. All columns but the first are aligned right."""

    def row(cells: Sequence[str], tag: str, more: str = "") -> str:
        styles = [CELL + "left" + more, *[CELL + "right" + more] * (len(cells) - 1)]
        made = (f'<{tag} style="{s}">{cell}</{tag}>' for s, cell in zip(styles, cells, strict=True))
        return f'<tr style="background:none">{"".join(made)}</tr>'

    body = "".join(row(cells, "td") for cells in rows)
    if not body:
        return ""
    head = row([escape(name) for name in heads], "th", f";font-weight:normal;{QUIET}")
    return f'<table style="border-collapse:collapse;margin:4px 0;{DIGITS}">{head}{body}</table>'


def running(tokens: Sequence[str | int], lengths: Sequence[int], titles: Sequence[str]) -> str:
    """Tokens as running text, each shaded by its suffix length and with a title shown on hover."""
    made = (
        f'<span style="{_shade(length)}" title="{escape(title)}">{visible(_text(token))}</span>'
        + ("<br>" if str(token).endswith("\n") else "")
        for token, length, title in zip(tokens, lengths, titles, strict=True)
    )
    style = "font-family:monospace;white-space:pre-wrap;line-height:1.7;overflow-wrap:anywhere"
    return f'<div style="{style}">{"".join(made)}</div>'


def legend() -> str:
    """A legend: which suffix lengths the shades of `running` stand for."""
    lengths = (0, 1, 2, 4, 8, 16)
    made = (f'<span style="{_shade(n)};padding:0 6px">{n}</span>' for n in lengths)
    return f'<div style="font-family:monospace">{"".join(made)}</div>'


def marked(text: str, marks: Sequence[tuple[int, int]]) -> str:
    """A text with parts of it marked: [begin, end) of each; they may overlap."""
    made, at = [], 0
    for begin, end in sorted(marks):
        begin = max(begin, at)
        if begin < end:
            made += [visible(text[at:begin], "\n"), _mark(text[begin:end])]
            at = end
    return f'<div style="{QUOTE}">{"".join(made)}{visible(text[at:], chr(10))}</div>'


def passage(before: str, match: str, after: str) -> str:
    """A text with its match marked; parts far from the match are left out."""
    half = CHARS // 2
    most = half if match else CHARS
    begin = ("… " if len(before) > half else "") + visible(before[-half:], "\n")
    end = visible(after[:most], "\n") + (" …" if len(after) > most else "")
    return f'<div style="{QUOTE}">{begin}{_mark(match) if match else ""}{end}</div>'


def _mark(text: str) -> str:
    shown = visible(text[:CHARS], "\n") + (" …" if len(text) > CHARS else "")
    return f'<mark style="background:#ffd54f;color:#000">{shown}</mark>'


def _text(token: str | int) -> str:
    # Ids are separated by a space, as tokens that are words are.
    return token if isinstance(token, str) else f" {token}"


def visible(text: str, newline: str = "⏎") -> str:
    """The text, escaped, with a code for each character that is invisible or reorders text."""
    codes = {
        ord(c): newline if c == "\n" else _shown(c)
        for c in {*text}
        if not c.isprintable() or c in FILLERS
    }
    return escape(text.translate(codes))


def _shown(character: str) -> str:
    if character == "\t":
        return "⇥"
    # Joiners (U+200C, U+200D) are parts of words and emoji.
    if character in "\u200c\u200d":
        return character
    # Controls, formats (such as the right-to-left override), lone surrogates, line separators.
    if character in FILLERS or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\u{ord(character):04x}"
    return character


def _shade(length: int) -> str:
    """The background of a token with this suffix length."""
    return f"background:rgba(38,166,154,{0.75 * (1 - 0.85**length):.2f})"

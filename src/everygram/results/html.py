"""Results as HTML for notebooks: escaped, small, without scripts, for light and dark themes.

In: tokens, texts and numbers. Out: a fragment with its styles inline, since notebooks, editors and
viewers each drop some style sheets. Colours are translucent, so that the theme's own text and
background show through. Characters that do not show, or that reorder text, are shown as a code.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from html import escape

# Of a long result the first of each are shown.
ROWS = 50
TOKENS = 500
CHARS = 4000
# Of a long query the last tokens are shown.
QUERY_TOKENS = 30

CELL = "padding:1px 12px 1px 0;border:none;text-align:"
TOKEN = (
    "font-family:monospace;white-space:pre-wrap;border-radius:3px;padding:0 2px;color:inherit;"
    "background:rgba(128,128,128,.18)"
)
QUIET = "opacity:.7"
# Digits of one width.
DIGITS = "font-variant-numeric:tabular-nums"


def lines(*parts: str) -> str:
    """A result's parts, one below the other."""
    return f'<div style="line-height:1.5">{"".join(parts)}</div>'


def note(text: str) -> str:
    """A line of plain text in a quieter colour."""
    return f'<div style="{QUIET}">{_visible(text)}</div>' if text else ""


def query(tokens: Sequence[str | int], said: str) -> str:
    """The first line: the last tokens of a query, and what is said of it."""
    cut = "… " if len(tokens) > QUERY_TOKENS else ""
    text = "".join(map(_text, tokens[-QUERY_TOKENS:]))
    shown = f'<code style="{TOKEN}">{_visible(text)}</code>' if tokens else "The empty query"
    return f"<div>{cut}{shown} {escape(said)}</div>"


def token(token: str | int) -> str:
    """One token; its spaces are kept and its box shows them."""
    return f'<code style="{TOKEN}">{_visible(_text(token))}</code>'


def bar(share: float) -> str:
    """A bar of that share of its full width."""
    return (
        f'<div style="width:{max(1, round(200 * share))}px;height:.8em;'
        'background:rgba(66,133,244,.65);border-radius:2px"></div>'
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; all but the first column to the right."""

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
    """Tokens as a text, each shaded by its suffix's length and with a title to hover for."""
    made = (
        f'<span style="{_shade(length)}" title="{escape(title)}">{_visible(_text(token))}</span>'
        + ("<br>" if str(token).endswith("\n") else "")
        for token, length, title in zip(tokens, lengths, titles, strict=True)
    )
    style = "font-family:monospace;white-space:pre-wrap;line-height:1.7;overflow-wrap:anywhere"
    return f'<div style="{style}">{"".join(made)}</div>'


def legend() -> str:
    """What the shades of `running` stand for."""
    lengths = (0, 1, 2, 4, 8, 16)
    made = (f'<span style="{_shade(n)};padding:0 6px">{n}</span>' for n in lengths)
    return f'<div style="font-family:monospace">{"".join(made)}</div>'


def passage(before: str, match: str, after: str) -> str:
    """A text with its match marked; far from the match it is cut."""
    half = CHARS // 2
    most = half if match else CHARS
    begin = ("… " if len(before) > half else "") + _visible(before[-half:], "\n")
    marked = _visible(match[:CHARS], "\n") + (" …" if len(match) > CHARS else "")
    end = _visible(after[:most], "\n") + (" …" if len(after) > most else "")
    mark = f'<mark style="background:#ffd54f;color:#000">{marked}</mark>' if marked else ""
    style = (
        "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;padding-left:8px;"
        "border-left:3px solid rgba(128,128,128,.4)"
    )
    return f'<div style="{style}">{begin}{mark}{end}</div>'


def _text(token: str | int) -> str:
    # Ids stand apart by a space, as the tokens of words do.
    return token if isinstance(token, str) else f" {token}"


def _visible(text: str, newline: str = "⏎") -> str:
    """The text, escaped; a code for each character that does not show or that reorders text."""
    return escape("".join(newline if c == "\n" else _shown(c) for c in text))


def _shown(character: str) -> str:
    if character == "\t":
        return "⇥"
    # The joiners belong to words and to emoji.
    if character in "\u200c\u200d":
        return character
    # Controls, formats (such as the right-to-left override), lone surrogates, line separators.
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\u{ord(character):04x}"
    return character


def _shade(length: int) -> str:
    """The background of a token whose suffix has that length."""
    return f"background:rgba(38,166,154,{0.75 * (1 - 0.85**length):.2f})"

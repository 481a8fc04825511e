"""Contamination as a page: one HTML file that needs nothing else, without a script.

In: a `Contamination`. Out: HTML of limited size; where it leaves something out, it says so.
"""

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING

from everygram.results.contamination import THRESHOLDS, ContaminatedItem, percent
from everygram.results.html import visible

if TYPE_CHECKING:
    from everygram.results.contamination import BenchmarkSummary, Contamination, Example

# Items that are listed, those with the most in the corpus first; characters of a match, and of
# what is beside it; characters of an item that are seen before it is opened.
LISTED, MATCH, BESIDE, TITLE = 500, 4_000, 1_000, 80
STYLE = """
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; font-size: .95rem; }
th { color: var(--quiet); font-weight: normal; }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
th { overflow-wrap: normal; vertical-align: bottom; }
tr + tr td { border-top: 1px solid color-mix(in srgb, var(--line) 40%, transparent); }
meter { width: min(9rem, 25vw); height: .9rem; }
summary .quiet { display: block; padding-left: 1.1rem; }
.item { white-space: pre-wrap; unicode-bidi: plaintext; margin: .4rem 0 .8rem; }
pre { overflow: auto; padding: .8rem; background: var(--box); font-size: .85rem; }
@media screen and (min-width: 62rem) { body { max-width: 60rem; } main { display: block; } }
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'none'; base-uri 'none'; "
    "form-action 'none'"
)


def page(result: "Contamination") -> str:
    """The report as a file."""
    style = (files(__package__) / "style.css").read_text("utf-8") + STYLE
    title = f"Contamination: {result.manifest['index']['name']}"
    body = [
        *_head(result),
        *(part for each in result.benchmarks for part in _benchmark(each, result.unit)),
        *_hits(result),
        "<h2>Manifest</h2>",
        "<p>What it takes to repeat this, and hashes of what was read.</p>",
        f"<pre>{_lines(json.dumps(result.manifest, indent=2, ensure_ascii=False))}</pre>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{visible(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(result: "Contamination") -> Iterable[str]:
    """What was asked, and the answer in a sentence."""
    rule, index = result.manifest["rule"], result.manifest["index"]
    what = _what(result)
    said = [f"an n-gram of {rule['n']:,} {result.unit} is found"]
    if rule["min_share"]:
        said.append(f"{rule['min_share']:.0%} of the n-grams are")
    if rule["min_coverage"]:
        said.append(f"{rule['min_coverage']:.0%} of the {result.unit} are covered")
    stops = ""
    if rule["max_documents"] is not None:
        stops = f" N-grams in more than {rule['max_documents']:,} documents mean nothing."
    of_words = " Words are compared without case, white space and punctuation."
    yield f"<h1>{result.num_hit:,} of {result.num_items:,} {what}s are contaminated</h1>"
    yield (
        f"<p>Looked for in {visible(index['name'])}: {index['num_documents']:,} documents, "
        f"{index['num_tokens']:,} tokens. The rule: {', and '.join(said)}.{stops}"
        f"{of_words if rule['normalize'] else ''} All numbers are exact.</p>"
    )
    if result.drop is not None:
        yield f"<p>Documents of the corpus with an n-gram of a hit: {result.drop.shape[0]:,}.</p>"


def _what(result: "Contamination") -> str:
    return "item" if result.manifest["index_of"] == "corpus" else "document"


def _benchmark(summary: "BenchmarkSummary", unit: str) -> Iterable[str]:
    """A benchmark's numbers, and how many items there would be at other thresholds."""
    yield f"<h2>{visible(summary.name)}</h2>"
    short = f"; {summary.num_short:,} are too short to be looked for" if summary.num_short else ""
    yield f"<p>{summary.num_hit:,} of {summary.num_items:,} are hits{short}.</p>"
    rows = [f"<tr><th>at least</th><th>{unit} covered</th><th></th><th>n-grams found</th></tr>"]
    most = max(1, summary.num_items)
    for threshold, coverage, share in zip(
        THRESHOLDS, summary.by_coverage, summary.by_share, strict=True
    ):
        name = f"{threshold:.0%}" if threshold else "any"
        meter = f'<meter value="{coverage / most:.4f}">{coverage / most:.1%}</meter>'
        rows.append(
            f"<tr><td>{name}</td><td>{coverage:,}</td><td>{meter}</td><td>{share:,}</td></tr>"
        )
    yield f"<table>{''.join(rows)}</table>"


def _hits(result: "Contamination") -> Iterable[str]:
    """The items that are hits, those with the most in the corpus first."""
    hits = [each for each in result.items if each.hit]
    hits.sort(key=lambda each: (-each.coverage, -each.longest))
    yield "<h2>Hits</h2>"
    if not hits:
        yield "<p>None.</p>"
    several, what = len(result.benchmarks) > 1, _what(result)
    of = visible(result.manifest["index"]["name"])
    for item in hits[:LISTED]:
        name = f"{visible(item.benchmark)}: " if several else ""
        yield (
            f'<details class="box"><summary><strong>{name}{what} {item.item:,}</strong> '
            f"{_title(item.text)}"
            f'<span class="quiet">{percent(item.coverage)} covered, {item.hits:,} of '
            f"{item.ngrams:,} n-grams, longest match {item.longest:,} {result.unit}, in "
            f"{item.document_count:,} document{'s' * (item.document_count != 1)}</span></summary>"
            f'<div class="inside">{_text(item.text) if what == "item" else ""}'
            f"{''.join(_example(each, of) for each in item.documents) or _none(item)}</div>"
            "</details>"
        )
    if len(hits) > LISTED:
        yield f'<p class="quiet">… and {len(hits) - LISTED:,} more hits, which are not shown.</p>'


def _title(text: str) -> str:
    """The beginning of an item's text, on one line."""
    line = " ".join(text[: 2 * TITLE].split())
    return visible(line if len(line) <= TITLE else f"{line[:TITLE]}…")


def _text(text: str) -> str:
    return f'<p class="item">{_lines(text)}</p>' if text else ""


def _none(item: ContaminatedItem) -> str:
    return f'<p class="quiet">{item.count:,} occurrences; no example was wanted.</p>'


def _example(example: "Example", index: str) -> str:
    """A place of a match, in a document of the index, or of one of a union."""
    of = index if example.index is None else visible(example.index)
    fields = "".join(
        f"<dt>{visible(name)}</dt><dd>{visible(_short(value))}</dd>"
        for name, value in [*example.metadata.items()][:10]
    )
    quote = ""
    if example.match is not None:
        before, after = example.before or "", example.after or ""
        quote = (
            f'<p class="quote">{visible(before[-BESIDE:])}<mark>{visible(_cut(example.match))}'
            f"</mark>{visible(after[:BESIDE])}</p>"
        )
    return (
        f'<div class="document"><h3>document {example.document:,} of {of}</h3>{quote}'
        f"{f'<dl>{fields}</dl>' if fields else ''}</div>"
    )


def _lines(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _cut(match: str) -> str:
    if len(match) <= MATCH:
        return match
    return f"{match[: MATCH // 2]} […] {match[-MATCH // 2 :]}"

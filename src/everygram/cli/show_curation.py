"""What curation commands answer, in words."""

import re
from typing import Any

from everygram.cli.show import counted
from everygram.results.contamination import percent

# Items that are shown, those with the most in the corpus first; characters of a match.
SHOWN, MATCH = 10, 160


def show_contamination(answer: dict[str, Any]) -> str:
    """How many items are hits, at which thresholds, and the worst of them."""
    unit, of = answer["unit"], answer["manifest"]["index_of"]
    what = "item" if of == "corpus" else "document"
    lines = []
    for each in answer["benchmarks"]:
        lines.append(f"{each['name']}")
        lines.append(f"  hit         {each['num_hit']:,} of {counted(each['num_items'], what)}")
        if each["num_short"]:
            lines.append(f"  too short   {each['num_short']:,}")
        lines.append(f"  {'at least':<12}{unit + ' covered':>16}{'n-grams found':>16}")
        for row in each["sweep"]:
            at = f"{row['threshold']:.0%}" if row["threshold"] else "any"
            lines.append(f"  {at:<12}{row['by_coverage']:>16,}{row['by_share']:>16,}")
    if answer["num_drop"] is not None:
        lines.append(f"documents to drop: {answer['num_drop']:,}")
    hits = [each for each in answer["items"] if each["hit"]]
    hits.sort(key=lambda each: (-each["coverage"], -each["longest"]))
    for each in hits[:SHOWN]:
        lines += ["", *_item(each, unit, what, len(answer["benchmarks"]) > 1)]
    if len(hits) > SHOWN:
        lines += ["", f"… and {counted(len(hits) - SHOWN, 'more hit')}: --out, --json, --report"]
    return "\n".join(lines)


def _item(item: dict[str, Any], unit: str, what: str, named: bool) -> list[str]:
    name = f"{item['benchmark']}: " if named else ""
    lines = [
        f"{name}{what} {item['item']}   {percent(item['coverage'])} covered   longest "
        f"{item['longest']} {unit}, {counted(item['count'], 'time')} in "
        f"{counted(item['document_count'], 'document')}"
    ]
    for each in item["documents"]:
        of = f" of {each['index']}" if each["index"] is not None else ""
        lines.append(f"  document {each['document']}{of}")
        if each["match"] is not None:
            lines.append(f"    {_quoted(each)}")
    return lines


def _quoted(example: dict[str, Any]) -> str:
    """A match with what is around it, on one line."""
    before, match, after = (
        re.sub(r"\s+", " ", example[side]) for side in ("before", "match", "after")
    )
    if len(match) > MATCH:
        match = f"{match[: MATCH // 2]} … {match[-MATCH // 2 :]}"
    return f"{before[-40:]}»{match}«{after[:40]}".strip()

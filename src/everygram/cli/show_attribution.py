"""What a text has from where, in words, from its JSON values."""

from typing import Any

from everygram.cli.show import counted
from everygram.cli.show_documents import in_a_line, tokens_between

# What is shown of it; --json has everything: the best documents of a span and of all, characters of
# a span or match (from its start and from its end) and of a field of metadata.
BEST_OF_SPAN, BEST = 3, 10
BEGIN, END, METADATA = 200, 60, 200


def show_attribution(answer: dict[str, Any]) -> str:
    """Spans by place, each with its best documents; then the best documents of all."""
    lines = [show_found(answer)]
    for number, span in enumerate(answer["spans"]):
        lines += ["", *_span(number, span, answer["token_ids"])]
    if answer["documents"]:
        lines += ["", "documents, the most relevant first"]
        for each in answer["documents"][:BEST]:
            spans = ", ".join(map(str, each["spans"]))
            lines.append(
                f"  {_document(each)}   {counted(each['length'], 'token')}   "
                f"span{'s' * (len(each['spans']) > 1)} {spans}"
            )
            lines += [
                f"    {in_a_line(f'{name}: {value}'[:METADATA])}"
                for name, value in each["metadata"].items()
            ]
        lines += _left(len(answer["documents"]) - BEST, "  ")
    return "\n".join(lines)


def show_found(answer: dict[str, Any]) -> str:
    """How much was found."""
    found, kept = answer["span_count"], len(answer["spans"])
    many = len(answer["token_ids"])
    if not many:
        return "found     no spans: the text is empty"
    if not found:
        return (
            f"found     no spans in {counted(many, 'token')}: the corpus has none of the words, or "
            "none as the options ask"
        )
    spans = counted(found, "span")
    if kept < found:
        spans = f"{kept:,} of {spans} (--density none keeps all)"
    inside = sum(each["token_end"] - each["token_start"] for each in answer["merged_spans"])
    documents = counted(len(answer["documents"]), "document")
    return f"found     {spans}, {inside:,} of {counted(many, 'token')}, {documents}"


def _span(number: int, span: dict[str, Any], ids: list[int]) -> list[str]:
    """A span: where it is, how often it occurs, its text, and its best documents."""
    place = tokens_between(span["token_start"], span["token_end"])
    if span["start"] is not None:
        place = f"characters {span['start']:,}–{span['end'] - 1:,}, {place}"
    lines = [
        f"span {number}   {place}   {counted(span['count'], 'occurrence')} in "
        f"{counted(span['document_count'], 'document')}   log-prob {span['unigram_log_prob']:.2f}"
    ]
    text = span["text"]
    if text is None:
        text = "ids " + " ".join(map(str, ids[span["token_start"] : span["token_end"]]))
    lines.append(f"  {in_a_line(_short(text)).strip()}")
    for each in span["documents"][:BEST_OF_SPAN]:
        lines.append(f"  {_document(each)}")
        if each["snippet"] is None:
            lines[-1] += f"   {tokens_between(each['token_start'], each['token_end'])}"
        else:
            lines.append(f"    {_snippet(each['snippet'])}")
    return lines + _left(span["document_count"] - len(span["documents"][:BEST_OF_SPAN]), "  ")


def _snippet(snippet: dict[str, Any]) -> str:
    """The text around a match in one line, the match marked (without the space it begins with)."""
    text, (start, end) = snippet["text"], snippet["match"]
    match = text[start:end].lstrip()
    shown = f"{text[: end - len(match)]}»{_short(match)}«{text[end:]}"
    return " ".join(in_a_line(shown).split())


def _short(text: str) -> str:
    """A text, of a long one only how it begins and ends."""
    return text if len(text) <= BEGIN + END else f"{text[:BEGIN]} … {text[-END:]}"


def _document(document: dict[str, Any]) -> str:
    shown = f"document {document['number']}"
    if document["relevance"] is not None:
        shown += f"   relevance {document['relevance']} ({document['score']:.2f})"
    return shown


def _left(number: int, indent: str) -> list[str]:
    """What is said of documents that are not shown."""
    return [f"{indent}and {counted(number, 'more document')}"] if number > 0 else []

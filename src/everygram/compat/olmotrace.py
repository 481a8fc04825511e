"""OLMoTrace's `POST /{index}/attribution`, as its server (allenai/infinigram-api) has it.

In: a request body in its names; what `Index.attribute` says. Out: the keywords of that method; a
response, and errors, in its shape. Knows nothing of HTTP.

What is meant to differ, each of which its clients can take:

- Delimiters are texts: every token that ends with one is a delimiter, whatever its id. There each
  is one id ("." is, ".\\n" and " ." are not).
- Words are those of Unicode. There a span begins and ends where a token of a fixed list begins,
  most of which begin with a space: never after a newline or a bracket.
- A text without a space at its start is encoded as it stands in the middle of a sentence.
- `documents` are different documents, the most relevant first; there they are occurrences, of
  which two may be in one document, in the order of the sample. The samples differ.
- Texts have whole characters: where tokens divide one, `text` of a span has all of it, and those
  around a match leave it out at their outer ends. There, U+FFFD stands for the parts.
- `metadata` is the document's own. `blocked` is false: no document is hidden, those that were
  deleted are not there. `documentIndex` is a document's number; in a union of indexes, the numbers
  of each follow those of the one before it.
- Repeated requests are not kept in a cache.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from everygram.attribution.text import AskedText
from everygram.index import Index
from everygram.results.attribution import AttributedSpan, Attribution, SpanDocument

Positive = Annotated[int, Field(gt=0)]


class SpanRankingMethod(StrEnum):
    """How spans are ranked where there are too many."""

    LENGTH = "length"
    UNIGRAM_LOGPROB_SUM = "unigram_logprob_sum"


RANK_BY = {
    SpanRankingMethod.LENGTH: "length",
    SpanRankingMethod.UNIGRAM_LOGPROB_SUM: "unigram_log_prob",
}


class AttributionRequest(BaseModel):
    """A request body: its fields, also in snake_case, its defaults; others are not looked at."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    response: Annotated[str, Field(description="The text to trace.")]
    delimiters: Annotated[
        list[str], Field(description="No span goes on after a token that ends with one of these.")
    ] = []
    allow_spans_with_partial_words: Annotated[
        bool, Field(description="Whether spans may begin and end inside words.")
    ] = False
    minimum_span_length: Annotated[Positive, Field(description="The least tokens of a span.")] = 1
    maximum_frequency: Annotated[
        Positive, Field(description="The most occurrences of a span in the corpus.")
    ] = 10
    maximum_span_density: Annotated[
        float, Field(gt=0, description="The most spans to keep, per token of the text.")
    ] = 0.05
    span_ranking_method: Annotated[
        SpanRankingMethod, Field(description="Which spans are kept where there are more.")
    ] = SpanRankingMethod.LENGTH
    maximum_documents_per_span: Annotated[
        Positive, Field(description="The most documents to give of a span.")
    ] = 10
    maximum_context_length: Annotated[
        Positive, Field(description="Tokens on each side of a match, for `text`.")
    ] = 250
    maximum_context_length_long: Annotated[
        Positive, Field(description="The same for `textLong`.")
    ] = 100
    maximum_context_length_snippet: Annotated[
        Positive, Field(description="The same for `textSnippet`.")
    ] = 40

    def keywords(self) -> dict[str, Any]:
        """The request as keywords of `Index.attribute`."""
        # The shorter texts are cut from the longest: none is longer.
        longest = self.maximum_context_length
        long, snippet = self.maximum_context_length_long, self.maximum_context_length_snippet
        return {
            "text": self.response,
            # (An empty one is no token, there as here.)
            "delimiters": [each for each in self.delimiters if each],
            "whole_words": not self.allow_spans_with_partial_words,
            "min_length": self.minimum_span_length,
            "max_count": self.maximum_frequency,
            "density": self.maximum_span_density,
            "rank_by": RANK_BY[self.span_ranking_method],
            "documents": self.maximum_documents_per_span,
            "context": (longest, min(long, longest), min(snippet, longest)),
        }


def request_from(body: object) -> AttributionRequest:
    """The request that a body of JSON values is. Raises pydantic's ValidationError."""
    return AttributionRequest.model_validate(body)


def response_of(attribution: Attribution, index: Index, name: str) -> dict[str, Any]:
    """The response, as JSON values.

    index: the one that `attribution` is from, as it was then: the ids of documents are read in it.
    name: what the request called it.
    """
    contexts = attribution.options["context"]
    return {
        "index": name,
        "spans": [
            _span(each, attribution.token_ids, index, contexts) for each in attribution.spans
        ],
        "inputTokens": _input_tokens(attribution, index),
    }


def _span(
    span: AttributedSpan, ids: list[int], index: Index, contexts: list[int]
) -> dict[str, Any]:
    return {
        "left": span.token_start,
        "right": span.token_end,
        "length": span.length,
        "count": span.count,
        "unigramLogprobSum": span.unigram_log_prob,
        "text": span.text,
        "tokenIds": ids[span.token_start : span.token_end],
        "documents": [_document(each, index, contexts) for each in span.documents],
    }


def _document(found: SpanDocument, index: Index, contexts: list[int]) -> dict[str, Any]:
    assert found.surroundings is not None
    (first, length, offset), *shorter = (_window(found, context) for context in contexts)
    (_, long_length, long_offset), (_, snippet_length, snippet_offset) = shorter
    text, long, snippet = found.surroundings
    # (No more of the document is read than its beginning up to there.)
    place = getattr(found, "index", None)
    whole = index.document(found.number, index=place, context=first + length)
    return {
        "documentIndex": index.engine.number_of(found.number, place),
        "documentLength": found.length,
        "displayLength": length,
        "needleOffset": offset,
        "metadata": found.metadata,
        "tokenIds": whole.token_ids[first:].tolist(),
        "text": text.text,
        "blocked": False,
        "displayLengthLong": long_length,
        "needleOffsetLong": long_offset,
        "textLong": long.text,
        # (Its name says offset; it holds the snippet's length.)
        "displayOffsetSnippet": snippet_length,
        "needleOffsetSnippet": snippet_offset,
        "textSnippet": snippet.text,
    }


def _window(found: SpanDocument, context: int) -> tuple[int, int, int]:
    """(its first token, its length, where the match is in it) of a match with so many tokens on
    each side."""
    first = max(0, found.token_start - context)
    last = min(found.length, found.token_end + context)
    return first, last - first, found.token_start - first


def _input_tokens(attribution: Attribution, index: Index) -> list[str]:
    """What each token has of the text; a character that tokens divide is in each of them."""
    ids = attribution.query
    text = AskedText(index._state.reading, ids, attribution.text)
    places = np.arange(ids.shape[0])
    return [piece or "" for *_, piece in text.located(places, places + 1)]


OVERLOADED = (
    "The server wasn't able to process your request in time. It is likely overloaded. Please try "
    "again later."
)


def problem(error: Exception) -> dict[str, Any]:
    """An error as the body of an `application/problem+json` response with its `status`.

    503 for a TimeoutError, 422 for a body that is no request, 500 for all others.
    """
    if isinstance(error, TimeoutError):
        return _problem("server-overloaded", "Server overloaded", 503, {"detail": OVERLOADED})
    if isinstance(error, ValidationError):
        return _problem(
            "request-validation-failed",
            "Request validation error.",
            422,
            {"errors": [_fault(each) for each in error.errors(include_url=False)]},
        )
    return _problem(
        "infini-gram-engine-exception", "infini-gram error", 500, {"detail": str(error)}
    )


def _problem(kind: str, title: str, status: int, more: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "title": title, "status": status, **more}


def _fault(error: Mapping[str, Any]) -> dict[str, Any]:
    """One of pydantic's errors as its server (FastAPI) lists it."""
    return {**error, "loc": ["body", *error["loc"]]}

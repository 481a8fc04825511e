"""How often n-gram models agree with texts, by effective n: `agreement`, `generated`.

Sections 4.1 and 4.2 of the ∞-gram paper (Liu et al. 2024, arXiv 2401.17377): of texts that people
wrote, and of texts that models wrote, by how these were decoded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from everygram import arguments
from everygram.analysis.per_token import checked_index, encoded, nothing, per_token
from everygram.arguments import natural, short
from everygram.corpus.text import value_in
from everygram.encoding import Query
from everygram.errors import OptionError
from everygram.index import Index
from everygram.results.analysis import Agreements

# A text, its token ids, or a record with either, as "text" or "token_ids", and other fields.
Document = Query | Mapping[str, Any]
# Of a record, the fields of ids and of text, and those of a prompt before them.
TEXT, PROMPT = ("token_ids", "text"), ("prompt_ids", "prompt")
# The n-gram model that the paper compares with, and the tokens of a document that it looks at.
ORDER, MAX_TOKENS = 5, 1_024


def agreement(
    index: Index,
    documents: Iterable[Document],
    *,
    by: str | None = None,
    order: int = ORDER,
    max_tokens: int | None = MAX_TOKENS,
) -> Agreements:
    """How often n-gram models agree with the tokens of documents, by effective n.

    documents: each a text, its token ids, or a record with one of them as `text` or `token_ids`.
    Texts are encoded as documents of the corpus are. by: a field of the records (a.b: b inside a)
    whose values divide them into groups. order: of the n-gram model beside the ∞-gram model.
    max_tokens: of each document the first so many are looked at (None: all).

    A model agrees with a token if its probability after the tokens before it in the document is
    above 0.5. Effective n is 1 + the length of the prompt that the model used; an ∞-gram estimate
    is sparse if one token alone ever follows that. (Section 4.1, figure 4.)

    Raises OptionError, CorpusError for a record without these fields, QueryError for ids that are
    none of the index's, TokenizerError; messages count documents from 0.
    """
    checked = checked_index(index)
    by = None if by is None else arguments.string("by", by)
    most = None if max_tokens is None else natural("max_tokens", max_tokens, 1)
    return measured(
        checked, asked_of(checked, "documents", documents, by, most), checked_order(order)
    )


def generated(
    index: Index,
    records: Iterable[Document],
    *,
    by: str | None = "decoding",
    skip: int = 0,
    order: int = ORDER,
) -> Agreements:
    """How often n-gram models agree with texts that models generated, by how they were decoded.

    records: each with a generated text, as `token_ids` or `text`, and a field `by` that names its
    group. What stands before the text is its `prompt_ids` or `prompt`, or is the beginning of the
    text: the prompt, and the first `skip` tokens of both together, are context alone and are not
    counted. Texts of people, as one more group, show how far from them the others are. Otherwise
    as `agreement`. (Section 4.2, figures 5 to 7.)
    """
    checked = checked_index(index)
    by = None if by is None else arguments.string("by", by)
    skip = natural("skip", skip)
    asked = asked_of(checked, "records", records, by, None, skip)
    return measured(checked, asked, checked_order(order))


class Asked(NamedTuple):
    """A text to look at: its ids, how many of the first are context alone, its group if any."""

    ids: np.ndarray
    skip: int
    group: str | None


def read(
    index: Index,
    place: str,
    document: Document,
    by: str | None,
    max_tokens: int | None,
    skip: int | None = None,
) -> Asked:
    """What a document asks; see `agreement` and `generated`.

    place: of the document, for messages. skip: None if records have no prompts.
    """
    group = None
    prompt: Query = []
    text: Query = cast(Query, document)
    name, before = TEXT[isinstance(document, str)], PROMPT[0]
    if isinstance(document, Mapping):
        record = dict(document)
        if by is not None:
            group = group_of(record, by, place)
        name = TEXT[TEXT[0] not in record]
        text = value_in(record, name, place, f"expected '{TEXT[0]}' or '{TEXT[1]}'")
        if skip is not None:
            before = PROMPT[PROMPT[0] not in record]
            prompt = record.get(before, prompt)
    elif by is not None:
        raise OptionError(
            f"{place}: by: expected a record with this field, found {short(document)}"
        )
    ids = encoded(index, text, name, place)
    known = encoded(index, prompt, before, place)
    both = np.concatenate([known, ids])[:max_tokens]
    return Asked(both, max(known.shape[0], skip or 0), group)


def group_of(record: dict[str, Any], by: str, place: str) -> str:
    """The group of a record: what its field `by` says. Raises CorpusError if it has none."""
    value = value_in(record, by, place, "by (--by) names the field of the groups")
    return value if isinstance(value, str) else json.dumps(value, default=str)


def measured(index: Index, asked: Iterable[Asked], order: int) -> Agreements:
    """The agreement with all texts, and with each group of them, one text after the other."""
    total, groups = nothing(order), dict[str, Any]()
    for ids, skip, group in asked:
        found = per_token(index, ids, order).counts(order, skip)
        total += found
        if group is not None:
            groups[group] = groups[group] + found if group in groups else found
    return Agreements(total, groups)


def checked_order(order: int) -> int:
    """The order of an n-gram model."""
    return natural("order", order, 1)


def asked_of(
    index: Index,
    name: str,
    documents: Any,
    by: str | None,
    max_tokens: int | None,
    skip: int | None = None,
) -> Iterator[Asked]:
    """`read` of each document of the argument `name`; messages count them from 0.

    Raises OptionError for what has no documents.
    """
    try:
        if isinstance(documents, str | bytes | bytearray | Mapping):
            raise TypeError
        listed = iter(documents)
    except TypeError:
        raise OptionError(
            f"{name}: expected a list, or another iterable, of texts, token ids or records, found "
            f"{short(documents)}"
        ) from None
    one = name.removesuffix("s")
    return (
        read(index, f"{one} {number:,}", document, by, max_tokens, skip)
        for number, document in enumerate(listed)
    )

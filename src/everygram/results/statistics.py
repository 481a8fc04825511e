"""What an index holds: documents and their lengths, vocabulary, copies, groups."""

from dataclasses import asdict, dataclass
from typing import Any

from everygram.results.tables import Table


@dataclass(frozen=True)
class Group:
    """Documents with one value of a field; None: those that do not have the field."""

    value: str | None
    documents: int
    tokens: int


@dataclass(frozen=True)
class LengthBin:
    """Documents of at least `low` tokens and fewer than `high`, and their tokens in all."""

    low: int
    high: int
    documents: int
    tokens: int


@dataclass(frozen=True)
class Lengths:
    """The tokens of documents. percentiles: by percent, each the length of a document (the smallest
    that so many percent of all documents do not exceed). Empty where there are no documents."""

    mean: float | None
    percentiles: dict[str, int]
    bins: tuple[LengthBin, ...]


@dataclass(frozen=True)
class VocabularyUse:
    """Which token ids occur. size: ids in all. types: those that occur; unused: those that do not;
    once: those that occur once.

    zipf_slope: of the straight line of least squares through log10 of the count against log10 of
    the rank of each type, weighted by 1 / rank, so that each tenfold of ranks counts about the
    same; −1 is Zipf's law. None for fewer than two types.
    """

    size: int
    types: int
    unused: int
    once: int
    zipf_slope: float | None


@dataclass(frozen=True)
class ByteTokens:
    """Tokens that spell no whole characters: parts of characters that the tokenizer has no token
    for, or bytes that are not UTF-8. tokens: how many; types: of how many ids.

    single: those of them that are one byte. share: of all tokens; None for no tokens.
    """

    tokens: int
    single: int
    types: int
    share: float | None


@dataclass(frozen=True)
class Copies:
    """Documents that are identical: the same tokens, all of them; empty ones are not among them.

    groups: of two or more. documents: in them. copies: all but one of each group; tokens: in these.
    largest: documents of the largest group.
    """

    groups: int
    documents: int
    copies: int
    tokens: int
    largest: int


@dataclass(frozen=True, repr=False)
class Statistics(Table):
    """What an index holds, without deleted documents.

    tokens: separators not counted. byte_tokens: None without a tokenizer whose tokens spell text.
    field: the field of `groups`, by tokens, most first; None and () if none was asked for.
    """

    num_documents: int
    num_tokens: int
    num_segments: int
    lengths: Lengths
    empty: int
    identical: Copies
    vocabulary: VocabularyUse
    byte_tokens: ByteTokens | None
    field: str | None
    groups: tuple[Group, ...]

    def __repr__(self) -> str:
        return f"Statistics({self.num_documents:,} documents, {self.num_tokens:,} tokens)"

    def columns(self) -> dict[str, Any]:
        """A row for each group; without a field, one for all documents."""
        groups = self.groups
        if self.field is None:
            groups = (Group(None, self.num_documents, self.num_tokens),)
        return {
            "value": [group.value for group in groups],
            "documents": [group.documents for group in groups],
            "tokens": [group.tokens for group in groups],
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        made = asdict(self)
        made["groups"] = list(made["groups"])
        made["lengths"]["bins"] = list(made["lengths"]["bins"])
        return made

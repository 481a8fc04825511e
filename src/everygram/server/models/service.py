"""What the service says of itself and of its indexes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from everygram.server.models.base import IndexVersion
from everygram.server.settings import LIMITS, Settings


class Info(BaseModel):
    """What an index or a union of indexes is."""

    name: Annotated[
        str, Field(description="Its name in this service's paths.", examples=["wikipedia"])
    ]
    aliases: Annotated[
        list[str], Field(description="Other names for it there.", examples=[["wiki"]])
    ]
    index_version: IndexVersion
    num_documents: Annotated[int, Field(description="Documents, numbered from 0.")]
    num_tokens: Annotated[int, Field(description="Tokens, separators not counted.")]
    num_segments: Annotated[int, Field(description="Parts of the index, each sorted on its own.")]
    bytes: Annotated[int, Field(description="Size on disk.")]
    dtype: Annotated[
        str, Field(description="Type of its token ids: u8, u16 or u32.", examples=["u16"])
    ]
    separator: Annotated[
        int,
        Field(description="The id of a document's start and end.", examples=[65535]),
    ]
    vocab_size: Annotated[int, Field(description="Ids are in [0, vocab_size).", examples=[50257])]
    tokenizer: Annotated[
        str,
        Field(
            description="Where its tokenizer came from; 'none' when it has none.", examples=["gpt2"]
        ),
    ]
    tokenizer_sha256: Annotated[
        str | None, Field(description="SHA-256 of its tokenizer.json; null when it has none.")
    ]
    query_prefix: Annotated[
        str,
        Field(
            description="Goes in front of a text query, unless `raw`, so that a word is looked "
            "up as it stands inside a sentence.",
            examples=[" "],
        ),
    ]
    document_counts: Annotated[
        bool,
        Field(
            description="Whether it has document counts. Without them, to count documents every "
            "occurrence is looked at."
        ),
    ]


Kind = Literal["suffix-array", "self-index"]
SampleEvery = Annotated[
    int, Field(description="Positions per sample of a self-index; 0 for a suffix array.")
]


class SegmentInfo(BaseModel):
    """What a segment of an index is."""

    kind: Annotated[Kind, Field(description="What it is searched by.")]
    sample_every: SampleEvery
    sign: Annotated[
        int, Field(description="1, or −1 for deleted documents, whose counts are subtracted.")
    ]
    num_documents: Annotated[int, Field(description="Its documents.")]
    num_tokens: Annotated[int, Field(description="Its tokens, separators not counted.")]
    bytes: Annotated[int, Field(description="Its size on disk.")]


class IndexInfo(Info):
    """What an index is."""

    prepared: Annotated[
        bool, Field(description="Whether it is prepared for modified Kneser-Ney smoothing.")
    ]
    kind: Annotated[
        Kind,
        Field(description="Which kind of segments a compaction makes; additions have arrays."),
    ]
    sample_every: SampleEvery
    bytes_per_token: Annotated[
        float | None, Field(description="Size on disk per token; null without tokens.")
    ]
    segments: Annotated[list[SegmentInfo], Field(description="Its segments.")]
    format: Annotated[
        Literal["everygram", "infini-gram"],
        Field(description="Whose files it is read from; infini-gram's have no versions: 0 and ''."),
    ]
    format_version: Annotated[int, Field(description="Version of its format on disk.")]
    everygram_version: Annotated[
        str, Field(description="Version of everygram that built it.", examples=["0.1.0"])
    ]


class UnionInfo(Info):
    """What a union of indexes is: the sums over all of them."""

    indexes: Annotated[
        list[str],
        Field(description="The names of its indexes, in order.", examples=[["wiki", "books"]]),
    ]
    minus: Annotated[
        list[str],
        Field(description="The names of indexes whose documents are left out.", examples=[[]]),
    ]


class Indexes(BaseModel):
    """The indexes served."""

    indexes: Annotated[
        list[UnionInfo | IndexInfo],
        Field(
            description="Those that can be read, in the order of the settings; with keys, those "
            "that the key may read."
        ),
    ]


_LIMITS: dict[str, Any] = {
    name: (field.annotation, Field(description=field.description, examples=[field.default]))
    for name, field in Settings.model_fields.items()
    if field.json_schema_extra == {"group": LIMITS}
}
Limits = create_model("Limits", __doc__="What a request may be, or ask for, at most.", **_LIMITS)


class Live(BaseModel):
    """The process answers."""

    status: Annotated[str, Field(description="Always ok.", examples=["ok"])]


class Health(BaseModel):
    """Whether queries can be answered."""

    status: Annotated[
        str, Field(description="ok, or unavailable (with status 503).", examples=["ok"])
    ]
    version: Annotated[
        str, Field(description="Version of everygram that serves.", examples=["0.1.0"])
    ]
    unavailable: Annotated[
        list[str],
        Field(description="Names of indexes that cannot be read just now.", examples=[[]]),
    ]

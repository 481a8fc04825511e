"""What changes an index: requests, and the jobs that they become."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from everygram.server.models.base import Problem, Query, Raw, Request

Number = Annotated[int, Field(ge=0)]
Value = str | int | float | bool | None


class AddOptions(Request):
    """How the records of documents are read: parameters of the query string."""

    text_field: Annotated[
        str, Field(description="The field of a record that is its text; `a.b`: b inside a.")
    ] = "text"
    id_field: Annotated[
        str | None, Field(description="The field that becomes the metadata's `id`.")
    ] = None
    metadata_fields: Annotated[
        list[str] | None,
        Field(description="The fields that are kept as metadata (default: all others)."),
    ] = None


class Documents(Request):
    """Documents to add."""

    documents: Annotated[
        list[dict[str, object]],
        Field(
            description="A record each: its text in `text`, or in `ids` its token ids if the index "
            "has no tokenizer; all other fields of a text are its metadata.",
            examples=[[{"text": "natural language processing", "year": 1999}]],
        ),
    ]


class DeleteRequest(Request):
    """Which documents to delete: give one of `numbers`, `where` and `query`."""

    numbers: Annotated[
        list[Number] | None,
        Field(fail_fast=True, description="The numbers of the documents.", examples=[[3, 17]]),
    ] = None
    where: Annotated[
        dict[str, Value] | None,
        Field(
            min_length=1,
            max_length=1,
            description="A field of the metadata (`a.b`: b inside a) and its value.",
            examples=[{"source": "mailing-list"}],
        ),
    ] = None
    query: Annotated[
        Query | None,
        Field(
            description="An n-gram, text or token ids, that the documents contain.",
            examples=["a sentence to forget"],
        ),
    ] = None
    raw: Raw = False
    missing_ok: Annotated[
        bool, Field(description="With `numbers`: ignore documents that were deleted before.")
    ] = False
    dry_run: Annotated[
        bool, Field(description="Only answer what would be deleted; there is no job.")
    ] = False


class CompactRequest(Request):
    """How to compact."""

    full: Annotated[
        bool, Field(description="Merge all segments and drop every deleted document.")
    ] = False
    kind: Annotated[
        Literal["suffix-array", "self-index"] | None,
        Field(description="The index's kind from now on; segments of another are made anew."),
    ] = None
    prepare: Annotated[
        bool,
        Field(description="With `full`: then prepare modified Kneser-Ney smoothing."),
    ] = False


class Progress(BaseModel):
    """How far a job is."""

    stage: Annotated[
        str,
        Field(
            description="read, sort, merge, count, write, check, prepare or publish; wait: another "
            "process writes the index.",
            examples=["read"],
        ),
    ]
    done: Annotated[int, Field(description="How much of `total`, in the stage's own measure.")]
    total: Annotated[int, Field(description="All of it; 0 if it is not known.")]
    documents: Annotated[int, Field(description="Documents read.")] = 0
    tokens: Annotated[int, Field(description="Tokens read.")] = 0
    seconds: Annotated[float, Field(description="Since its process began.")] = 0.0


IndexVersion = Annotated[
    str,
    Field(
        description="The state of the index: answers that have this `index_version` have the "
        "change in them.",
        examples=["5e1c0ff3a9d2b847"],
    ),
]


class Added(BaseModel):
    """What an addition added."""

    num_documents: Annotated[int, Field(description="Documents added.", examples=[2])]
    num_tokens: Annotated[
        int | None,
        Field(
            description="Their tokens; null if the process ended before it could say, and the "
            "index was compacted since."
        ),
    ]
    first_document: Annotated[
        int, Field(description="The number of the first one; the others follow it.")
    ]
    warnings: Annotated[
        list[str], Field(description="What is hardly meant, such as a field no record has.")
    ]
    index_version: IndexVersion


class Deleted(BaseModel):
    """What a deletion deleted, or would delete."""

    num_documents: Annotated[int, Field(description="Documents deleted.", examples=[2])]
    num_tokens: Annotated[int, Field(description="Their tokens.")]
    numbers: Annotated[
        list[int], Field(description="The numbers of the first 1,000 of them.", examples=[[3, 17]])
    ]
    missing_field: Annotated[
        str | None, Field(description="The field of `where`, if no document has it.")
    ]
    index_version: IndexVersion


class Compacted(BaseModel):
    """What a compaction did."""

    segments_before: Annotated[int, Field(description="Parts of the index before.")]
    segments_after: Annotated[int, Field(description="Parts of the index now.")]
    freed_bytes: Annotated[int, Field(description="By how much the index became smaller.")]
    prepared: Annotated[bool, Field(description="Whether the index is prepared now.")]
    index_version: IndexVersion


class Job(BaseModel):
    """A change of an index, which waits, runs, or has ended."""

    id: Annotated[
        str, Field(description="Its name in paths.", examples=["18cb8f0c2d1e4a00-5f3a9c1e"])
    ]
    index: Annotated[str, Field(description="The index, by the name it was asked under.")]
    operation: Annotated[Literal["add", "delete", "compact"], Field(description="What it does.")]
    state: Annotated[
        Literal["queued", "running", "done", "failed", "cancelled"],
        Field(description="The last three are final."),
    ]
    created: Annotated[
        str, Field(description="When it was taken.", examples=["2026-01-31T12:00:00.000Z"])
    ]
    started: Annotated[str | None, Field(description="When it first began.")]
    ended: Annotated[str | None, Field(description="When it ended.")]
    progress: Annotated[Progress | None, Field(description="How far it is; null before and after.")]
    result: Annotated[
        Added | Deleted | Compacted | None,
        Field(description="What it did; null unless it is done."),
    ]
    problem: Annotated[
        Problem | None,
        Field(description="Why it failed; null unless it has. The index is as before."),
    ]


class JobList(BaseModel):
    """Jobs of an index."""

    jobs: Annotated[list[Job], Field(description="The latest first.")]

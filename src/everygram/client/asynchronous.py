"""`AsyncRemoteIndex`: as `RemoteIndex`, with methods that are awaited."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from everygram.client import conversation as said
from everygram.client.asking import Answer, Post, Request, built
from everygram.client.conversation import Conversation
from everygram.client.described import Described
from everygram.client.language import ModelQuestions, model_request
from everygram.client.questions import Questions

P = ParamSpec("P")
R = TypeVar("R")


class Holds(Protocol):
    """What holds conversations with a service."""

    async def hold(self, conversation: Conversation[R]) -> R: ...

    def fetch(self, conversation: Conversation[R]) -> R: ...


def asked(
    build: Callable[Concatenate[Questions, P], Request[R]],
) -> Callable[Concatenate["AsyncRemoteIndex", P], Coroutine[Any, Any, R]]:
    """A method that asks what another one builds."""

    @wraps(build)
    async def ask(self: "AsyncRemoteIndex", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._client.hold(said.asking(self, built(build, self._asks, *args, **kwargs)))

    return ask


def asked_model(
    build: Callable[Concatenate[ModelQuestions, P], Request[R]],
) -> Callable[Concatenate["AsyncRemoteLanguageModel", P], Coroutine[Any, Any, R]]:
    """The same of a language model."""

    @wraps(build)
    async def ask(self: "AsyncRemoteLanguageModel", /, *args: P.args, **kwargs: P.kwargs) -> R:
        index, request = self._remote, built(build, self._asks, *args, **kwargs)
        return await index._client.hold(said.asking(index, request))

    return ask


class AsyncRemoteIndex(Described):
    """An index of a service: its queries are those of `Index`, with the same results.

    It follows the service: once that serves another state of the index, so do its answers, each
    of one state. `refresh` asks for `version` and sizes as they are now.
    """

    def __init__(self, client: Holds, info: Answer) -> None:
        super().__init__(info, self._tokenizer_json)
        self._client = client
        self._asks = Questions(self)

    def _tokenizer_json(self) -> bytes:
        return self._client.fetch(_fetching(self.name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def load_tokenizer(self) -> None:
        """Fetch the tokenizer, which otherwise waits until texts of tokens are wanted."""
        await asyncio.to_thread(lambda: self.tokenizer)

    async def close(self) -> None:
        """Nothing: the client has the connections, and closes them."""

    async def changed(self) -> bool:
        """Whether the service serves another state of the index than `version`."""
        found = await self._client.hold(said.describing(self.name))
        return bool(found["index_version"] != self.version)

    async def refresh(self) -> bool:
        """Ask what the index is now; returns whether anything had changed."""
        return self.describe(await self._client.hold(said.describing(self.name)))

    async def latest(self) -> Self:
        """This index as it is now: itself if nothing has changed, else a new one."""
        info = await self._client.hold(said.describing(self.name))
        return self if info["index_version"] == self.version else type(self)(self._client, info)

    count = asked(Questions.count)
    count_batch = asked(Questions.count_batch)
    document_count = asked(Questions.document_count)
    document_count_batch = asked(Questions.document_count_batch)
    prob = asked(Questions.prob)
    prob_batch = asked(Questions.prob_batch)
    infgram_prob = asked(Questions.infgram_prob)
    infgram_prob_batch = asked(Questions.infgram_prob_batch)
    ntd = asked(Questions.ntd)
    ntd_batch = asked(Questions.ntd_batch)
    infgram_ntd = asked(Questions.infgram_ntd)
    infgram_ntd_batch = asked(Questions.infgram_ntd_batch)
    score = asked(Questions.score)
    score_batch = asked(Questions.score_batch)
    longest_matches = asked(Questions.longest_matches)
    novelty = asked(Questions.novelty)
    novelty_batch = asked(Questions.novelty_batch)
    count_text = asked(Questions.count_text)
    count_text_batch = asked(Questions.count_text_batch)
    document_count_text = asked(Questions.document_count_text)
    tokenizations = asked(Questions.tokenizations)
    find_text = asked(Questions.find_text)
    find = asked(Questions.find)
    documents = asked(Questions.documents)
    document = asked(Questions.document)
    draft = asked(Questions.draft)
    search = asked(Questions.search)
    attribute = asked(Questions.attribute)
    encode = asked(Questions.encode)
    encode_prob = asked(Questions.encode_prob)
    decode = asked(Questions.decode)

    async def language_model(
        self,
        smoothing: str = "modified-kneser-ney",
        *,
        order: int | None = None,
        discount_fallback: Sequence[float] | None = None,
        kenlm_compat: bool = False,
        weights: Sequence[float] | None = None,
    ) -> "AsyncRemoteLanguageModel":
        """See `Index.language_model`."""
        wanted = model_request(smoothing, order, discount_fallback, kenlm_compat, weights)
        return AsyncRemoteLanguageModel(self, *(await self._client.hold(said.asking(self, wanted))))

    async def add(
        self,
        documents: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
        *,
        text_field: str | None = None,
        id_field: str | None = None,
        metadata_fields: Iterable[str] | None = None,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Add documents: records such as {"text": "…"}, or the path of a file of JSON lines.

        Waits until they are there, and returns what was done (`num_documents`, `first_document`,
        `index_version`, …); without `wait`, the job, which `job` asks about. The same
        `idempotency_key` (default: a new one) with the same documents adds them once.
        """
        fields = text_field, id_field, metadata_fields
        return await self._client.hold(said.adding(self, documents, *fields, wait, idempotency_key))

    async def delete(
        self,
        *,
        numbers: Sequence[int] | None = None,
        where: tuple[str, Any] | None = None,
        query: Any = None,
        raw: bool = False,
        missing_ok: bool = False,
        dry_run: bool = False,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Delete documents: by number, by a field of their metadata, or that have a query.

        Returns `num_documents`, `num_tokens`, `numbers`, …; otherwise as `add`. With `dry_run`
        nothing is deleted.
        """
        asked = numbers, where, query, raw, missing_ok, dry_run, wait, idempotency_key
        return await self._client.hold(said.deleting(self, *asked))

    async def compact(
        self,
        *,
        full: bool = False,
        kind: str | None = None,
        prepare: bool = False,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Merge segments (`full`: all of them). As `add`.

        kind: the index's from now on. prepare: for modified Kneser-Ney.
        """
        asked = full, kind, prepare, wait, idempotency_key
        return await self._client.hold(said.compacting(self, *asked))

    async def job(self, id: str) -> Answer:
        """How far a job is: `state`, `progress`, `result`, `problem`."""
        return await self._client.hold(said.job_of(self, id))

    async def cancel(self, id: str) -> Answer:
        """Cancel a job; returns it."""
        return await self._client.hold(said.job_of(self, id, cancel=True))


def _fetching(name: str) -> Conversation[bytes]:
    return (yield Post("GET", f"{said.path_of(name)}/tokenizer"))


class AsyncRemoteLanguageModel:
    """A language model of a service's index: see `LanguageModel`."""

    def __init__(self, index: AsyncRemoteIndex, model: Answer, normalized: bool) -> None:
        self._remote = index
        self._asks = ModelQuestions(index._asks, model, normalized)
        self.smoothing, self.order = self._asks.smoothing, self._asks.order
        self.vocab_size, self.separator = index.vocab_size, index.separator
        self.normalized = normalized

    def __repr__(self) -> str:
        return repr(self._asks)

    prob = asked_model(ModelQuestions.prob)
    distribution = asked_model(ModelQuestions.distribution)
    log_probs = asked_model(ModelQuestions.log_probs)
    log_probs_batch = asked_model(ModelQuestions.log_probs_batch)
    longest_suffix_batch = asked_model(ModelQuestions.longest_suffix_batch)
    perplexity = asked_model(ModelQuestions.perplexity)
    sample = asked_model(ModelQuestions.sample)
    sample_batch = asked_model(ModelQuestions.sample_batch)

"""A corpus opened for indexing: its files are listed once, its tokenizer is loaded once.

Knows the tokenizer for a corpus and the vocabulary of its index; gives documents as ids.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from everygram import arguments
from everygram.building.stages import Stages
from everygram.building.tokenize import BATCH_DOCUMENTS, ENCODING, REPORT_EVERY, encoded
from everygram.corpus.decoding import NO_LIMITS, Limits
from everygram.corpus.dividing import Part
from everygram.corpus.documents import Corpus, TextDocument, TokenDocument
from everygram.corpus.memory import Given, Name
from everygram.corpus.source import CorpusKeywords, CorpusOptions, NamedCorpus, absolute
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import OptionError
from everygram.storage import format as fmt
from everygram.storage.directory import (
    MOST_TOKENIZER,
    read_tokenizer_json,
    write_tokenizer_json,
)
from everygram.storage.disk import read_file
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import (
    load_tokenizer,
    stored_tokenizer,
    train_tokenizer,
    training_vocab_size,
)
from everygram.tokenizer.huggingface import HuggingFaceTokenizer

# Text that is tokenized to estimate the number of tokens; without a tokenizer, bytes per token that
# are assumed.
SAMPLE_CHARS, TEXT_A_TOKEN = 1 << 20, 4
# What is compressed is read ahead of its text: so much of it, or of its text, is read to tell how
# much of it the text is.
READ_BYTES, READ_CHARS = 1 << 22, 64 << 20
# The default limit of a record, as a share of the memory: a record is held as bytes, text and ids.
# Records of LEAST_RECORD bytes are read for any limit.
RECORD_SHARE, LEAST_RECORD = 0.25, 1 << 20


@dataclass(frozen=True)
class Estimate:
    """Estimates for a corpus: number of tokens, size of the vocabulary, fields of the metadata."""

    tokens: int
    vocab_size: int
    fields: tuple[str, ...]


class Source(ABC):
    """An opened corpus, and what turns it into ids.

    `operation`: what making an index of it is called once that was interrupted. `tokenizer_name` is
    the specification of its tokenizer; None for ids without a tokenizer. `tokenizer` is None for
    these ids, and also before `prepare` if the tokenizer must be trained. `beside`: bytes of memory
    that reading takes in addition to sorting. `warnings`: the corpus's, once all of it is read.
    """

    operation = "build"
    corpus: Corpus[Any]
    beside: int
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        arguments: dict[str, Any],
        held: bool,
        tokenizer_name: str | None,
        tokenizer: Tokenizer | None,
    ) -> None:
        # An interrupted build continues only with the same arguments. JSON values.
        self.arguments = arguments
        self._held = held
        self.tokenizer_name = tokenizer_name
        self.tokenizer = tokenizer

    @property
    def inputs(self) -> list[Any] | None:
        """Name, size and version of each file when the files were listed, as JSON values.

        None for documents in memory: nobody can tell whether another run has the same.
        """
        if self._held:
            return None
        return [[absolute(file.name), file.size, file.version] for file in self.corpus.files]

    def take(self, part: Part) -> None:
        """Be, from now on, a part of the corpus; one that `corpus.divide` gives."""
        self.corpus.take(part)
        self.arguments = self.arguments | {"part": [list(piece) for piece in part]}

    @abstractmethod
    def limit(self, memory: int) -> None:
        """Set the limits of reading, from the memory limit of the build."""

    @abstractmethod
    def estimate(self) -> Estimate:
        """Estimates, from the first documents."""

    @abstractmethod
    def prepare(self, stages: Stages) -> int:
        """Make the tokenizer ready and check ids; returns the size of the vocabulary."""

    @abstractmethod
    def documents(self, threads: int) -> Iterator[TokenDocument]:
        """The documents, in order; up to `threads` batches of text are encoded at once."""

    @abstractmethod
    def least_bytes(self, dtype: str) -> int:
        """The least disk space, in bytes, that the tokens take in this dtype."""


class TextSource(Source):
    """Text, and its tokenizer: a given one, or one that is trained on the text."""

    beside = ENCODING

    def __init__(
        self, named: NamedCorpus, tokenizer_name: str, tokenizer: Tokenizer | None
    ) -> None:
        super().__init__(named.arguments, named.held is not None, tokenizer_name, tokenizer)
        self.corpus: TextCorpus = named.text()
        self._name = tokenizer_name
        self._max_record = arguments.size("max_record", named.options.max_record)

    def limit(self, memory: int) -> None:
        record = self._max_record or max(LEAST_RECORD, int(memory * RECORD_SHARE))
        self.corpus.limits = Limits(min(record, NO_LIMITS.record), memory)

    def estimate(self) -> Estimate:
        if self.corpus.once:
            raise OptionError(
                "corpus: a plan would use up an iterator: pass a list, or make it anew and build "
                "without a plan"
            )
        fields: tuple[str, ...] = ()
        chars = sampled = seen = 0
        sample: list[TextDocument] = []
        for number, document in enumerate(self.corpus):
            if number == 0:
                fields = tuple(json.loads(document.metadata))
            seen += 1
            chars += len(document.text)
            if sampled < SAMPLE_CHARS and number < BATCH_DOCUMENTS:
                sample.append(replace(document, text=document.text[: SAMPLE_CHARS - sampled]))
                sampled += len(sample[-1].text)
            if (sampled >= SAMPLE_CHARS or number >= BATCH_DOCUMENTS) and (
                not self.corpus.compressed
                or chars >= READ_CHARS
                or self.corpus.bytes_read >= READ_BYTES
            ):
                break
        text_bytes = sum(len(document.text.encode()) for document in sample)
        if self.tokenizer is None:
            tokens = text_bytes / TEXT_A_TOKEN
            vocab_size = training_vocab_size(self._name) or 0
        else:
            found = encoded(sample, self.tokenizer, 1, self.corpus._skip)
            tokens = float(sum(document.ids.shape[0] for document in found))
            vocab_size = self.tokenizer.vocab_size
        total, read = self.corpus.total_bytes, self.corpus.bytes_read
        all_text = total * tokens / max(1, text_bytes)
        tokens *= chars / max(1, sampled)
        if self.corpus.num_records is not None:
            tokens *= self.corpus.num_records / max(1, seen)
        elif read == 0:  # of a file that does not say how long it is
            tokens += all_text
        else:
            tokens *= total / read
            # (A file may be compressed though its name does not say so.)
            if not self.corpus.compressed and chars < 1.5 * read:
                tokens = min(tokens, all_text)
        return Estimate(round(tokens), vocab_size, fields)

    def prepare(self, stages: Stages) -> int:
        if self.tokenizer is None:
            self.tokenizer = self._trained(stages)
        return self.tokenizer.vocab_size

    def documents(self, threads: int) -> Iterator[TokenDocument]:
        assert self.tokenizer is not None
        return encoded(self.corpus, self.tokenizer, threads, self.corpus._skip)

    def least_bytes(self, dtype: str) -> int:
        # Tokens take at least a quarter of the bytes of their text.
        return self.corpus.total_bytes // 4

    def _trained(self, stages: Stages) -> Tokenizer:
        """A tokenizer trained on the corpus, or the one that a killed build has trained."""
        if self.corpus.once:
            raise OptionError(
                f"tokenizer '{self._name}': training reads the corpus twice, and an iterator can "
                "be read only once: pass a list, or what can be iterated over again"
            )
        if stages.state.trained:
            data = read_file(stages.path / fmt.TOKENIZER, stages.path, MOST_TOKENIZER)
            return HuggingFaceTokenizer(data, self._name)
        corpus, clock = self.corpus, stages.clock
        clock.enter("train")

        def texts() -> Iterator[str]:
            for number, document in enumerate(corpus):
                if number % REPORT_EVERY == 0:
                    clock.report(corpus.bytes_read, corpus.total_bytes)
                yield document.text
            clock.report(corpus.bytes_read, corpus.total_bytes)

        vocab_size = training_vocab_size(self._name)
        assert vocab_size is not None
        trained = train_tokenizer(texts(), corpus.estimated_text_bytes, vocab_size)
        assert trained.json is not None
        write_tokenizer_json(stages.path, trained.json)
        stages.state.trained = True
        clock.leave()
        stages.save()
        return trained


class IdSource(Source):
    """Token ids, all of which are in a vocabulary."""

    beside = 0

    def __init__(
        self,
        named: NamedCorpus,
        tokenizer_name: str | None,
        tokenizer: Tokenizer | None,
        vocab_size: int | None,
        whose: str,
    ) -> None:
        """vocab_size: of the vocabulary. None: the vocabulary has every id of the corpus's width,
        but the all-ones id only if the corpus uses it (otherwise it is the separator). whose: the
        name of the vocabulary in messages."""
        super().__init__(named.arguments, named.held is not None, tokenizer_name, tokenizer)
        self.corpus: TokenCorpus = named.ids()
        self._vocab_size, self._whose = vocab_size, whose

    def limit(self, memory: int) -> None:
        pass

    def estimate(self) -> Estimate:
        vocab_size = self._vocab_size or fmt.separator_of(self.corpus.width)
        return Estimate(self.corpus.total_tokens, vocab_size, ())

    def prepare(self, stages: Stages) -> int:
        corpus, vocab_size = self.corpus, self._vocab_size
        if vocab_size is None:
            vocab_size = max(fmt.separator_of(corpus.width), corpus.max_id() + 1)
        corpus.check_ids(min(vocab_size, fmt.separator_of("u32")), self._whose)
        return vocab_size

    def documents(self, threads: int) -> Iterator[TokenDocument]:
        return iter(self.corpus)

    def least_bytes(self, dtype: str) -> int:
        return self.corpus.total_tokens * fmt.TOKEN_DTYPES[dtype].itemsize


def open_source(
    corpus: Given,
    tokenizer: Name | None = None,
    *,
    vocab_size: int | None = None,
    **options: Unpack[CorpusKeywords],
) -> Source:
    """Open a corpus for a new index: list its files, load its tokenizer.

    Takes the arguments of `build` and raises its errors. The result can be given to `plan_of` and
    then to `build_of`.
    """
    named = NamedCorpus(corpus, _corpus_options(**options))
    name = None
    if tokenizer is not None:
        name = arguments.place("tokenizer", tokenizer, "a path or a name")
    if vocab_size is not None:
        vocab_size = arguments.integer("vocab_size", vocab_size)
    source: Source
    if named.are_ids:
        width = named.options.pretokenized
        check_vocabulary(width, vocab_size, name)
        loaded = None if name is None else load_tokenizer(name)
        size, whose = vocab_size, "the vocabulary given"
        if loaded is not None:
            size, whose = loaded.vocab_size, f"the vocabulary of tokenizer '{loaded.source}'"
        elif size is None:
            whose = "what an index can hold"
        source = IdSource(named, name, loaded, size, whose)
    else:
        if vocab_size is not None:
            raise OptionError("vocab_size goes with pretokenized: text has no ids of its own")
        specification = "bytes" if name is None else name
        trained = training_vocab_size(specification) is not None
        loaded = None if trained else load_tokenizer(specification)
        source = TextSource(named, specification, loaded)
    source.arguments |= {"tokenizer": name, "vocab_size": vocab_size}
    return source


def reopened(
    arguments: dict[str, Any], stored: fmt.TokenizerEntry, json: bytes | None, vocab_size: int
) -> Source:
    """A corpus as `open_source` opened it elsewhere: with its `arguments`, the tokenizer that it
    had once it was prepared (`stored`, and its file), and the size of its vocabulary."""
    given: Any = {name: arguments[name] for name in CorpusKeywords.__annotations__}
    named = NamedCorpus(arguments["corpus"], _corpus_options(**given))
    tokenizer = stored_tokenizer(stored.kind, stored.source, json)
    source: Source
    if named.are_ids:
        source = IdSource(named, arguments["tokenizer"], tokenizer, vocab_size, "the vocabulary")
    else:
        assert tokenizer is not None
        source = TextSource(named, stored.source, tokenizer)
    source.arguments = dict(arguments)
    return source


def _corpus_options(**options: Unpack[CorpusKeywords]) -> CorpusOptions:
    """Raises TypeError for an unknown one: of `build` and `add` these are all other keywords."""
    for name in options:
        if name not in CorpusKeywords.__annotations__:
            raise TypeError(
                f"got an unexpected keyword argument '{name}'; how to read a corpus is said with "
                + ", ".join(CorpusKeywords.__annotations__)
            )
    return CorpusOptions(**options)


def open_addition(
    corpus: Given,
    path: Path,
    manifest: fmt.Manifest,
    **options: Unpack[CorpusKeywords],
) -> Source:
    """Open a corpus to add to an existing index; it uses the index's tokenizer and vocabulary."""
    named = NamedCorpus(corpus, _corpus_options(**options))
    if named.are_ids:
        return IdSource(named, None, None, manifest.vocab_size, f"the vocabulary of index '{path}'")
    stored = manifest.tokenizer
    tokenizer = stored_tokenizer(stored.kind, stored.source, read_tokenizer_json(path, stored))
    if tokenizer is None:
        raise OptionError(
            f"index '{path}' has no tokenizer (it was built from token ids): add token ids, with "
            "pretokenized and separator_id"
        )
    return TextSource(named, stored.source, tokenizer)


def check_vocabulary(width: str | None, vocab_size: int | None, tokenizer: str | None) -> None:
    """Raise OptionError for a vocabulary or a tokenizer that is not possible with token ids."""
    if tokenizer is not None and tokenizer.startswith("train:"):
        raise OptionError(
            f"tokenizer '{tokenizer}': token ids hold no text to train on; name the tokenizer that "
            "made them, or none"
        )
    largest = fmt.separator_of(width or "u32")
    if vocab_size is not None and (tokenizer is not None or not 0 < vocab_size <= largest + 1):
        raise OptionError(
            f"vocab_size: expected 1 to {largest + 1} for {width or 'token'} ids without a "
            f"tokenizer, found {vocab_size}"
        )

"""Text to token ids and back, and which tokenizer that was.

In: a specification (`bytes`, a `tokenizer.json`, `train:VOCAB`, a hub name) or what an index
stored. Out: a `Tokenizer`. Knows nothing of corpora, files of an index, or queries.
"""

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import OptionError, TokenizerError

# Text that `train:VOCAB` learns from: more changes few merges and costs minutes.
TRAINING_SAMPLE_BYTES = 32 << 20
# It is sampled in stretches of this length: a corpus may be one long document.
STRETCH_CHARS = 1 << 16


class Tokenizer(ABC):
    """Text to ids and back.

    `kind` and `source` are the manifest's; `json` is what `tokenizer.json` holds, or None;
    ids are in [0, vocab_size); `query_prefix` goes in front of a string query; `adds_space` tells
    whether the tokenizer puts a space in front of any text by itself.
    """

    kind: str
    source: str
    query_prefix: str
    adds_space: bool
    json: bytes | None

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Ids are below this."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text: uint8 or uint32, shape (len,). Special tokens in it are text.

        Raises TokenizerError for a text that cannot be encoded.
        """

    @abstractmethod
    def decode(self, ids: np.ndarray) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD."""

    @abstractmethod
    def token_text(self, token_id: int) -> str:
        r"""One token for display; bytes that are not UTF-8 on their own show as `\xNN`."""


def encode_query(tokenizer: Tokenizer, text: str, raw: bool = False) -> np.ndarray:
    """The ids of a query: int64, shape (len,).

    Unless `raw`, `query_prefix` goes in front of a text that does not start with white space,
    so that a word is looked up as it stands inside a sentence; `raw` also leaves out the space
    that some tokenizers put in front themselves. Raises TokenizerError.
    """
    if raw and text:
        return _encode_inside(tokenizer, text).astype(np.int64)
    if text and not text[0].isspace():
        text = tokenizer.query_prefix + text
    return tokenizer.encode_batch([text])[0].astype(np.int64)


def _encode_inside(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text with nothing put in front of it."""
    if not tokenizer.adds_space:
        return tokenizer.encode_batch([text])[0]
    # What such a tokenizer puts in front goes before a mark, and is cut off with it.
    for mark in ("\n", "\0", "|"):
        head, both = tokenizer.encode_batch([mark, mark + text])
        if np.array_equal(both[: head.shape[0]], head):
            return both[head.shape[0] :]
    raise TokenizerError(
        f"tokenizer '{tokenizer.source}' cannot encode {text!r} without a space in front; query "
        "with token ids"
    )


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes; 255 never occurs in UTF-8, which leaves it to the separator."""

    kind = "bytes"
    source = "bytes"
    vocab_size = 255
    query_prefix = ""
    adds_space = False
    json = None

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(_utf8(text), np.uint8) for text in texts]

    def decode(self, ids: np.ndarray) -> str:
        return np.asarray(ids).astype(np.uint8).tobytes().decode(errors="replace")

    def token_text(self, token_id: int) -> str:
        return bytes([token_id]).decode(errors="backslashreplace")


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library, as its `tokenizer.json` describes it."""

    kind = "huggingface"

    def __init__(self, data: bytes, source: str) -> None:
        """Load the bytes of a `tokenizer.json`; `source` says where they are from."""
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(data.decode())
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"tokenizer '{source}': not a tokenizer.json that the installed tokenizers "
                f"{tokenizers.__version__} reads: {error}"
            ) from None
        # What is right for feeding a model is wrong for a corpus: cut documents, padding,
        # and text that spells a special token turned into that token.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.json = data
        self.source = source
        if self._tokenizer.get_vocab_size(with_added_tokens=True) == 0:
            raise TokenizerError(f"tokenizer '{source}': its vocabulary is empty")
        # Parts are pickled as their JSON; to parse all of it takes as long as a thousand queries.
        description = {
            name: None if part is None else json.loads(part.__getstate__())
            for name, part in (
                ("normalizer", self._tokenizer.normalizer),
                ("pre_tokenizer", self._tokenizer.pre_tokenizer),
                ("decoder", self._tokenizer.decoder),
            )
        }
        steps = list(_steps(description))
        byte_level = [step for step in steps if step.get("type") == "ByteLevel"]
        self._byte_of = {char: byte for byte, char in _byte_level_chars()} if byte_level else None
        self.adds_space = any(
            step.get("add_prefix_space")
            or step.get("type") == "Prepend"
            or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
            for step in _steps_of_input(description)
        )
        self.query_prefix = " " if byte_level and not self.adds_space else ""
        self._token_texts: dict[int, str] = {}
        self._added = {
            token_id: token.content
            for token_id, token in self._tokenizer.get_added_tokens_decoder().items()
        }

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: ids may have gaps."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            _utf8(text)  # the library would panic
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"tokenizer '{self.source}' cannot encode a text: {error}"
            ) from None
        # Some normalizers put a space in front of nothing: an empty text has no tokens.
        return [
            np.array(encoding.ids if text else [], np.uint32)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def decode(self, ids: np.ndarray) -> str:
        text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        return text

    def token_text(self, token_id: int) -> str:
        # Asked for every token of every answer, and slow to make.
        text = self._token_texts.get(token_id)
        if text is None:
            text = self._token_texts[token_id] = self._make_token_text(token_id)
        return text

    def _make_token_text(self, token_id: int) -> str:
        token: str | None = self._tokenizer.id_to_token(token_id)
        if token is None:
            return f"<unused {token_id}>"
        if token_id in self._added:
            return token
        if self._byte_of is not None and all(char in self._byte_of for char in token):
            return bytes(self._byte_of[char] for char in token).decode(errors="backslashreplace")
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)]).decode(errors="backslashreplace")
        return token.replace("▁", " ")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"not valid Unicode text: {text[error.start]!r} at character {error.start + 1} is a "
            "lone surrogate"
        ) from None


def load_tokenizer(specification: str) -> Tokenizer:
    """The tokenizer that `specification` names: `bytes`, a path to a `tokenizer.json`, a hub name.

    Raises TokenizerError. (`train:VOCAB` needs a corpus: see `train_tokenizer`.)
    """
    if specification == "bytes":
        return ByteTokenizer()
    path = Path(specification)
    if path.is_dir() and (path / "tokenizer.json").is_file():
        path = path / "tokenizer.json"
    if specification and path.is_file():
        # Enough of the path for people to know it by; what identifies it is its hash.
        return HuggingFaceTokenizer(path.read_bytes(), "/".join(path.absolute().parts[-2:]))
    if (
        not specification
        or path.suffix == ".json"
        or path.is_absolute()
        or specification.startswith(".")
    ):
        raise TokenizerError(f"tokenizer '{specification}': expected a tokenizer.json, found none")
    import tokenizers

    try:
        loaded = tokenizers.Tokenizer.from_pretrained(specification)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"tokenizer '{specification}': expected 'bytes', 'train:VOCAB', the path of a "
            f"tokenizer.json or a hub name; there is no such file, and as a hub name it did not "
            f"load: {error}"
        ) from None
    return HuggingFaceTokenizer(loaded.to_str().encode(), specification)


def training_vocab_size(specification: str) -> int | None:
    """VOCAB of `train:VOCAB`, or None for any other specification. Raises OptionError."""
    if not specification.startswith("train:"):
        return None
    number = specification.removeprefix("train:")
    if not number.isdecimal() or not 256 <= int(number) <= 1_000_000:
        raise OptionError(
            f"tokenizer '{specification}': expected train:VOCAB with VOCAB from 256 (one id a "
            "byte) to 1000000"
        )
    return int(number)


def train_tokenizer(texts: Iterable[str], text_bytes: int, vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` ids, learned from a sample of the texts.

    `text_bytes` estimates the size of all texts: of a larger corpus an even, seeded sample of
    stretches of text, about 32 MiB, is taken, so that the same corpus gives the same tokenizer.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    keep = min(1.0, TRAINING_SAMPLE_BYTES / max(1, text_bytes))
    choice = random.Random(0)
    stretches = (
        text[start : start + STRETCH_CHARS]
        for text in texts
        for start in range(0, len(text), STRETCH_CHARS)
    )
    # The first always, so that no corpus that has text trains on none.
    sample = (
        stretch for number, stretch in enumerate(stretches) if choice.random() < keep or number == 0
    )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return HuggingFaceTokenizer(tokenizer.to_str().encode(), f"train:{vocab_size}")


def stored_tokenizer(kind: str, source: str, data: bytes | None) -> Tokenizer | None:
    """The tokenizer of an index from its manifest's `kind` and `source` and its file's bytes."""
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "huggingface" and data is not None:
        return HuggingFaceTokenizer(data, source)
    return None


def tokenizer_hash(tokenizer: Tokenizer) -> str | None:
    """SHA-256 of `tokenizer.json`, or None when there is no such file."""
    return None if tokenizer.json is None else hashlib.sha256(tokenizer.json).hexdigest()


def _steps(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every normalizer, pre-tokenizer and decoder step, sequences flattened."""
    yield from _steps_of_input(description)
    yield from _flatten(description.get("decoder"))


def _steps_of_input(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in ("normalizer", "pre_tokenizer"):
        yield from _flatten(description.get(part))


def _flatten(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if step is None:
        return
    yield step
    for inner in ("normalizers", "pretokenizers", "decoders"):
        for child in step.get(inner, ()):
            yield from _flatten(child)


def _byte_level_chars() -> Iterator[tuple[int, str]]:
    """Each byte and the character byte-level BPE writes it as (Radford et al. 2019).

    Printable Latin-1 stands for itself; the other 68 bytes take U+0100 onwards, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = 0
    for byte in range(256):
        if byte in printable:
            yield byte, chr(byte)
        else:
            yield byte, chr(0x100 + others)
            others += 1

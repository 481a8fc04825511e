"""Chooses a tokenizer: by a name that the user gives, or by what an index stores.

In: a specification (`bytes`, a `tokenizer.json`, a SentencePiece or tiktoken file, `train:VOCAB`, a
hub name), or an index's manifest entry and tokenizer file. Out: a `Tokenizer`.
"""

import base64
import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path

from everygram.errors import OptionError, TokenizerError
from everygram.hub import hub_missing
from everygram.tokenizer import tiktoken as tiktoken_files
from everygram.tokenizer.base import ByteTokenizer, Tokenizer
from everygram.tokenizer.huggingface import HuggingFaceTokenizer
from everygram.tokenizer.sentencepiece import SentencePieceTokenizer

# Bytes of text that `train:VOCAB` learns from: more text would change few merges and take minutes.
TRAINING_SAMPLE_BYTES = 32 << 20
# The sample consists of stretches of this length, because a corpus may be one long document.
STRETCH_CHARS = 1 << 16


def load_tokenizer(specification: str) -> Tokenizer:
    """The tokenizer that `specification` names: `bytes`, a file or its folder, or a hub name.

    A file's content decides whether it is a `tokenizer.json`, a SentencePiece model or a tiktoken
    file. Raises TokenizerError, and MissingExtraError if the library for SentencePiece is missing.
    (`train:VOCAB` needs a corpus: see `train_tokenizer`.)
    """
    if specification == "bytes":
        return ByteTokenizer()
    path = Path(specification)
    for name in ("tokenizer.json", "tokenizer.model"):
        if path.is_dir() and (path / name).is_file():
            path = path / name
    if specification and path.is_file():
        # The end of the path is for people; the hash identifies the tokenizer.
        return _read_tokenizer(path.read_bytes(), "/".join(path.absolute().parts[-2:]))
    if specification and (path.is_dir() or specification.endswith("/")):
        raise TokenizerError(
            f"tokenizer '{specification}': expected a tokenizer.json or tokenizer.model in this "
            "folder, found none; name the file itself"
        )
    if (
        not specification
        or path.suffix in (".json", ".model", ".tiktoken")
        or path.is_absolute()
        or specification.startswith(".")
    ):
        raise TokenizerError(
            f"tokenizer '{specification}': expected a tokenizer.json, found none, nor a "
            "SentencePiece model or a tiktoken file"
        )
    import tokenizers

    if missing := hub_missing():
        cached = _in_cache(specification)
        if cached is not None:
            return HuggingFaceTokenizer(cached.read_bytes(), specification)
        raise TokenizerError(
            f"tokenizer '{specification}': there is no such file, and as a hub name it cannot be "
            f"loaded: {missing}"
        )
    try:
        loaded = tokenizers.Tokenizer.from_pretrained(specification)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"tokenizer '{specification}': expected 'bytes', 'train:VOCAB', the path of a "
            f"tokenizer.json, SentencePiece model or tiktoken file, or a hub name; there is no "
            f"such file, and as a hub name it did not load: {error}"
        ) from None
    return HuggingFaceTokenizer(loaded.to_str().encode(), specification)


def _in_cache(name: str) -> Path | None:
    """The file of a tokenizer that the hub gave before; None if there is none here."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "tokenizer.json")
    except errors.HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def _read_tokenizer(data: bytes, source: str) -> Tokenizer:
    """The tokenizer of a file, whose kind is recognized by its first bytes."""
    if tiktoken_files.is_rank_file(data):
        return HuggingFaceTokenizer(tiktoken_files.tokenizer_json(data, source), source)
    # A protocol buffer whose first field is the first piece; JSON may begin with the same byte.
    if data[:1] == b"\n" and not data.lstrip().startswith(b"{"):
        return SentencePieceTokenizer(data, source)
    return HuggingFaceTokenizer(data, source)


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

    `text_bytes` estimates the size of all texts. If it is more than 32 MiB, about 32 MiB of text
    are sampled evenly, in stretches, with a fixed seed: the same corpus gives the same tokenizer.
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
    # The first stretch is always taken, so that the sample is not empty if there is any text.
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
    """The tokenizer of an index, from `kind` and `source` in its manifest and its file's bytes."""
    if kind == "bytes":
        return ByteTokenizer()
    if kind == "huggingface" and data is not None:
        return HuggingFaceTokenizer(data, source)
    if kind == "sentencepiece" and data is not None:
        try:
            model = base64.b64decode(json.loads(data)["model"], validate=True)
            if not model:  # which the library would take
                raise ValueError("empty")
        except (ValueError, LookupError, TypeError, RecursionError):
            raise TokenizerError(
                f"tokenizer '{source}': expected a SentencePiece model in JSON, found something "
                "else; restore the index or rebuild it"
            ) from None
        return SentencePieceTokenizer(model, source)
    return None


def tokenizer_hash(tokenizer: Tokenizer) -> str | None:
    """SHA-256 of `tokenizer.json`, or None when there is no such file."""
    return None if tokenizer.json is None else hashlib.sha256(tokenizer.json).hexdigest()

"""Text to token ids and back, and which tokenizer that was.

In: a specification (`bytes`, a `tokenizer.json`, a SentencePiece or tiktoken file, `train:VOCAB`,
a hub name) or what an index stored. Out: a `Tokenizer`. Knows nothing of corpora, files of an
index, or queries.
"""

import base64
import hashlib
import importlib
import json
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import MissingExtraError, OptionError, TokenizerError
from everygram.tokenizer import tiktoken as tiktoken_files

# Text that `train:VOCAB` learns from: more changes few merges and costs minutes.
TRAINING_SAMPLE_BYTES = 32 << 20
# It is sampled in stretches of this length: a corpus may be one long document.
STRETCH_CHARS = 1 << 16

# Text is encoded by fastokens, if it is installed, once batches of this many characters each came
# to so many together: to load it takes as long as `tokenizers` takes for a megabyte.
FAST_BATCH_CHARS = 1 << 16
FAST_FROM_CHARS = 1 << 20
# Of such a batch one part in so many is encoded by `tokenizers`, too, in stretches this long.
CHECKED_SHARE = 256
CHECKED_CHARS = 1 << 10
# The long s: only in texts with it did the two differ (o200k's pattern, where one of them takes it
# for an s after an apostrophe).
FAST_EXCEPTION = "ſ"


class Tokenizer(ABC):
    """Text to ids and back.

    `kind` and `source` are the manifest's; `json` is what `tokenizer.json` holds, or None;
    ids are in [0, vocab_size); `query_prefix` goes in front of a string query; `edits_start` tells
    whether the tokenizer puts a space in front of any text by itself, or takes one away.
    """

    kind: str
    source: str
    query_prefix: str
    edits_start: bool
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
    if text and tokenizer.query_prefix and not text[0].isspace():
        return _encode_inside(tokenizer, tokenizer.query_prefix + text).astype(np.int64)
    return tokenizer.encode_batch([text])[0].astype(np.int64)


def _encode_inside(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text with nothing put in front of it or taken away there."""
    if not tokenizer.edits_start:
        return tokenizer.encode_batch([text])[0]
    # What such a tokenizer puts in front goes before a mark, and is cut off with it. No mark is
    # what is white space or unknown to the tokenizer: it melts into what follows.
    for mark in ("\n", "\0", "|", ".", ","):
        head, both = tokenizer.encode_batch([mark, mark + text])
        length = head.shape[0]
        if length and mark in tokenizer.decode(head) and np.array_equal(both[:length], head):
            return both[length:]
    raise TokenizerError(
        f"tokenizer '{tokenizer.source}' cannot encode {text!r} without the space it adds; query "
        "with token ids"
    )


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes; 255 never occurs in UTF-8, which leaves it to the separator."""

    kind = "bytes"
    source = "bytes"
    vocab_size = 255
    query_prefix = ""
    edits_start = False
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
        self.json = data
        self.source = source
        self._tokenizer = _loaded(data, source)
        added = self._tokenizer.get_added_tokens_decoder()
        self._added: dict[int, str] = {i: token.content for i, token in added.items()}
        # Some models have special tokens in their vocabulary where text reaches them.
        self._hidden = _specials_from_text(self._tokenizer)
        if self._hidden:
            hidden = json.dumps(_without(json.loads(data), self._hidden))
            self._tokenizer = _loaded(hidden.encode(), source)
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
        self._byte_of = (
            {char: byte for byte, char in tiktoken_files.byte_level_chars()} if byte_level else None
        )
        self.edits_start = any(
            step.get("add_prefix_space")
            or step.get("type") == "Prepend"
            or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
            for step in _steps_of_input(description)
        )
        self.query_prefix = " " if byte_level and not self.edits_start else ""
        self._token_texts: dict[int, str] = {}
        self._exact = partial(_encoded, self._tokenizer, source)
        self._fast: _FastEncoder | None = None
        if not self._hidden and _is_fast_family(self._tokenizer, description):
            self._fast = _FastEncoder(self._exact, data, source)

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: ids may have gaps."""
        ids: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return max(ids.values()) + 1

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            _utf8(text)  # the library would panic
        ids = None if self._fast is None else self._fast.encode_batch(texts)
        return self._exact(texts) if ids is None else ids

    def decode(self, ids: np.ndarray) -> str:
        text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        for content in self._hidden:
            text = text.replace(_hidden(content), content)
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
            return self._added[token_id]
        if self._byte_of is not None and all(char in self._byte_of for char in token):
            return bytes(self._byte_of[char] for char in token).decode(errors="backslashreplace")
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)]).decode(errors="backslashreplace")
        return token.replace("▁", " ")


def _loaded(data: bytes, source: str) -> Any:
    """The tokenizer of the `tokenizers` library, set to encode corpora. Raises TokenizerError."""
    import tokenizers

    try:
        loaded = tokenizers.Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"tokenizer '{source}': not a tokenizer.json that the installed tokenizers "
            f"{tokenizers.__version__} reads: {error}"
        ) from None
    # What is right for feeding a model is wrong for a corpus: cut documents, padding,
    # and text that spells a special token turned into that token.
    loaded.no_truncation()
    loaded.no_padding()
    loaded.encode_special_tokens = True
    if loaded.get_vocab_size(with_added_tokens=True) == 0:
        raise TokenizerError(f"tokenizer '{source}': its vocabulary is empty")
    return loaded


def _encoded(tokenizer: Any, source: str, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text by the `tokenizers` library. Raises TokenizerError."""
    try:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"tokenizer '{source}' cannot encode a text: {error}") from None
    # Some normalizers put a space in front of nothing: an empty text has no tokens.
    return [
        np.array(encoding.ids if text else [], np.uint32)
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _specials_from_text(tokenizer: Any) -> list[str]:
    """The special tokens that their own spelling, as text, becomes."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    found = []
    for token_id, token in tokenizer.get_added_tokens_decoder().items():
        if token.special and token.content != unknown:
            try:
                (ids,) = _encoded(tokenizer, "", [token.content])
            except TokenizerError:  # it has no tokens for this text
                continue
            if token_id in ids:
                found.append(token.content)
    return found


def _hidden(content: str) -> str:
    """A name for a special token that text does not have: between code points of no character."""
    return f"\uffff{content}\uffff"


def _without(description: dict[str, Any], contents: Sequence[str]) -> dict[str, Any]:
    """A `tokenizer.json` with those special tokens, of the same ids, out of the reach of text."""
    model = description["model"]
    vocabulary = model["vocab"]
    name = {content: _hidden(content) for content in contents}
    if isinstance(vocabulary, dict):
        model["vocab"] = {name.get(token, token): i for token, i in vocabulary.items()}
    else:  # unigram: pieces and their scores
        model["vocab"] = [[name.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        model["merges"] = [m for m in pairs if name.keys().isdisjoint([*m, "".join(m)])]
    for token in description.get("added_tokens", ()):
        token["content"] = name.get(token["content"], token["content"])
    return description


# What a tokenizer must encode as `tokenizers` does before fastokens is used for it.
SAMPLE = """\
It's what they'll say: WE'RE, I'D, she'S; don't 'twas o'clock  --  "quoted" (1st)...
0 1 12 123 1234 12345678901234567890 3.14159 1,000,000 0x7fff v2.0.1 ½ ² Ⅷ ٣٤٥ ৩৪ 𝟘𝟙𝟚
\t\ttabs  two   three\x0b\x0c\x1c\x85\xa0 \u2003\u2028 \u3000 \u200b \ufeff \x00 trailing   \r
\r\n\n\n   \n \t \n  if (x[i] != y->z) { return f(&a, *b); } // ******** ==== //--//__init__.py
naïve façade Ωμέγα ΣΊΣΥΦΟΣ Привет, ещё раз שלום עולם مرحبا بالعالم हिन्दी में नमस्ते বাংলা
漢字とかな交じり文。简体中文，標點；한국어 문장입니다. አማርኛ ខ្មែរ မြန်မာ ไทยภาษา ქართული
İstanbul ıI ß ẞ ǅ ŉ ﬁ ﬆ e\u0301 a\u0323\u0302 o\u0302\u0323 \u1112\u1161\u11ab A\u030a Å \u212b
ｱｲｳ Ａ１ q\u0307\u0323 \u0301alone ‘a’ “b” ‹c› — – … ¿Qué? ¡Sí! €100 £5 §1 ° © ™ ∑∞≠ → ☃
😀😃 👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 🇩🇪🇫🇷 👍🏽 ♥\ufe0f snake_case_words CamelCASE
<|endoftext|> <|im_start|>user<|im_end|> <|eot_id|> <s>[INST] </s> <unk> <pad> <0x0A> ▁▁ ĠĊ
https://example.org/a/b?c=d&e=%20f#g me@example.org kebab-case antidisestablishmentarianism
Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft \\\\ //////
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!!!!!!!!!!!!!!! ............
                                                                                       end
"""


def _is_fast_family(tokenizer: Any, description: dict[str, Any]) -> bool:
    """Whether a tokenizer is of those for which fastokens was compared with `tokenizers`.

    Its ids were the same for every code point in several contexts, 200,000 texts made of what is
    hard, and the 20,012 documents of a corpus (fastokens 0.3.5, tokenizers 0.23.3). A pattern that
    is not known here it would run as well, but nobody has looked.
    """
    from tokenizers import models

    model = tokenizer.model
    if (
        not isinstance(model, models.BPE)
        or model.dropout
        or model.continuing_subword_prefix
        or model.end_of_word_suffix
        or any(
            token.single_word and not token.special
            for token in tokenizer.get_added_tokens_decoder().values()
        )
    ):
        return False
    normalizer = description["normalizer"]
    words = [
        {key: value for key, value in step.items() if key != "trim_offsets"}
        for step in _flatten(description["pre_tokenizer"])
        if step["type"] != "Sequence"
    ]
    if not words:  # Llama 2 and what follows it
        prepend = {"type": "Prepend", "prepend": "▁"}
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        return bool(
            model.byte_fallback
            and normalizer == {"type": "Sequence", "normalizers": [prepend, replace]}
        )
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": len(words) == 1}
    splits = [
        {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        for pattern in (tiktoken_files.CL100K, tiktoken_files.QWEN, tiktoken_files.O200K)
    ]
    return (
        normalizer in (None, {"type": "NFC"})
        and not model.byte_fallback
        and not model.unk_token
        and all(
            model.token_to_id(char) is not None for _, char in tiktoken_files.byte_level_chars()
        )
        and words[-1] == byte_level
        and (len(words) == 1 or (len(words) == 2 and words[0] in splits))
    )


class _FastEncoder:
    """Large batches by fastokens: the same ids in a small part of the time.

    Used where it is installed, and encodes SAMPLE as `exact` does, which is `tokenizers`. Where it
    fails, it is not used any more. Of every batch a part is encoded by both: a difference is a
    TokenizerError.
    """

    def __init__(
        self, exact: Callable[[Sequence[str]], list[np.ndarray]], data: bytes, source: str
    ) -> None:
        self._exact = exact
        self._json = data
        self._source = source
        self._encoder: Any = None
        self._chars = 0
        self._choice = random.Random(0)
        self._lock = threading.Lock()

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray] | None:
        """The ids of each text: uint32, shape (len,); None where `exact` is to make them.

        Any number of threads may call it. The engine has its own, as many as there are cores or
        `FASTOKENS_BPE_THREADS` says; it holds the interpreter's lock for a part of its work.
        """
        chars = sum(map(len, texts))
        if chars < FAST_BATCH_CHARS:
            return None
        with self._lock:
            before, self._chars = self._chars, self._chars + chars
            if before < FAST_FROM_CHARS <= self._chars:
                self._encoder = self._load()
            encoder, stretches = self._encoder, self._stretches(texts, chars)
        if encoder is None:
            return None
        ids = self._encode(encoder, [*texts, *stretches])
        if ids is None:
            self._encoder = None
            return None
        if not _same(ids[len(texts) :], self._exact(stretches)):
            # Of what it has encoded until now only a part was checked.
            raise TokenizerError(
                f"tokenizer '{self._source}': fastokens does not encode a text as tokenizers does: "
                "uninstall it (pip uninstall fastokens), run the same command again, and please "
                "report this"
            )
        return ids[: len(texts)]

    def _load(self) -> Any:
        """The engine; None if it is not installed, does not read this tokenizer, or is wrong."""
        try:
            engine = importlib.import_module("fastokens").Tokenizer
        except ImportError:
            return None
        description = json.loads(self._json)
        added = {
            token["content"]: token["special"] for token in description.get("added_tokens", ())
        }
        special = added.keys() - {description["model"].get("unk_token")}
        description = _without(description, [content for content in special if added[content]])
        # The engine reads no vocabulary with gaps, such as cl100k's among its special tokens.
        vocabulary = description["model"]["vocab"]
        gaps = set(range(max(vocabulary.values(), default=0))) - set(vocabulary.values())
        vocabulary |= {_hidden(str(gap)): gap for gap in gaps}
        description |= {"truncation": None, "padding": None, "post_processor": None}
        try:
            encoder = engine.from_json_str(json.dumps(description, ensure_ascii=False))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic in the engine is no Exception
            return None
        sample = [SAMPLE, *SAMPLE.splitlines(), *added, "x".join(added), " ".join(added)]
        ids = self._encode(encoder, sample)
        return encoder if ids is not None and _same(ids, self._exact(sample)) else None

    def _encode(self, encoder: Any, texts: Sequence[str]) -> list[np.ndarray] | None:
        """The ids of each text, unchecked; None if the engine fails."""
        try:
            ids, ends = encoder.encode_batch_flat(list(texts), split_special_tokens=True)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic, again
            return None
        parts = np.split(np.frombuffer(ids, "<u4"), np.frombuffer(ends, "<i8")[1:-1])
        exceptions = [i for i, text in enumerate(texts) if FAST_EXCEPTION in text]
        for i, part in zip(exceptions, self._exact([texts[i] for i in exceptions]), strict=True):
            parts[i] = part
        return parts

    def _stretches(self, texts: Sequence[str], chars: int) -> list[str]:
        """A part of the text, in stretches from anywhere in it."""
        ends = np.cumsum([len(text) for text in texts])
        found = []
        for _ in range(max(1, chars // (CHECKED_SHARE * CHECKED_CHARS))):
            place = self._choice.randrange(chars)
            number = int(np.searchsorted(ends, place, side="right"))
            start = place - int(ends[number]) + len(texts[number])
            found.append(texts[number][start : start + CHECKED_CHARS])
        return found


def _same(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model, run by the `sentencepiece` library: no conversion is exact."""

    kind = "sentencepiece"

    def __init__(self, model: bytes, source: str) -> None:
        """Load the bytes of a `.model`; `source` says where they are from."""
        try:
            library: Any = importlib.import_module("sentencepiece")
        except ImportError:
            raise MissingExtraError(
                f"tokenizer '{source}' is a SentencePiece model and needs sentencepiece: "
                "pip install 'everygram[sentencepiece]'"
            ) from None
        try:
            self._model = library.SentencePieceProcessor(model_proto=model)
            size: int = self._model.get_piece_size()
        except RuntimeError as error:
            raise TokenizerError(
                f"tokenizer '{source}': not a SentencePiece model that the installed sentencepiece "
                f"{library.__version__} reads: {error}"
            ) from None
        self.source = source
        self.json = json.dumps(
            {"type": self.kind, "model": base64.b64encode(model).decode()}
        ).encode()
        self._size = size
        # With a space that the model puts in front, a word is as inside a sentence; without,
        # the query brings it, to where the model does not take it away again.
        alone, spaced = self._model.normalize("a"), self._model.normalize(" a")
        self.edits_start = alone != "a" or len(spaced) == len(alone)
        self.query_prefix = " " if alone == "a" else ""

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            _utf8(text)  # the library's own message is about its source code
        # On all cores, the lock of the interpreter released.
        encoded: list[np.ndarray] = self._model.encode(
            list(texts), num_threads=-1, return_type="numpy"
        )
        return [ids.view(np.uint32) for ids in encoded]

    def decode(self, ids: np.ndarray) -> str:
        text: str = self._model.decode(ids.tolist())
        return text

    def token_text(self, token_id: int) -> str:
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)]).decode(errors="backslashreplace")
        if self._model.is_control(token_id) or self._model.is_unknown(token_id):
            return piece
        return piece.replace("▁", " ")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"not valid Unicode text: {text[error.start]!r} at character {error.start + 1} is a "
            "lone surrogate"
        ) from None


def load_tokenizer(specification: str) -> Tokenizer:
    """The tokenizer that `specification` names: `bytes`, a file or the folder it is in, a hub name.

    A file is a `tokenizer.json`, a SentencePiece model or a tiktoken file, by its content.
    Raises TokenizerError, and MissingExtraError for a SentencePiece model without the library.
    (`train:VOCAB` needs a corpus: see `train_tokenizer`.)
    """
    if specification == "bytes":
        return ByteTokenizer()
    path = Path(specification)
    for name in ("tokenizer.json", "tokenizer.model"):
        if path.is_dir() and (path / name).is_file():
            path = path / name
    if specification and path.is_file():
        # Enough of the path for people to know it by; what identifies it is its hash.
        return _read_tokenizer(path.read_bytes(), "/".join(path.absolute().parts[-2:]))
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

    try:
        loaded = tokenizers.Tokenizer.from_pretrained(specification)
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"tokenizer '{specification}': expected 'bytes', 'train:VOCAB', the path of a "
            f"tokenizer.json, SentencePiece model or tiktoken file, or a hub name; there is no "
            f"such file, and as a hub name it did not load: {error}"
        ) from None
    return HuggingFaceTokenizer(loaded.to_str().encode(), specification)


def _read_tokenizer(data: bytes, source: str) -> Tokenizer:
    """The tokenizer of a file, told by how it begins."""
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
    if kind == "sentencepiece" and data is not None:
        return SentencePieceTokenizer(base64.b64decode(json.loads(data)["model"]), source)
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

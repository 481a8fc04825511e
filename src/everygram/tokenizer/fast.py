"""The same ids, faster: uses fastokens where it agrees with `tokenizers`, and keeps checking."""

import importlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from everygram.errors import TokenizerError
from everygram.tokenizer import tiktoken as tiktoken_files

# fastokens, if installed, encodes batches of at least FAST_BATCH_CHARS characters, once they have
# reached FAST_FROM_CHARS in total: loading it takes as long as `tokenizers` takes for a megabyte.
FAST_BATCH_CHARS = 1 << 16
FAST_FROM_CHARS = 1 << 20
# One part in CHECKED_SHARE of each such batch is also encoded by `tokenizers`, in stretches of
# CHECKED_CHARS characters.
CHECKED_SHARE = 256
CHECKED_CHARS = 1 << 10
# The long s: the two libraries differed only in texts that contain it (with o200k's pattern: after
# an apostrophe, one of them takes it for an s).
FAST_EXCEPTION = "ſ"
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


def is_fast_family(tokenizer: Any, description: dict[str, Any]) -> bool:
    """Whether a tokenizer is of a family for which fastokens was compared with `tokenizers`.

    The ids were the same for every code point in several contexts, for 200,000 texts composed of
    difficult pieces, and for the 20,012 documents of a corpus (fastokens 0.3.5, tokenizers 0.23.3).
    fastokens also runs other patterns than those known here, but these were not compared.
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
        for step in flatten(description["pre_tokenizer"])
        if step["type"] != "Sequence"
    ]
    if not words:  # Llama 2 and tokenizers like it
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


class FastEncoder:
    """Encodes large batches with fastokens: the same ids in a small part of the time.

    fastokens is used if it is installed and encodes SAMPLE as `exact` (which calls `tokenizers`)
    does. Once it fails, it is not used any more. Part of every batch is encoded by both engines; if
    they differ, TokenizerError is raised.
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
        """The ids of each text: uint32, shape (len,). None if the caller must use `exact` instead.

        Any number of threads may call this. The engine has threads of its own:
        `FASTOKENS_BPE_THREADS` of them (default: one per core). It holds the GIL for part of its
        work.
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
            # Earlier batches may be wrong too: only a part of them was checked.
            raise TokenizerError(
                f"tokenizer '{self._source}': fastokens does not encode a text as tokenizers does: "
                "uninstall it (pip uninstall fastokens), run the same command again, and please "
                "report this"
            )
        return ids[: len(texts)]

    def _load(self) -> Any:
        """The engine; None if not installed, or if it cannot read this tokenizer or is wrong."""
        try:
            engine = importlib.import_module("fastokens").Tokenizer
        except ImportError:
            return None
        description = json.loads(self._json)
        added = {
            token["content"]: token["special"] for token in description.get("added_tokens", ())
        }
        special = added.keys() - {description["model"].get("unk_token")}
        description = without(description, [content for content in special if added[content]])
        # The engine refuses vocabularies with gaps, such as the one in cl100k's special tokens.
        vocabulary = description["model"]["vocab"]
        gaps = set(range(max(vocabulary.values(), default=0))) - set(vocabulary.values())
        vocabulary |= {hidden(str(gap)): gap for gap in gaps}
        description |= {"truncation": None, "padding": None, "post_processor": None}
        try:
            encoder = engine.from_json_str(json.dumps(description, ensure_ascii=False))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic in the engine is not an Exception
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
        """A part of the text: stretches from random places."""
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


def flatten(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if step is None:
        return
    yield step
    for inner in ("normalizers", "pretokenizers", "decoders"):
        for child in step.get(inner, ()):
            yield from flatten(child)


def hidden(content: str) -> str:
    """A spelling for a special token that texts do not contain: U+FFFF is not a character."""
    return f"\uffff{content}\uffff"


def without(description: dict[str, Any], contents: Sequence[str]) -> dict[str, Any]:
    """A `tokenizer.json` where no text becomes these special tokens; their ids stay the same."""
    model = description["model"]
    vocabulary = model["vocab"]
    name = {content: hidden(content) for content in contents}
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

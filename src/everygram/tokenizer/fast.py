"""The same ids, faster: fastokens where it agrees with `tokenizers`, checked as it goes."""

import importlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from everygram.errors import TokenizerError
from everygram.tokenizer import tiktoken as tiktoken_files

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
        for step in flatten(description["pre_tokenizer"])
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


class FastEncoder:
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
        description = without(description, [content for content in special if added[content]])
        # The engine reads no vocabulary with gaps, such as cl100k's among its special tokens.
        vocabulary = description["model"]["vocab"]
        gaps = set(range(max(vocabulary.values(), default=0))) - set(vocabulary.values())
        vocabulary |= {hidden(str(gap)): gap for gap in gaps}
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


def flatten(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if step is None:
        return
    yield step
    for inner in ("normalizers", "pretokenizers", "decoders"):
        for child in step.get(inner, ()):
            yield from flatten(child)


def hidden(content: str) -> str:
    """A name for a special token that text does not have: between code points of no character."""
    return f"\uffff{content}\uffff"


def without(description: dict[str, Any], contents: Sequence[str]) -> dict[str, Any]:
    """A `tokenizer.json` with those special tokens, of the same ids, out of the reach of text."""
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

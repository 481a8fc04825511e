"""Tokenizers of the `tokenizers` library."""

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from everygram.errors import TokenizerError
from everygram.tokenizer.base import RefusedTextError, Tokenizer, library, utf8
from everygram.tokenizer.fast import FastEncoder, flatten, hidden, is_fast_family, without
from everygram.tokenizer.spelling import spelling_of


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library, as its `tokenizer.json` describes it."""

    kind = "huggingface"

    def __init__(self, data: bytes, source: str) -> None:
        """Load the bytes of a `tokenizer.json`; `source` says where they come from."""
        self.json = data
        self.source = source
        self._tokenizer = _loaded(data, source)
        added = self._tokenizer.get_added_tokens_decoder()
        self._added: dict[int, str] = {i: token.content for i, token in added.items()}
        # In some models, text that spells a special token is encoded as that token.
        self._hidden = {hidden(each): each for each in _specials_from_text(self._tokenizer)}
        if self._hidden:
            reachable = json.dumps(without(json.loads(data), list(self._hidden.values())))
            self._tokenizer = _loaded(reachable.encode(), source)
        # Parts are pickled as their own JSON; parsing the whole file would take as long as a
        # thousand queries.
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
        self.edits_start = any(
            step.get("add_prefix_space")
            or step.get("type") == "Prepend"
            or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
            for step in _steps_of_input(description)
        )
        self.query_prefix = " " if byte_level and not self.edits_start else ""
        # (Without a decoder, the library would only join the tokens with spaces.)
        self._spelling = spelling_of(
            list(flatten(description["decoder"]))
            or [step for step in steps if step.get("type") in ("ByteLevel", "Metaspace")]
        )
        # Whether the character ▁ stands for a space. In other tokenizers it is an ordinary one.
        self._marks_spaces = "▁" in json.dumps(description, ensure_ascii=False)
        self._spelled: dict[int, bytes] = {}
        self._token_texts: dict[int, str] = {}
        self._exact = partial(encoded, self._tokenizer, source)
        self._fast: FastEncoder | None = None
        if not self._hidden and is_fast_family(self._tokenizer, description):
            self._fast = FastEncoder(self._exact, data, source)

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id (ids may have gaps)."""
        ids: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return max(ids.values()) + 1

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            utf8(text)  # raises; the library would panic
        ids = None if self._fast is None else self._fast.encode_batch(texts)
        return self._exact(texts) if ids is None else ids

    def spelled(self, ids: np.ndarray, inside: bool = False) -> bytes:
        if self._spelling is None:
            return self._decoded(ids).encode()
        known, numbers = self._spelled, ids.tolist()
        with library(f"tokenizer '{self.source}' cannot decode these ids"):
            for token_id in {number for number in numbers if number not in known}:
                known[token_id] = self._make_spelled(token_id)
        spelled = b"".join([known[token_id] for token_id in numbers])
        if inside or not spelled.startswith(b" "):
            return spelled
        if self._spelling.drops_spaces and numbers[0] not in self._added:
            first = known[numbers[0]]
            return first.replace(b" ", b"") + spelled[len(first) :]
        return spelled[1:] if self._spelling.drops_space else spelled

    def spellings(self) -> tuple[list[bytes], list[bytes]]:
        if self._spelling is None:
            raise TokenizerError(
                f"tokenizer '{self.source}': its decoder puts spaces between tokens or takes them "
                "away, so that a text is not what its tokens spell; query with token ids"
            )
        left = _mark_of_words(self._tokenizer)
        if left:
            raise TokenizerError(
                f"tokenizer '{self.source}': its decoder leaves {left!r} of its tokens in "
                "the text, so that a text is not what its tokens spell; query with token ids"
            )
        with library(f"tokenizer '{self.source}' cannot decode its ids"):
            inside = [self._make_spelled(token_id) for token_id in range(self.vocab_size)]
        self._spelled = dict(enumerate(inside))
        drops = self._spelling.drops_space or self._spelling.drops_spaces
        return super().spellings() if drops else (inside, inside)

    def cut(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        if self._spelling is not None:
            return super().cut(ids, begin, end, inside)
        # The decoder is not known as bytes per token, and a part decoded alone would lose spaces at
        # its ends. Decode everything, and cut where the text of the first tokens ends in it.
        text = self._decoded(ids)
        first, last = (_in_common(self._decoded(ids[:place]), text) for place in (begin, end))
        return text[:first], text[first:last], text[last:]

    def pieces(self, ids: np.ndarray) -> list[str] | None:
        # What each token adds to the one before it.
        alone = {token: self._decoded(np.array([token])) for token in set(ids.tolist())}
        added: dict[tuple[int, int], str] = {}
        for one, other in set(itertools.pairwise(ids.tolist())):
            both = self._decoded(np.array([one, other]))
            if not both.startswith(alone[one]):
                return None
            added[one, other] = both[len(alone[one]) :]
        pieces = [alone[token] for token in ids[:1].tolist()]
        return pieces + [added[pair] for pair in itertools.pairwise(ids.tolist())]

    def _decoded(self, ids: np.ndarray) -> str:
        """The text as the `tokenizers` library makes it."""
        with library(f"tokenizer '{self.source}' cannot decode these ids"):
            text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        for name, content in self._hidden.items():
            text = text.replace(name, content)
        return text

    def token_text(self, token_id: int) -> str:
        # Cached: needed for every token of every answer, and slow to make.
        text = self._token_texts.get(token_id)
        if text is None:
            text = self._token_texts[token_id] = self._make_token_text(token_id)
        return text

    def _make_token_text(self, token_id: int) -> str:
        token = self._token(token_id)
        if token is None:
            return f"<unused {token_id}>"
        if token_id in self._added:
            return token
        if self._spelling is None:
            return token.replace("▁", " ") if self._marks_spaces else token
        return self._spelling.of(token).decode(errors="backslashreplace")

    def _make_spelled(self, token_id: int) -> bytes:
        token = self._token(token_id) or ""
        if token_id in self._added:
            return token.encode()
        assert self._spelling is not None
        return self._spelling.of(token)

    def _token(self, token_id: int) -> str | None:
        """A token as the vocabulary has it, None if there is none of that id."""
        token: str | None = self._tokenizer.id_to_token(token_id)
        return None if token is None else self._hidden.get(token, token)


def _mark_of_words(tokenizer: Any) -> str | None:
    """What tokens of the model have at an end to say where words begin or end, such as </w>, and
    the text has not."""
    suffix = getattr(tokenizer.model, "end_of_word_suffix", None)
    prefix = getattr(tokenizer.model, "continuing_subword_prefix", None)
    if suffix or prefix:
        for token in tokenizer.get_vocab(with_added_tokens=False):
            if suffix and token.endswith(suffix):
                return str(suffix)
            if prefix and token.startswith(prefix):
                return str(prefix)
    return None


def _in_common(one: str, other: str) -> int:
    """The length of the longest common prefix of two texts."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


def _loaded(data: bytes, source: str) -> Any:
    """A tokenizer of the `tokenizers` library, set up to encode corpora. Raises TokenizerError."""
    import tokenizers

    reads = f"that the installed tokenizers {tokenizers.__version__} reads"
    with library(f"tokenizer '{source}': not a tokenizer.json {reads}"):
        loaded = tokenizers.Tokenizer.from_str(data.decode())
    # Some settings are right for feeding a model but wrong for a corpus: truncation, padding, and
    # encoding text that spells a special token as that token.
    loaded.no_truncation()
    loaded.no_padding()
    loaded.encode_special_tokens = True
    if loaded.get_vocab_size(with_added_tokens=True) == 0:
        raise TokenizerError(f"tokenizer '{source}': its vocabulary is empty")
    return loaded


def encoded(tokenizer: Any, source: str, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text, from the `tokenizers` library. Raises TokenizerError."""
    with library(f"tokenizer '{source}' cannot encode a text", RefusedTextError):
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    # Some normalizers put a space in front even of an empty text, which must have no tokens.
    return [
        np.array(encoding.ids if text else [], np.uint32)
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _specials_from_text(tokenizer: Any) -> list[str]:
    """The special tokens that text becomes: encoding a token's spelling gives that token's id."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    found = []
    for token_id, token in tokenizer.get_added_tokens_decoder().items():
        if token.special and token.content != unknown:
            try:
                (ids,) = encoded(tokenizer, "", [token.content])
            except TokenizerError:  # this text has no tokens
                continue
            if token_id in ids:
                found.append(token.content)
    return found


def _steps(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every normalizer, pre-tokenizer and decoder step, sequences flattened."""
    yield from _steps_of_input(description)
    yield from flatten(description.get("decoder"))


def _steps_of_input(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in ("normalizer", "pre_tokenizer"):
        yield from flatten(description.get(part))

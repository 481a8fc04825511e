"""SentencePiece models."""

import base64
import importlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from everygram.errors import MissingExtraError, TokenizerError
from everygram.tokenizer.base import RefusedTextError, Tokenizer, library, utf8


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model, run by the `sentencepiece` library, since no conversion is exact."""

    kind = "sentencepiece"

    def __init__(self, model: bytes, source: str) -> None:
        """Load the bytes of a `.model`; `source` says where they come from."""
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
        # If the model puts a space in front of a text, a single word is encoded as inside a
        # sentence. If not, the query prefix is that space. (If the model removes it again,
        # `edits_start` is true.)
        alone, spaced = self._model.normalize("a"), self._model.normalize(" a")
        self.edits_start = alone != "a" or len(spaced) == len(alone)
        self.query_prefix = " " if alone == "a" else ""
        self._spelled: dict[int, bytes] = {}
        self._drops = self._dropped()

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            utf8(text)  # raises; the library's own message would be about its source code
        # Runs on all cores and releases the GIL.
        with library(f"tokenizer '{self.source}' cannot encode a text", RefusedTextError):
            encoded: list[np.ndarray] = self._model.encode(
                list(texts), num_threads=-1, return_type="numpy"
            )
        return [ids.view(np.uint32) for ids in encoded]

    def spelled(self, ids: np.ndarray, inside: bool = False) -> bytes:
        known, numbers = self._spelled, ids.tolist()
        with library(f"tokenizer '{self.source}' cannot decode these ids"):
            for token_id in set(numbers) - known.keys():
                known[token_id] = self._make_spelled(token_id)
        pieces = [known[token_id] for token_id in numbers]
        # As the library does: drop a space of each piece at the start of a text, until one piece
        # is not empty, or until one space was dropped.
        for place, piece in enumerate([] if inside else pieces):
            if self._drops and piece.startswith(b" ") and self._is_text(numbers[place]):
                pieces[place] = piece[1:]
            if pieces[place] or (piece and self._drops == "one"):
                break
        return b"".join(pieces)

    def _make_spelled(self, token_id: int) -> bytes:
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        if self._is_text(token_id):
            return piece.replace("▁", " ").encode()
        text: str = self._model.decode([token_id])
        return text.encode()

    def _is_text(self, token_id: int) -> bool:
        """Whether a piece is its own text: not a byte, not a control symbol, not unknown."""
        model = self._model
        return not (
            model.is_byte(token_id) or model.is_control(token_id) or model.is_unknown(token_id)
        )

    def _dropped(self) -> str:
        """Which spaces the library drops at the start of a text: "", "one", or "all" (of a run of
        pieces that are only a space)."""
        space = self._model.piece_to_id("▁")
        if self._is_text(space):
            return {0: "all", 1: "one"}.get(len(self._model.decode([space, space])), "")
        pieces = filter(self._is_text, range(self._size))
        spaced = (i for i in pieces if self._model.id_to_piece(i).startswith("▁"))
        first = next(spaced, None)
        return "" if first is None or self._model.decode([first])[:1] == " " else "one"

    def token_text(self, token_id: int) -> str:
        if self._model.is_control(token_id) or self._model.is_unknown(token_id):
            piece: str = self._model.id_to_piece(token_id)
            return piece
        return self._make_spelled(token_id).decode(errors="backslashreplace")

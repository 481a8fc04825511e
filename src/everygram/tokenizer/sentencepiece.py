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

    def decode(self, ids: np.ndarray) -> str:
        with library(f"tokenizer '{self.source}' cannot decode these ids"):
            text: str = self._model.decode(ids.tolist())
        return text

    def token_text(self, token_id: int) -> str:
        piece: str = self._model.id_to_piece(token_id)
        if self._model.is_byte(token_id):
            return bytes([int(piece[3:5], 16)]).decode(errors="backslashreplace")
        if self._model.is_control(token_id) or self._model.is_unknown(token_id):
            return piece
        return piece.replace("▁", " ")

"""Texts of items as ids, one after another, as they are looked for together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine


@dataclass(frozen=True)
class Part:
    """A text of an item: its ids, and how they may be spelled otherwise inside a document.

    runs: where alone its ids may be in what is found: int64, shape (k, 2), begins and ends (None:
    anywhere).
    """

    ids: np.ndarray
    other: np.ndarray | None = None
    runs: np.ndarray | None = None


def looked_at(lengths: Sequence[int], n: int, least: int) -> list[int]:
    """The n of the n-grams of each of an item's texts, of so many tokens; 0: it is not looked at.

    A text shorter than n is left out, unless all are: then each is looked for as a whole, if it has
    `least` tokens or more.
    """
    if max(lengths, default=0) >= n:
        return [n if length >= n else 0 for length in lengths]
    return [length if length >= least else 0 for length in lengths]


class Stream:
    """The texts of items one after another, a separator behind each, in all their spellings.

    Every token of the stream is mapped to a *place*, a token of the texts as they are first
    spelled, which are numbered through all items.
    """

    def __init__(self, items: Sequence[Sequence[Part]], n: int, least: int, engine: Engine) -> None:
        separator = np.array([engine.vocabulary.separator], engine.vocabulary.dtype)
        pieces: list[np.ndarray] = []
        # Of each text in each spelling, or each run of one: item, n, first place, shift, length.
        rows: list[tuple[int, int, int, int, int]] = []
        # Of each text as it is first spelled: item, first place, length, n-grams.
        texts: list[tuple[int, int, int, int]] = []
        base = 0
        for number, parts in enumerate(items):
            for part, size in zip(
                parts, looked_at([len(part.ids) for part in parts], n, least), strict=True
            ):
                if not size:
                    continue
                length = part.ids.shape[0]
                texts.append((number, base, length, length - size + 1))
                runs = [[0, length]] if part.runs is None else part.runs.tolist()
                for begin, end in runs:
                    rows.append((number, size, base + begin, 0, end - begin))
                    pieces += [part.ids[begin:end].astype(separator.dtype), separator]
                if part.other is not None:
                    other = part.other.shape[0]
                    rows.append((number, min(size, other), base, length - other, other))
                    pieces += [part.other.astype(separator.dtype), separator]
                base += length
        self.num_places = base
        self.rows = np.array(rows, np.int64).reshape(-1, 5)
        self.texts = np.array(texts, np.int64).reshape(-1, 4)
        # Whether an n-gram of a text begins at a place: bool.
        lengths = self.texts[:, 2]
        place = np.arange(base) - np.repeat(self.texts[:, 1], lengths)
        self.begins_gram = place < np.repeat(self.texts[:, 3], lengths)
        self.ids = np.concatenate([*pieces, separator])
        sizes = self.rows[:, 4] + 1
        self.begins = np.cumsum(sizes) - sizes
        # The row of each token, and its number in it; separators have that of the row before.
        self.row = np.repeat(np.arange(self.rows.shape[0]), sizes)
        self.within = np.arange(self.row.shape[0]) - self.begins[self.row]

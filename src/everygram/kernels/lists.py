"""Single queries as Python lists of token ids, read by compiled code.

Making an array of a short list and having numba take it costs more than a search. The code around
these kernels reads the list's integers itself, into a bytes object that is the first thing they
answer: what was asked stays known, without a copy of the list. They are those of `search` and
`following` by the same names. Arguments they share:

- `address`: where an index's rows are, int64 words: HEAD of them, then a row a segment.
- `asked`: the list. Where it holds what is no id of the token dtype, and of quick searches without
  segments, the answer is negative, as for an id outside the vocabulary. It comes last: where other
  arguments cannot be read, its bytes are not made yet, which a kernel gives back when it returns.

They are *quick* searches, of memory; all but `ntd` too short to let go of the interpreter's lock
for. They are not made, and answer LATER, unless the word QUICK is set. One that takes long may have
read from a disk, and clears it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from everygram.kernels import INTERPRETED, array_at, following, kernel, search, ticks

# A query as it was read: ids of the token dtype, or, as these kernels answer, their bytes.
Asked = np.ndarray | bytes
# The words before an index's rows: how many segments, and whether searches may be quick.
NUM_SEGMENTS, QUICK, HEAD = 0, 1, 2
# As a count: ask the engine at leisure, which sees to disks, unknown ids and deleted documents.
LATER = -2
# Ticks of a search that may have read from a disk: 30 to 100 µs. A token of a distribution takes
# some hundred more.
LONG, A_STEP = 100_000, 2000


class TokenList:
    """What stands for a list where kernels are not compiled: its ids, and whether they fit."""

    def __init__(self, query: list[int], dtype: np.dtype[Any], more: int) -> None:
        self.more, self.fit = more, True
        try:
            self.ids = np.array([*(value.__index__() for value in query), *[0] * more], dtype)
        except (AttributeError, OverflowError):
            self.ids, self.fit = np.empty(0, dtype), False


def _as_bytes(table: np.ndarray) -> bytes:
    """The array, for Python as bytes."""
    return table.tobytes()


def _ids_of(asked: TokenList, last: int) -> tuple[np.ndarray, bool]:
    """The ids of a list, and `last` where there is room for more; whether they fit the dtype."""
    if asked.fit and asked.more:
        asked.ids[-asked.more :] = np.int64(last).astype(asked.ids.dtype)
    return asked.ids, asked.fit


def _words_of(asked: list[list[int]]) -> tuple[int, int, int]:
    """Where the ends of lists of ids are, and then the ids; how many lists, and ids or −1."""
    return 0, 0, -1


def _taking_list(kernel: Callable[..., Any], dtype: np.dtype[Any], more: int) -> Callable[..., Any]:
    """A kernel whose last argument is a list of ids of that dtype, with room for more."""

    def call(*given: Any) -> tuple[Any, ...]:
        asked, *answer = kernel(*given[:-1], TokenList(given[-1], dtype, more))
        return asked.ids.tobytes(), *answer

    return call


def _taking_lists(kernel: Callable[..., Any], like: np.ndarray) -> Callable[..., Any]:
    """A kernel that takes lists of lists of ids of that dtype, and such an array."""
    return kernel


if INTERPRETED:
    as_bytes, ids_of, words_of = _as_bytes, _ids_of, _words_of
    taking_list, taking_lists = _taking_list, _taking_lists
else:
    from everygram.kernels.objects import as_bytes, ids_of, taking_list, taking_lists, words_of


def taking_many(dtype: np.dtype[Any]) -> Callable[..., Any]:
    """`joined`, for lists of lists of ids of that dtype; compiled, or loaded, by this call."""
    like = np.empty(0, dtype)
    call = taking_lists(joined, like)
    return lambda queries: call(queries, like)


class Kernels:
    """The kernels below that take a list of ids of a dtype, compiled or loaded when first used."""

    find: Callable[..., tuple[Asked, int]]
    prob: Callable[..., tuple[Asked, int, int, float]]
    infgram_prob: Callable[..., tuple[Asked, int, int, float, int]]
    ntd: Callable[..., tuple[Asked, int, bytes, int, int]]

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in Kernels.__annotations__:
            raise AttributeError(name)
        more = int(name in ("prob", "infgram_prob"))  # the continuation
        call = taking_list(globals()[name], self._dtype, more)
        # From now on it is an attribute like any other, which is found at once.
        setattr(self, name, call)
        return call


quick_kernel = partial(kernel, nogil=False)


@kernel
def rows_at(address: int) -> np.ndarray:
    """The rows, int64, shape (k, COLUMNS)."""
    k = array_at(address, HEAD, np.int64)[NUM_SEGMENTS]
    rows = array_at(address + 8 * HEAD, k * search.COLUMNS, np.int64)
    return rows.reshape(k, search.COLUMNS)


@kernel
def began(address: int, last: int) -> int:
    """When a quick search begins, in ticks, or LATER. `last`: a continuation that it has."""
    head = array_at(address, HEAD, np.int64)
    if head[QUICK] == 0 or head[NUM_SEGMENTS] == 0 or last < 0:
        return LATER
    return ticks() if last <= rows_at(address)[0, search.SEPARATOR] else LATER


@kernel
def ended(address: int, start: int, steps: int) -> None:
    """Note how a quick search went, which took so many steps beside what all take."""
    if ticks() - start > LONG + steps * A_STEP:
        array_at(address, HEAD, np.int64)[QUICK] = 0


@kernel
def joined(asked: list[list[int]], like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Many queries as ids, of the dtype of `like`, and their bounds, int64: 0 and the end of each.

    No bounds, if any is not a list of plain ints of that dtype.
    """
    address, number, size = words_of(asked)
    if size < 0:
        return np.empty(0, like.dtype), np.empty(0, np.int64)
    ids, bounds = np.empty(size, like.dtype), np.empty(number + 1, np.int64)
    bounds[0] = 0
    bounds[1:] = array_at(address, number, np.int64)
    ids[:] = array_at(address + 8 * number, size, like.dtype)
    return ids, bounds


@quick_kernel
def find(address: int, asked: TokenList) -> tuple[TokenList, int]:
    """How often the query occurs."""
    start = began(address, 0)
    ids, known = ids_of(asked, 0)
    if start == LATER or not known:
        return asked, LATER
    found = search.find(rows_at(address), ids, False)
    ended(address, start, 0)
    return asked, found


@kernel
def quotient(count: int, of: int) -> float:
    """count / of; nan of 0."""
    return count / of if of else np.nan


@quick_kernel
def prob(address: int, continuation: int, asked: TokenList) -> tuple[TokenList, int, int, float]:
    """How often the prompt occurs, how often the continuation follows, and their quotient."""
    start = began(address, continuation)
    ids, known = ids_of(asked, continuation)
    if start == LATER or not known:
        return asked, LATER, LATER, np.nan
    prompts, total = search.prob(rows_at(address), ids, False)
    ended(address, start, 0)
    return asked, prompts, total, quotient(total, prompts)


@quick_kernel
def infgram_prob(
    address: int, continuation: int, asked: TokenList
) -> tuple[TokenList, int, int, float, int]:
    """As `prob` for the longest suffix of the prompt that occurs; its length comes last."""
    start = began(address, continuation)
    ids, known = ids_of(asked, continuation)
    rows = rows_at(address)
    for s in range(rows.shape[0]):
        if rows[s, search.SIGN] < 0:
            start = LATER  # what is longest is to be confirmed
    if start == LATER or not known:
        return asked, LATER, LATER, np.nan, LATER
    prompts, total, length = search.infgram_prob(rows, ids, False)
    ended(address, start, 0)
    return asked, prompts, total, quotient(total, prompts), length


@kernel
def ntd(
    address: int, longest: bool, max_support: int, asked: TokenList
) -> tuple[TokenList, int, np.ndarray, int, int]:
    """As that of `following`, where there is one segment; of a prompt that is not empty."""
    start = began(address, 0)
    ids, known = ids_of(asked, 0)
    if start != LATER and known and rows_at(address).shape[0] == 1:
        found, table, length, error = following.ntd(
            rows_at(address), ids, longest, max_support, False
        )
        ended(address, start, table.shape[1] if error == 0 else max_support)
        if length:
            return asked, found, as_bytes(table), length, error
    return asked, LATER, as_bytes(np.empty((3, 0), np.int64)), 0, 0

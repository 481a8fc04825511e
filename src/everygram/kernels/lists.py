"""Single queries as Python lists of token ids, read by compiled code.

Making an array of a short list and having numba take it costs more than a search. The code around
these kernels reads the list's integers itself, into memory of the call's own. They are those of
`search` and `following` by the same names. `asked` is the list; without segments, and where it
holds what is no id of the token dtype, the answer is that for an id outside the vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import NativeValue, intrinsic, models, register_model, unbox
from numba.np.arrayobj import populate_array

from everygram.kernels import following, kernel, search

# As annotations of kernels.
SCALARS = {bool: types.boolean, int: types.int64}
# Lists shorter than this are read onto the stack.
ROOM = 256

WORD = ir.IntType(64)
POINTER = ir.IntType(8).as_pointer()


class TokenList(NamedTuple):
    """What stands for a list where kernels are not compiled."""

    query: list[int]
    dtype: np.dtype[Any]


class TokenListType(types.Type):
    """A list of ids, read as the token dtype: where they are, and how many or −1 (no such ids)."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"TokenList({dtype})")


@register_model(TokenListType)
class TokenListModel(models.StructModel):
    """The two words of it."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("address", types.int64), ("size", types.int64)])


@unbox(TokenListType)  # type: ignore[untyped-decorator]
def read_list(of: TokenListType, query: Any, call: Any) -> NativeValue:
    """Read the integers of a list, leaving room for one more.

    Any that does not fit, or is none, makes the size −1.
    """
    builder, python = call.builder, call.pyapi
    item = call.context.get_value_type(of.dtype)

    def function(name: str, result: Any, *arguments: Any) -> Any:
        return cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, arguments), name
        )

    with builder.goto_entry_block():
        on_stack = builder.alloca(item, ROOM)
    size = python.list_size(query)
    size_read = cgutils.alloca_once_value(builder, size)
    place = cgutils.alloca_once_value(builder, on_stack)
    large = builder.icmp_signed(">=", size, WORD(ROOM))
    with builder.if_then(large, likely=False):
        room = builder.mul(builder.add(size, WORD(1)), WORD(item.width // 8))
        memory = builder.call(function("malloc", POINTER, WORD), [room])
        builder.store(builder.bitcast(memory, on_stack.type), place)
    ids = builder.load(place)
    refused = builder.icmp_unsigned("==", builder.ptrtoint(ids, WORD), WORD(0))
    with builder.if_else(refused, likely=False) as (without_memory, with_memory):
        with without_memory:
            builder.store(WORD(-1), size_read)
        with with_memory, cgutils.for_range(builder, size) as loop:
            # A NULL (the list has become shorter) is refused like what is no integer.
            entry = python.list_getitem(query, loop.index)
            value = builder.call(function("PyLong_AsLongLong", WORD, python.pyobj), [entry])
            unfit = builder.icmp_unsigned(">", value, WORD((1 << item.width) - 1))
            with builder.if_then(unfit, likely=False):
                python.err_clear()
                builder.store(WORD(-1), size_read)
                loop.do_break()
            builder.store(builder.trunc(value, item), builder.gep(ids, [loop.index]))
    value = cgutils.create_struct_proxy(of)(call.context, builder)
    value.address = builder.ptrtoint(ids, WORD)
    value.size = builder.load(size_read)

    def free() -> None:
        with builder.if_then(large, likely=False):
            builder.call(function("free", ir.VoidType(), POINTER), [builder.bitcast(ids, POINTER)])

    return NativeValue(value._getvalue(), cleanup=free)


def _ids_of(asked: TokenList, last: int) -> tuple[np.ndarray, bool]:
    """The ids of a list and a last one after them; whether those of the list fit the dtype."""
    try:
        ids = [value.__index__() for value in asked.query]
        return np.array([*ids, last], asked.dtype), True
    except (AttributeError, OverflowError):
        return np.zeros(1, asked.dtype), False


if numba.config.DISABLE_JIT:
    ids_of = _ids_of
else:

    @intrinsic
    def ids_of(_: Any, asked: TokenListType, last: types.Integer) -> Any:
        """As `_ids_of`."""
        array = types.Array(asked.dtype, 1, "C", readonly=True)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            read = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
            made = context.make_array(array)(context, builder)
            fit = builder.icmp_signed(">=", read.size, WORD(0))
            size = builder.select(fit, read.size, WORD(0))
            ids = builder.inttoptr(read.address, made.data.type)
            item = context.get_data_type(array.dtype)
            with builder.if_then(fit):
                builder.store(builder.trunc(arguments[1], item), builder.gep(ids, [size]))
            populate_array(
                made,
                data=ids,
                shape=cgutils.pack_array(builder, [builder.add(size, WORD(1))]),
                strides=cgutils.pack_array(builder, [WORD(item.width // 8)]),
                itemsize=WORD(item.width // 8),
                meminfo=None,
            )
            return context.make_tuple(builder, signature.return_type, [made._getvalue(), fit])

        return types.Tuple((array, types.boolean))(asked, types.int64), generate


def taking_lists(kernel: Any, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """One of the kernels below, for lists of ids of that dtype.

    Compiled, or loaded, by this call. Without numba's look at the types of the arguments a call
    takes a fifth of the time.
    """
    if numba.config.DISABLE_JIT:
        return lambda segments, query, *rest: kernel(segments, TokenList(query, dtype), *rest)
    kinds = list(kernel.py_func.__annotations__.values())[2:-1]
    signature = (
        types.int64[:, ::1],
        TokenListType(numba.from_dtype(dtype)),
        *(SCALARS[kind] for kind in kinds),
    )
    kernel.compile(signature)
    call: Callable[..., Any] = kernel.get_overload(signature)
    return call


@kernel
def find(segments: np.ndarray, asked: TokenList, cold: bool) -> int:
    """How often the query occurs."""
    ids, known = ids_of(asked, 0)
    return search.find(segments, ids[:-1], cold) if known and segments.shape[0] else -1


@kernel
def prob(segments: np.ndarray, asked: TokenList, continuation: int, cold: bool) -> tuple[int, int]:
    """How often the prompt occurs, and how often the continuation follows."""
    ids, known = ids_of(asked, continuation)
    return search.prob(segments, ids, 0, cold) if known and segments.shape[0] else (-1, -1)


@kernel
def infgram_prob(
    segments: np.ndarray, asked: TokenList, continuation: int, cold: bool
) -> tuple[int, int, int]:
    """As `prob` for the longest suffix of the prompt that occurs; its length comes third."""
    ids, known = ids_of(asked, continuation)
    if known and segments.shape[0]:
        return search.infgram_prob(segments, ids, cold)
    return -1, -1, -1


@kernel
def ntd(
    segments: np.ndarray, asked: TokenList, longest: bool, max_support: int, cold: bool
) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    """All of a distribution in one call, where there is one segment."""
    ids, known = ids_of(asked, 0)
    if not known:
        nothing = np.empty(0, np.int64)
        return 0, -1, 0, nothing, nothing
    return following.ntd(segments, ids[:-1], longest, max_support, cold)

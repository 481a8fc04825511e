"""Python's lists read, and bytes made, by compiled code: numba types for kernels of `lists`.

Imported unless kernels are interpreted, whose own side is in `lists`.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import NativeValue, box, intrinsic, models, register_model, unbox
from numba.np.arrayobj import populate_array

# What annotations of kernels stand for.
SCALARS = {bool: types.boolean, int: types.int64}

WORD = ir.IntType(64)
POINTER = ir.IntType(8).as_pointer()
# Where CPython keeps an object's type, an int's size and first digit, a list's size and items.
TYPE, SIZE, DIGIT, ITEMS = 8, 16, 24, 24


def _size_words() -> tuple[int, ...]:
    """What stands at SIZE of ints of one digit; nothing if objects are not laid out like that.

    Reading ints there instead of asking for them saves half a microsecond of a prompt of 200
    tokens. What else a list may hold is asked for.
    """
    ints = [1, 300, 2**30 - 1]

    def word(value: object, offset: int) -> int:
        return ctypes.c_int64.from_address(id(value) + offset).value

    try:
        known = (
            sys.implementation.name == "cpython"
            and min(map(int.__sizeof__, ints)) >= DIGIT + 4
            and word(ints, SIZE) == len(ints)
            and ctypes.c_int64.from_address(word(ints, ITEMS)).value == id(ints[0])
            and all(word(value, TYPE) == id(int) for value in ints)
            and all(word(value, DIGIT) & 0xFFFFFFFF == value for value in ints)
        )
    except ValueError:
        known = False
    return tuple({word(value, SIZE) for value in ints}) if known else ()


SIZE_WORDS = _size_words()


class Words(models.StructModel):
    """What a type's `words` name, int64 each."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [(name, types.int64) for name in of.words])


class TokenListType(types.Type):
    """A list of ids, read as the token dtype, with room for `more` after them.

    They are in a bytes object of the interpreter's, which the kernel is to return: that object,
    where its bytes are, and how many ids it was read as, or −1 (no such ids).
    """

    words = ("asked", "address", "size")

    def __init__(self, dtype: Any, more: int) -> None:
        self.dtype, self.more = dtype, more
        super().__init__(name=f"TokenList({dtype}, {more})")


register_model(TokenListType)(Words)


class Code:
    """Code that reads objects, as it is being written."""

    def __init__(self, of: Any, call: Any) -> None:
        self.builder, self.python = call.builder, call.pyapi
        self.item = call.context.get_value_type(of.dtype)
        self.int_type = self.python.get_c_object("PyLong_Type")
        self.list_type = self.python.get_c_object("PyList_Type")

    def function(self, name: str, result: Any, *arguments: Any) -> Any:
        """A function of C's or the interpreter's."""
        of_type = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, of_type, name)

    def field(self, value: Any, offset: int, kind: Any) -> Any:
        """What an object has there."""
        builder = self.builder
        place = builder.gep(builder.bitcast(value, POINTER), [WORD(offset)])
        return builder.load(builder.bitcast(place, kind.as_pointer()))

    def entry(self, of_list: Any, index: Any) -> Any:
        """An entry of a list that has as many. (Only where SIZE_WORDS are known.)"""
        items = self.field(of_list, ITEMS, POINTER.as_pointer())
        return self.builder.load(self.builder.gep(items, [index]))

    def is_a(self, value: Any, kind: Any) -> Any:
        """Whether that is an object's very type."""
        kind = self.builder.bitcast(kind, POINTER)
        return self.builder.icmp_unsigned("==", self.field(value, TYPE, POINTER), kind)

    def read_digit(self, value: Any, into: Any) -> Any:
        """Read an int of one digit; whether it is one."""
        builder = self.builder
        found = self.field(value, SIZE, WORD)
        fits = [builder.icmp_unsigned("==", found, WORD(word)) for word in SIZE_WORDS]
        direct = builder.and_(self.is_a(value, self.int_type), functools.reduce(builder.or_, fits))
        with builder.if_then(direct, likely=True):
            builder.store(builder.zext(self.field(value, DIGIT, ir.IntType(32)), WORD), into)
        return direct

    def ask(self, value: Any) -> Any:
        """The integer that any object is, or an error."""
        return self.builder.call(self.function("PyLong_AsLongLong", WORD, POINTER), [value])

    def unfit(self, integer: Any) -> Any:
        """Whether it is no id of the token dtype."""
        return self.builder.icmp_unsigned(">", integer, WORD((1 << self.item.width) - 1))


@unbox(TokenListType)
def read_list(of: TokenListType, query: Any, call: Any) -> NativeValue:
    """Read the integers of a list. Any that does not fit, or is none, makes the size −1."""
    code = Code(of, call)
    builder, python, item = code.builder, code.python, code.item
    size = python.list_size(query)
    size_read = cgutils.alloca_once_value(builder, size)
    integer = cgutils.alloca_once(builder, WORD)
    room = builder.mul(builder.add(size, WORD(of.more)), WORD(item.width // 8))
    asked = python.bytes_from_string_and_size(cgutils.get_null_value(POINTER), room)
    address = cgutils.alloca_once_value(builder, WORD(0))
    made = cgutils.is_not_null(builder, asked)
    with builder.if_then(made, likely=True):
        start = python.bytes_as_string(asked)
        builder.store(builder.ptrtoint(start, WORD), address)
        ids = builder.bitcast(start, item.as_pointer())
        with cgutils.for_range(builder, size) as loop:
            direct = cgutils.false_bit
            if SIZE_WORDS:
                # (Integers of a kind of their own may shorten the list while they are asked.)
                there = builder.icmp_signed("<", loop.index, code.field(query, SIZE, WORD))
                with builder.if_then(builder.not_(there), likely=False):
                    builder.store(WORD(-1), size_read)
                    loop.do_break()
                direct = code.read_digit(code.entry(query, loop.index), integer)
            with builder.if_then(builder.not_(direct), likely=False):
                # A NULL (the list has become shorter) is refused like what is no integer.
                builder.store(code.ask(python.list_getitem(query, loop.index)), integer)
            read = builder.load(integer)
            with builder.if_then(code.unfit(read), likely=False):
                python.err_clear()
                builder.store(WORD(-1), size_read)
                loop.do_break()
            builder.store(builder.trunc(read, item), builder.gep(ids, [loop.index]))
    value = cgutils.create_struct_proxy(of)(call.context, builder)
    value.asked = builder.ptrtoint(asked, WORD)
    value.address, value.size = builder.load(address), builder.load(size_read)
    # (Without memory for it the error is set.)
    return NativeValue(value._getvalue(), is_error=builder.not_(made))


@box(TokenListType)
def give_back(of: TokenListType, value: Any, call: Any) -> Any:
    """The bytes object that the list was read into."""
    read = cgutils.create_struct_proxy(of)(call.context, call.builder, value)
    return call.builder.inttoptr(read.asked, call.pyapi.pyobj)


class TokenListsType(types.Type):
    """A list of lists of ids: where their ends are, then their ids, and how many of each.

    −1 ids: not lists of plain ints that fit the token dtype.
    """

    words = ("address", "number", "size")

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"TokenLists({dtype})")


register_model(TokenListsType)(Words)


@unbox(TokenListsType)
def read_lists(of: TokenListsType, queries: Any, call: Any) -> NativeValue:
    """Read the integers of lists. No code of others runs meanwhile that could change them."""
    code = Code(of, call)
    builder, item = code.builder, code.item
    number = code.python.list_size(queries)
    size = cgutils.alloca_once_value(builder, WORD(0 if SIZE_WORDS else -1))
    memory = cgutils.alloca_once_value(builder, cgutils.get_null_value(POINTER))
    done = cgutils.alloca_once_value(builder, WORD(0))
    integer = cgutils.alloca_once(builder, WORD)
    if SIZE_WORDS:
        with cgutils.for_range(builder, number) as loop:
            query = code.entry(queries, loop.index)
            is_list = code.is_a(query, code.list_type)
            with builder.if_then(builder.not_(is_list), likely=False):
                builder.store(WORD(-1), size)
                loop.do_break()
            builder.store(builder.add(builder.load(size), code.field(query, SIZE, WORD)), size)
        with builder.if_then(builder.icmp_signed(">=", builder.load(size), WORD(0))):
            room = builder.mul(builder.load(size), WORD(item.width // 8))
            room = builder.add(room, builder.mul(builder.add(number, WORD(1)), WORD(8)))
            builder.store(builder.call(code.function("malloc", POINTER, WORD), [room]), memory)
            start = builder.load(memory)
            refused = builder.icmp_unsigned("==", builder.ptrtoint(start, WORD), WORD(0))
            with builder.if_then(refused, likely=False):
                builder.store(WORD(-1), size)
        ends = builder.bitcast(builder.load(memory), WORD.as_pointer())
        ids = builder.bitcast(builder.gep(ends, [number]), item.as_pointer())
        readable = builder.icmp_signed(">=", builder.load(size), WORD(0))
        with builder.if_then(readable), cgutils.for_range(builder, number) as outer:
            query = code.entry(queries, outer.index)
            with cgutils.for_range(builder, code.field(query, SIZE, WORD)) as loop:
                entry = code.entry(query, loop.index)
                direct = code.read_digit(entry, integer)
                with builder.if_then(builder.not_(direct), likely=False):
                    builder.store(WORD(-1), integer)
                    with builder.if_then(code.is_a(entry, code.int_type)):
                        builder.store(code.ask(entry), integer)
                read = builder.load(integer)
                with builder.if_then(code.unfit(read), likely=False):
                    code.python.err_clear()
                    builder.store(WORD(-1), size)
                    loop.do_break()
                at = builder.load(done)
                builder.store(builder.trunc(read, item), builder.gep(ids, [at]))
                builder.store(builder.add(at, WORD(1)), done)
            builder.store(builder.load(done), builder.gep(ends, [outer.index]))
    value = cgutils.create_struct_proxy(of)(call.context, builder)
    value.address = builder.ptrtoint(builder.load(memory), WORD)
    value.number, value.size = number, builder.load(size)

    def free() -> None:
        builder.call(code.function("free", ir.VoidType(), POINTER), [builder.load(memory)])

    return NativeValue(value._getvalue(), cleanup=free)


class TableType(types.Type):
    """An int64 array that Python gets as bytes: made in a tenth of the time of an array."""

    array = types.Array(types.int64, 2, "C")

    def __init__(self) -> None:
        super().__init__(name="Table")


@register_model(TableType)
class TableModel(models.StructModel):
    """The array."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("array", of.array)])


@box(TableType)
def give_bytes(of: TableType, value: Any, call: Any) -> Any:
    """The bytes of the array, which is let go of."""
    builder, context = call.builder, call.context
    table = cgutils.create_struct_proxy(of)(context, builder, value).array
    made = context.make_array(of.array)(context, builder, table)
    size = builder.mul(builder.extract_value(made.shape, 0), builder.extract_value(made.shape, 1))
    start = builder.bitcast(made.data, POINTER)
    given = call.pyapi.bytes_from_string_and_size(start, builder.mul(size, WORD(8)))
    context.nrt.decref(builder, of.array, table)
    return given


@intrinsic
def as_bytes(_: Any, table: types.Array) -> Any:
    """The array, for Python as bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = cgutils.create_struct_proxy(signature.return_type)(context, builder)
        value.array = arguments[0]
        made = value._getvalue()
        return impl_ret_borrowed(context, builder, signature.return_type, made)

    return TableType()(table), generate


@intrinsic
def ids_of(_: Any, asked: TokenListType, last: types.Integer) -> Any:
    """As `_ids_of`."""
    array = types.Array(asked.dtype, 1, "C", readonly=True)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = signature.args[0]
        read = cgutils.create_struct_proxy(of)(context, builder, arguments[0])
        made = context.make_array(array)(context, builder)
        fit = builder.icmp_signed(">=", read.size, WORD(0))
        size = builder.select(fit, read.size, WORD(0))
        ids = builder.inttoptr(read.address, made.data.type)
        item = context.get_data_type(array.dtype)
        if of.more:
            with builder.if_then(fit):
                builder.store(builder.trunc(arguments[1], item), builder.gep(ids, [size]))
            size = builder.select(fit, builder.add(size, WORD(of.more)), size)
        populate_array(
            made,
            data=ids,
            shape=cgutils.pack_array(builder, [size]),
            strides=cgutils.pack_array(builder, [WORD(item.width // 8)]),
            itemsize=WORD(item.width // 8),
            meminfo=None,
        )
        return context.make_tuple(builder, signature.return_type, [made._getvalue(), fit])

    return types.Tuple((array, types.boolean))(asked, types.int64), generate


@intrinsic
def words_of(_: Any, asked: TokenListsType) -> Any:
    """As `_words_of`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
        parts = [read.address, read.number, read.size]
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(types.int64, 3)(asked), generate


def taking_list(kernel: Any, dtype: np.dtype[Any], more: int) -> Callable[..., Any]:
    """A kernel whose last argument is a list of ids of that dtype, compiled or loaded."""
    arguments = dict(kernel.py_func.__annotations__)
    arguments.pop("return")
    kinds = [SCALARS.get(kind) for kind in arguments.values()]
    return _call(kernel, *kinds[:-1], TokenListType(numba.from_dtype(dtype), more))


def taking_lists(kernel: Any, like: np.ndarray) -> Callable[..., Any]:
    """A kernel that takes lists of lists of ids of that dtype, and such an array."""
    return _call(kernel, TokenListsType(numba.from_dtype(like.dtype)), numba.typeof(like))


def _call(kernel: Any, *signature: Any) -> Callable[..., Any]:
    """What is compiled for these types, without numba's look at those of a call's arguments.

    That takes as long as a quarter of a call.
    """
    kernel.compile(signature)
    call: Callable[..., Any] = kernel.get_overload(signature)
    return call

"""What makes kernels of functions, and what in them Python has no words for: numba's side.

Imported unless kernels are interpreted, whose own side is in the package itself.
"""

import hashlib
import mmap
import os
import platform
from collections.abc import Callable
from pathlib import Path
from time import CLOCK_MONOTONIC
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

F = TypeVar("F", bound=Callable[..., Any])


def _cache_folder() -> str | None:
    """Where compiled kernels are kept, named after the sources of all of them.

    numba's own cache looks at the one file a kernel is in, and would go on using old code of
    the helpers that kernel calls. None when no place for it can be written.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    places = [Path(__file__).parent / "__pycache__", Path("~/.cache/everygram").expanduser()]
    if numba.config.CACHE_DIR:
        places.insert(0, Path(numba.config.CACHE_DIR))
    for place in places:
        folder = place / f"kernels-{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return None


_CACHE_FOLDER = _cache_folder()


def kernel(function: F, nogil: bool = True, forceinline: bool = False) -> F:
    """As the package's `_kernel`."""
    users = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _CACHE_FOLDER or users
    try:
        cache = _CACHE_FOLDER is not None
        compiled = numba.njit(nogil=nogil, forceinline=forceinline, cache=cache)(function)
    finally:
        numba.config.CACHE_DIR = users
    return cast(F, compiled)


@intrinsic
def array_at(_: Any, address: types.Integer, length: types.Integer, dtype: Any) -> Any:
    """As `_array_at`; dtype: a numpy scalar type, or the `dtype` of an array."""
    array = types.Array(dtype.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder)
        size = context.get_constant(
            types.intp, context.get_abi_sizeof(context.get_data_type(array.dtype))
        )
        populate_array(
            made,
            data=builder.inttoptr(arguments[0], made.data.type),
            shape=cgutils.pack_array(builder, [arguments[1]]),
            strides=cgutils.pack_array(builder, [size]),
            itemsize=size,
            meminfo=None,
        )
        return made._getvalue()

    return array(types.int64, types.int64, dtype), generate


@intrinsic(prefer_literal=True)
def words(_: Any, size: types.IntegerLiteral) -> Any:
    """As `_words`."""
    array = types.Array(types.int64, 1, "C")
    length = size.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder)
        word = ir.IntType(64)
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(word, length))
        populate_array(
            made,
            data=builder.bitcast(memory, made.data.type),
            shape=cgutils.pack_array(builder, [word(length)]),
            strides=cgutils.pack_array(builder, [word(8)]),
            itemsize=word(8),
            meminfo=None,
        )
        return made._getvalue()

    return array(size), generate


@intrinsic
def ticks(_: Any) -> Any:
    """As `_ticks`."""
    word = ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            counter = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(word, []), "llvm.readcyclecounter"
            )
            return builder.call(counter, [])
        with builder.goto_entry_block():
            time = builder.alloca(ir.ArrayType(word, 2))
        clock = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.IntType(32), [ir.IntType(32), time.type]),
            "clock_gettime",
        )
        builder.call(clock, [ir.Constant(ir.IntType(32), CLOCK_MONOTONIC), time])
        seconds, nanoseconds = (
            builder.load(builder.gep(time, [ir.Constant(ir.IntType(32), i) for i in (0, part)]))
            for part in (0, 1)
        )
        return builder.add(builder.mul(seconds, word(10**9)), nanoseconds)

    return types.int64(), generate


@intrinsic
def will_need(_: Any, array: types.Array, index: types.Integer) -> Any:
    """As `_will_need`: the system call, which returns before the page is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word, integer = ir.IntType(64), ir.IntType(32)
        address = builder.ptrtoint(builder.gep(data, [arguments[1]]), word)
        page = builder.and_(address, ir.Constant(word, -mmap.PAGESIZE))
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(integer, [word, word, integer]), "madvise"
        )
        last = builder.sub(address, page)
        length = builder.add(last, ir.Constant(word, 1))
        builder.call(function, [page, length, ir.Constant(integer, mmap.MADV_WILLNEED)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def prefetch(_: Any, array: types.Array, index: types.Integer) -> Any:
    """As `_prefetch`: one machine instruction (LLVM's llvm.prefetch)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        integer = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer.type, *[integer] * 3]),
            "llvm.prefetch.p0",
        )
        # For reading, to be kept in all caches, data and not instructions.
        builder.call(function, [pointer, *(ir.Constant(integer, i) for i in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate

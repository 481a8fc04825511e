"""numba's side: compiles functions into kernels, and defines the operations that Python lacks.

Not imported if kernels are interpreted: the package itself has the Python versions.
"""

import contextlib
import hashlib
import mmap
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils, event, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from everygram import progress

F = TypeVar("F", bound=Callable[..., Any])


# In a folder shared with other installations, compiled code is kept this long after its last use.
KEPT_SECONDS = 30 * 24 * 3600


def _cache_folder() -> str | None:
    """The folder for compiled kernels, named after a hash of all kernels' sources.

    numba's own cache checks only the file that a kernel is in, and would go on using old code of
    the helpers that the kernel calls. None if no such folder can be written. Code compiled from
    older sources is removed.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    own = Path(__file__).parent / "__pycache__"
    places = [own, Path("~/.cache/everygram").expanduser()]
    if numba.config.CACHE_DIR:
        places.insert(0, Path(numba.config.CACHE_DIR))
    for place in places:
        folder = place / f"kernels-{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            _remove_others(folder, 0 if place == own else KEPT_SECONDS)
            return str(folder)
    return None


def _remove_others(folder: Path, seconds: float) -> None:
    """Remove the folders of other sources next to `folder` that were unused for `seconds`."""
    for other in folder.parent.glob("kernels-" + "[0-9a-f]" * 16):
        with contextlib.suppress(OSError):
            if other != folder and other.stat().st_mtime <= time.time() - seconds:
                shutil.rmtree(other, ignore_errors=True)


_CACHE_FOLDER = _cache_folder()


class _Compiling(event.Listener):
    """Reports which of our functions is being compiled."""

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if function.__module__.startswith("everygram."):  # not numba's own, which it inlines
            progress.compiles(function.__name__)

    def on_end(self, event: Any) -> None: ...


event.register("numba:compile", _Compiling())


def kernel(function: F, **options: Any) -> F:
    """As the package's `_kernel`."""
    users = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _CACHE_FOLDER or users
    try:
        options = {"nogil": True, "cache": _CACHE_FOLDER is not None} | options
        return cast(F, numba.njit(**options)(function))
    finally:
        numba.config.CACHE_DIR = users


def called(function: F) -> F:
    """As the package's `_called`: the cached code of its callers includes its code."""
    return kernel(function, cache=False, no_cpython_wrapper=True)


def inlined(function: F) -> F:
    """As the package's `_inlined`."""
    return kernel(function, cache=False, forceinline=True, no_cpython_wrapper=True)


def entry(kernel: Any, *like: Any) -> Any:
    """As the package's `_entry`."""
    signature = tuple(map(numba.typeof, like))
    kernel.compile(signature)
    return kernel.get_overload(signature)


def _made(context: Any, builder: Any, array: Any, data: Any, shape: list[Any]) -> Any:
    """An array over memory without reference counting: C order, `shape` as 64-bit words."""
    made = context.make_array(array)(context, builder)
    word = ir.IntType(64)
    item = context.get_abi_sizeof(context.get_data_type(array.dtype))
    strides = [word(item)]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(
        made,
        data=builder.bitcast(data, made.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=word(item),
        meminfo=None,
    )
    return made._getvalue()


# numba has no arrays without reference counting. Here are three: at an address,
@intrinsic
def array_at(_: Any, address: types.Integer, shape: Any, dtype: Any) -> Any:
    """As `_array_at`; dtype: a numpy scalar type, or the `dtype` of an array."""
    ndim = len(shape) if isinstance(shape, types.BaseTuple) else 1
    array = types.Array(dtype.dtype, ndim, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        lengths = cgutils.unpack_tuple(builder, arguments[1]) if ndim > 1 else [arguments[1]]
        return _made(context, builder, array, data, lengths)

    return array(
        types.int64, types.UniTuple(types.int64, ndim) if ndim > 1 else types.int64, dtype
    ), generate


# on the stack (np.empty allocates memory, which takes as long as a step of a search),
@intrinsic(prefer_literal=True)
def words(_: Any, rows: types.IntegerLiteral, columns: types.IntegerLiteral) -> Any:
    """As `_words`."""
    shape = [rows.literal_value, columns.literal_value]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(word, shape[0] * shape[1]))
        return _made(context, builder, signature.return_type, memory, [word(n) for n in shape])

    return types.Array(types.int64, 2, "C")(rows, columns), generate


# and over bytes, with a scalar's dtype (numba's np.frombuffer counts references, and accepts no
# scalar's dtype).
@intrinsic
def ids_of(_: Any, packed: types.Bytes, separator: types.Integer) -> Any:
    """As `_ids_of`."""
    array = types.Array(separator, 1, "C", readonly=True)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_helper(builder, signature.args[0], arguments[0])
        width = ir.Constant(data.nitems.type, separator.bitwidth // 8)
        return _made(context, builder, array, data.data, [builder.udiv(data.nitems, width)])

    return array(packed, separator), generate


# numba makes system calls only through ctypes, whose addresses cannot be in cached code.
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


# numba has no function for this instruction.
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
        # Arguments: for reading (0), keep in all caches (3), data, not instructions (1).
        builder.call(function, [pointer, *(ir.Constant(integer, i) for i in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


# Nor for this one.
@intrinsic
def ones(_: Any, word: types.Integer) -> Any:
    """As `_ones`: one machine instruction (LLVM's llvm.ctpop)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


# Nor for the number of leading zeros.
@intrinsic
def length(_: Any, word: types.Integer) -> Any:
    """As `_length`: one machine instruction (LLVM's llvm.ctlz)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.uint64), generate

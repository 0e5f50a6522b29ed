"""Reads published pickles without running them: an interpreter of the format's opcodes that calls nothing.

A pickle is a program that may call any importable function. This reader never imports what a pickle names and never
calls what it says: it walks the opcodes (``pickletools`` only takes them apart) and builds dicts, lists, tuples, texts,
bytes and numbers by itself. The few names that published arrays and sparse matrices need are looked up in a table of
our own constructors, which check every size before numpy or scipy sees it. Anything else is an error that says what
the file asked for.

Why not a library: an allow-listed ``pickle.Unpickler`` still runs the program. It builds what it is told to, of any
size and depth, before anyone can look (a few bytes may ask for gigabytes), and calls what is allowed with arguments
that the file chose. fickling and picklescan judge whether a pickle looks safe, and leave the reading to ``pickle``.
These are some 550 lines for the four kinds of files that RLMRec published, and with them no data file is ever executed.

Refused: every other name, persistent ids, extension codes, out-of-band buffers, old-style instances, sets, state set on
anything but our stand-ins, keys that are not plain, memo indices beyond the file, object arrays.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from interlingua.data.files.opening import check_file
from interlingua.data.files.pickled_arrays import CONSTRUCTORS, Constructor, StandIn, finished
from interlingua.errors import DataError

MAX_BYTES = 8 << 30
"""files above this size are refused: RLMRec's largest is 140 MB"""
PLAIN_KEYS = (str, bytes, int, float, bool, type(None))
_MARK = object()


class RefusedError(Exception):
    """A pickle asked for something that is refused."""


class Name:
    """A name from the table that a pickle mentions; not the object that it names."""

    def __init__(self, module: str, name: str) -> None:
        found = CONSTRUCTORS.get((module, name))
        if found is None:
            raise RefusedError(f"it asks for {module}.{name}, which is neither a plain container nor a numeric array")
        self.make: Constructor = found


def read_pickle(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The plain containers, numpy arrays and scipy sparse matrices in a pickle.

    Args:
        path: the file.
        max_bytes: larger files are refused.

    Raises:
        DataError: missing, too large, damaged, or it asks for something else (nothing of it has been run).
    """
    check_file(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise DataError(f"{path} has {size:,} bytes, more than the {max_bytes:,} that are read of a pickle")
    try:
        return loads(path.read_bytes())
    except RefusedError as error:
        raise DataError(
            f"{path} is refused, nothing of it was run: {error}. Convert it where you trust it to npy, npz or parquet"
        ) from None


def loads(data: bytes) -> Any:
    """:func:`read_pickle` for bytes.

    Raises:
        RefusedError: the reason.
    """
    machine = _Machine(len(data))
    try:
        machine.run(pickletools.genops(io.BytesIO(data)))
        return finished(machine.result)
    except RefusedError:
        raise
    except RecursionError:
        raise RefusedError("its containers are nested too deeply") from None
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        EOFError,
        UnicodeError,
        AttributeError,
    ) as error:
        raise RefusedError(f"it is damaged or no pickle ({error})") from None


class _Machine:
    """The stack and memo of one pickle."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.size = size
        self.result: Any = None

    def run(self, operations: Iterable[tuple[Any, Any, int | None]]) -> None:
        for opcode, argument, _ in operations:
            name = opcode.name
            if name == "STOP":
                self.result = self.pop()
                return
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            else:
                raise RefusedError(f"it uses {name}, which arrays and plain containers do not need")
        raise RefusedError("it has no end")

    def pop(self) -> Any:
        found = self.stack.pop()
        if found is _MARK:
            raise RefusedError("a mark stands where a value should")
        return found

    def to_mark(self) -> list[Any]:
        """Removes the last mark and the values above it, and returns these."""
        position = len(self.stack) - 1
        while self.stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise RefusedError("a mark is missing")
        found = self.stack[position + 1 :]
        del self.stack[position:]
        return found

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise RefusedError(f"it extends a {type(self.stack[-1]).__name__} as if it were a {kind.__name__}")
        return self.stack[-1]

    def put(self, index: int) -> None:
        if not 0 <= index <= self.size:
            raise RefusedError(f"memo index {index} is beyond the file's length")
        self.memo[index] = self.stack[-1]

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise RefusedError("a key has no value")
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, PLAIN_KEYS):  # nested tuples as keys take exponential time to hash
                raise RefusedError(f"a dictionary has a key of type {type(key).__name__}")
            target[key] = value

    def call(self, function: Any, arguments: Any, keywords: Any = None) -> None:
        if not isinstance(function, Name):
            raise RefusedError(f"it calls a {type(function).__name__}")
        if not isinstance(arguments, tuple) or keywords:
            raise RefusedError("a constructor's arguments are not as arrays have them")
        try:
            self.stack.append(function.make(*arguments))
        except (ValueError, TypeError) as error:
            raise RefusedError(str(error)) from None

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if not isinstance(target, StandIn):
            raise RefusedError(f"it sets the state of a {type(target).__name__}")
        try:
            target.set_state(state)
        except (ValueError, TypeError) as error:
            raise RefusedError(str(error)) from None


Step = Callable[[_Machine, Any], None]


def _as_bytes(machine: _Machine, argument: Any) -> None:
    machine.stack.append(bytes(argument))


def _global(machine: _Machine, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(Name(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise RefusedError("a name is no text")
    machine.stack.append(Name(module, name))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _new_object_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, arguments, function = machine.pop(), machine.pop(), machine.pop()
    machine.call(function, arguments, keywords)


def _tuple(count: int) -> Step:
    def step(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)][::-1]
        machine.stack.append(tuple(values))

    return step


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _dict(machine: _Machine, _: Any) -> None:
    values = machine.to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _pop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


_LITERALS = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
     "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)  # fmt: skip
"""opcodes whose argument is the value; byte strings of Python 2 come as Latin-1 texts"""
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_STEPS: dict[str, Step] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "BINBYTES": _as_bytes,
    "SHORT_BINBYTES": _as_bytes,
    "BINBYTES8": _as_bytes,
    "BYTEARRAY8": _as_bytes,
    "POP": _pop,
    "POP_MARK": lambda m, a: m.to_mark().clear(),
    "DUP": lambda m, a: m.stack.append(m.stack[-1]),
    "LIST": lambda m, a: m.stack.append(m.to_mark()),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.to_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "DICT": _dict,
    "APPEND": lambda m, a: m.append([m.pop()]),
    "APPENDS": lambda m, a: m.append(m.to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, a: m.set_items(m.to_mark()),
    "PUT": lambda m, a: m.put(int(a)),
    "BINPUT": lambda m, a: m.put(int(a)),
    "LONG_BINPUT": lambda m, a: m.put(int(a)),
    "MEMOIZE": lambda m, a: m.put(len(m.memo)),
    "GET": lambda m, a: m.stack.append(m.memo[int(a)]),
    "BINGET": lambda m, a: m.stack.append(m.memo[int(a)]),
    "LONG_BINGET": lambda m, a: m.stack.append(m.memo[int(a)]),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_with_keywords,
    "BUILD": lambda m, a: m.build(),
}

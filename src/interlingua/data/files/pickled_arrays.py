"""Stand-ins for the parts of pickled numpy arrays and scipy sparse matrices, and their conversion to real ones.

While a file is read, no numpy or scipy function is called: shapes, types and bytes are collected, compared with each
other, and turned into arrays at the end. numpy's own ``__setstate__`` trusts its input, and is never called.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Constructor = Callable[..., Any]
TYPE = re.compile(r"([<>|=]?)([biuf][1248])")
"""truth values, integers and floats; no objects, records, texts or dates"""
MAX_DIMENSIONS = 4
MAX_SIDE = 1 << 31
MAX_DEPTH = 50


class StandIn:
    """An object whose state a pickle may set."""

    def set_state(self, state: Any) -> None:
        """Checks and takes the state."""
        raise ValueError(f"it sets the state of a {type(self).__name__}")

    def finish(self) -> Any:
        """The real object."""
        raise ValueError(f"a {type(self).__name__} stands where a value should")


class DType(StandIn):
    """``numpy.dtype("f8", False, True)`` and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        found = TYPE.fullmatch(code) if isinstance(code, str) else None
        if found is None:
            kind = "an object array" if str(code).lstrip("<>|=").startswith("O") else f"an array of type {code!r}"
            raise ValueError(f"{kind} is not read: only numbers and truth values are")
        self.order, self.code = found[1] or "=", found[2]

    def set_state(self, state: Any) -> None:
        """(version, byte order, subarray, names, fields, size, alignment, flags, ...): only the order is taken."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a dtype's state is not as numpy writes it")
        if any(part is not None for part in state[2:5]):
            raise ValueError("an array of records or subarrays is not read")
        self.order = state[1]

    @property
    def real(self) -> np.dtype[Any]:
        """The numpy type."""
        return np.dtype(self.order + self.code)


class Array(StandIn):
    """An array before and after its state: shape, type and bytes."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: DType | None = None
        self.data: bytes | None = None
        self.fortran = False
        self.made: npt.NDArray[Any] | None = None

    def set_state(self, state: Any) -> None:
        """(version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array's state is not as numpy writes it")
        shape, dtype, fortran, data = state[-4:]
        self.fill(shape, dtype, bool(fortran), data)

    def fill(self, shape: Any, dtype: Any, fortran: bool, data: Any) -> None:
        """Takes the parts if they fit together."""
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("latin-1")
        if not isinstance(dtype, DType) or not isinstance(data, bytes):
            raise ValueError("an array's parts are not as numpy writes them (an object array?)")
        shape = (shape,) if isinstance(shape, int) else shape
        whole = isinstance(shape, tuple) and all(type(side) is int and 0 <= side <= MAX_SIDE for side in shape)
        if not whole or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"an array's shape is {str(shape)[:80]}")
        if math.prod(shape) * dtype.real.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} and type {dtype.code} has {len(data):,} bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype, fortran, data

    def finish(self) -> npt.NDArray[Any]:
        """The array, in the machine's byte order."""
        if self.made is None:
            if self.dtype is None or self.data is None:
                raise ValueError("an array has no content")
            flat = np.frombuffer(self.data, self.dtype.real)
            if flat.dtype.kind == "b":  # a byte that is neither 0 nor 1 would not be a truth value
                flat = np.frombuffer(self.data, np.uint8) != 0
            shaped = flat.reshape(self.shape, order="F" if self.fortran else "C")
            self.made = shaped.astype(self.dtype.real.newbyteorder("="))
        return self.made


class Sparse(StandIn):
    """A scipy matrix in one of the formats csr, csc and coo."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        """The object's attributes by name."""
        if isinstance(state, tuple) and len(state) == 2 and not state[1]:  # with slots
            state = state[0]
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError("a sparse matrix's state is not as scipy writes it")
        self.state = state

    def finish(self) -> Any:
        """The matrix, with every index checked against its shape."""
        shape = self.state.get("_shape", self.state.get("shape"))
        if not isinstance(shape, tuple) or len(shape) != 2 or any(type(s) is not int for s in shape):
            raise ValueError(f"a sparse matrix has the shape {str(shape)[:80]}")
        if not all(0 <= side < MAX_SIDE for side in shape):
            raise ValueError(f"a sparse matrix has the shape {str(shape)[:80]}")
        data = self._vector("data")
        if self.form == "coo":
            row, column = self._coordinates()
            if not len(row) == len(column) == len(data):
                raise ValueError("a sparse matrix has rows, columns and values of different numbers")
            for indices, side in ((row, shape[0]), (column, shape[1])):
                if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < side:
                    raise ValueError("a sparse matrix has an index outside its shape")
            return sp.coo_matrix((data, (row, column)), shape=shape)
        indices, pointers = self._vector("indices", "iu"), self._vector("indptr", "iu")
        major, minor = shape if self.form == "csr" else shape[::-1]
        fits = len(pointers) == major + 1 and pointers[0] == 0 and pointers[-1] == len(indices) == len(data)
        if not fits or bool((np.diff(pointers.astype(np.int64)) < 0).any()):
            raise ValueError("a sparse matrix's row pointers do not fit its values")
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < minor:
            raise ValueError("a sparse matrix has an index outside its shape")
        make = sp.csr_matrix if self.form == "csr" else sp.csc_matrix
        return make((data, indices.astype(np.int64), pointers.astype(np.int64)), shape=shape)

    def _coordinates(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        coords = self.state.get("coords")
        if isinstance(coords, tuple) and len(coords) == 2:
            self.state = self.state | {"row": coords[0], "col": coords[1]}
        return self._vector("row", "iu"), self._vector("col", "iu")

    def _vector(self, name: str, kinds: str = "biuf") -> npt.NDArray[Any]:
        part = self.state.get(name)
        array = part.finish() if isinstance(part, Array) else None
        if array is None or array.ndim != 1 or array.dtype.kind not in kinds:
            raise ValueError(f"a sparse matrix has no usable {name}")
        return array


def finished(value: Any) -> Any:
    """The value with real arrays instead of the stand-ins.

    Raises:
        ValueError: nested too deeply, or within itself.
    """
    done: dict[int, Any] = {}  # what stands in several places is turned once: copies of copies would take for ever

    def turn(value: Any, depth: int, inside: frozenset[int]) -> Any:
        if isinstance(value, StandIn):
            return value.finish()
        if not isinstance(value, dict | list | tuple):
            if value is None or isinstance(value, str | bytes | bool | int | float):
                return value
            raise ValueError(f"a {type(value).__name__} stands where a value should")
        if id(value) in done:
            return done[id(value)]
        if depth > MAX_DEPTH or id(value) in inside:
            raise ValueError("containers are nested too deeply, or within themselves")
        within = inside | {id(value)}
        if isinstance(value, dict):
            done[id(value)] = {key: turn(entry, depth + 1, within) for key, entry in value.items()}
        else:
            made = [turn(entry, depth + 1, within) for entry in value]
            done[id(value)] = tuple(made) if isinstance(value, tuple) else made
        return done[id(value)]

    return turn(value, 0, frozenset())


def _ndarray(*arguments: Any) -> Array:
    """``_reconstruct(ndarray, (0,), b"b")``: an empty array, to be filled by its state."""
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """Protocol 5: ``_frombuffer(bytes, dtype, shape, order)``."""
    out = Array()
    out.fill(shape, dtype, order == "F", data)
    return out


def _scalar(dtype: Any, data: Any) -> Any:
    """A numpy number as a Python one."""
    out = Array()
    out.fill((), dtype, False, data)
    return out.finish().item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes in protocols below 3: ``_codecs.encode(text, "latin1")``."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes are not written as pickles write them")
    return text.encode("latin-1")


def _sparse(form: str) -> Constructor:
    def make(*arguments: Any) -> Sparse:
        if arguments:
            raise ValueError("a sparse matrix is made with arguments")
        return Sparse(form)

    return make


def _old_object(cls: Any, base: Any, state: Any) -> Sparse:
    """Protocols 0 and 1: ``copyreg._reconstructor(class, object, None)``."""
    make = getattr(cls, "make", None)
    form = next((form for form, known in _SPARSE.items() if known is make), None)
    if form is None or state is not None:
        raise ValueError("an object other than a sparse matrix is made")
    return Sparse(form)


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise ValueError("bytes are made with arguments")
    return b""


def _ordered(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise ValueError("an ordered dictionary is made with arguments")
    return {}


def _argument_only(*_: Any) -> Any:
    raise ValueError("a class is called")


_SPARSE = {form: _sparse(form) for form in ("csr", "csc", "coo")}
CONSTRUCTORS: dict[tuple[str, str], Constructor] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _ndarray for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "dtype"): DType,
    ("numpy", "ndarray"): _argument_only,
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): _ordered,
    ("copyreg", "_reconstructor"): _old_object,
    ("copy_reg", "_reconstructor"): _old_object,
    ("builtins", "object"): _argument_only,
    ("__builtin__", "object"): _argument_only,
    **{
        (f"scipy.sparse.{module}", f"{form}_{kind}"): make
        for form, make in _SPARSE.items()
        for module in (form, f"_{form}")
        for kind in ("matrix", "array")
    },
}
"""(module, name) as pickles write them, old and new -> the stand-in's constructor"""

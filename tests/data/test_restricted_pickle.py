"""Published pickles are read, malicious ones are refused before anything of them runs."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import pickletools
import subprocess
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from interlingua.data.files.restricted_pickle import RefusedError, loads, read_pickle
from interlingua.errors import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
RNG = np.random.default_rng(0)
MATRIX = sp.random(30, 20, 0.2, format="csr", random_state=0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        {0: {"profile": "Likes tea.", "reasoning": "7 × 八 🎬"}, 1: {"profile": "", "reasoning": None}},
        [1, -2, 2**70, 1.5, True, None, b"\x00\xff", "text", (1, (2, 3)), [], {}, ()],
        OrderedDict(a=1, b=[2]),
        list(range(2000)),
    ],
)
def test_plain_containers_come_back_in_every_protocol(value: Any, protocol: int) -> None:
    got = loads(pickle.dumps(value, protocol))
    assert got == value
    assert type(got) in (dict, list)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        RNG.standard_normal((7, 5)),
        RNG.standard_normal((7, 5)).astype(np.float32).T,
        np.asfortranarray(RNG.standard_normal((4, 3))),
        np.arange(10, dtype=">i4"),
        np.array([True, False]),
        np.zeros((0, 8), np.float32),
        np.float64(1.5),
        np.int32(7),
        np.arange(24).reshape(2, 3, 4)[:, ::2],
    ],
    ids=str,
)
def test_numeric_arrays_and_numbers_come_back(array: Any, protocol: int) -> None:
    got = loads(pickle.dumps(array, protocol))
    np.testing.assert_array_equal(got, array)
    assert np.asarray(got).dtype.kind == np.asarray(array).dtype.kind


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_come_back(form: str, kind: str, protocol: int) -> None:
    matrix = getattr(sp, f"{form}_{kind}")(MATRIX)
    got = loads(pickle.dumps(matrix, protocol))
    assert got.format == form
    np.testing.assert_array_equal(got.toarray(), MATRIX.toarray())


def test_the_names_of_older_libraries_are_known() -> None:
    new = pickle.dumps({"m": sp.coo_matrix(MATRIX), "a": np.arange(3.0)}, 2)
    old = new.replace(b"scipy.sparse._coo", b"scipy.sparse.coo").replace(b"numpy._core", b"numpy.core")
    assert old != new
    got = loads(old)
    np.testing.assert_array_equal(got["m"].toarray(), MATRIX.toarray())
    np.testing.assert_array_equal(got["a"], [0.0, 1.0, 2.0])


def test_an_array_that_stands_twice_is_one_array() -> None:
    array = np.arange(3)
    got = loads(pickle.dumps([array, array, {"x": array}]))
    assert got[0] is got[1] is got[2]["x"]


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts

    def __call__(self) -> None:
        """Only so that it may stand where pickle wants a callable."""


TOUCH = "touch {}"


def attacks(marker: Path) -> dict[str, Any]:
    command = TOUCH.format(marker)
    code = f"open({str(marker)!r}, 'w').close()"
    objects = np.empty(2, object)
    objects[:] = [Call(os.system, command), 1]
    return {
        "os.system": Call(os.system, command),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "subprocess": Call(subprocess.call, ["touch", str(marker)]),
        "open": Call(open, str(marker), "w"),
        "__import__": Call(__import__, "os"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "getattr chain": Call(Call(getattr, Call(__import__, "os"), "system"), command),
        "map": Call(list, Call(map, Call(getattr, Call(__import__, "os"), "system"), [command])),
        "type": Call(type, "X", (), {}),
        "numpy.load": Call(np.load, str(marker)),
        "numpy.memmap": Call(np.memmap, str(marker), "u1", "w+", 0, (1,)),
        "numpy.fromfile": Call(np.fromfile, str(marker)),
        "numpy.vectorize": Call(np.vectorize, os.system),
        "numpy.apply": Call(np.apply_along_axis, os.system, 0, np.arange(2)),
        "numpy.testing": Call(np.testing.measure, code),
        "numpy f2py": Call(__import__("numpy.testing._private.utils", fromlist=["x"]).runstring, code, {}),
        "object array": objects,
        "object array in a dict": {"a": [objects]},
        "in a list": [1, {"x": (2, Call(os.system, command))}],
        "as a key": {Call(os.system, command): 1},
        "inside an array's arguments": Call(np.ndarray, Call(os.system, command)),
        "build on an allowed class": Call(OrderedDict, state={"__class__": os.system}),
        "ordered dictionary of a call": Call(OrderedDict, Call(os.system, command)),
        "defaultdict": defaultdict(os.getcwd),
        "copyreg": Call(copyreg._reconstructor, Path, object, None),
        "copyreg object": Call(copyreg._reconstructor, Exception, object, None),
        "a path": marker,
        "a set": {1, 2},
        "a class": os.system,
        "an exception": ValueError("x"),
        "a structured array": np.zeros(2, [("a", "i4")]),
        "a text array": np.array(["a"]),
        "a date array": np.array(["2020-01-01"], "M8[D]"),
        "a masked array": np.ma.array([1, 2]),
        "a matrix of objects": sp.lil_matrix(MATRIX),
        "torch": Call(__import__("torch").load, str(marker)),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_of_a_malicious_file_is_run(name: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "bad.pkl"
    file.write_bytes(pickle.dumps(attacks(marker)[name], protocol))
    with pytest.raises(DataError, match="nothing of it was run"):
        read_pickle(file)
    assert not marker.exists()


def assembled(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


HANDMADE = {
    "stack global by parts": assembled(text("os"), text("system"), b"\x93", text("true"), b"\x85R"),
    "global": b"cos\nsystem\n(S'true'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": assembled(b"(cos\nsystem\n", text("true"), b"o"),
    "newobj": assembled(b"cos\nsystem\n)\x81"),
    "newobj with keywords": assembled(b"cnumpy\ndtype\n", text("f8"), b"\x85}", text("align"), b"\x88s\x92"),
    "extension": assembled(b"\x82\x01"),
    "extension 2": assembled(b"\x83\x01\x00"),
    "extension 4": assembled(b"\x84\x01\x00\x00\x00"),
    "persistent id": b"Pos.system\n.",
    "binary persistent id": assembled(text("x"), b"Q"),
    "next buffer": assembled(b"\x97"),
    "read-only buffer": assembled(b"C\x01a\x98"),
    "dotted name": assembled(text("numpy"), text("dtype.__class__"), b"\x93"),
    "dotted module": assembled(text("numpy.core.multiarray._reconstruct"), text("__globals__"), b"\x93"),
    "name that is no text": assembled(b"K\x01", text("dtype"), b"\x93"),
    "calls a string": assembled(text("x"), b")R"),
    "calls a list": assembled(b"])R"),
    "state on a dictionary": assembled(b"}}b"),
    "state on a name": assembled(b"cnumpy\ndtype\n}b"),
    "a name as the result": b"cnumpy\ndtype\n.",
    "class as the result": b"cnumpy\nndarray\n.",
    "class called": assembled(b"cnumpy\nndarray\n)R"),
    "memo bomb": assembled(b"K\x01r\xff\xff\xff\x7f"),
    "negative memo": b"I1\np-5\n.",
    "no such memo": assembled(b"h\x07"),
    "length bomb": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "number bomb": b"\x80\x04\x8b\xff\xff\xff\x7fabc.",
    "mark as a value": assembled(b"("),
    "no mark": assembled(b"K\x01e"),
    "empty stack": assembled(b"R"),
    "appends to a dictionary": assembled(b"}K\x01a"),
    "sets on a list": assembled(b"]K\x01K\x01s"),
    "key without a value": assembled(b"}(K\x01u"),
    "list in itself": assembled(b"]\x94h\x00a"),
    "tuple as key": assembled(b"})K\x01s"),
    "no end": b"\x80\x04K\x01",
    "empty": b"\x80\x04.",
    "text": b"user,item\n1,2\n",
    "zip": b"PK\x03\x04" + b"\0" * 50,
    "newer protocol opcode": assembled(b"\xf0"),
    "array without state": assembled(b"cnumpy.core.multiarray\n_reconstruct\n)R"),
}


@pytest.mark.parametrize("name", HANDMADE)
def test_hand_made_tricks_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(os, "system", called.append)
    with pytest.raises(RefusedError):
        loads(HANDMADE[name])
    assert not called


def test_an_extension_that_python_has_cached_is_refused_too() -> None:
    copyreg.add_extension("os", "system", 177)
    try:
        copyreg._extension_cache[177] = os.system  # type: ignore[attr-defined]
        with pytest.raises(RefusedError, match="EXT1"):
            loads(assembled(b"\x82\xb1", text("true"), b"\x85R"))
    finally:
        copyreg.remove_extension("os", "system", 177)


def rebuilt(shape: Any, dtype: Any, data: Any, state_of_dtype: Any = None) -> bytes:
    """An array with a state of one's choice, as numpy would pickle it."""

    class Parts:
        def __init__(self, *parts: Any) -> None:
            self.parts = parts

        def __reduce__(self) -> Any:
            return self.parts

    kind = Parts(np.dtype, (dtype, False, True), state_of_dtype or (3, "<", None, None, None, -1, -1, 0))
    make = np.zeros(1).__reduce__()[0]
    return pickle.dumps(Parts(make, (np.ndarray, (0,), b"b"), (1, shape, kind, False, data)))


@pytest.mark.parametrize(
    ("shape", "dtype", "data", "state"),
    [
        ((10**9,), "f8", b"\0" * 8, None),
        ((2**31, 2**31, 2**31), "f8", b"", None),
        ((-1,), "f8", b"\0" * 8, None),
        ((True,), "f8", b"\0" * 8, None),
        ((1,), "O8", [os.system], None),
        ((1,), "f8", b"\0" * 8, (3, "<", None, ("a",), {"a": 1}, 8, 8, 63)),
        ((1,), "f8", b"\0" * 8, (3, "<", (1, 2), None, None, 8, 8, 63)),
        ((1,), "V8", b"\0" * 8, None),
        ((1,), "f8", b"\0" * 7, None),
        ((1,), 8, b"\0" * 8, None),
    ],
)
def test_an_array_whose_parts_do_not_fit_is_refused(shape: Any, dtype: Any, data: Any, state: Any) -> None:
    with pytest.raises(RefusedError):
        loads(rebuilt(shape, dtype, data, state))


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.full(MATRIX.nnz, 10**6)},
        {"indices": np.full(MATRIX.nnz, -1)},
        {"indptr": np.zeros(3, np.int32)},
        {"indptr": MATRIX.indptr[::-1].copy()},
        {"data": MATRIX.data[:-1]},
        {"_shape": (10**12, 20)},
        {"_shape": (30,)},
        {"_shape": "big"},
        {"indices": MATRIX.indices.astype(float)},
        {"data": [1, 2]},
    ],
)
def test_a_matrix_whose_indices_leave_it_is_refused(changes: dict[str, Any]) -> None:
    broken = MATRIX.copy()
    broken.__dict__.update(changes)
    with pytest.raises(RefusedError):
        loads(pickle.dumps(broken))


def test_copies_of_copies_and_deep_nesting_take_no_time() -> None:
    doubled: Any = [1]
    for _ in range(45):
        doubled = [doubled, doubled]
    got = loads(pickle.dumps(doubled))  # 2^45 leaves if they were copied
    assert got[0] is got[1]
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(RefusedError, match="nested"):
        loads(pickle.dumps(deep))


def test_files_that_are_too_large_or_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.zeros(100)))
    with pytest.raises(DataError, match="more than the 10"):
        read_pickle(tmp_path / "a.pkl", max_bytes=10)
    with pytest.raises(DataError, match="no file"):
        read_pickle(tmp_path / "b.pkl")


def test_random_damage_never_runs_or_crashes() -> None:
    good = bytearray(pickle.dumps({"m": MATRIX, "p": {0: {"profile": "x"}}, "a": np.arange(5.0)}, 4))
    generator = np.random.default_rng(5)
    for _ in range(1500):
        bad = bytearray(good)
        for position in generator.integers(0, len(bad), 3):
            bad[position] = generator.integers(0, 256)
        try:
            loads(bytes(bad))
        except RefusedError:
            continue


def test_the_hand_made_files_are_what_they_claim() -> None:
    """They would do something in Python's own reader: its opcodes are all valid."""
    for name in ("stack global by parts", "global", "inst"):
        assert "STOP" in [op.name for op, _, _ in pickletools.genops(io.BytesIO(HANDMADE[name]))]

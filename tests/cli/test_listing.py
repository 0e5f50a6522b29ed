"""``interlingua list`` and the shipped contract suite speak to people: no markup, and a hint where nothing is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlingua.cli.listing import Kind, listing, plain
from interlingua.testing.conftest import no_such_component

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("kind", list(Kind))
def test_everything_that_is_listed_is_plain_text(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    listing(kind, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert rows
    for name, text in rows.items():
        assert text.strip(), name
        assert "`" not in text, name
        assert ":class:" not in text, name


def test_markup_by_hand() -> None:
    text = "What :class:`Aligner` and :func:`~a.b.make` do with ``none`` (:mod:`a.b`, :data:`it <x>`)."
    assert plain(text) == "What Aligner and make do with none (b, it)."


def test_the_contract_suite_says_why_a_name_chose_nothing(pytester: pytest.Pytester) -> None:
    room = Path(no_such_component.__code__.co_filename).parent
    found = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", str(room / "test_sources.py"), "-k", "no-such-model"
    )
    assert found.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    said = found.stdout.str() + found.stderr.str()
    assert "no test is about 'no-such-model'." in said
    assert "pip install -e ." in said
    assert "Unknown" not in said
    assert "did you mean 'sasrec'?" in no_such_component("sasrek")

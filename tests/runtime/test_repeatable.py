"""Deterministic algorithms inside the block only, and without loading what nothing here uses."""

from __future__ import annotations

import subprocess
import sys

import torch

from interlingua.runtime.repeatable import repeatable


def test_what_was_set_before_comes_back() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    with repeatable():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        with repeatable():
            pass
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with repeatable(on_cpu=False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_compiler_is_not_loaded_for_it() -> None:
    program = (
        "import sys\nfrom interlingua.runtime.repeatable import repeatable\n"
        "with repeatable():\n    assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

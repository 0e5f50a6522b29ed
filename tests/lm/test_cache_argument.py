"""The key/value cache is passed and taken under whichever name a module has."""

from __future__ import annotations

import pytest
from tests.source_trees import FILES, ident
from torch import nn

from interlingua.lm.cache_argument import NAMES, cache_name, cache_of


class New(nn.Module):
    def forward(self, hidden_states, cache=None):
        return {"cache": cache}


class Old(nn.Module):
    def forward(self, hidden_states, past_key_values=None):
        return {"past_key_values": past_key_values}


class Without(nn.Module):
    def forward(self, hidden_states):
        return {}


@pytest.mark.parametrize(("module", "name"), [(New(), "cache"), (Old(), "past_key_values"), (Without(), None)])
def test_a_module_is_asked_for_its_name(module, name):
    assert cache_name(module) == name
    given = object()
    out = module(None) if name is None else module(None, **{name: given})
    assert cache_of(out) is (None if name is None else given)


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_no_other_file_knows_a_name_of_the_past(path):
    if path.name != "cache_argument.py":
        text = path.read_text(encoding="utf-8")
        assert not [name for name in NAMES[1:] if name in text]

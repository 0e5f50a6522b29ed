"""The requests of a fraction of the users are logged, all of them or none."""

from __future__ import annotations

import pytest

from interlingua.errors import ConfigError
from interlingua.store import sampled


def test_a_tenth_of_the_users_is_a_tenth_and_always_the_same() -> None:
    users = [f"u{number}" for number in range(5000)]
    chosen = {user for user in users if sampled(user, 0.1)}
    assert abs(len(chosen) / len(users) - 0.1) < 0.02
    assert chosen == {user for user in users if sampled(user, 0.1)}
    assert chosen < {user for user in users if sampled(user, 0.2)}, "a larger fraction keeps who was logged"


def test_requests_without_a_user_and_the_ends() -> None:
    assert 0 < sum(sampled(None, 0.5) for _ in range(200)) < 200
    assert not sampled("u", 0)
    assert not sampled(None, 0)
    assert sampled("u", 1)
    assert sampled(None, 1)
    with pytest.raises(ConfigError, match="give a number from 0 to 1"):
        sampled("u", 1.5)

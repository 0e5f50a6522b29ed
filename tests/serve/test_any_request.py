"""Whatever is sent to whatever route: no 500, and answers as the schema says. schemathesis over a real server.

The routes are those of the application, so that a new one is tried too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
pytest.importorskip("schemathesis")
import schemathesis
from live import served
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from interlingua.runs.stages import run
from interlingua.serve.access import Access
from interlingua.serve.hosts import Hosts
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key
from interlingua.serve.limits import ServeLimits
from interlingua.serve.promoted import model_of

SECRET, KEY = make_key("any", "admin")
HEADERS = {"Authorization": f"Bearer {SECRET}"}
# positive_data_acceptance is left out: what a filter, a pair of fields or a known id must be, no schema says; and
# unknown parameters of a query are passed over, so that negative_data_rejection is asked of bodies alone
MODES = {"as the schema says": GenerationMode.POSITIVE, "otherwise": GenerationMode.NEGATIVE}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    folder = tmp_path_factory.mktemp("runs")
    made = run("textknn", out=folder, data="planted", overrides=options, device="cpu")
    access = Access(KeyRing([KEY]), require_key=True, hosts=Hosts("127.0.0.1"))
    model = model_of({"device": "cpu"}, made.done["evaluate"].path, str(folder / "any.sqlite"))
    with served(model, ServeLimits(idle_s=600), access) as client:  # kept connections are not closed meanwhile
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json", timeout=60)


def sent(case: Any) -> None:
    """One request and what is wrong with its answer."""
    left_out = [positive_data_acceptance] + ([] if case.operation.body else [negative_data_rejection])
    try:
        case.call_and_validate(headers=HEADERS, timeout=30, excluded_checks=left_out)
    except OSError as error:  # no answer at all
        raise AssertionError(f"{error!r}: {case.as_curl_command(headers=HEADERS)}") from None


def tried(api: Any, mode: GenerationMode, examples: int, **more: Any) -> dict[str, str]:
    """Route -> what is wrong with one of its answers."""
    bounds = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), **more
    )
    wrong, tries = {}, 0
    for result in api.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue  # there is nothing to be wrong
        tries += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                bounds(given(case=operation.as_strategy(generation_mode=mode))(lambda case: sent(case)))()
        except BaseException as error:  # groups of failures are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            said = [error, *getattr(error, "exceptions", ())]
            wrong[operation.label] = "\n".join(str(each) for each in said)
    assert tries >= 12
    return wrong


@pytest.mark.parametrize("mode", MODES)
def test_a_few_requests_to_every_route(api: Any, mode: str) -> None:
    wrong = tried(api, MODES[mode], 4, derandomize=True, phases=[Phase.explicit, Phase.generate])
    assert not wrong, "\n\n".join(f"{route}\n{said}" for route, said in wrong.items())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_many_requests_to_every_route(api: Any, mode: str) -> None:
    wrong = tried(api, MODES[mode], 100)
    assert not wrong, "\n\n".join(f"{route}\n{said}" for route, said in wrong.items())

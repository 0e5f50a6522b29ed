"""The HTTP service over a small real run on the planted world."""

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.app import create_app


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    options = ("data.options={num_users = 80, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return Recommender.load(session.done["evaluate"].path)


@pytest.fixture(scope="module")
def client(recommender):
    with TestClient(create_app(recommender)) as client:
        yield client


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_known_user_gets_what_the_recommender_says(client, recommender):
    user = str(recommender.train.user_ids[3])
    answer = client.post("/v1/recommend", json={"user_id": user, "k": 5})
    expected = recommender.recommend(user=user, k=5)
    assert ids(answer) == [one.item_id for one in expected]
    body = answer.json()
    assert body["items"][0]["title"] == expected[0].title
    assert body["stages_used"] == ["itemknn"]
    assert body["model_version"] == recommender.version
    assert body["latency_ms"] > 0
    assert body["items"][0]["reason"] is None


def test_history_of_a_stranger_and_exclusion(client, recommender):
    history = [str(i) for i in recommender.train.item_ids[:3]]
    first = ids(client.post("/v1/recommend", json={"history": history, "k": 6}))
    assert not set(first) & set(history)
    second = ids(client.post("/v1/recommend", json={"history": history, "k": 6, "exclude": first[:2]}))
    assert second[:4] == first[2:]


def test_only_what_is_allowed_comes_out(client, recommender):
    ask = {"history": [], "k": 40}
    everything, catalogue = ids(client.post("/v1/recommend", json=ask)), recommender.session.data.catalogue
    own = dict(zip(catalogue.items["item_id"], catalogue.categories, strict=True))
    one = sorted(own[everything[-1]])[0]
    passing = [item for item in everything if one in own[item]]
    assert 0 < len(passing) < 40
    assert ids(client.post("/v1/recommend", json=ask | {"filters": {"categories": one}})) == passing
    assert ids(client.post("/v1/recommend", json=ask | {"filters": {"categories!=": [one]}})) == [
        item for item in everything if item not in passing
    ]
    assert ids(client.post("/v1/recommend", json=ask | {"filters": f"not {one!r} in categories"})) == [
        item for item in everything if item not in passing
    ]
    answer = client.post("/v1/recommend", json=ask | {"items": [*everything[3:1:-1], "nowhere"]})
    assert ids(answer) == everything[2:4]
    assert answer.json()["unknown_items"] == ["nowhere"]
    assert ids(client.post("/v1/recommend", json=ask | {"items": ["nowhere"]})) == []
    refused = client.post("/v1/recommend", json=ask | {"filters": {"categoris": one}})
    assert refused.status_code == 422
    assert "did you mean 'categories'" in refused.json()["detail"]
    refused = client.post("/v1/recommend", json=ask | {"filters": "title and ("})
    assert refused.status_code == 422
    assert refused.json()["detail"].endswith("\n  title and (\n            ^")


def test_a_new_user_without_any_history(client):
    assert len(ids(client.post("/v1/recommend", json={"history": [], "k": 4}))) == 4


def test_unknown_items_are_left_out_and_named(client, recommender):
    known = str(recommender.train.item_ids[0])
    with_unknown = client.post("/v1/recommend", json={"history": ["nowhere", known], "exclude": ["nothing"]})
    assert ids(with_unknown) == ids(client.post("/v1/recommend", json={"history": [known]}))
    assert with_unknown.json()["unknown_items"] == ["nowhere", "nothing"]


def test_unknown_user_is_not_found(client):
    answer = client.post("/v1/recommend", json={"user_id": "nobody"})
    assert answer.status_code == 404
    assert "give a history" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "a", "history": []},
        {"history": [], "k": 0},
        {"history": [], "k": 10**6},
        {"history": [], "kk": 3},
        {"history": ["x"] * 10_001},
        {"history": "abc"},
        {"history": [], "explain": 21},
    ],
)
def test_bad_requests_are_refused(client, body):
    assert client.post("/v1/recommend", json=body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        r'{"user_id": "\ud800"}',
        r'{"history": ["a\udfff"]}',
        r'{"history": [], "exclude": ["\ud800"]}',
        r'{"history": [], "\ud800": 1}',
        r'{"history": [], "k": NaN}',
        r'{"history": [], "k": 1e999}',
        r'"\ud800"',
    ],
)
def test_what_json_cannot_repeat_is_refused(recommender, body):
    """Half of a surrogate pair is no character, and NaN no number: both are wrong input, not a fault of the server."""
    with TestClient(create_app(recommender), raise_server_exceptions=False) as client:
        answer = client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        (problem,) = answer.json()["detail"]
        assert problem["loc"][0] == "body"
        assert problem["msg"]
        assert 'route="/v1/recommend",status="422"} 1' in client.get("/metrics").text


def test_characters_beyond_the_basic_plane_are_ids(client):
    body = r'{"history": ["\ud83d\ude00"]}'  # a whole pair
    answer = client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["unknown_items"] == ["\U0001f600"]


def test_health_before_and_after_the_start(recommender):
    app = create_app(recommender)
    cold = TestClient(app)  # outside `with`: the lifespan has not run
    assert cold.get("/health/live").json() == {"status": "alive"}
    assert cold.get("/health/ready").status_code == 503
    with TestClient(app) as warm:
        ready = warm.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["items"] == recommender.train.num_items


def test_metrics_count_requests_by_route(recommender):
    with TestClient(create_app(recommender)) as client:
        for _ in range(3):
            client.post("/v1/recommend", json={"history": []})
        client.post("/v1/recommend", json={"user_id": "nobody"})
        client.get("/no/such/path")
        text = client.get("/metrics").text
    assert 'interlingua_requests_total{route="/v1/recommend",status="200"} 3' in text
    assert 'interlingua_requests_total{route="/v1/recommend",status="404"} 1' in text
    assert "/no/such/path" not in text
    (seconds,) = [f for f in text_string_to_metric_families(text) if f.name == "interlingua_request_seconds"]
    asked = [s for s in seconds.samples if s.labels["route"] == "/v1/recommend"]
    counts = [s.value for s in asked if s.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert 0 < next(s.value for s in asked if s.name.endswith("_sum")) < 60
    assert f'interlingua_info{{model_version="{recommender.version}"}} 1' in text


def test_two_applications_in_one_process_count_apart(recommender):
    with TestClient(create_app(recommender)) as one, TestClient(create_app(recommender)) as other:
        one.post("/v1/recommend", json={"history": []})
        assert "requests_total{" not in other.get("/metrics").text


@pytest.mark.models
@pytest.mark.slow
def test_reasons_name_history_items(client, recommender):
    history = [str(i) for i in recommender.train.item_ids[:4]]
    answer = client.post("/v1/recommend", json={"history": history, "k": 2, "explain": 1})
    first, second = answer.json()["items"]
    assert second["reason"] is None
    assert first["reason"]["sentence"]
    assert {s["item_id"] for s in first["reason"]["support"]} <= set(history)


def test_a_text_goes_alone_or_beside_a_history(tmp_path):
    options = ("data.options={num_users = 40, num_items = 30}", 'evaluate.protocols=["full"]')
    made = Recommender(run("textknn", out=tmp_path, data="planted", overrides=options, device="cpu"))
    said = {"text": "a space story about galaxy and orbit", "k": 4}
    with TestClient(create_app(made)) as client:
        assert ids(client.post("/v1/recommend", json=said)) == [one.item_id for one in made.recommend(**said)]
        ask = said | {"history": [str(made.train.item_ids[2])], "text_weight": 0.2, "explain": 1}
        assert ids(client.post("/v1/recommend", json=ask)) == [
            one.item_id for one in made.recommend(history=ask["history"], **said, text_weight=0.2)
        ]
        refused = client.post("/v1/recommend", json={"k": 3})
        assert refused.status_code == 422
        assert "or a text" in refused.text


def test_a_text_is_refused_by_a_run_without_texts(client):
    answer = client.post("/v1/recommend", json={"text": "space"})
    assert answer.status_code == 422
    assert "use a recipe that reads texts" in answer.json()["detail"]

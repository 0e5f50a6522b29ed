"""The all-round ratio by hand, its interval, and the command on a small world."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_protocol import Scores, random_split
from typer.testing import CliRunner

from interlingua.cli.main import app
from interlingua.errors import ConfigError
from interlingua.evaluate.all_round import ALL, all_round
from interlingua.evaluate.protocol import evaluate

METRICS = ("ndcg@10", "recall@100")


def report(table: np.ndarray, seed: int = 4):
    return evaluate(Scores(table), random_split(seed, users=200, items=120), metrics=METRICS, resamples=0)


@pytest.fixture(scope="module")
def world():
    split = random_split(4, users=200, items=120)
    truth = np.zeros((200, 120))
    truth[np.repeat(split.test.users, np.diff(split.test.offsets)), split.test.items] = 1
    cold = np.argsort(split.train.item_counts, kind="stable")[:42]
    noise = np.random.default_rng(0).normal(0, 1, (3, 200, 120))
    head, tail = truth * 2.0, truth * 2.0
    head[:, cold] = -5  # knows nothing of rare items
    tail[:, np.setdiff1d(np.arange(120), cold)] -= 1.9
    return {"head": head + noise[0], "tail": tail + noise[1], "both": truth * 2.0 + noise[2]}


def test_the_ratio_is_the_worst_slices(world):
    reports = {name: [report(table)] for name, table in world.items()}
    found = all_round(reports, {"head", "tail"}, metrics=METRICS, least=30)
    for name, each in reports.items():
        expected = {}
        for (part, metric), best in found.best.items():
            means = {
                n: (r[0].metrics if part == ALL else r[0].slices[part].metrics)[metric] for n, r in reports.items()
            }
            assert means[best] == max(means["head"], means["tail"])
            expected[part, metric] = means[name] / means[best]
        standing = found.methods[name]
        assert standing.ratios == pytest.approx(expected, rel=1e-5)
        assert standing.ratio == pytest.approx(min(expected.values()), rel=1e-5)
        assert standing.against == found.best[standing.worst]
        assert each[0].n_targets == found.targets[ALL]
    assert found.methods["head"].worst[0] == "cold items"
    assert found.methods["head"].ratio < 0.2
    assert found.methods["both"].ratio > 2 * max(found.methods[name].ratio for name in ("head", "tail"))
    assert all(count >= 30 for count in found.targets.values())


def test_the_interval_holds_the_ratio_and_grows_with_the_seeds_spread(world):
    simple = {"head": [report(world["head"])]}
    draw = np.random.default_rng(1)
    near = [report(world["both"]) for _ in range(3)]
    apart = [report(world["both"] + draw.normal(0, level, (200, 120))) for level in (0, 1.5, 3)]
    found = [all_round(simple | {"m": seeds}, {"head"}, metrics=METRICS).methods["m"] for seeds in (near, apart)]
    for each in found:
        assert each.interval[0] <= each.ratio <= each.interval[1]
    widths = [each.interval[1] - each.interval[0] for each in found]
    assert widths[1] > 1.3 * widths[0]


def test_small_slices_do_not_count(world):
    reports = {name: [report(table)] for name, table in world.items()}
    counts = {name: int(mask.sum()) for name, mask in reports["head"][0].masks.items()}
    least = sorted(counts.values())[-2]
    found = all_round(reports, {"head"}, metrics=METRICS, least=least)
    assert set(found.targets) - {ALL} <= {name for name, count in counts.items() if count >= least}
    with pytest.raises(ConfigError, match="fewer than the 10000"):
        all_round(reports, {"head"}, metrics=METRICS, least=10_000)


def test_what_cannot_be_compared_is_refused(world):
    one, other = report(world["head"]), report(world["tail"], seed=5)
    with pytest.raises(ConfigError, match="nothing to compare with"):
        all_round({"a": [one]}, {"b"}, metrics=METRICS)
    with pytest.raises(ConfigError, match="other users"):
        all_round({"a": [one], "b": [other]}, {"a"}, metrics=METRICS)


def test_the_command_measures_every_split(tmp_path, monkeypatch):
    from interlingua.bench import all_round as measures
    from interlingua.report.side_by_side import Method

    monkeypatch.setattr(measures, "SIMPLE", (Method("popularity", "pop"), Method("text kNN (LSA)", "textknn")))
    fuse = tmp_path / "both.toml"
    fuse.write_text(
        '# both\n[data]\nname = "planted"\n[fuse]\nname = "logit"\nmembers = ["itemknn", "textknn"]\n', encoding="utf-8"
    )
    monkeypatch.setattr(measures, "FURTHER", ())
    arguments = ["bench", "all-round", "--data", "planted", "--recipe", str(fuse), "--out", str(tmp_path / "runs")]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    made = json.loads(found.stdout)
    assert set(made["methods"]) == {"popularity", "text kNN (LSA)", "both"}
    assert set(made["parts"]) == {"leave-one-out", "global-time", "item-cold, full", "item-cold, cold"}
    both = made["methods"]["both"]
    assert both["all_round"] == pytest.approx(min(part["ratios"]["both"] for part in made["parts"].values()), abs=1e-3)
    assert both["interval"][0] <= both["interval"][1]
    assert both["worst"]["against"] in ("popularity", "text kNN (LSA)")
    assert both["slices"]["leave-one-out"]["all"]["ndcg@10"]["value"] > 0
    shown = CliRunner().invoke(app, [*arguments, "--split", "leave-one-out"])
    assert "| both |" in shown.stdout.replace("  ", " ")
    ndcg = both["slices"]["leave-one-out"]["all"]["ndcg@10"]["value"]
    ratio = made["parts"]["leave-one-out"]["ratios"]["both"]
    assert "leave-one-out: ratio, NDCG@10" in shown.stdout
    assert f"| {ratio:.2f}, {ndcg:.4f} |" in shown.stdout


SMALL = ("data.options={ num_users = 120, num_items = 150 }",)


@pytest.fixture
def tiny(monkeypatch):
    from interlingua.bench import all_round as measures
    from interlingua.report.side_by_side import Method

    monkeypatch.setattr(measures, "SIMPLE", (Method("popularity", "pop"), Method("item kNN (cosine)", "itemknn")))
    return measures, (*measures.SIMPLE, Method("text", "textknn"))


def test_seeds_share_the_data_that_the_first_one_divides(tiny, tmp_path):
    measures, methods = tiny
    splits = ("leave-one-out", "item-cold")
    asked = {"methods": methods, "splits": splits, "out": tmp_path, "overrides": SMALL}
    one, two = (measures.measure("planted", seeds=seeds, **asked) for seeds in ((7,), (7, 8)))
    assert one.failed == two.failed == {}
    assert set(two.parts) == {"leave-one-out", "item-cold, full", "item-cold, cold"}
    for name, part in two.parts.items():  # these methods draw nothing: another seed on the same data changes no value
        for label, standing in part.methods.items():
            assert standing.values == pytest.approx(one.parts[name].methods[label].values)


def test_what_fails_is_named_and_the_rest_goes_on(tiny, tmp_path, monkeypatch):
    measures, methods = tiny
    real = measures.stages.run

    def run(recipe, *, seed, **options):
        if recipe.data.split.name == "leave-one-out" or (recipe.name == "textknn" and seed == 8):
            raise ConfigError("not today")
        return real(recipe, seed=seed, **options)

    monkeypatch.setattr(measures.stages, "run", run)
    splits = ("leave-one-out", "item-cold")
    made = measures.measure("planted", methods=methods, splits=splits, seeds=(7, 8), out=tmp_path, overrides=SMALL)
    assert "item-cold, cold" in made.parts
    assert "leave-one-out" not in made.parts
    assert set(made.overall()) == {"popularity", "item kNN (cosine)"}
    assert made.failed["item-cold: text"] == made.failed["leave-one-out: popularity"] == "not today"
    assert "nothing to compare with" in made.failed["leave-one-out"]
    assert "* item-cold: text: failed, not today" in made.markdown()
    assert "leave-one-out" not in made.failed_methods
    with pytest.raises(ConfigError, match="none given"):
        measures.measure("planted", methods=methods, seeds=(), out=tmp_path)


def test_the_command_says_with_its_exit_code_that_a_method_failed(tiny, tmp_path, monkeypatch):
    measures, methods = tiny
    monkeypatch.setattr(measures, "FURTHER", methods[2:])
    real = measures.stages.run

    def run(recipe, **options):
        if recipe.name == "textknn":
            raise RuntimeError("out of memory")
        return real(recipe, **options)

    monkeypatch.setattr(measures.stages, "run", run)
    arguments = ["--data", "planted", "--tables", "leave-one-out", *(f"--set={each}" for each in SMALL)]
    done = CliRunner().invoke(app, ["bench", "all-round", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "leave-one-out: text: failed, RuntimeError: out of memory" in done.stdout
    assert "| item kNN (cosine) |" in done.stdout
    assert "error: 1 failed" in done.stderr


def test_a_dry_run_says_the_plan_and_no_table(tiny, tmp_path):
    arguments = ["--data", "planted", "--tables", "leave-one-out", *(f"--set={each}" for each in SMALL)]
    done = CliRunner().invoke(app, ["bench", "all-round", *arguments, "--methods=popularity", "--out", str(tmp_path),
                                    "--dry-run"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("will run 1 jobs")
    assert "leave-one-out: popularity: about" in done.stdout
    assert "(a reference: a simple method" in done.stdout
    assert "| method |" not in done.stdout


def test_simple_methods_without_a_hit_are_nothing_to_divide_by(world):
    nothing, some = report(-100 * world["both"]), report(world["both"])
    with pytest.raises(ConfigError, match="has 0 everywhere"):
        all_round({"head": [nothing], "m": [some]}, {"head"}, metrics=("ndcg@10",))

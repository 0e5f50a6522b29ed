"""Paired tests against scipy and by hand, refusals, seeds, and the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_protocol import Scores, random_split
from typer.testing import CliRunner

from interlingua.errors import ArtifactError, ConfigError
from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.intervals import bootstrap_means, intervals
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import at_slice, load_report
from interlingua.report.table import p_value, short, to_markdown
from interlingua.runs.reports import compare_runs, grouped, load_run
from interlingua.storage import artifact


def reports(count=2, protocol="full", users=400, **options):
    """Rankers that see the truth through more and more noise."""
    split = random_split(11, users=users, items=60, repeats=False)
    truth = np.zeros((users, 60))
    targets = split.test
    truth[targets.users, targets.items] = 1
    rng = np.random.default_rng(0)
    out = []
    for level in range(count):
        table = truth + rng.normal(0, 0.5 + 0.4 * level, truth.shape)
        out.append(evaluate(Scores(table), split, protocol=protocol, **options))
    return out


GOOD, BAD = reports()


def test_holm_by_hand():
    """0.01 * 4, 0.02 * 3, then max(0.03 * 2, ...), then 0.5 * 1."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_better_ranker_is_found():
    found = compare({"good": GOOD, "bad": BAD}, metrics=["ndcg@10", "hit@1"])
    assert len(found.tests) == 2
    assert all(found.rows[0].intervals[m] == GOOD.intervals[m] for m in ("ndcg@10", "hit@1"))
    for test in found.tests:
        assert test.difference == pytest.approx(GOOD.metrics[test.metric] - BAD.metrics[test.metric])
        assert 0 < test.interval[0] < test.difference < test.interval[1]
        assert test.p_holm < 0.05
        assert test.better + test.worse + test.equal == GOOD.n_users
        assert test.verdict == "good is better than bad"
    swapped = compare({"bad": BAD, "good": GOOD}, metrics=["ndcg@10", "hit@1"])
    assert swapped.tests[0].verdict == "good is better than bad"


def test_classical_tests_are_scipys():
    a, b = GOOD.per_user["ndcg@10"], BAD.per_user["ndcg@10"]
    t = compare({"a": GOOD, "b": BAD}, metrics=["ndcg@10"], test="t").tests[0]
    assert t.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    w = compare({"a": GOOD, "b": BAD}, metrics=["ndcg@10"], test="wilcoxon").tests[0]
    assert w.p == pytest.approx(stats.wilcoxon(a, b, zero_method="pratt").pvalue)


def with_differences(better, equal, worse):
    """Two reports whose hits differ for so many users."""
    first = np.repeat([1.0, 1.0, 0.0], [better, equal, worse])
    second = np.repeat([0.0, 1.0, 1.0], [better, equal, worse])
    return [
        replace(GOOD, n_users=len(hits), per_user={"hit@10": hits}, metrics={"hit@10": hits.mean()}, intervals={})
        for hits in (first, second)
    ]


def test_wilcoxon_finds_a_difference_among_many_equal_users():
    """19 better, 4 worse: the sign test says p = .0026, whatever the number of users who do not differ."""
    for equal in (0, 50, 376):
        a, b = with_differences(19, equal, 4)
        found = compare({"a": a, "b": b}, test="wilcoxon").tests[0]
        assert found.p == pytest.approx(stats.binomtest(4, 23).pvalue, abs=0.001)
        assert found.verdict == "a is better than b"


def test_wilcoxon_has_its_level_where_most_users_are_equal():
    """300 null comparisons in which 6 % of the users differ: about 5 % are found different, neither 0 nor 12 %."""
    from interlingua.evaluate.compare import _classical_p

    rng = np.random.default_rng(3)
    differences = rng.choice([-1.0, 0.0, 1.0], (300, 399), p=[0.03, 0.94, 0.03])
    alarms = sum(_classical_p(row, "wilcoxon") < 0.05 for row in differences)
    assert 0.02 < alarms / 300 < 0.09


def test_bootstrap_agrees_with_the_t_test_on_many_users():
    many, other = reports(2, users=300)
    noise = np.random.default_rng(1).normal(0.017, 0.2, many.n_users)
    weak = replace(other, per_user={"ndcg@10": many.per_user["ndcg@10"] + noise})
    weak = replace(weak, metrics={"ndcg@10": float(weak.per_user["ndcg@10"].mean())})
    p = {
        test: compare({"a": many, "b": weak}, metrics=["ndcg@10"], test=test).tests[0].p for test in ("bootstrap", "t")
    }
    assert p["bootstrap"] == pytest.approx(p["t"], abs=0.03)


@pytest.mark.parametrize("test", ["bootstrap", "wilcoxon", "t"])
def test_equal_runs_show_no_difference(test):
    found = compare({"a": GOOD, "b": replace(GOOD)}, test=test)
    assert all(t.p == 1 and t.verdict == "no difference shown" and t.interval == (0, 0) for t in found.tests)


def test_false_alarms_stay_at_five_percent():
    """200 null comparisons on 60 users: the share below .05 must be about .05."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(200):
        values = rng.normal(0, 1, 60)
        from interlingua.evaluate.compare import bootstrap_p

        means = bootstrap_means(values[:, None], resamples=300, seed=1)[:, 0]
        alarms += bootstrap_p(means, float(values.mean())) < 0.05
    assert 0.01 < alarms / 200 < 0.1


def test_intervals_cover_the_true_mean():
    rng = np.random.default_rng(7)
    inside = 0
    for repeat in range(200):
        values = (rng.random(300) < 0.2).astype(float)
        low, high = intervals({"hit@1": values}, resamples=300, seed=repeat)["hit@1"]
        inside += low <= 0.2 <= high
    assert 0.9 <= inside / 200 <= 0.99


def test_grouped_bootstrap_has_the_distribution_of_the_plain_one():
    values = np.random.default_rng(3).choice([0.0, 0.5, 1.0], (200, 1), p=[0.6, 0.3, 0.1])
    ours = bootstrap_means(values, resamples=20_000, seed=0)[:, 0]
    index = np.random.default_rng(9).integers(0, 200, (20_000, 200))
    plain = values[index, 0].mean(1)
    assert stats.ks_2samp(ours, plain).statistic < 0.03
    assert (bootstrap_means(values, seed=5) == bootstrap_means(values, seed=5)).all()


def test_protocols_are_not_mixed():
    sampled = reports(1, "sampled-20")[0]
    with pytest.raises(ConfigError) as error:
        compare({"a": GOOD, "b": sampled})
    assert GOOD.protocol in str(error.value)
    assert sampled.protocol in str(error.value)


def test_a_detail_of_the_protocol_is_enough():
    one, two = (reports(1, "sampled-20", seed=s)[0] for s in (0, 1))
    with pytest.raises(ConfigError, match="seed=1"):
        compare({"a": one, "b": two})


def test_user_sets_are_not_mixed():
    other = reports(1, users=300)[0]
    with pytest.raises(ArtifactError, match=rf"{GOOD.n_users} users[^$]*{other.n_users} users"):
        compare({"a": GOOD, "b": other})
    with pytest.raises(ArtifactError, match="population"):
        compare({"a": GOOD, "b": replace(BAD, population="0" * 16)})


@pytest.mark.parametrize("options", [{"metrics": ["ndcg@11"]}, {"test": "z"}, {"reference": "c"}])
def test_bad_options(options):
    with pytest.raises(ConfigError):
        compare({"a": GOOD, "b": BAD}, **options)


def test_one_run_is_no_comparison():
    with pytest.raises(ConfigError, match="two runs"):
        compare({"a": GOOD})


def test_seeds_are_averaged_per_user():
    a, b, c = reports(3)
    found = compare({"two seeds": [a, b], "one": c}, metrics=["ndcg@10"])
    row = found.rows[0]
    assert row.seeds == 2
    assert row.metrics["ndcg@10"] == pytest.approx((a.metrics["ndcg@10"] + b.metrics["ndcg@10"]) / 2)
    assert row.spread["ndcg@10"] == pytest.approx(np.std([a.metrics["ndcg@10"], b.metrics["ndcg@10"]], ddof=1))
    assert "±" in to_markdown(found)


def test_reference_tests_only_against_it():
    a, b, c = reports(3)
    found = compare({"a": a, "b": b, "c": c}, metrics=["hit@1"], reference="b")
    assert [(t.first, t.second) for t in found.tests] == [("a", "b"), ("c", "b")]
    assert len(compare({"a": a, "b": b, "c": c}, metrics=["hit@1"]).tests) == 3


def test_markdown_survives_pipes_in_names():
    text = to_markdown(compare({"a|b": GOOD, "c": BAD}, metrics=["hit@1"]))
    assert "a\\|b" in text
    assert GOOD.protocol in text
    assert text.count("| hit@1 |") == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.07123, ".0712"), (-0.0031, "-.0031"), (1.0, "1.0000"), (0.0, ".0000"), (0.99999, "1.0000"), (12.5, "12.5000")],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_p_values_are_never_zero():
    assert p_value(0.0001) == "<.001"
    assert p_value(0.0417) == ".042"


def test_report_round_trip(tmp_path):
    back = load_report(GOOD.save(tmp_path / "r"))
    assert back.to_json() == GOOD.to_json()
    assert all((back.per_user[m] == v).all() for m, v in GOOD.per_user.items())
    assert (back.ranks.first == GOOD.ranks.first).all()
    assert (back.users == GOOD.users).all()
    assert back.slices == GOOD.slices


def test_slices_are_compared_on_their_own_targets(tmp_path):
    cold = at_slice(GOOD, "cold items")
    for name, values in cold.per_user.items():
        assert values.mean() == pytest.approx(GOOD.slices["cold items"].metrics[name])
    found = compare({"a": cold, "b": at_slice(BAD, "cold items")}, metrics=["hit@1"])
    assert found.protocol.endswith("slice=cold items")
    assert found.n_users == GOOD.slices["cold items"].n_users
    back = load_report(GOOD.save(tmp_path))
    assert at_slice(back, "cold items").per_user["hit@1"].tolist() == cold.per_user["hit@1"].tolist()
    with pytest.raises(ConfigError, match="cold items"):
        at_slice(GOOD, "cold item")
    with pytest.raises(ConfigError, match="different protocols"):
        compare({"a": cold, "b": GOOD})


def test_damaged_reports(tmp_path):
    folder = GOOD.save(tmp_path / "r")
    with pytest.raises(ArtifactError, match=r"holds no evaluation report.*metrics.json"):
        load_report(tmp_path)
    text = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(text.replace(f'"hit@1": {GOOD.metrics["hit@1"]}', '"hit@1": 0.99', 1))
    with pytest.raises(ArtifactError, match=r"one of them was changed"):
        load_report(folder)
    (folder / "metrics.json").write_text(text[:50])
    with pytest.raises(ArtifactError, match="damaged"):
        load_report(folder)
    (folder / "metrics.json").write_text(text)
    data = (folder / "per_user.npz").read_bytes()
    (folder / "per_user.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        load_report(folder)


def test_no_pickle_is_loaded(tmp_path):
    folder = GOOD.save(tmp_path / "r")
    np.savez(folder / "per_user.npz", users=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ArtifactError, match="damaged"):
        load_report(folder)


def saved(root, name, report, seed=7, recipe=None):
    """A finished evaluate stage, as the pipeline writes it."""
    from interlingua.storage import artifact

    key = artifact.content_key({"name": name, "seed": seed, "recipe": recipe})
    fields = {"seed": seed, "recipe": recipe or {"name": name}}
    with artifact.writing(root, "evaluate", name, key, parents={}, fields=fields) as folder:
        report.save(folder / "protocols" / report.protocol.split(";")[0])
    return artifact.find(root, "evaluate", name, key).path


def test_runs_on_disk(tmp_path):
    a, b, c = reports(3)
    paths = [saved(tmp_path, "m", a, 1), saved(tmp_path, "m", b, 2), saved(tmp_path, "n", c, 1)]
    (found,) = compare_runs(paths, metrics=["ndcg@10"])
    assert [(row.name, row.seeds) for row in found.rows] == [("m", 2), ("n", 1)]
    with pytest.raises(ConfigError, match="two different methods"):
        compare_runs(paths[:2])
    with pytest.raises(ConfigError, match="named twice"):
        compare_runs([paths[0], paths[0], paths[2]])
    with pytest.raises(ConfigError, match="no protocol in common"):
        compare_runs([paths[0], saved(tmp_path, "s", reports(1, "sampled-20")[0])])
    with pytest.raises(ArtifactError, match="holds no evaluation"):
        load_run(tmp_path)


def test_two_measurements_of_one_recipe_on_other_targets_are_two_rows(tmp_path):
    """The data under a path changed: a second protocol measured on the old data does not join the new run."""
    old = reports(1, "sampled-20", users=300)[0]
    recipe = {"data": {"name": "books"}, "backbone": {"name": "pop"}}
    new = saved(tmp_path / "new", "pop", GOOD, recipe=recipe)
    key = artifact.content_key({"another": "run"})
    with artifact.writing(tmp_path, "evaluate", "pop", key, parents={}, fields={"seed": 7, "recipe": recipe}) as folder:
        old.save(folder / "protocols" / "sampled-20")
    later = artifact.find(tmp_path, "evaluate", "pop", key).path
    assert load_run(later).recipe == load_run(new).recipe
    groups = grouped([load_run(new), load_run(later)])
    assert [list(group[0].reports) for group in groups.values()] == [["full"], ["sampled-20"]]


def test_other_users_name_the_data_options_that_differ(tmp_path):
    other = reports(1, users=300)[0]

    def recipe(backbone, **options):
        data = {"name": "books", "filter": {"min_user": 0, "kind": "k-core"}, "max_users": None} | options
        return {"data": data, "backbone": {"name": backbone}}

    paths = [
        saved(tmp_path, "own", GOOD, recipe=recipe("pop", filter={"min_user": 5, "kind": "k-core"}, max_users=9)),
        saved(tmp_path, "none", other, recipe=recipe("pop")),
        saved(tmp_path, "same", BAD, recipe=recipe("mf")),
    ]
    with pytest.raises(ArtifactError) as caught:
        compare_runs(paths[:2])
    message = str(caught.value)
    assert "\n  filter.min_user: 5 in own, 0 in none\n  max_users: 9 in own, None in none\n" in message
    assert "filter.kind" not in message
    assert "--set data.filter.min_user=VALUE" in message
    with pytest.raises(ArtifactError, match="prepare one dataset and run both on it with the same") as caught:
        compare_runs(paths[1:])
    assert "differ:" not in str(caught.value)


def test_a_folder_of_runs_stands_for_all_of_them(tmp_path):
    a, b = reports(2)
    saved(tmp_path, "m", a), saved(tmp_path, "n", b)
    again = reports(2, "sampled-20")
    saved(tmp_path, "m", again[0], recipe={"name": "m", "evaluate": {"protocols": ["sampled-20"]}})
    saved(tmp_path, "o", again[1])
    full, sampled = compare_runs([tmp_path], metrics=["hit@1"])
    assert [row.name for row in full.rows] == ["m", "n"]
    assert [row.name for row in sampled.rows] == ["m", "o"]
    assert "o has no full report and is left out" in full.warnings
    assert "n has no sampled-20 report and is left out" in sampled.warnings


def test_same_name_other_recipe_gets_its_key(tmp_path):
    paths = [saved(tmp_path, "m", GOOD, recipe={"dim": 1}), saved(tmp_path, "m", BAD, recipe={"dim": 2})]
    (found,) = compare_runs(paths, metrics=["hit@1"])
    assert {row.name.split(" ")[0] for row in found.rows} == {"m"}
    assert len({row.name for row in found.rows}) == 2


def test_an_edited_run_is_refused(tmp_path):
    path = saved(tmp_path, "m", GOOD)
    report = path / "protocols" / "full" / "metrics.json"
    report.write_text(report.read_text().replace("full;", "fall;"))
    with pytest.raises(ArtifactError, match="was changed"):
        load_run(path)


def test_command_line(tmp_path):
    import typer

    from interlingua.cli.compare import compare as command

    app = typer.Typer()
    app.command()(command)
    paths = [str(saved(tmp_path, "good", GOOD)), str(saved(tmp_path, "bad", BAD))]
    result = CliRunner().invoke(app, [*paths, "--json", "--metric", "ndcg@10"])
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["comparisons"]
    assert found["runs"]["good"]["metrics"]["ndcg@10"] == pytest.approx(GOOD.metrics["ndcg@10"])
    assert found["tests"][0]["verdict"] == "good is better than bad"
    shown = CliRunner().invoke(app, paths).stdout
    assert GOOD.protocol in " ".join(shown.split())
    assert "| ndcg@10 |" in CliRunner().invoke(app, [*paths, "--markdown"]).stdout.replace("  ", " ")

"""The report page: planted numbers, hostile texts, one offline file, valid markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from test_protocol import Scores, random_split

from interlingua.errors import ArtifactError, ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.report.html import to_html, write_report
from interlingua.report.page import Cost, Person, Recommended, ReportPage, from_reports, label, popularity_line
from interlingua.report.svg import Line

METHODS = {"popularity": 2.2, "itemknn": 1.6, "SASRec": 1.0, "no LM (control)": 0.97, "A-LLMRec": 0.9}
EVIL = '<script>alert("x")</script>'


def planted_reports(users=600, items=120):
    """Methods that see the target through noise; all but the last see cold items through more of it."""
    split = random_split(2, users=users, items=items, repeats=False)
    test, rng = split.test, np.random.default_rng(0)
    truth = np.zeros((users, items))
    truth[test.users, test.items] = 1.5
    cold = np.argsort(split.train.item_counts, kind="stable")[: items // 3]
    out = {}
    for name, noise in METHODS.items():
        table = truth + rng.normal(0, noise, truth.shape)
        if name != "A-LLMRec":
            table[:, cold] -= 1.0
        out[name] = {p: evaluate(Scores(table), split, protocol=p) for p in ("full", "sampled-20")}
    return out, split


REPORTS, SPLIT = planted_reports()


def planted_page():
    """Every part of the page filled."""
    x = list(range(1, 21))
    page = from_reports(
        "A-LLMRec on a planted catalogue", REPORTS, main="A-LLMRec", reference="SASRec",
        notes={"A-LLMRec": "1,000 training samples", "no LM (control)": "the same head without a language model"},
    )  # fmt: skip
    films = ("The Planted Garden (1994)", "Night Train to Nowhere (1998)", "Ünïcode & Friends (2001)", "Short (1987)")
    picks = tuple(
        Recommended(
            f"{film} II", "language model" if i < 2 else "backbone",
            "It shares the slow suspense of two films you liked.", films[:2], held_out=i == 1,
        )
        for i, film in enumerate(films)
    )  # fmt: skip
    return replace(
        page,
        facts={
            "users": f"{len(SPLIT.test):,}",
            "items": "120",
            "training events": f"{len(SPLIT.train):,}",
            "seed": "7",
        },
        curves=(Line("SASRec", x, [0.2 - 0.2 / e for e in x]), Line("A-LLMRec", x, [0.3 - 0.2 / e for e in x])),
        curve_labels=("epoch", "validation NDCG@10"),
        popularity=(popularity_line(np.random.default_rng(0).zipf(1.5, 2000)),),
        people=tuple(Person(f"User {n}", films, picks, ("Night Train to Nowhere (1998) II",)) for n in (12, 345, 6789)),
        costs=(
            Cost("prepare", 2.2, 310 * 2**20),
            Cost("train", 74.0, 1_300_000_000, "57,000 weights"),
            Cost("read", 400),
        ),
        data_card={"source": "planted, seed 7", "licence": "CC0", "filters": "5-core: 812 rows dropped"},
        config='[backbone]\nname = "sasrec"\n',
        environment={"torch": "2.13.0", "machine": "Linux x86_64, 2 cores"},
        command="interlingua run recipes/a-llmrec.toml --seed 7",
    )


PAGE = planted_page()
HTML = to_html(PAGE)


class Checker(HTMLParser):
    """Every opened element is closed in order; ids are unique; collects what matters."""

    VOID = {"meta", "path", "rect", "circle", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.ids, self.links = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.seen.append((tag, attrs))
        if "id" in attrs:
            assert attrs["id"] not in self.ids
            self.ids.append(attrs["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_markup_is_balanced_and_links_lead_somewhere():
    found = Checker(HTML)
    links = [a["href"] for tag, a in found.seen if tag == "a"]
    assert links
    assert all(link[1:] in found.ids for link in links)
    assert {"results", "cold", "people", "tests", "doubts", "learning", "data", "cost", "repeat"} <= set(found.ids)


def test_it_is_one_offline_file_without_scripts():
    tags = {tag for tag, _ in Checker(HTML).seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not re.search(r'(src|href)="(?!#)', HTML)
    assert "url(" not in HTML
    assert "@import" not in HTML
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", HTML)
    assert "default-src 'none'" in HTML
    assert len(HTML) < 200_000


def test_it_is_readable_on_phones_in_the_dark_and_aloud():
    found = Checker(HTML)
    assert 'name="viewport"' in HTML
    assert "prefers-color-scheme: dark" in HTML
    assert ("html", {"lang": "en"}) in found.seen
    assert all(a.get("aria-label") and a.get("role") == "img" for tag, a in found.seen if tag == "svg")
    assert all(a.get("scope") in ("row", "col") for tag, a in found.seen if tag == "th")
    assert sum(tag == "h1" for tag, _ in found.seen) == 1


def test_every_figure_and_protocol_is_there():
    for name, each in REPORTS.items():
        assert name in HTML
        for report in each.values():
            assert report.protocol in HTML
    value = REPORTS["A-LLMRec"]["full"].metrics["ndcg@10"]
    assert f"{value:.4f}".replace("0.", ".") in HTML
    assert "Krichene" in HTML
    assert "1.2 GiB" in HTML
    assert "310 MiB" in HTML


def test_all_texts_are_escaped():
    evil = Person(EVIL, (EVIL,), (Recommended(EVIL, EVIL, EVIL, (EVIL,)),), (EVIL,))
    reports = {EVIL: REPORTS["A-LLMRec"], "b": REPORTS["SASRec"]}
    page = from_reports(EVIL, reports, main=EVIL, reference="b", notes={EVIL: EVIL})
    page = replace(
        page, summary=(EVIL,), facts={EVIL: EVIL}, curves=(Line(EVIL, [1, 2], [1, 2]), Line(EVIL, [1], [1])),
        curve_labels=(EVIL, EVIL), popularity=(Line(EVIL, [1, 2], [2, 1]),), people=(evil,),
        costs=(Cost(EVIL, 1.0, None, EVIL),),
        doubts=(EVIL,), data_card={EVIL: EVIL}, config=EVIL, environment={EVIL: EVIL}, protocols={EVIL: EVIL},
        warnings=(EVIL,), command=EVIL, cold_start_title=EVIL, cold_start=((EVIL, page.cold_start[0][1]),),
    )  # fmt: skip
    html = to_html(page)
    assert "<script" not in html.lower()
    assert 'alert("x")' not in html
    assert html.count("&lt;script&gt;") > 20
    Checker(html)


def test_dollars_and_braces_in_texts_stay():
    assert "$title {x} %s" in to_html(ReportPage("a", summary=("$title {x} %s",)))


def test_empty_parts_are_left_out():
    html = to_html(ReportPage("Nothing measured"))
    assert "<section" not in html
    assert "<nav" not in html
    Checker(html)


def test_findings_say_better_worse_or_nothing():
    assert any("cold items: A-LLMRec is better than SASRec" in s for s in PAGE.summary)
    same = from_reports("t", {"a": REPORTS["SASRec"], "b": REPORTS["SASRec"]}, main="a", reference="b")
    assert all("shows no difference" in s for s in same.summary)
    assert any("cannot be seen" in d for d in same.doubts)
    worse = from_reports("t", REPORTS, main="popularity", reference="SASRec")
    assert any("popularity is worse than SASRec" in s for s in worse.summary)


def test_a_method_without_full_ranking_is_shown_with_a_gap():
    reports = {**REPORTS, "A-LLMRec": {"sampled-20": REPORTS["A-LLMRec"]["sampled-20"]}}
    page = from_reports("t", reports, main="A-LLMRec", reference="SASRec")
    row = next(m for m in page.methods if m.name == "A-LLMRec")
    assert row.values[0].value is None
    assert row.values[-1].value is not None
    assert any("no full ranking" in d for d in page.doubts)
    assert ">–<" in to_html(page)


def test_unknown_methods_are_named():
    with pytest.raises(ConfigError, match="SASRec"):
        from_reports("t", REPORTS, main="sasrec", reference="SASRec")


def test_mixed_protocols_do_not_reach_a_page():
    other = {p: replace(r, protocol=r.protocol + "; users=5") for p, r in REPORTS["SASRec"].items()}
    with pytest.raises(ConfigError, match="different protocols"):
        from_reports("t", {**REPORTS, "SASRec": other}, main="A-LLMRec", reference="SASRec")


@pytest.mark.parametrize(("metric", "text"), [("ndcg@10", "NDCG@10"), ("hit@1", "Hit@1"), ("recall@20", "Recall@20")])
def test_labels(metric, text):
    assert label(metric) == text


def test_popularity_keeps_both_ends():
    line = popularity_line(np.arange(5000))
    assert (line.x[0], line.y[0]) == (1, 4999)
    assert (line.x[-1], line.y[-1]) == (4999, 1)
    assert len(line.x) <= 300
    assert popularity_line(np.zeros(3, int)).x == ()


def test_writing(tmp_path):
    path = write_report(tmp_path / "deep" / "report.html", PAGE)
    assert path.read_text(encoding="utf-8") == HTML
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", PAGE)


def test_charts_in_the_page_are_xml():
    charts = re.findall(r"<svg.*?</svg>", HTML, re.S)
    assert len(charts) == 3
    for chart in charts:
        ElementTree.fromstring(chart)

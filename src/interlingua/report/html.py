"""One self-contained HTML page of a run: opens offline, without scripts, in light and dark, on a phone.

Every text is escaped, and the page's own content policy forbids scripts and loading: titles are data of strangers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from interlingua.errors import ArtifactError
from interlingua.evaluate.compare import Comparison
from interlingua.progress import duration
from interlingua.report.leaderboard_table import to_html as to_html_boards
from interlingua.report.page import Cost, Method, Person, Recommended, ReportPage, label
from interlingua.report.svg import STYLE, Value, bar_chart, line_chart, number
from interlingua.report.table import p_value


def write_report(path: Path | str, page: ReportPage) -> Path:
    """Writes the page as one HTML file.

    Raises:
        ArtifactError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_html(page), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"cannot write the report {path}: {error.strerror or error}") from error
    return path


def to_html(page: ReportPage) -> str:
    """The page as text; parts without content are left out, in the table of contents too."""
    parts = [
        ("results", "Results", _headline(page)),
        ("boards", "Leaderboards", to_html_boards(page.leaderboards)),
        ("cold", "Cold start", _cold_start(page)),
        ("people", "Recommendations and reasons", _people(page.people)),
        ("tests", "Paired tests", _tests(page.comparisons)),
        ("doubts", "What would change this conclusion", _doubts(page)),
        ("learning", "Learning", _learning(page)),
        ("data", "Data", _data(page)),
        ("cost", "Cost", _costs(page.costs)),
        ("repeat", "How to repeat it", _repeat(page)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in parts if body]
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in shown)
    template = Template(files("interlingua.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(page.title),
        chart_style=STYLE,
        summary=_list(page.summary, "lead"),
        facts=_facts(page.facts),
        navigation=f'<nav aria-label="Contents">{links}</nav>' if links else "",
        sections="\n".join(_section(anchor, title, body) for anchor, title, body in shown),
    )


def _section(anchor: str, title: str, body: str) -> str:
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-t"><h2 id="{anchor}-t">{escape(title)}</h2>{body}</section>'
    )


def _list(texts: Sequence[str], kind: str = "") -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _facts(facts: Mapping[str, str]) -> str:
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def _card(entries: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items())
    return f'<dl class="card">{rows}</dl>' if rows else ""


def _wide(inner: str, label: str) -> str:
    """A region that scrolls sideways, by keyboard too."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label, quote=True)}">{inner}</div>'


def _headline(page: ReportPage) -> str:
    if not page.methods:
        return ""
    heads = "".join(
        f'<th scope="col">{escape(c.title)}<span class="over">{escape(c.over)}</span></th>' for c in page.columns
    )
    known = [[m.values[i].value for m in page.methods] for i in range(len(page.columns))]
    best = [max((v for v in column if v is not None), default=None) for column in known]
    rows = "".join(_method(method, best, method.name == page.main) for method in page.methods)
    words = "Means over users with 95 % bootstrap intervals; a dot marks the best mean of a column."
    table = f'<table><thead><tr><th scope="col">method</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    ids = "".join(
        f"<li><b>{escape(name)}</b>: <code>{escape(text)}</code></li>" for name, text in page.protocols.items()
    )
    protocols = f'<p class="eyebrow">Protocols</p><ul class="small">{ids}</ul>' if ids else ""
    warnings = f'<div class="box warn" role="note">{_list(page.warnings)}</div>' if page.warnings else ""
    return f'<p class="soft small">{words}</p>' + _wide(table, "Results") + protocols + warnings


def _method(method: Method, best: Sequence[float | None], main: bool) -> str:
    note = f"<span>{escape(method.note)}</span>" if method.note else ""
    cells = "".join(_value(value, top) for value, top in zip(method.values, best, strict=True))
    return f'<tr class="{"main" if main else ""}"><th scope="row">{escape(method.name)}{note}</th>{cells}</tr>'


def _value(value: Value, best: float | None) -> str:
    if value.value is None:
        return '<td class="none">–</td>'
    interval = "" if value.low is None else f'<span class="ci">{number(value.low)} – {number(value.high)}</span>'
    top = "best" if value.value == best else ""
    return f'<td class="{top}"><span class="v">{number(value.value)}</span>{interval}</td>'


def _cold_start(page: ReportPage) -> str:
    if not page.cold_start:
        return ""
    chart = bar_chart(page.cold_start_title or "By slice", page.cold_start, main=page.main)
    words = "Warm and cold items are the most and the least frequent 35 % in training; unseen items were never in it."
    return f'<p class="soft small">{words}</p>' + _wide(chart, "Cold-start chart")


def _people(people: Sequence[Person]) -> str:
    if not people:
        return ""
    cards = "".join(
        f'<article class="person"><h3>{escape(p.name)}</h3><p class="eyebrow">History, oldest first</p>'
        f'{_list(p.history, "chips")}{_held_out(p)}<p class="eyebrow">Recommended</p>'
        f'<ol class="recs">{"".join(_recommended(r) for r in p.recommendations)}</ol></article>'
        for p in people
    )
    return f'<div class="people">{cards}</div>'


def _held_out(person: Person) -> str:
    if not person.held_out:
        return ""
    return f'<p class="eyebrow">Kept back for the test</p>{_list(person.held_out, "chips")}'


def _recommended(item: Recommended) -> str:
    hit = '<span class="tag hit">✓ the kept-back item</span>' if item.held_out else ""
    stage = f'<span class="tag">{escape(item.decided_by)}</span>' if item.decided_by else ""
    reason = f"<blockquote>{escape(item.reason)}</blockquote>" if item.reason else ""
    support = f'<p class="eyebrow">Because of: {escape(" · ".join(item.support))}</p>' if item.support else ""
    return f"<li><b>{escape(item.title)}</b>{stage}{hit}{reason}{support}</li>"


def _tests(comparisons: Sequence[Comparison]) -> str:
    return "".join(_comparison(comparison) for comparison in comparisons)


def _comparison(comparison: Comparison) -> str:
    metrics = ", ".join(dict.fromkeys(label(test.metric) for test in comparison.tests))
    columns = ("difference", "mean", "95 % interval", "p (Holm)", "users + / = / –", "better at 5 %")
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(t.first)} – {escape(t.second)}</th>'
        f"<td>{t.difference:+.4f}</td><td>{t.interval[0]:+.4f} to {t.interval[1]:+.4f}</td><td>{p_value(t.p_holm)}</td>"
        f"<td>{t.better} / {t.equal} / {t.worse}</td><td>{escape(t.winner or 'none shown')}</td></tr>"
        for t in comparison.tests
    )
    says = f"{comparison.n_users:,} users, paired {comparison.test} test, Holm-corrected"
    return (
        f'<h3 class="gap">{escape(metrics)}, {escape(_where(comparison.protocol))}</h3>'
        f'<p class="soft small">{escape(says)}. <code>{escape(comparison.protocol)}</code></p>'
        + _wide(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>", f"Paired tests of {metrics}")
    )


def _where(protocol: str) -> str:
    """``full; ...; slice=cold items`` -> ``full, cold items``."""
    parts = protocol.split("; ")
    return ", ".join([parts[0], *(p.removeprefix("slice=") for p in parts if p.startswith("slice="))])


def _doubts(page: ReportPage) -> str:
    return f'<div class="box" role="note">{_list(page.doubts)}</div>' if page.doubts else ""


def _learning(page: ReportPage) -> str:
    if not page.curves:
        return ""
    x, y = page.curve_labels
    return _wide(line_chart("Learning curves", page.curves, x_label=x, y_label=y), "Learning curves")


def _data(page: ReportPage) -> str:
    if not page.data_card and not page.popularity:
        return ""
    chart = ""
    if page.popularity:
        chart = line_chart(
            "Popularity of items", page.popularity, x_label="item, most popular first", y_label="training events",
            log_x=True, log_y=True,
        )  # fmt: skip
        chart = _wide(chart, "Popularity of items")
    return _card(page.data_card) + chart


def _costs(costs: Sequence[Cost]) -> str:
    if not costs:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(c.stage)}</th><td>{duration(c.seconds)}</td>'
        f'<td>{_memory(c.peak_memory_bytes)}</td><td class="text">{escape(c.note)}</td></tr>'
        for c in costs
    )
    total = f'<tr><th scope="row">total</th><td>{duration(sum(c.seconds for c in costs))}</td><td></td><td></td></tr>'
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("stage", "time", "peak memory", "note"))
    return _wide(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}{total}</tbody></table>", "Cost by stage")


def _memory(size: int | None) -> str:
    return "–" if size is None else f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _repeat(page: ReportPage) -> str:
    out = f"<pre><code>{escape(page.command)}</code></pre>" if page.command else ""
    if page.config:
        out += f"<details><summary>Configuration</summary><pre><code>{escape(page.config)}</code></pre></details>"
    if page.environment:
        out += f"<details><summary>Environment</summary>{_card(page.environment)}</details>"
    return out

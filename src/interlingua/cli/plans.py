"""The dry run as text: stages with their memory and time."""

from __future__ import annotations

from typing import Any


def plan_table(rows: list[dict[str, Any]]) -> str:
    """The dry run as text."""
    from interlingua.runs.planner import total

    head = f"{'stage':<10}{'name':<20}{'key':<10}{'cached':<8}{'parameters':>12}{'memory':>10}{'time':>16}"
    lines = [
        f"{row['stage']:<10}{row['name']:<20}{row['key'][:8]:<10}{'yes' if row['cached'] else 'no':<8}"
        f"{row['parameters'] or '-':>12}{row['memory'] or '-':>10}{row['time'] or '-':>16}  {row['note']}".rstrip()
        for row in rows
    ]
    return "\n".join([head, *lines, total(rows)])


def plan_tables(plans: dict[str, list[dict[str, Any]]]) -> str:
    """One dry run per recipe."""
    return "\n\n".join(f"{name}\n{plan_table(rows)}" for name, rows in plans.items())

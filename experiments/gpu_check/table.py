"""The table of a check."""

from typing import Any

from rich import box
from rich.table import Table

_STATES = {True: "good", False: "FAILED", None: "not run"}


def result_table(report: dict[str, Any]) -> Table:
    """A row for each case."""
    table = Table(title=f"GPU check on {report['environment']['machine']}", box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("case", "result", "s", "found"):
        table.add_column(column, justify="right" if column == "s" else "left")
    for name, case in report["cases"].items():
        table.add_row(name, _STATES[case["passed"]], f"{case['seconds']:.0f}", case["text"])
    return table

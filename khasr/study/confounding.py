"""The recipes of confounded models in words, and the arguments of `khasr.explain` that separate size from settings."""

import shlex

from khasr.study.design import Design
from khasr.study.wording import say


def recipe_text(design: Design, model: str) -> str:
    """The values of the confounded options of a model, such as `optimizer.lr = 5e-05, schedule.warmup = 1000`."""
    return ", ".join(f"{name} = {' or '.join(values)}" for name, values in _values(design, model).items())


def explain_arguments(design: Design) -> tuple[str, str]:
    """A and B of `python -m khasr.explain A B`: the folder of each model's best run, else quoted overrides."""
    return _argument(design, design.small), _argument(design, design.large)


def _argument(design: Design, model: str) -> str:
    rows = design.of(model).sort_values("score")
    folders = rows[(rows["source"] == "folder") & rows["score"].notna()]["folder"]
    if len(folders):
        return shlex.quote(str(folders.iloc[0]))
    name = str(rows["model.name"].iloc[0]) if "model.name" in rows else model
    overrides = [f"{option}={values[0]}" for option, values in _values(design, model).items()]
    return shlex.quote(" ".join([f"model={name}", *overrides]))


def _values(design: Design, model: str) -> dict[str, list[str]]:
    rows = design.of(model)
    columns = [column for name in design.confounded for column in name.split(" & ")]
    return {column: [say(value) for value in sorted(rows[column].dropna().unique(), key=str)] for column in columns}

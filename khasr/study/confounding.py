"""The options in which confounded models differ, and the arguments of `khasr.explain` that separate their effects."""

import shlex

from khasr.study.design import Design
from khasr.study.wording import say


def recipe_text(design: Design, model: str) -> str:
    """The values of the confounded options of a model, such as `optimizer.lr = 5e-05, schedule.warmup = 1000`."""
    return ", ".join(f"{name} = {' or '.join(values)}" for name, values in confounded_values(design, model).items())


def explain_arguments(design: Design) -> tuple[str, str]:
    """A and B of `python -m khasr.explain A B`: the folder of each model's best run, else quoted overrides."""
    return _argument(design, design.small), _argument(design, design.large)


def _argument(design: Design, model: str) -> str:
    rows = design.of(model).sort_values("score")
    folders = rows[(rows["source"] == "folder") & rows["score"].notna()]["folder"]
    if len(folders):
        return shlex.quote(str(folders.iloc[0]))
    name = str(rows["model.name"].iloc[0]) if "model.name" in rows else model
    overrides = [f"{option}={values[0]}" for option, values in confounded_values(design, model).items()]
    if design.runs.by != "model.name":
        overrides.insert(0, f"{design.runs.by}={rows[design.runs.by].iloc[0]}")
    return shlex.quote(" ".join([f"model={name}", *overrides]))


def confounded_values(design: Design, model: str) -> dict[str, list[str]]:
    """The values of each confounded option in the runs of a model."""
    columns = [column for name in design.confounded for column in name.split(" & ")]
    rows = design.of(model)
    return {c: sorted({say(None if v != v else v) for v in rows[c]}) for c in columns}

"""The pictures of a study: what they show, and whether their axes can be read."""

from matplotlib.figure import Figure

from khasr.study.design import build_design
from khasr.study.effects import Effect
from khasr.study.figures import against_lr, importance, main_effects
from khasr.study.importance import Importance
from khasr.study.instruments import Instrument, telling
from khasr.study.statistics import Estimate
from tests.simulated_study import Plan, simulate


def instrument(name: str, best: float, worst: float) -> Instrument:
    ends = {("small", "best"): best, ("small", "worst"): worst}
    return Instrument(name, ends, dict(ends), {})


def test_instruments_shown() -> None:
    """Those in which the best and the worst runs differ most, of each family in turn."""
    found = [
        instrument("drift/feature_encoder", 0.0, 0.0),  # frozen
        instrument("drift/head", 5.0, 5.5),
        instrument("drift/layer_00", 0.2, 0.02),
        instrument("drift/layer_01", 0.2, 0.03),
        instrument("time/forward", 1.0, 9.0),  # depends on the machine
        instrument("train/loss", 0.5, 1.0),
    ]
    assert [i.name for i in telling(found, 8)] == ["drift/layer_00", "train/loss", "drift/layer_01", "drift/head"]
    assert len(telling(found, 2)) == 2


def test_short_logarithmic_axis() -> None:
    """An axis of less than a decade has few labels."""
    runs, _ = simulate(Plan(seeds=2), "cause", 0)
    design = build_design(runs)
    design.table["optimizer.lr"] = [2e-4 + 1e-5 * (i % 80) for i in range(len(design.table))]
    figure: Figure = against_lr(design)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    labels = [tick.label1.get_text() for tick in ticks if tick.label1.get_text()]
    assert {"0.0002", "0.0005"} <= set(labels)
    low, high = axes.get_xlim()
    assert sum(low <= float(label) <= high for label in labels) <= 5


def test_long_names() -> None:
    """Long names of settings leave room for the axes."""
    runs, _ = simulate(Plan(seeds=2), "cause", 0)
    design = build_design(runs)
    together = "model.activation_dropout & model.mask_feature_prob & model.mask_time_prob"
    shares = [Importance(together, 0.5, 0.4, 0.6), Importance("optimizer.lr", 0.3, 0.2, 0.4)]
    effects = [Effect("small", together, (0.1, 0.25, 0.75), 3, Estimate(0.01, 0.0, 0.02))]
    for figure in (importance({"small": shares}), main_effects(design, effects)):
        figure.draw_without_rendering()
        assert figure.axes[0].get_position().width > 0.5

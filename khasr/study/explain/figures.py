"""The waterfall from A to B."""

from matplotlib.figure import Figure

from khasr.study.explain.analysis import Answer

_UP, _DOWN, _END = "#b5532a", "#3a7d44", "#1f4e79"


def waterfall(answer: Answer) -> Figure:
    """A's WER, each factor's part with its interval, and B's WER."""
    parts = sorted(answer.parts, key=lambda part: -abs(part.value))
    names = ["A", *(part.name for part in parts), "B"]
    # Figure, not pyplot: nothing stays in memory after it, whatever backend there is.
    figure = Figure(figsize=(max(4.5, 1.5 + 1.15 * len(names)), 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.bar([0, len(names) - 1], [100 * answer.a, 100 * answer.b], color=_END, width=0.6)
    tops = [100 * answer.a, 100 * answer.b]
    level = 100 * answer.a
    for place, part in enumerate(parts, 1):
        change = 100 * part.value
        colour = _UP if change > 0 else _DOWN
        axes.bar(place, change, bottom=level, color=colour, width=0.6, alpha=1.0 if answer.shows(part) else 0.45)
        axes.plot([place - 0.7, place + 0.3], [level, level], color="#888888", lw=0.8)
        end = level + change
        ends = [end]
        if part.low == part.low:
            ends = [level + 100 * part.low, level + 100 * part.high]
            axes.plot([place, place], ends, color="#222222", lw=1.2)
        axes.annotate(
            f"{change:+.1f}", (place, max([level, end, *ends])), xytext=(0, 3), textcoords="offset points",
            ha="center", fontsize=9,
        )  # fmt: skip
        tops += [level, *ends]
        level = end
    axes.plot([len(parts) + 0.3, len(parts) + 0.7], [level, level], color="#888888", lw=0.8)
    for place, wer in ((0, answer.a), (len(names) - 1, answer.b)):
        axes.annotate(
            f"{100 * wer:.1f}", (place, 100 * wer), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n").replace(".", ".\n") for name in names], fontsize=9)
    room = max(tops) - min(tops)
    low = min(tops) - 0.35 * room
    # Parts that are small beside the WER need the axis cut; the ends' bars then start at its lower end.
    bottom = max(0.0, low) if min(tops) > room else min(0.0, min(tops))
    axes.set_ylim(bottom, max(tops) + 0.12 * room + 0.5)
    axes.set_ylabel("WER on val, %" if bottom <= 0 else f"WER on val, % (axis from {bottom:.0f})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    lines = f"lines: {100 * answer.level:.3g} % intervals, {len(answer.seeds)} seeds"
    axes.set_title(f"{lines}; pale: not shown after correction for the number of tests", fontsize=8, loc="left")
    return figure

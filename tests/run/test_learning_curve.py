from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from khasr.run.learning_curve import draw_learning_curve
from khasr.run.published import CARD_CURVE, PublishedRow

METRICS = "step,epoch,train/loss,train/lr,val/loss,val/wer,val/cer\n100,1,3.0,1e-6,,,\n400,5.47,2.0,2e-6,9.0,0.9,0.4\n"


@pytest.mark.parametrize("published", [[], CARD_CURVE])
def test_published_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Sequence[PublishedRow]) -> None:
    drawn: dict[str, list[float]] = {}
    plot = Axes.plot

    def noting(self: Axes, steps: object, values: object, *style: object, **options: object) -> object:
        drawn[str(options.get("label"))] = list(values) if isinstance(values, list | tuple) else []
        return plot(self, steps, values, *style, **options)

    monkeypatch.setattr(Axes, "plot", noting)
    metrics, picture = tmp_path / "metrics.csv", tmp_path / "curve.png"
    metrics.write_text(METRICS)
    draw_learning_curve(metrics, picture, "a run", published)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    if published:
        assert drawn["val, published"] == [100 * row.wer for row in CARD_CURVE]  # the last panel that has one: WER
        assert drawn["train, published"] == [row.train_loss for row in CARD_CURVE]
    else:
        assert not [label for label in drawn if "published" in label]

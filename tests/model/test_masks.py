import numpy as np
import pytest
import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from khasr.model.masks import draw_spans


@pytest.mark.parametrize(("probability", "span", "least"), [(0.75, 10, 2), (0.05, 10, 2), (0.25, 64, 0), (0.3, 3, 0)])
def test_share_of_transformers(probability: float, span: int, least: int) -> None:
    lengths, size = torch.tensor([300, 250, 140, 90]), 300
    attention = torch.arange(size) < lengths[:, None]
    torch.manual_seed(0)
    np.random.seed(0)
    ours = torch.stack([draw_spans(lengths, size, probability, span, least) for _ in range(300)]).float().mean(0)
    theirs = np.mean(
        [_compute_mask_indices((4, size), probability, span, attention, least) for _ in range(300)], axis=0
    )
    assert ours.mean(1).numpy() == pytest.approx(theirs.mean(1), abs=0.02)


def test_padding_is_not_masked() -> None:
    lengths = torch.tensor([50, 20])
    for _ in range(50):
        masked = draw_spans(lengths, 50, 0.5, 5)
        assert not masked[1, 20:].any()
        assert masked[0].any()


def test_whole_spans() -> None:
    for _ in range(50):
        (row,) = draw_spans(torch.tensor([100]), 100, 0.1, 10, least=1).int().tolist()
        runs = "".join(map(str, row)).split("0")
        assert all(len(run) >= 10 for run in runs if run)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11])
def test_shorter_than_span(length: int) -> None:
    masked = draw_spans(torch.tensor([length]), 12, 0.9, 10, least=2)
    assert masked.sum() == (10 if length == 11 else 0) or length >= 10
    assert not masked[0, length:].any()


def test_share_of_paper() -> None:
    # wav2vec 2.0, sec. 4.2: p = 0.065 and M = 10 mask about 49 % of all frames.
    torch.manual_seed(0)
    lengths = torch.tensor([1500, 700])
    masked = torch.stack([draw_spans(lengths, 1500, 0.065, 10, least=2, of_starts=True) for _ in range(100)]).float()
    shares = masked.sum(2).mean(0) / lengths
    assert shares.tolist() == pytest.approx([0.49, 0.49], abs=0.01)
    # More spans than fit side by side: 1 - 0.8 ** 10 of the positions; with transformers' bound it would be two thirds.
    assert draw_spans(lengths, 1500, 0.2, 10, of_starts=True)[0].float().mean().item() == pytest.approx(0.89, abs=0.04)
    # Table 6: 0.075 over time and 0.004 over channels are 0.75 and 0.256 in Hugging Face's definition.
    for share, span in ((0.075, 10), (0.004, 64)):
        paper, theirs = (
            torch.stack([draw_spans(torch.tensor([1024]), 1024, p, span, of_starts=o) for _ in range(200)])
            .float()
            .mean()
            for p, o in ((share, True), (share * span, False))
        )
        assert paper.item() == pytest.approx(theirs.item(), abs=0.02)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11])
@pytest.mark.parametrize("share", [0.075, 0.9])
def test_short_audio_of_paper(length: int, share: float) -> None:
    masked = draw_spans(torch.tensor([length]), 12, share, 10, least=2, of_starts=True)
    assert not masked[0, length:].any()
    assert masked.any() == (length >= 10)

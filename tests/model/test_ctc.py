import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from khasr.config import ArchitectureConfig, ModelConfig
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.weights import load_start
from khasr.training.module import step_seed

SHAPE = ArchitectureConfig(
    hidden_size=32, layers=2, heads=2, intermediate_size=64, conv_dim=[16] * 7, pos_conv_kernel=8, pos_conv_groups=2
)


def build(**changes: object) -> CtcModel:
    torch.manual_seed(0)
    options = ModelConfig(init="random", architecture=SHAPE, gradient_checkpointing=False, **changes)  # type: ignore[arg-type]
    return CtcModel(load_start(options).encoder, 7, options)


def waves(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.utils.rnn.pad_sequence(
        [torch.randn(n, generator=generator) for n in lengths], batch_first=True
    ), torch.tensor(lengths)


@torch.inference_mode()
def test_batched_equals_alone() -> None:
    model = build().eval()
    batch, lengths = waves(16_000, 9_333, 5_000, 400)
    together, frames = model(batch, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone, alone_frames = model(batch[i : i + 1, :length], lengths[i : i + 1])
        assert alone_frames.item() == frames[i].item() == alone.shape[1]
        torch.testing.assert_close(together[i, : frames[i]], alone[0], atol=2e-5, rtol=0)


@torch.inference_mode()
def test_head_start() -> None:
    """zero: equal probabilities. blank: about one half for the blank. Both by the bias and the weights."""
    random, zero, blank = (
        build(head_start=start).eval()(*waves(4_000))[0].exp() for start in ("random", "zero", "blank")
    )
    torch.testing.assert_close(zero, torch.full_like(zero, 1 / 7))
    torch.testing.assert_close(blank[..., 0], 6 * random[..., 0] / (1 + 5 * random[..., 0]))


@torch.inference_mode()
def test_padding() -> None:
    model = build().eval()
    batch, lengths = waves(8_000)
    padded = torch.nn.functional.pad(batch, (0, 7_000))
    frames = model.frame_lengths(lengths).item()
    torch.testing.assert_close(model(padded, lengths)[0][:, :frames], model(batch, lengths)[0], atol=2e-5, rtol=0)


def test_half_precision() -> None:
    model = build().eval()
    with torch.autocast("cpu", torch.bfloat16):
        log_probs, _ = model(*waves(4_000))
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


def hugging_face(model: CtcModel) -> Wav2Vec2ForCTC:
    """transformers' model with the same weights."""
    fields = model.encoder.config.to_dict() | {
        "vocab_size": 7, "pad_token_id": 0, "ctc_loss_reduction": "mean", "ctc_zero_infinity": True,
    }  # fmt: skip
    theirs = Wav2Vec2ForCTC(Wav2Vec2Config(**fields))
    names = {
        k.replace("encoder.", "wav2vec2.", 1) if k.startswith("encoder.") else k.replace("head.", "lm_head."): v
        for k, v in model.state_dict().items()
    }
    theirs.load_state_dict(names)
    return theirs


def test_loss_equals_transformers() -> None:
    # In float64, where the order of summation makes no visible difference.
    model = build(activation_dropout=0.0, mask_time_prob=0.0, mask_feature_prob=0.0).eval().double()
    theirs = hugging_face(model).eval().double()
    batch, lengths = waves(16_000, 9_000, 12_345)
    batch = batch.double()
    targets, target_lengths = torch.tensor([[2, 3, 3, 4], [5, 6, 0, 0], [2, 2, 2, 0]]), torch.tensor([4, 2, 3])
    log_probs, frames = model(batch, lengths)
    ours = ctc_losses(log_probs, frames, targets, target_lengths).mean()
    ours.backward()
    attention = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
    labels = targets.masked_fill(torch.arange(4) >= target_lengths[:, None], -100)
    loss = theirs(batch, attention_mask=attention, labels=labels).loss
    loss.backward()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(model.head.weight.grad, theirs.lm_head.weight.grad, rtol=1e-5, atol=1e-7)
    first = "feature_extractor.conv_layers.0.conv.weight"
    torch.testing.assert_close(
        model.encoder.get_parameter(first).grad, theirs.wav2vec2.get_parameter(first).grad, rtol=1e-5, atol=1e-7
    )
    assert frames.tolist() == theirs._get_feat_extract_output_lengths(lengths).tolist()


def test_no_alignment() -> None:
    log_probs = torch.randn(2, 3, 5).log_softmax(-1).requires_grad_()
    # "aa" needs a blank between: 3 frames; "aaa" needs 5 (Graves 2006).
    losses = ctc_losses(log_probs, torch.tensor([3, 3]), torch.tensor([[2, 2, 0], [2, 2, 2]]), torch.tensor([2, 3]))
    assert losses[0] > 0
    assert losses[1] == 0
    losses.sum().backward()
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()
    assert not log_probs.grad[1].any()


def test_masks_only_in_training() -> None:
    model = build(mask_time_prob=0.5)
    batch, lengths = waves(16_000)
    model.eval()
    torch.testing.assert_close(model(batch, lengths)[0], model(batch, lengths)[0], atol=0, rtol=0)
    model.train()
    assert not torch.equal(model(batch, lengths)[0], model(batch, lengths)[0])


NO_MASKS: dict[str, object] = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "activation_dropout": 0.0}


def without(model: CtcModel, *names: str) -> CtcModel:
    """The model with some of its parameters set to 0."""
    for name, parameter in model.named_parameters():
        if any(piece in name for piece in names):
            torch.nn.init.zeros_(parameter)
    return model


# A dropout of 1 has the same effect as weights of 0 in the layer after it.
@pytest.mark.parametrize(
    ("dropout", "silenced"),
    [
        ("final_dropout", ["head.weight"]),
        ("feat_proj_dropout", ["feature_projection.projection"]),
        ("activation_dropout", ["output_dense.weight"]),
        ("attention_dropout", ["out_proj.weight"]),
        (
            "hidden_dropout",
            [
                "feature_projection.projection",
                "pos_conv_embed.conv.bias",
                "attention.out_proj",
                "output_dense.weight",
                "output_dense.bias",
            ],
        ),
    ],
)
@torch.no_grad()
def test_dropout_places(dropout: str, silenced: list[str]) -> None:
    batch, lengths = waves(8_000, 6_000)
    model = build(**NO_MASKS | {dropout: 1.0})
    torch.testing.assert_close(
        model.eval()(batch, lengths)[0], build(**NO_MASKS).eval()(batch, lengths)[0], atol=1e-5, rtol=0
    )
    expected = without(build(**NO_MASKS), *silenced).eval()(batch, lengths)[0]
    torch.testing.assert_close(model.train()(batch, lengths)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dropout", ["final_dropout", "feat_proj_dropout", "activation_dropout", "attention_dropout", "hidden_dropout"])  # fmt: skip
@torch.no_grad()
def test_dropout_is_random(dropout: str) -> None:
    batch, lengths = waves(8_000)
    model = build(**NO_MASKS | {dropout: 0.2}).train()
    assert not torch.equal(model(batch, lengths)[0], model(batch, lengths)[0])


@torch.no_grad()
def test_layerdrop() -> None:
    batch, lengths = waves(4_000)
    paths = []
    for left_out in ([], ["layers.0"], ["layers.1"], ["layers.0", "layers.1"]):
        paths.append(without(build(**NO_MASKS), *(f"{n}.attention.out_proj" for n in left_out), *(f"{n}.feed_forward.output_dense" for n in left_out)).eval()(batch, lengths)[0])  # fmt: skip
    model = build(**NO_MASKS | {"layerdrop": 0.3}).train()
    counts = [0] * 4
    torch.manual_seed(1)
    for _ in range(400):
        log_probs = model(batch, lengths)[0]
        (path,) = (i for i, other in enumerate(paths) if torch.allclose(log_probs, other, atol=1e-5))
        counts[path] += 1
    assert [c / 400 for c in counts] == pytest.approx([0.49, 0.21, 0.21, 0.09], abs=0.07)


def test_short_audio() -> None:
    model = build().train()
    log_probs, frames = model(*waves(800, 400))
    assert frames.tolist() == [2, 1]
    assert torch.isfinite(log_probs).all()


def test_seeds_differ() -> None:
    seeds = {step_seed(s, b) for s in range(20) for b in range(800)}
    assert len(seeds) == 20 * 800
    assert all(0 <= s < 2**63 for s in seeds)

"""One training step of khasr's model and of transformers', from the same weights on the same batch."""

import copy

import torch

from experiments.speed.peer import to_transformers
from khasr.config import compose
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.weights import load_start

# Without masks and dropout, which the two draw differently.
_DRAWN = (
    "mask_time_prob", "mask_feature_prob", "activation_dropout", "attention_dropout", "hidden_dropout",
    "feat_proj_dropout", "final_dropout", "layerdrop",
)  # fmt: skip
_OPTIONS = ["experiment=quickstart", *(f"model.{name}=0" for name in _DRAWN)]
_SYMBOLS = 20


def one_step(device: str, precision: torch.dtype | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """The loss and the gradient norm of khasr's model, and those of transformers'."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options = compose(*_OPTIONS).model
    model = CtcModel(load_start(options).encoder, _SYMBOLS, options).train()
    theirs = copy.deepcopy(to_transformers(model)).train().to(device)
    model.to(device)
    lengths, labels = torch.tensor([32_000, 24_000, 16_000]), torch.tensor([9, 7, 5])
    inside = torch.arange(32_000) < lengths[:, None]
    waveforms = (torch.randn(3, 32_000) * inside).to(device)
    targets = torch.randint(2, _SYMBOLS, (3, 9))
    spoken = torch.arange(9) < labels[:, None]
    with torch.autocast(device, dtype=precision or torch.bfloat16, enabled=precision is not None):
        log_probs, frame_lengths = model(waveforms, lengths)
        ours = ctc_losses(log_probs, frame_lengths, targets.to(device), labels).mean()
        loss = theirs(
            waveforms, attention_mask=inside.long().to(device), labels=targets.masked_fill(~spoken, -100).to(device)
        ).loss
    found = []
    for value, network in ((ours, model), (loss, theirs)):
        value.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        found.append((value.item(), torch.nn.utils.get_total_norm(gradients).item()))
    return found[0], found[1]

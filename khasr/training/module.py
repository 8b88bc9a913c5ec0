"""The LightningModule: the training step and the validation step of a CTC model."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from khasr.config import OptimizerConfig, ScheduleConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.batching import Batch
from khasr.decoding.greedy import decode_greedy
from khasr.model.ctc import CtcModel, ctc_losses
from khasr.model.feature_cache import FeatureCache
from khasr.model.finetune import plain_weights
from khasr.optim.averaging import WeightAverage
from khasr.optim.parameters import build_optimizer, dimensions, parts, skip_unless
from khasr.optim.schedules import build_schedule
from khasr.scoring.metric import ErrorRates
from khasr.text.vocabulary import Vocabulary
from khasr.training.diagnostics import clip_gradients, count_blanks
from khasr.training.window import Window


class CtcModule(pl.LightningModule):
    """A CTC model for Lightning.

    Dropout and masks of a batch depend only on the seed and on the number of the batch in the run, over all ranks. A
    resumed run therefore equals an uninterrupted one, and a batch on the second of two devices equals the second of two
    accumulated batches.

    Attributes:
        window: sums since the last row of training metrics. Saved in checkpoints, so that a resumed run writes the same
            rows.
        validation: loss, wer, cer and blank_share of the last validation.
        last_loss: the loss of the last training batch, on the device of training.
    """

    def __init__(
        self,
        model: CtcModel,
        vocabulary: Vocabulary,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        *,
        total_steps: int,
        seed: int,
        loss_scale: float = 1.0,
        frozen_steps: int = 0,
        feature_cache: FeatureCache | None = None,
        description: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = vocabulary
        self._optimizer_options, self._schedule_options = optimizer, schedule
        self._total_steps = total_steps
        self._seed = seed
        self._loss_scale = loss_scale
        self._frozen_steps = frozen_steps
        self._feature_cache = feature_cache
        self._average: WeightAverage | None = None
        self._average_read: dict[str, Tensor] = {}
        self._trained_of_encoder = [p for p in model.encoder.parameters() if p.requires_grad]
        self._description = description
        self._error_rates = ErrorRates()
        # Before the model is sharded: names and shapes are then those of shards.
        self._parts = parts(model)
        self._dimensions = dimensions(model)
        self._val_loss = MeanMetric()
        self._val_blank = MeanMetric()
        self.window = self._new_window()
        self.validation: dict[str, float] = {}
        self.last_loss = torch.zeros(())

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`CtcModel.forward`."""
        log_probs, frame_lengths = self.model(waveforms, waveform_lengths, features)
        return log_probs, frame_lengths

    def _new_window(self, start: Mapping[str, float] | None = None) -> Window:
        return Window(sorted(set(self._parts.values())), start)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of the batch's utterances; batch_idx counts from the start of the run, resumed or not.

        The returned loss is multiplied by loss_scale, the logged one is not.
        """
        self._freeze_encoder(self.global_step < self._frozen_steps)
        torch.manual_seed(step_seed(self._seed, batch_idx * self.trainer.world_size + self.global_rank))
        log_probs, frame_lengths = self(batch.waveforms, batch.waveform_lengths, self._kept_features(batch))
        loss = ctc_losses(log_probs, frame_lengths, batch.targets, batch.target_lengths).mean()
        self.last_loss = loss.detach()
        self.window.add_batch(self.last_loss, count_blanks(log_probs.detach(), frame_lengths))
        self._count(batch, frame_lengths)
        return loss * self._loss_scale

    def _count(self, batch: Batch, frame_lengths: Tensor) -> None:
        self.window.add_counts(
            batches=1,
            frames=int(frame_lengths.sum()),
            audio_seconds=batch.audio_seconds,
            padded_seconds=batch.waveforms.numel() / SAMPLE_RATE,
        )

    def _kept_features(self, batch: Batch) -> Tensor | None:
        if self._feature_cache is None:
            return None
        encoder = self.model.encoder.feature_extractor
        return self._feature_cache.features(encoder, batch.waveforms, batch.waveform_lengths, batch.ids)

    def _freeze_encoder(self, frozen: bool) -> None:
        """Excludes the encoder from the backward pass or includes it; the optimizer skips weights without gradients."""
        for parameter in self._trained_of_encoder:
            parameter.requires_grad_(not frozen)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradient to its maximum norm, and adds the norms before clipping, by part, to the window.

        A step whose gradient is not finite is skipped in every precision.
        """
        sharded = isinstance(self.trainer.strategy.model, FullyShardedDataParallel)
        norms = clip_gradients(self.model, self._parts, gradient_clip_val or 0.0, sharded)
        top = optimizer.param_groups[0]
        self.window.add_step(top["lr"] / top["layer_scale"], norms)
        skip_unless(norms[0].isfinite(), optimizer)

    def on_fit_start(self) -> None:
        """Starts or restores the average of the weights, on the device of training."""
        if self._optimizer_options.ema_decay > 0:
            self._average = WeightAverage(
                {name: p for name, p in self.named_parameters() if p.requires_grad}, self._optimizer_options.ema_decay
            )
            if self._average_read:
                self._average.load(self._average_read)
                self._average_read = {}

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Takes the step and updates the average of the weights."""
        super().optimizer_step(*arguments, **named)
        if self._average is not None:
            self._average.update(self.global_step + 1)

    def on_validation_epoch_start(self) -> None:
        """Swaps in the averaged weights, if there are any."""
        if self._average is not None:
            self._average.swap_in()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts the errors of a batch, decoded greedily."""
        log_probs, frame_lengths = self(batch.waveforms, batch.waveform_lengths)
        losses = ctc_losses(log_probs, frame_lengths, batch.targets, batch.target_lengths)
        self._val_loss.update(losses)
        frames = int(frame_lengths.sum())
        self._val_blank.update(count_blanks(log_probs, frame_lengths) / max(1, frames), frames)
        self._error_rates.update(batch.references, decode_greedy(log_probs, frame_lengths, self.vocabulary))

    def on_validation_epoch_end(self) -> None:
        """Sets `validation` from the utterances of all ranks, and swaps the averaged weights out."""
        if self._average is not None:
            self._average.swap_out()
        rates = self._error_rates.compute()
        self.validation = {
            "loss": float(self._val_loss.compute()),
            "wer": rates["wer"],
            "cer": rates["cer"],
            "blank_share": float(self._val_blank.compute()),
        }
        self._error_rates.reset()
        self._val_loss.reset()
        self._val_blank.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer, and the schedule, which advances at each optimizer step."""
        optimizer = build_optimizer(self._optimizer_options, self.model, self._dimensions)
        schedule = build_schedule(self._schedule_options, optimizer, self._total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the data that loading the model and resuming its metrics require."""
        checkpoint.update(self._description)
        average = {} if self._average is None else self._average.weights
        if "optimizer_states" in checkpoint:
            checkpoint["average"] = dict(average)
        else:  # the best weights, for inference: averaged, with adapters merged
            for name, weight in average.items():
                checkpoint["state_dict"][name] = weight.to(checkpoint["state_dict"][name].dtype)
            checkpoint["state_dict"] = dict(plain_weights(checkpoint["state_dict"], self.model.adapter_scale))
        checkpoint["window"] = self.window.over_all_ranks()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the window, on the first rank because it holds the sums of all ranks.

        The average of the weights is restored in `on_fit_start`.
        """
        self.window = self._new_window(checkpoint["window"] if self.global_rank == 0 else None)
        self._average_read = checkpoint.get("average", {})


def step_seed(seed: int, batch: int) -> int:
    """The seed of a batch, unrelated to those of its neighbours (the finaliser of splitmix64, Steele 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + batch * 0xBF58476D1CE4E5B9 + 1) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (z ^ (z >> 31)) >> 1  # torch takes up to 2**63 - 1

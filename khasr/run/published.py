"""The published run (wav2vec2-xls-r-1b-km) as its model card reports it: reference data for runs of the same recipe."""

from typing import NamedTuple

from khasr.config import Config


class PublishedRow(NamedTuple):
    """A row of the card's table of training results; losses as computed by transformers, WER as a fraction."""

    train_loss: float
    epoch: float
    step: int
    val_loss: float
    wer: float


# wav2vec2-xls-r-1b-km, "Training results": XLS-R 1B on OpenSLR 42, validated every 400 of about 5,475 steps.
CARD_CURVE = [
    PublishedRow(3.5671, 5.47, 400, 12.0218, 1.0),
    PublishedRow(3.5159, 10.95, 800, 10.6337, 1.0),
    PublishedRow(2.4543, 16.43, 1200, 1.8256, 0.9839),
    PublishedRow(1.9437, 21.91, 1600, 1.1237, 0.9173),
    PublishedRow(1.6960, 27.39, 2000, 0.8246, 0.7700),
    PublishedRow(1.5342, 32.87, 2400, 0.6433, 0.6594),
    PublishedRow(1.4509, 38.35, 2800, 0.5500, 0.5787),
    PublishedRow(1.3478, 43.83, 3200, 0.5070, 0.4907),
    PublishedRow(1.3096, 49.31, 3600, 0.4692, 0.4726),
    PublishedRow(1.2532, 54.79, 4000, 0.4448, 0.4479),
    PublishedRow(1.2291, 60.27, 4400, 0.4374, 0.4366),
    PublishedRow(1.1960, 65.75, 4800, 0.4314, 0.4310),
    PublishedRow(1.1862, 71.23, 5200, 0.4239, 0.4221),
]


def is_published_recipe(config: Config) -> bool:
    """Whether a run has the recipe that the card states: corpus, model, optimizer, schedule, length and batch size.

    Masks and dropouts may differ, because the card does not state them; so may the precision, which should not affect
    the curve.
    """
    card, trainer = Config(data=config.data), config.trainer
    devices = trainer.devices * trainer.num_nodes
    utterances_per_step = config.data.batch_size * trainer.accumulate_grad_batches * devices
    return (
        (config.data.name, config.model.name, config.model.init) == ("openslr_km", card.model.name, "pretrained")
        and (config.optimizer, config.schedule, config.finetune) == (card.optimizer, card.schedule, card.finetune)
        and (trainer.max_epochs, trainer.max_steps) == (card.trainer.max_epochs, None)
        and config.data.batch_seconds is None
        and utterances_per_step == 8 * card.trainer.accumulate_grad_batches
    )

"""What of a model is trained."""

from khasr.config import FinetuneConfig, ModelConfig
from khasr.model.ctc import CtcModel


def apply_finetune(model: CtcModel, finetune: FinetuneConfig, options: ModelConfig) -> str:
    """Freezes what the options say; returns a sentence on the trainable share."""
    if options.gradient_checkpointing:
        # Non-reentrant: works with frozen inputs, and is what torch recommends.
        model.encoder.gradient_checkpointing_enable({"use_reentrant": False})
    feature_encoder = getattr(model.encoder, "feature_extractor", None)  # w2v-BERT 2.0 has mel features instead
    if finetune.freeze_feature_encoder and feature_encoder is not None:
        feature_encoder._freeze_parameters()
    if options.mask_time_prob == 0:
        # Used nowhere, so it would get no gradient, which several devices would wait for.
        model.encoder.masked_spec_embed.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return f"{trained:,} of {total:,} parameters are trained ({trained / total:.1%})"

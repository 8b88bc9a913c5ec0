"""Corpora as batches of utterances: reading, 16 kHz cache, splits, augmentation, batching, audit."""

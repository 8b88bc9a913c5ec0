"""Khmer text: normalisation, syllables, word segmentation, numbers, the CTC vocabulary."""

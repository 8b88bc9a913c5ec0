"""Networks and weights: encoders, the CTC model, masks, and checkpoints of Hugging Face and of khasr."""

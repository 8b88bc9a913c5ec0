"""A run as a Hugging Face model with a model card."""

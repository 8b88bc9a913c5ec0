"""khasr: XLS-R fine-tuned with CTC on a few hours of Khmer, and what can be said about it."""

__version__ = "0.1.0"

"""Frame log-probabilities to text: greedy decoding, and beam search with or without an n-gram language model."""

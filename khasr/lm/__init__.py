"""n-gram language models: their text, and building, interpolating and measuring them with KenLM."""

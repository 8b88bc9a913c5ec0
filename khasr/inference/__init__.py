"""A trained model applied: log-probabilities, evaluation, tuning of the decoder, transcription of audio files."""

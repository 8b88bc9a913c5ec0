"""The compiled beam search (ctc-beam-decoder), spared what changes no answer."""

import ctypes
from typing import Any

import numpy as np
from ctc_beam_decoder import BeamSearchDecoder, _prepare
from numpy.typing import NDArray

# A frame is left out only where no second symbol comes near token_min_logp: the library normalises once more, in
# float32, and what it tries must not hang on the last digit.
_ROUNDING = 1e-3


class CompiledSearch(BeamSearchDecoder):
    """The library's search, called as pyctcdecode's is; the same texts, and the same scores but for rounding."""

    def decode(self, log_probs: NDArray[np.float32], **pruning: Any) -> str:
        """The best text of one utterance, (frames, vocab).

        Raises:
            RuntimeError: the library's, as for no frames.
        """
        kept, _ = frames_to_search(log_probs, pruning["token_min_logp"])
        rows = np.ascontiguousarray(_prepare(log_probs[kept]), np.float32)
        library, error = self._capi.lib, ctypes.create_string_buffer(512)
        result = library.ctcbd_decode(
            self._handle, rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(rows), rows.shape[1],
            pruning["beam_width"], pruning["beam_prune_logp"], pruning["token_min_logp"],
            True, None, 0, 0.0, error, len(error),
        )  # fmt: skip
        if not result:
            raise RuntimeError(error.value.decode("utf-8", "replace"))
        # The binding's own `decode` first makes a list of words and frames of every beam: 7 % of the time on the twin,
        # and under the interpreter's lock, on which the other threads wait meanwhile.
        try:
            beams, words, size = ctypes.c_int32(), ctypes.c_int32(), ctypes.c_int32()
            library.ctcbd_sizes(result, ctypes.byref(beams), ctypes.byref(words), ctypes.byref(size))
            texts = ctypes.create_string_buffer(size.value + 1)
            library.ctcbd_pack(result, texts, None, None, None, None)
        finally:
            library.ctcbd_result_free(result)
        return texts.value.decode("utf-8")  # up to the first NUL: the best beam's

    def decode_beams(self, log_probs: NDArray[np.float32], **options: Any) -> list[tuple[Any, ...]]:
        """The beams of one utterance, best first: text, None, words with their frames, score of symbols, and of all."""
        kept, same_for_all = frames_to_search(log_probs, options["token_min_logp"])
        begins = [*kept.tolist(), len(log_probs)]
        return [
            (text, state, [(w, (begins[start], begins[end])) for w, (start, end) in words],
             symbols + same_for_all, score + same_for_all)
            for text, state, words, symbols, score in super().decode_beams(log_probs[kept], **options)
        ]  # fmt: skip


def frames_to_search(log_probs: NDArray[np.float32], token_min_logp: float) -> tuple[NDArray[np.int64], float]:
    """The frames that change the beams, and the score that the others add to every beam.

    Where a symbol alone is tried, and was alone in the frame before, each beam ends in that symbol already: none grows,
    none falls together with another, and the distances between them stay. Most are blanks in pauses.
    """
    alone = (log_probs >= token_min_logp - _ROUNDING).sum(axis=1) <= 1
    best = log_probs.argmax(axis=1)
    again = np.zeros(len(log_probs), bool)
    again[1:] = alone[1:] & alone[:-1] & (best[1:] == best[:-1])
    return np.flatnonzero(~again), float(log_probs[again].max(axis=1).sum(dtype=np.float64)) if again.any() else 0.0

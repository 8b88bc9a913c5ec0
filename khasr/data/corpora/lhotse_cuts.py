"""Lhotse's cuts: each supervision of a cut as the row of a table."""

from collections.abc import Iterator
from typing import Any

from khasr.data.tables import Row, Table

_COLUMNS = ["audio", "text", "speaker", "offset", "duration", "channel"]

FORMAT = "Lhotse cuts, a row for each supervision"

_TYPES = ("MonoCut", "MultiCut")


def flatten_cuts(table: Table) -> Table:
    """The table, or, if its rows are cuts, one with a row for each supervision.

    Its columns are audio, text, speaker, offset, duration and channel.
    """
    if not {"supervisions", "recording", "tracks"} & set(table.columns) or "type" not in table.columns:
        return table
    rows = [flat for row in table.rows for flat in ([row] if row.problem else _supervisions(row))]
    return Table(list(_COLUMNS), rows, FORMAT)


def _supervisions(row: Row) -> Iterator[Row]:
    cut = row.values
    problem = _problem(cut)
    if problem:
        yield Row(row.line, problem=problem)
        return
    for supervision in cut["supervisions"]:
        channel = supervision.get("channel", cut.get("channel", 0))
        channel = channel[0] if isinstance(channel, list) and len(channel) == 1 else channel
        source = next((s for s in cut["recording"]["sources"] if channel in s.get("channels", [])), None)
        if source is None or source.get("type") != "file":
            kind = f"audio of type {source.get('type')}" if source else f"no file for channel {channel}"
            yield Row(row.line, problem=f"its recording has {kind}; expected one audio file for each channel")
            continue
        yield Row(
            row.line,
            {
                "audio": source.get("source"),
                "text": supervision.get("text"),
                "speaker": supervision.get("speaker"),
                "offset": (cut.get("start") or 0) + (supervision.get("start") or 0),
                "duration": supervision.get("duration"),
                # Of a file with one channel, the channel is the recording.
                "channel": source["channels"].index(channel) if len(source["channels"]) > 1 else None,
            },
        )


def _problem(cut: dict[str, Any]) -> str:
    """Why a cut cannot be read; empty if it can."""
    recording, supervisions = cut.get("recording"), cut.get("supervisions")
    if cut.get("type") not in _TYPES:
        return f"a cut of type {cut.get('type')}; expected {' or '.join(_TYPES)}, cuts of one recording"
    if not isinstance(recording, dict) or not isinstance(recording.get("sources"), list):
        return "a cut without a recording; expected cuts that were made from recordings, not from features alone"
    if recording.get("transforms"):
        return "its recording has transforms (resampling, speed); Lhotse's `cuts.save_audios` writes the audio to files"
    if not isinstance(supervisions, list) or not supervisions:
        return "a cut without a supervision, which has the text"
    nested = [cut, *supervisions, *recording["sources"]]
    if not all(isinstance(inner, dict) for inner in nested):
        return "a supervision or source that is not a JSON object"
    times = [inner.get(key) for inner in (cut, *supervisions) for key in ("start", "duration")]
    if not all(value is None or type(value) in (int, float) for value in times):
        return "a start or duration that is not a number"
    if not all(isinstance(source.get("channels"), list) for source in recording["sources"]):
        return "a source without a list of channels"
    return ""

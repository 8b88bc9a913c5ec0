"""The audit of OpenSLR 42's transcripts, without its audio: python audit_transcripts.py line_index.tsv [SPLIT]."""

import sys
from pathlib import Path

from khasr.config import DataConfig, TextConfig
from khasr.data.audit import audit, describe
from khasr.data.audited import Audited
from khasr.data.splits import Row, split
from khasr.text.normalise import transcript


def main() -> None:
    """Prints the audit for a split."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    kind = sys.argv[2] if len(sys.argv) > 2 else "hf_seed42"
    fields = [line.split("\t") for line in lines]
    rows = [Row(f[0], f[0].split("_")[1], transcript(f[-1], TextConfig())) for f in fields]
    parts = split(rows, DataConfig(split=kind))
    part_of = {id_: part for part, ids in parts.items() for id_ in ids}
    print(
        describe(audit(f"openslr_km, {kind}", [Audited(r.id, r.speaker, r.text, part_of.get(r.id, "")) for r in rows]))
    )


if __name__ == "__main__":
    main()

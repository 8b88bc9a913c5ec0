"""Runs khasr's commands on hostile inputs and classifies what happens: `python experiments/hostile_inputs/fuzz.py`.

Every case is one call of a command's main function in a process forked from this one, which has imported everything.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "HYDRA_FULL_ERROR": "0", "TQDM_DISABLE": "1"}

import khasr  # noqa: I001  (before torch: it keeps OpenMP's threads from spinning)
import good
import khasr.decoding.beam
import khasr.inference.evaluation
import khasr.inference.transcription
import khasr.inference.tuning
import khasr.lm.build
import khasr.publish.export
import khasr.report
import khasr.training.fit
from audio import recordings
from case import PREPARE, Case
from run_files import run_folders
from tables import archives, manifests, tables
from khasr import build_lm, evaluate, export, prepare, sweep, transcribe, tune
from khasr.cli.run import guarded, plain_root, run
from khasr.cli.run_options import root_of_run
from khasr.config import FolderConfig
from khasr.data.corpora import read_corpus
from khasr.data.datamodule import CorpusDataModule
from khasr.training.task import train
from words import command_lines, language_models, sweep_files

MOST_MIB, MOST_SECONDS, MOST_WALL = 300, 20, 180
# What a recording may lack: the delay of an encoder, and a block of ADPCM.
TOLERANCE = 0.1
OUTCOMES = (
    "whole",
    "reported",
    "traceback",
    "silent loss",
    "several paragraphs",
    "control characters",
    "exit code",
    "memory",
    "slow",
    "crash",
)


def start(words: list[str]) -> None:
    """Calls the command; ends with SystemExit."""
    command, arguments = words[0], words[1:]
    sys.argv = [f"khasr.{command}", *arguments]
    match command:
        case "train":
            run("train", train, arguments=arguments)
        case "read":
            sys.exit(guarded(lambda: read(dict(word.split("=", 1) for word in arguments))))
        case "prepare":
            run("prepare", prepare.prepare, plain_root("prepare"), arguments)
        case "evaluate":
            run("evaluate", evaluate.evaluate, root_of_run("evaluate"), arguments)
        case "tune":
            run("tune", tune.tune, root_of_run("tune"), arguments)
        case "transcribe":
            sys.exit(guarded(transcribe.main))
        case "export":
            sys.exit(guarded(export.main))
        case "report":
            sys.exit(guarded(khasr.report.main))
        case "build_lm":
            sys.exit(guarded(build_lm.main))
        case "sweep":
            sys.exit(guarded(sweep.main))


def read(options: dict[str, str]) -> int:
    """Reads a corpus as all commands do, and writes the counts of an audit; without composing options, for speed."""
    root, table = options["data.root"], options.get("data.table", FolderConfig.table)
    config = FolderConfig(root=root, table=table, cache_dir=options["data.cache_dir"], on_error="skip")
    data = CorpusDataModule(config, seed=0)
    data.prepare(progress=False)
    samples = sum(sum(part.lengths) for part in data.parts.values())
    found = {
        "all": {"utterances": sum(map(len, data.parts.values())), "hours": samples / good.RATE / 3600},
        "left_out": {reason: {"utterances": n} for reason, n in Counter(f.reason for f in data.faults).items()},
    }
    out = Path(options["hydra.run.dir"])
    out.mkdir()
    (out / "audit.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def in_fork(words: list[str], folder: Path) -> tuple[int, float, float]:
    """Exit code (negative: signal), CPU seconds, and MiB over the start; output goes to files in the folder."""
    pid = os.fork()
    if pid == 0:
        code = 99
        os.setsid()
        try:
            os.chdir(folder)
            (folder / "resident").write_text(Path("/proc/self/statm").read_text().split()[1])
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115
            try:
                start(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + MOST_WALL
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    # Pages of this process that the child reads again count too, so this is an upper limit.
    resident = int((folder / "resident").read_text()) * os.sysconf("SC_PAGE_SIZE")
    mebibytes = max(0.0, (usage.ru_maxrss * 1024 - resident) / 2**20)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, mebibytes


def classify(case: Case, code: int, seconds: float, mebibytes: float, folder: Path, wer: float) -> str:
    """One of OUTCOMES."""
    out, err = ((folder / name).read_bytes() for name in ("stdout", "stderr"))
    if code < 0 or code == 99:
        return "slow" if code == -signal.SIGKILL else "crash"
    if b"Traceback (most recent call last)" in out + err:
        return "traceback"
    if any(byte < 0x20 and byte not in b"\n\t\r" for byte in out + err):
        return "control characters"
    if mebibytes > MOST_MIB and code != 0:
        return "memory"
    if seconds > MOST_SECONDS and code != 0:
        return "slow"
    if code not in (0, 1, 2):
        return "exit code"
    if code != 0:
        # Notes precede the error, and KenLM's progress; transcribe summarises after it.
        others = ("Note:", "Not read:", "usage:", "  ", "Loading the LM", "Reading ", "----", "****")
        lines = [line for line in err.decode("utf-8", "replace").splitlines() if line and not line.startswith(others)]
        return "reported" if lines and (len(lines) == 1 or case.command[0] == "transcribe") else "several paragraphs"
    return judge(case, folder, err, wer)


def judge(case: Case, folder: Path, err: bytes, wer: float) -> str:
    """Whether a command that ended with 0 used all of its input, or reported what it did not use."""
    if case.records is not None and (folder / "out" / "audit.json").is_file():
        audit = json.loads((folder / "out" / "audit.json").read_text(encoding="utf-8"))
        left_out = sum(group["utterances"] for group in audit["left_out"].values())
        if audit["all"]["utterances"] + left_out < case.records or not texts_are_whole(case, folder):
            return "silent loss"
        if left_out or b"Note:" in err:
            return "reported"
        if case.seconds is not None and 3600 * audit["all"]["hours"] < case.seconds + good_seconds() - TOLERANCE:
            return "silent loss"
    if case.same:
        found = json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))["rates"]["wer"]["rate"]
        return "whole" if found == wer else "reported" if err else "silent loss"
    return "reported" if err.strip() else "whole"


def texts_are_whole(case: Case, folder: Path) -> bool:
    """Whether each text of a tab-separated table is all of its field."""
    table = folder / "c" / "t.tsv"
    if case.kind != "table" or not table.is_file():
        return True
    content = table.read_bytes().decode("utf-8-sig")
    lines = (content if "\n" in content else content.replace("\r", "\n")).split("\n")
    found = read_corpus(FolderConfig(root=str(folder / "c"), table="t.tsv", on_error="skip")).utterances
    fields = [lines[int(utterance.source.rsplit(":", 1)[1]) - 1].split("\t") for utterance in found]
    return [utterance.text for utterance in found] == [
        field[lines[0].split("\t").index("text")].strip() for field in fields
    ]


def good_seconds() -> float:
    """Duration of the recordings that are beside the bad one."""
    return sum(len(text) for text in good.texts()) / 10


def cases(seed: int, folder: Path) -> Iterator[Case]:
    """All cases."""
    yield from run_folders(seed, folder / "run", folder / "lm")
    kinds: list[Callable[[int], Iterator[Case]]] = [
        recordings,
        tables,
        manifests,
        archives,
        command_lines,
        sweep_files,
        language_models,
    ]
    for kind in kinds:
        yield from kind(seed)


def main() -> None:
    """Runs the cases, writes results.csv, prints the counts by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", help="only these kinds; the other rows of the results stay")
    parser.add_argument("--faulty", action="store_true", help="only inputs that the results have with a bad outcome")
    parser.add_argument("--good", type=Path, help="folder for the good inputs, which is kept")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results.csv"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        work = Path(temporary)
        folder = (options.good or work / "good").resolve()
        os.environ["KHASR_CACHE"] = str(folder / "cache")
        if not folder.is_dir():
            write_good_inputs(folder)
        if (
            in_fork(["evaluate", f"run={folder}/run", "part=test", f"hydra.run.dir={work}/out", "resamples=100"], work)[
                0
            ]
            != 0
        ):
            raise SystemExit((work / "stderr").read_text())
        wer = json.loads((work / "out" / "evaluation.json").read_text(encoding="utf-8"))["rates"]["wer"]["rate"]
        rows = read_rows(options.results) if options.kind or options.faulty else {}
        try:
            for number, case in enumerate(cases(options.seed, folder)):
                key = (case.kind, _shown(case.name), case.command[0])
                good_before = key in rows and rows[key]["outcome"] in ("whole", "reported")
                if (options.kind and case.kind not in options.kind) or (options.faulty and good_before):
                    continue
                rows[key] = attempt(case, work / f"{number:04d}", folder, wer)
                print(*(str(x)[:160] for x in rows[key].values()), sep="\t", flush=True)
        finally:
            write_rows(options.results, list(rows.values()))
    print_counts(list(rows.values()))


Row = dict[str, object]


def read_rows(path: Path) -> dict[tuple[str, str, str], Row]:
    """The rows of earlier results, by kind, input and command."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["kind"], row["input"], row["command"]): dict(row) for row in csv.DictReader(file)}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes results.csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_good_inputs(folder: Path) -> None:
    """The good inputs, and the cache of a prepared corpus."""
    folder.mkdir(parents=True)
    good.write_good(folder)
    prepared = folder / "prepared"
    prepared.mkdir()
    good.write_corpus(prepared / "c")
    words = [word.replace("FOLDER", str(prepared)) for word in PREPARE]
    code, _, _ = in_fork(words, prepared)
    if code != 0:
        raise SystemExit((prepared / "stderr").read_text())
    shutil.rmtree(prepared / "out")


def attempt(case: Case, folder: Path, good_folder: Path, wer: float) -> Row:
    """Runs one case; a row of results.csv."""
    folder.mkdir()
    case.make(folder)
    words = [word.replace("FOLDER", str(folder)).replace("GOOD", str(good_folder)) for word in case.command]
    code, seconds, mebibytes = in_fork(words, folder)
    outcome = classify(case, code, seconds, mebibytes, folder, wer)
    message = next(iter(reversed((folder / "stderr").read_text("utf-8", "replace").strip().splitlines())), "")
    message = message.replace(str(folder), "FOLDER").replace(str(good_folder), "GOOD")
    message = message.replace(str(Path(khasr.__file__).parents[1]), "KHASR")[:300]
    if outcome not in ("whole", "reported"):
        keep = os.environ.get("KEEP_FAULTY")
        if keep:
            shutil.copytree(folder, Path(keep) / folder.name, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(folder)
    return {
        "kind": case.kind,
        "input": _shown(case.name),
        "command": case.command[0],
        "outcome": outcome,
        "exit code": code,
        "CPU s": round(seconds, 1),
        "MiB": round(mebibytes),
        "message": _shown(message),
    }


def _shown(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def print_counts(rows: list[Row]) -> None:
    """The counts of outcomes by kind, as Markdown."""
    counts = Counter((row["kind"], row["outcome"]) for row in rows)
    print(f"\n| kind | inputs | {' | '.join(OUTCOMES)} |\n|{' --- |' * (len(OUTCOMES) + 2)}")
    for kind in [*dict.fromkeys(row["kind"] for row in rows), None]:
        of = [sum(n for (k, o), n in counts.items() if o == outcome and kind in (None, k)) for outcome in OUTCOMES]
        print(f"| {kind or 'all'} | {sum(of)} | {' | '.join(map(str, of))} |")


if __name__ == "__main__":
    main()

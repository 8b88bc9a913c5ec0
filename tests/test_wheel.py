"""An installed wheel works: it contains conf/ and the licence."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_wheel(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = tmp_path.glob("khasr-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = (name for name in names if name.endswith("METADATA"))
    assert "License-Expression: Apache-2.0" in (tmp_path / "site" / metadata).read_text(encoding="utf-8")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # -P and PYTHONPATH: the wheel's khasr, not the checkout's.
    done = subprocess.run(
        [sys.executable, "-P", "-c",
         "import khasr.config as c, runpy, sys; print(c.CONF_DIR); sys.argv = ['khasr.train', '--cfg', 'job', 'model=tiny'];"
         "runpy.run_module('khasr.train', run_name='__main__', alter_sys=True)"],
        cwd=elsewhere, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    conf, _, composed = done.stdout.partition("\n")
    assert Path(conf) == tmp_path / "site" / "khasr" / "conf"
    assert "hidden_size: 144" in composed

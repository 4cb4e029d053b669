#!/usr/bin/env python3
"""A histogram log that dwell writes is opened by another implementation of HdrHistogram.

    tests/hlog.py DWELL LEDGER

Exports the ledger with DWELL, opens the log with the Python package `hdrhistogram` and compares
counts, medians and maxima with the JSON report of the same ledger. Ends with `SKIPPED hlog: why`
where the package cannot be had. Installs it into a virtual environment under $DWELL_CACHE.
"""
import json
import os
import pathlib
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("DWELL_CACHE") or pathlib.Path.home() / ".cache" / "dwell")


def interpreter():
    home = CACHE / "hdrhistogram"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "hdrhistogram"],
                       check=True, capture_output=True, timeout=120)
        (home / "ready").touch()
    return python


def export(dwell, ledger, form):
    done = subprocess.run([dwell, "report", "--ledger", ledger, "--format", form], capture_output=True, text=True)
    assert done.returncode in (0, 1, 3, 4), done.stderr
    return done.stdout


def compare(dwell, ledger):
    from hdrh.histogram import HdrHistogram

    report = json.loads(export(dwell, ledger, "json"))
    lines = export(dwell, ledger, "hlog").splitlines()
    assert "detected only" in lines[0], lines[0]
    found = {}
    for line in lines:
        if line.startswith("Tag="):
            tag, _, _, _, encoded = line.split(",")
            found[tag[4:]] = HdrHistogram.decode(encoded)
    wanted = {f"{r['name']}/{s['stage']}": s["spread"] for r in report["routes"] for s in r["stages"]}
    wanted["lateness"] = report["lateness"]
    assert found.keys() == wanted.keys() and found, (found.keys(), wanted.keys())
    for name, spread in wanted.items():
        histogram = found[name]
        n = spread["n"]
        assert histogram.get_total_count() == n, name
        # Of an even number the median lies between the two in the middle, of which a histogram gives one.
        below, above = (histogram.get_value_at_percentile(100 * rank / n) for rank in ((n + 1) // 2, n // 2 + 1))
        top = histogram.get_max_value()
        for least, ours, most in [(below, spread["p50_ns"], above), (top, spread["max_ns"], top)]:
            spare = ours * 0.002 + 1000
            assert least * 1000 - spare <= ours <= most * 1000 + spare, (name, least, ours, most)
    print(f"{len(found)} histograms are read alike")
    print("1 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    if os.environ.get("DWELL_HLOG_INSIDE"):
        compare(*sys.argv[1:3])
    else:
        try:
            python = interpreter()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"SKIPPED hlog: no Python package hdrhistogram ({type(error).__name__})")
            print("0 passed, 0 failed, 1 skipped")
            sys.exit(0)
        sys.exit(subprocess.run([str(python), __file__, *sys.argv[1:3]],
                                env={**os.environ, "DWELL_HLOG_INSIDE": "1"}).returncode)

#!/usr/bin/env bash
# How fast `dwell scan` is beside `rg -F -f` and `grep -F -f`, on the same lines, in one run.
#
#   tests/bench/scan.sh [MIB] [RUNS]          1024 MiB and 5 runs by default
#
# Start-up (reading patterns, opening the ledger) is measured on an empty file, and the rate is that
# of the lines alone: length / (median of the whole - median of the start-up), or nan where start-up
# hides them. On a machine that others use, look at the rate per second of processor time. dwell
# runs four times as often as the others, with both ledgers in turn. Files are in the page cache,
# output goes to a file (grep stops early when it is /dev/null). dwell looks for all forms of a
# token, the others for one form. grep gets only the first 64 MiB with 1,000,000 patterns.
#
# Passes when dwell is at least 10 times as fast as rg with 10,000 canaries, when 1,000,000 canaries
# cost it at most 10 % of its rate, and when all three find the same number of lines.
set -euo pipefail
cd "$(dirname "$0")/../.."
mib=${1:-1024} runs=${2:-5}
for tool in rg grep python3; do
    command -v "$tool" >/dev/null || { echo "SKIP: $tool is not installed"; exit 77; }
done
# DWELL and SCAN_CORPUS name binaries that are there already.
if [ -z "${DWELL:-}" ] || [ -z "${SCAN_CORPUS:-}" ]; then
    cargo build --release -q --bin dwell --example scan_corpus
    target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
fi
dwell=${DWELL:-$target/release/dwell} make=${SCAN_CORPUS:-$target/release/examples/scan_corpus}
work=$(mktemp -d "${TMPDIR:-/tmp}/scan-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

for canaries in 10000 1000000; do
    "$make" ledger "$work/$canaries" "$canaries"
done
# The lines hold canaries that both ledgers know.
"$make" lines "$work/10000" "$mib" 10000 >"$work/lines"
head -c $((64 << 20)) "$work/lines" >"$work/some"
: >"$work/empty"
cat "$work/lines" >/dev/null

python3 - "$work" "$dwell" "$runs" <<'PY'
import json, os, statistics, subprocess, sys, time

work, dwell, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
env = dict(os.environ, LC_ALL="C")


def command(tool, canaries, file):
    folder = f"{work}/{canaries}"
    if tool == "dwell":
        return [dwell, "-c", f"{folder}/dwell.toml", "scan", file]
    flags = ["--no-config", "-a", "--regex-size-limit=8G"] if tool == "rg" else ["-a"]
    return [tool, *flags, "-F", "-f", f"{folder}/patterns", file]


def once(tool, canaries, file):
    """Wall clock and processor seconds of one run."""
    start = time.monotonic()
    with open(f"{work}/out", "wb") as out:
        quiet = subprocess.DEVNULL if tool == "dwell" else None
        child = subprocess.Popen(command(tool, canaries, file), stdout=out, stderr=quiet, env=env)
        _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1) or (tool == "dwell" and child.returncode):
        sys.exit(f"{tool} ended with {child.returncode}")
    return wall, used.ru_utime + used.ru_stime


def seconds(tool, cases, times):
    """Medians for each case; the cases take turns, so that a busy moment hits all of them."""
    taken = {case: [] for case in cases}
    for _ in range(times):
        for case in cases:
            taken[case].append(once(tool, *case))
    return {case: tuple(map(statistics.median, zip(*all))) for case, all in taken.items()}


def found(tool, canaries, file):
    if tool == "dwell":
        asked = [dwell, "--json", "-c", f"{work}/{canaries}/dwell.toml", "scan", file]
        counts = json.loads(subprocess.check_output(asked, env=env))["counts"]
        # The account stands twice in a line.
        return counts["ours"] // 2 if not counts["unknown"] + counts["forged"] else -1
    return int(subprocess.check_output(command(tool, canaries, file)[:-1] + ["-c", file], env=env))


size = os.path.getsize(f"{work}/lines") / 2**20
print(f"{size:.0f} MiB of alert lines, medians of {runs} runs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
print(f"{'tool':8} {'canaries':>9} {'start-up':>10} {'whole':>10} {'rate MiB/s':>11} {'per cpu s':>10} {'lines':>7}")
rate, busy, hits = {}, {}, {}


def per_second(length, start, whole):
    # A start-up that hides the lines leaves nothing to divide by.
    return length / (whole - start) if whole > 1.1 * start else float("nan")


for tool in ("dwell", "rg", "grep"):
    many = "some" if tool == "grep" else "lines"
    cases = [(10_000, "empty"), (10_000, "lines"), (1_000_000, "empty"), (1_000_000, many)]
    cases = [(canaries, f"{work}/{file}") for canaries, file in cases]
    took = seconds(tool, cases, 4 * runs + 1 if tool == "dwell" else min(runs, 3))
    for (empty, lines) in (cases[:2], cases[2:]):
        canaries, file = lines
        length = os.path.getsize(file) / 2**20
        start, whole = took[empty], took[lines]
        rate[tool, canaries], busy[tool, canaries] = (
            per_second(length, s, w) for s, w in zip(start, whole)
        )
        hits[tool, canaries] = found(tool, canaries, file)
        note = "" if file.endswith("/lines") else f"  (first {length:.0f} MiB)"
        print(f"{tool:8} {canaries:9} {start[0]:9.3f}s {whole[0]:9.3f}s {rate[tool, canaries]:11.0f} {busy[tool, canaries]:10.0f} {hits[tool, canaries]:7}{note}", flush=True)

print()
failed = 0


def check(name, good):
    global failed
    failed += not good
    print(f"{'PASS' if good else 'FAIL'}  {name}")


for other in ("rg", "grep"):
    for canaries in (10_000, 1_000_000):
        print(f"      dwell / {other} -F -f at {canaries}: {rate['dwell', canaries] / rate[other, canaries]:.1f} x"
              f" ({busy['dwell', canaries] / busy[other, canaries]:.1f} x by processor time)")
ratio = rate["dwell", 10_000] / rate["rg", 10_000]
check(f"at least 10 x rg -F -f with 10,000 canaries: {ratio:.1f} x", ratio >= 10)
kept = rate["dwell", 1_000_000] / rate["dwell", 10_000]
of_cpu = busy["dwell", 1_000_000] / busy["dwell", 10_000]
check(f"1,000,000 canaries within 10 % of 10,000: {100 * kept:.1f} % ({100 * of_cpu:.1f} % by processor time)", kept >= 0.9)
whole = {hits[t, c] for t, c in hits if (t, c) != ("grep", 1_000_000)}
check(f"all found the same lines: {sorted(whole)}", len(whole) == 1 and whole != {0})
sys.exit(1 if failed else 0)
PY

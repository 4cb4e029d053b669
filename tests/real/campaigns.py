"""Campaigns through real services. Each test starts what it needs, runs `dwell run` as a user
would, and judges the JSON report together with an oracle of its own (the service's own records).

Run by `tests/real/run`, which installs the services and closes with `N passed, N failed`.
"""

import datetime
import json
import math
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from services import ElastAlert, Kafka, OpenSearch, Rsyslog, Service, apt, free_port, http, say, shipped, wait_for

DWELL = os.environ.get("DWELL_BIN", "target/release/dwell")
OUTCOMES = ["detected", "late", "missed", "undelivered", "indeterminate", "pending"]


class Failed(AssertionError):
    pass


def check(truth, text):
    if not truth:
        raise Failed(text)


def dwell(folder, *arguments, ok=(0,), timeout=300):
    done = subprocess.run([DWELL, *arguments], cwd=folder, capture_output=True, text=True, timeout=timeout)
    if done.returncode not in ok:
        raise Failed(f"dwell {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}\n{done.stdout[-2000:]}")
    return done.stdout


def prepare(folder, config):
    (folder / "dwell.toml").write_text(config)
    dwell(folder, "key", "new", "--file", str(folder / "dwell.key"))


def export(folder):
    """Every row of the ledger, by kind."""
    rows = {}
    for line in dwell(folder, "ledger", "export").splitlines():
        row = json.loads(line)
        body = row.get("row", row)
        rows.setdefault(body["k"], []).append(body)
    return rows


def report(folder):
    return json.loads(dwell(folder, "report", "--format", "json", ok=(0, 1, 3, 4)))


def verdicts(folder):
    """CSV rows of the report: one per canary and expectation."""
    import csv
    import io
    return list(csv.DictReader(io.StringIO(dwell(folder, "report", "--format", "csv", ok=(0, 1, 3, 4)))))


def by(rows, **wanted):
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def seconds(rows, column="ttd_upper_s"):
    return [float(r[column]) for r in rows if r.get(column)]


COMMON = """
[ledger]
path = "dwell.db"
[key]
file = "dwell.key"
"""


def route(name, recipe, injector, enters_at, count, proof, *expectations):
    """A route of the lab, whose caps are out of the way."""
    return f"""
[[route]]
name = "{name}"
recipe = "{recipe}"
injector = "{injector}"
enters_at = "{enters_at}"
owner = "lab"
count = {count}
cap_per_hour = 1000
cap_per_day = 1000
proof = "{proof}"
response = "none"
""" + "".join(expectations)


def expect(stage, watcher, deadline, horizon, rule=None):
    rules = f'rules = ["{rule}"]\n' if rule else ""
    return f"""[[route.expect]]
stage = "{stage}"
watchers = ["{watcher}"]
{rules}deadline = "{deadline}"
horizon = "{horizon}"
"""


def begun(folder, *options):
    """`dwell run` at work, for tests that do something meanwhile."""
    return subprocess.Popen([DWELL, "run", *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(run, codes, timeout):
    _, err = run.communicate(timeout=timeout)
    check(run.returncode in codes, f"run ended with {run.returncode}: {err[-2000:]}")


# Beside the collector's snippet that is shipped: two further formats.
FURTHER_TOPICS = """
template(name="cloud" type="string" string="{{\\"@timestamp\\":\\"%timegenerated:::date-rfc3339%\\",%rawmsg:2:$%")
template(name="line" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="message" name="rawmsg" format="jsonf")
}}
ruleset(name="cloud") {{ action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" searchIndex="logs-cloud" searchType="" template="cloud" bulkmode="on" queue.type="linkedList" queue.dequeueBatchSize="1" action.resumeRetryCount="-1") }}
ruleset(name="line") {{ action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" searchIndex="logs-line" searchType="" template="line" bulkmode="on" queue.type="linkedList" queue.dequeueBatchSize="1" action.resumeRetryCount="-1") }}
input(type="imkafka" topic="logs-cloud" broker="{brokers}" consumergroup="rsyslog" ruleset="cloud")
input(type="imkafka" topic="logs-line" broker="{brokers}" consumergroup="rsyslog" ruleset="line")
"""

RULE = """
name: {name}
type: any
index: {index}
filter: [{{query: {{query_string: {{query: '{query}'}}}}}}]
realert: {{minutes: 0}}
alert: [post2]
http_post2_url: "http://127.0.0.1:{port}/hook"
http_post2_all_values: true
http_post2_payload: {payload}
http_post2_headers: {{Authorization: "Bearer {secret}"}}
"""

RULES = {
    "windows-account-created": ("logs-ecs", 'event.code:4720'),
    "console-login-failure": ("logs-cloud", 'eventName:ConsoleLogin AND errorMessage:"Failed authentication"'),
    "sshd-failed-password": ("logs-line", 'message:"Failed password for invalid user"'),
}
ROUTES = {
    "windows": ("account-abuse/windows-4720-account-created", "logs-ecs", "windows-account-created"),
    "cloudtrail": ("fake-login/cloudtrail-console-login-failure", "logs-cloud", "console-login-failure"),
    "ssh": ("fake-login/sshd-failed-password", "logs-line", "sshd-failed-password"),
}
SECRET = "lab-webhook-secret-0123456789"


def pipeline_config(kafka, opensearch, hook, count, window, deadline, horizon):
    text = COMMON + f"""
[campaign]
name = "lab"
window = "{window}"
seed = 7
[[watcher]]
name = "index"
type = "poll"
url = "{opensearch.url}"
dialect = "opensearch"
every = "500ms"
overlap = "30s"
vars = {{ index = "logs-*" }}
stage = "ingested"
[[watcher]]
name = "elastalert-index"
type = "poll"
url = "{opensearch.url}"
dialect = "elastalert2-index"
every = "500ms"
overlap = "60s"
vars = {{ index = "alerts" }}
stage = "detected"
[[watcher]]
name = "hook"
type = "webhook"
listen = "127.0.0.1:{hook}"
path = "/hook"
dialect = "elastalert2"
stage = "notified"
auth = {{ type = "bearer", secrets = [{{ env = "LAB_HOOK_SECRET" }}] }}
"""
    for topic in sorted({topic for _, topic, _ in ROUTES.values()}):
        text += f"""
[[injector]]
name = "{topic}"
type = "kafka"
brokers = ["{kafka.brokers}"]
topic = "{topic}"
"""
    for name, (recipe, topic, rule) in ROUTES.items():
        text += route(name, recipe, topic, "broker", count, "replicated",
                      expect("ingested", "index", "10s", horizon),
                      expect("detected", "elastalert-index", deadline, horizon, rule),
                      expect("notified", "hook", deadline, horizon, rule))
    return text


class Pipeline:
    """Kafka -> rsyslog -> OpenSearch, ready to be asked by ElastAlert 2."""

    def __init__(self, folder):
        self.folder = folder
        self.kafka = self.opensearch = self.rsyslog = None

    def __enter__(self):
        self.kafka = Kafka(self.folder)
        self.opensearch = OpenSearch(self.folder)
        starting = threading.Thread(target=self.opensearch.start)
        starting.start()
        self.kafka.start()
        for topic in ("logs-ecs", "logs-cloud", "logs-line"):
            self.kafka.topic(topic)
        starting.join()
        template = {"index_patterns": ["logs-*", "alerts*"], "template": {"settings": {
            "number_of_replicas": 0, "refresh_interval": "1s"}}}
        http("PUT", f"{self.opensearch.url}/_index_template/lab", json.dumps(template))
        self.empty()
        config = shipped("siem/rsyslog-kafka-opensearch.conf", {
            'broker="127.0.0.1:9092"': f'broker="{self.kafka.brokers}"',
            'serverport="9200"': f'serverport="{self.opensearch.port}"'})
        config += FURTHER_TOPICS.format(port=self.opensearch.port, brokers=self.kafka.brokers)
        self.rsyslog = Rsyslog(self.folder, config)
        self.rsyslog.start(lambda: True)
        return self

    def empty(self):
        """Fresh indices: no rule matches again what an earlier test left."""
        http("DELETE", f"{self.opensearch.url}/logs-*,alerts*", timeout=60)
        for index in ("logs-ecs", "logs-cloud", "logs-line"):
            http("PUT", f"{self.opensearch.url}/{index}", json.dumps(
                {"mappings": {"properties": {"@timestamp": {"type": "date"}}}}))

    def __exit__(self, *_):
        for service in (self.rsyslog, self.opensearch, self.kafka):
            if service is not None:
                service.stop()


def elastalert(pipeline, folder, hook, broken=()):
    """ElastAlert 2 with a rule a log; those of `broken` have a payload that fails to render."""
    rules = {}
    for name, (index, query) in RULES.items():
        # Every value of the match goes out, but the rule's name only if it is asked for.
        payload = '{broken: "{{ nothing.at.all }}"}' if name in broken else f"{{rule_name: {name}}}"
        rules[name] = RULE.format(name=name, index=index, query=query, port=hook, secret=SECRET, payload=payload)
    return ElastAlert(folder, pipeline.opensearch, rules)


def explained(rows):
    for row in rows:
        check(row["outcome"] in OUTCOMES, f"an outcome that is none: {row}")
        check(row["outcome"] == "detected" or row["reason"], f"not explained: {row}")
    check(not by(rows, outcome="pending"), "something is still pending after the run")


def run_beside(engine, folder, *options, **more):
    """A check and a run while ElastAlert is at work; the run's verdicts, each of them explained."""
    engine.start()
    try:
        dwell(folder, "check", "--connect")
        dwell(folder, "run", *options, **more)
    finally:
        engine.stop()
    rows = verdicts(folder)
    explained(rows)
    return rows


def all_in_time(rows, n):
    check(len(rows) == n * 3, f"{len(rows)} verdicts for {n} canaries and 3 expectations")
    for stage in ("ingested", "detected", "notified"):
        of_stage = by(rows, stage=stage)
        found = by(of_stage, outcome="detected")
        check(len(found) == n, f"{stage}: only {len(found)} of {len(of_stage)} in time: "
              f"{[(r['outcome'], r['reason']) for r in of_stage if r['outcome'] != 'detected'][:5]}")


def test_pipeline_end_to_end(pipeline, folder):
    """(a) Kafka -> rsyslog -> OpenSearch -> ElastAlert 2 -> webhook, >= 40 canaries, three recipes."""
    hook = free_port()
    prepare(folder, pipeline_config(pipeline.kafka, pipeline.opensearch, hook, 14, "50s", "30s", "60s"))
    rows = run_beside(elastalert(pipeline, folder, hook), folder)
    all_in_time(rows, 42)
    stage_times(rows)
    compare_with_elastalert(pipeline, folder, rows)


def stage_times(rows):
    """In the order of the stages, in the middle and canary by canary. ElastAlert posts first and
    writes its index afterwards; whoever was told was told of a detection, so the two times are one.
    """
    medians = {s: statistics.median(seconds(by(rows, stage=s))) for s in ("ingested", "detected", "notified")}
    say(f"TTD medians (s, upper bounds, n = 42): {medians}")
    check(medians["ingested"] < medians["detected"] <= medians["notified"], f"stage times out of order: {medians}")
    for token in {r["token"] for r in rows}:
        stage = {r["stage"]: r for r in by(rows, token=token)}
        check(set(stage) == set(medians), f"stages of {token}: {sorted(stage)}")
        lower = {s: float(r["ttd_lower_s"]) for s, r in stage.items()}
        upper = {s: float(r["ttd_upper_s"]) for s, r in stage.items()}
        check(all(0 <= lower[s] <= upper[s] for s in stage), f"an interval upside down: {stage}")
        check(lower["ingested"] <= upper["detected"] <= upper["notified"], f"out of order: {stage}")
        check(all(stage[s]["rule"] in RULES for s in ("detected", "notified")), f"another rule: {stage}")


def elastalerts_own(pipeline):
    """The alerts in ElastAlert's own index."""
    http("POST", f"{pipeline.opensearch.url}/alerts/_refresh")
    _, text = http("GET", f"{pipeline.opensearch.url}/alerts/_search?size=1000&q=_exists_:alert_time")
    return [h["_source"] for h in json.loads(text)["hits"]["hits"]]


def submissions(exported):
    """When each canary's first event was handed over, wall nanoseconds."""
    return {str(r["c"]): r["t"][0] for r in exported["receipt"] if r["e"] == 0}


def compare_with_elastalert(pipeline, folder, rows):
    """Our times against ElastAlert's own alert time, canary by canary."""
    alerts = elastalerts_own(pipeline)
    check(len(alerts) == 42, f"ElastAlert's own index holds {len(alerts)} alerts")
    exported = export(folder)
    first = {}
    for sighting in exported["sighting"]:
        key = (sighting["w"], str(sighting["c"]))
        first[key] = min(first.get(key, sighting["t"][0]), sighting["t"][0])
    submitted = submissions(exported)
    ids = {token_of(exported, row): row for row in by(rows, stage="detected")}
    seen, detected = [], []
    for canary, row in ids.items():
        own = [a for a in alerts if row["token"] in json.dumps(a["match_body"])]
        check(len(own) == 1, f"ElastAlert alerted {len(own)} times on {row['token']}")
        check(own[0]["rule_name"] == row["rule"], f"ElastAlert names {own[0]['rule_name']}: {row}")
        at = wall_ns(own[0]["alert_time"])
        check(submitted[canary] < at, f"an alert older than its canary: {row}")
        seen.append((first["elastalert-index", canary] - at) / 1e9)
        ours = min(first["elastalert-index", canary], first["hook", canary])
        reported = submitted[canary] + float(row["ttd_upper_s"]) * 1e9
        # Times are taken on the clock since boot; the wall clock may be slewed against it. The
        # upper bound of a push holds the millisecond that the watcher states.
        check(abs(reported - ours) < 5_000_000, f"the report's time is not the first sighting's: {row}")
        detected.append((reported - at) / 1e9)
    say(f"index seen minus ElastAlert's own alert time, s: median {statistics.median(seen):.3f}, "
        f"from {min(seen):.3f} to {max(seen):.3f}, n = {len(seen)}")
    say(f"`detected` minus ElastAlert's own alert time, s: median {statistics.median(detected):.3f}, "
        f"from {min(detected):.3f} to {max(detected):.3f}, n = {len(detected)}")
    # A refresh each second and a look each half second, on a machine that may be busy.
    check(0 <= min(seen) and max(seen) < 5, "the index was not seen within 5 s of the alert")
    # ElastAlert stamps an alert and posts it at once.
    check(0 <= min(detected) and max(detected) < 1, "`detected` is not within a second of ElastAlert's stamp")


def token_of(exported, row):
    """The canary of a row (`c1.10`), as the ledger's export spells it."""
    return str([int(part) for part in row["canary"].removeprefix("c").split(".")])


def wall_ns(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1e6) * 1000


def test_rule_disabled_in_silence(pipeline, folder):
    """(b) a rule whose payload fails to render: ElastAlert disables it and tells nobody."""
    hook, broken = free_port(), "windows-account-created"
    prepare(folder, pipeline_config(pipeline.kafka, pipeline.opensearch, hook, 8, "20s", "20s", "30s"))
    pipeline.empty()
    engine = elastalert(pipeline, folder, hook, broken=[broken])
    rows = run_beside(engine, folder, "--until-horizon", ok=(1,))
    check(f"Rule {broken} disabled" in engine.tail(100_000), "ElastAlert did not disable the rule")
    check(len(rows) == 24 * 3, f"{len(rows)} verdicts for 24 canaries and 3 expectations")
    check(len(by(rows, stage="ingested", outcome="detected")) == 24, "not everything was ingested")
    for stage in ("detected", "notified"):
        silent = by(rows, stage=stage, route="windows")
        check(len(silent) == 8, f"{len(silent)} verdicts at {stage}")
        check(all(r["outcome"] == "missed" and r["last_stage"] == "ingested" for r in silent),
              f"not missed at ingested: {[(r['outcome'], r['last_stage'], r['reason']) for r in silent]}")
        others = [r for r in by(rows, stage=stage) if r["route"] != "windows"]
        check(len(others) == 16 and all(r["outcome"] == "detected" for r in others),
              f"a sound rule did not fire: {[(r['outcome'], r['reason']) for r in others]}")
    said = next(r["reason"] for r in by(rows, stage="detected", route="windows"))
    say(f"disabled in silence: 8 of 8 missed, last stage ingested ({said}); the other 16 detected")


def test_shipped_files(pipeline, folder):
    """(f) what `docker-compose.yml` mounts and users copy: the collector's snippet, ElastAlert's
    settings, the rule and the campaign. Changed are ports, and what makes the campaign long: its
    window, the gap between canaries and the deadlines."""
    hook = free_port()
    prepare(folder, shipped("siem-opensearch-elastalert.toml", {
        '"127.0.0.1:9092"': f'"{pipeline.kafka.brokers}"', '"http://127.0.0.1:9200"': f'"{pipeline.opensearch.url}"',
        '"127.0.0.1:8099"': f'"127.0.0.1:{hook}"', 'window = "30m"': 'window = "30s"', 'min_gap = "30s"': 'min_gap = "1s"',
        '"2m"': '"40s"', '"3m"': '"40s"'}))
    rule = shipped("siem/elastalert-rule.yaml", {"http://127.0.0.1:8099/hook": f"http://127.0.0.1:{hook}/hook"})
    pipeline.empty()
    rows = run_beside(ElastAlert(folder, pipeline.opensearch, {"windows-failed-logon": rule}), folder)
    all_in_time(rows, 14)
    for row in rows:
        check(row["stage"] == "ingested" or row["rule"] == "windows-failed-logon", f"another rule: {row}")
    dated_by_elastalert(pipeline, folder, rows)
    say(f"shipped files: 14 of 14 in time at each of 3 stages; detected, median {statistics.median(seconds(by(rows, stage='detected'))):.2f} s")


def dated_by_elastalert(pipeline, folder, rows):
    """The shipped campaign says that ElastAlert shares our clock: its alerts' own times are the times to detect."""
    detected = next(e for r in report(folder)["routes"] for e in r["expectations"] if e["stage"] == "detected")
    dated = detected["dated"]
    check(dated == {"of": 14, "by_record": 14, "contradicted": 0, "bound_ns": 0}, f"not all dated: {dated}")
    check(any("14 of 14 times are the alert's own creation time" in n for n in detected["notes"]), f"notes: {detected['notes']}")
    alerts = elastalerts_own(pipeline)
    exported = export(folder)
    submitted = submissions(exported)
    instants = [wall_ns(alert["alert_time"]) for alert in alerts]
    for row in by(rows, stage="detected"):
        lower, upper = float(row["ttd_lower_s"]) * 1e9, float(row["ttd_upper_s"]) * 1e9
        apart = min(abs(at - submitted[token_of(exported, row)] - lower) for at in instants)
        # Told to a microsecond, and widened by what a clock drifts until the next look; the wall clock
        # may be slewed against the clock since boot.
        check(upper - lower <= 10_000_000 and apart < 5_000_000, f"{apart} ns from the next alert: {row}")


def test_more_than_a_page_can_hold(pipeline, folder):
    """(i) 12,000 documents of few instants over 3 shards, more than a server pages through by offset:
    each shard counts its own sequence, so that three documents tie at every number. Tokens lie where
    a page that goes on after a tie would skip; one look reads all of it and finds each of them."""
    server, documents, page = pipeline.opensearch, 12_000, 1_000
    # The first is skipped at the end of page one; what is skipped there moves the end of the next.
    marked = [i for k in range(1, documents // page) for i in range(k * page - 3, k * page + 2 * k + 3)]
    for index in ("crowd-none", "crowd-all"):
        http("PUT", f"{server.url}/{index}", json.dumps({
            "settings": {"number_of_shards": 3, "number_of_replicas": 0, "refresh_interval": "-1"},
            "mappings": {"properties": {"@timestamp": {"type": "date"}}}}))
    alias(server, add="crowd-none")
    log = folder / "events.json"
    log.touch()
    prepare(folder, COMMON + f"""
[campaign]
name = "crowd"
window = "2s"
[[injector]]
name = "log"
type = "file"
path = "events.json"
[[watcher]]
name = "index"
type = "poll"
url = "{server.url}"
dialect = "opensearch"
every = "500ms"
overlap = "10m"
vars = {{ index = "crowd" }}
stage = "ingested"
""" + route("windows", "account-abuse/windows-4720-account-created", "log", "host-log", len(marked), "written",
                    expect("ingested", "index", "45s", "60s")))
    # It ends with the last token: before any deadline that an objective waits for, or at the horizon.
    run = begun(folder, "--until-horizon")
    wait_for("the events", lambda: log.read_text().count("\n") == len(marked), 60, run)
    fill_shards(server, documents, dict(zip(marked, map(json.loads, log.read_text().splitlines()))))
    ended(run, (0, 1, 4), 120)
    skipped = documents - len(paged_without_ties(server, page))
    check(skipped > 0, "no tie lies at the end of a page: this test proves nothing")
    rows = verdicts(folder)
    lost = [r["token"] for r in rows if r["outcome"] != "detected"]
    check(len(rows) == len(marked) and not lost, f"{len(lost)} of {len(rows)} tokens were not found: {lost[:5]}")
    exported = export(folder)
    check(len(exported["sighting"]) == len(marked), f"{len(exported['sighting'])} sightings of {len(marked)} tokens")
    check("blind" not in exported, f"blind: {exported.get('blind')}")
    brought = {tuple(s["t"]): tuple(s["b"]) for s in exported["sighting"]}
    check(len(set(brought.values())) == 1, f"the tokens came with {len(set(brought.values()))} looks")
    looks = [l for l in exported["look"] if l["c"] and l["n"] >= documents]
    check(looks, f"no complete look read {documents} records: {[(l['c'], l['n']) for l in exported['look']]}")
    say(f"{documents} documents, {len(marked)} tokens: all found, by a look that read {looks[0]['n']} records; "
        f"paging on after the last one alone skips {skipped} documents")


def alias(server, **actions):
    """Where the name `crowd` leads, changed at one blow."""
    body = {"actions": [{action: {"index": index, "alias": "crowd"}} for action, index in actions.items()]}
    http("POST", f"{server.url}/_aliases", json.dumps(body))


def fill_shards(server, documents, marked):
    """Puts them in turn on each shard, by `_bulk`, and then shows all of them at once: document `i` has
    number `i // 3` on its shard. Thousands share one instant. Those of `marked` are ours."""
    routing = {}
    for word in map(str, range(100)):
        _, text = http("GET", f"{server.url}/crowd-all/_search_shards?routing={word}")
        routing.setdefault(json.loads(text)["shards"][0][0]["shard"], word)
        if len(routing) == 3:
            break
    words, now = list(routing.values()), datetime.datetime.now(datetime.timezone.utc)
    for first in range(0, documents, 4_000):
        lines = []
        for i in range(first, first + 4_000):
            at = now + datetime.timedelta(milliseconds=i // 5_000)
            stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            lines.append(json.dumps({"create": {"_id": f"d{i}", "routing": words[i % 3]}}))
            lines.append(json.dumps({**marked.get(i, {"message": f"line {i}"}), "@timestamp": stamp}))
        _, text = http("POST", f"{server.url}/crowd-all/_bulk", "\n".join(lines) + "\n", "application/x-ndjson", timeout=60)
        check(not json.loads(text)["errors"], f"_bulk: {text[:500]}")
    http("POST", f"{server.url}/crowd-all/_refresh", timeout=60)
    _, text = http("GET", f"{server.url}/crowd-all/_count")
    check(json.loads(text)["count"] == documents, f"the index holds {text}")
    alias(server, add="crowd-all", remove="crowd-none")


def paged_without_ties(server, page):
    """What a reader finds who asks for what comes after the last document, and knows of no ties."""
    found, ask = set(), {"size": page, "_source": False, "sort": [{"@timestamp": "asc"}, {"_seq_no": "asc"}]}
    while True:
        _, text = http("POST", f"{server.url}/crowd/_search", json.dumps(ask))
        hits = json.loads(text)["hits"]["hits"]
        found.update(hit["_id"] for hit in hits)
        if len(hits) < page:
            return found
        ask["search_after"] = hits[-1]["sort"]


def certificates(folder):
    apt("openssl")
    run = lambda *a: subprocess.run(["openssl", *a], cwd=folder, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=lab ca")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "server.pem", "-extfile", "ext")


def test_syslog_over_tls(folder):
    """(c) syslog over TLS into rsyslog to a file."""
    certificates(folder)
    port, target = free_port(), folder / "received.log"
    target.touch()
    server = Rsyslog(folder, f"""
global(defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{folder}/ca.pem"
       defaultNetstreamDriverCertFile="{folder}/server.pem" defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="raw" type="string" string="%timereported:::date-rfc3339% %hostname% %syslogtag%%msg%\\n")
ruleset(name="in") {{ action(type="omfile" file="{target}" template="raw") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="in")
""", name="rsyslog-tls")
    server.start(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)
    try:
        prepare(folder, COMMON + f"""
[campaign]
name = "tls"
window = "5s"
[[injector]]
name = "collector"
type = "syslog"
to = {{ type = "tls", address = "127.0.0.1:{port}", server_name = "localhost", ca_file = "{folder}/ca.pem" }}
format = "rfc5424"
[[watcher]]
name = "file"
type = "file"
path = "{target}"
dialect = "lines"
stage = "ingested"
""" + route("ssh", "fake-login/sshd-failed-password", "collector", "collector", 20, "queued",
                    expect("ingested", "file", "5s", "20s")))
        dwell(folder, "run", ok=(0,))
    finally:
        server.stop()
    rows = verdicts(folder)
    check(len(by(rows, outcome="detected")) == 20, f"not all arrived: {[r['outcome'] for r in rows]}")
    received = target.read_text().splitlines()
    check(len(received) == 20, f"the server wrote {len(received)} lines for 20 canaries")
    for row in rows:
        check(sum(row["token"] in line for line in received) == 1, f"not once in the server's file: {row}")
    say(f"syslog over TLS: median {statistics.median(seconds(rows)) * 1000:.1f} ms, n = {len(rows)}")


def test_broker_killed(folder):
    """(d) the broker is killed with -9 and restarted in mid-campaign: nothing accepted is lost."""
    kafka = Kafka(folder).start()
    try:
        kafka.topic("logs")
        prepare(folder, COMMON + f"""
[campaign]
name = "kill"
window = "40s"
deliver_timeout = "5s"
[[injector]]
name = "broker"
type = "kafka"
brokers = ["{kafka.brokers}"]
topic = "logs"
[[watcher]]
name = "topic"
type = "kafka"
brokers = ["{kafka.brokers}"]
topic = "logs"
dialect = "json"
stage = "ingested"
""" + route("console", "fake-login/cloudtrail-console-login-failure", "broker", "broker", 200, "replicated",
                    expect("ingested", "topic", "20s", "60s")))
        run = begun(folder)
        time.sleep(12)
        kafka.kill()
        time.sleep(3)
        kafka.start()
        ended(run, (0, 1, 3, 4), 180)
        dump = kafka.java("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", kafka.brokers,
                          "--topic", "logs", "--from-beginning", "--timeout-ms", "5000", timeout=60).stdout
    finally:
        kafka.stop()
    exported = export(folder)
    accepted = {str(r["c"]) for r in exported["receipt"] if "accepted" in r["o"]}
    unknown = [r for r in exported["receipt"] if "unknown" in r["o"]]
    left = json.loads(dwell(folder, "leftovers", "--json"))
    certain = {r["token"] for r in left["leftovers"] if r["receipt"] == "accepted"}
    lost = [t for t in certain if t not in dump]
    check(len(accepted) >= 100, f"only {len(accepted)} accepted")
    check(len(certain) == len(accepted), f"{len(certain)} leftovers are told as accepted, {len(accepted)} were")
    twice = [t for t in certain if sum(t in line for line in dump.splitlines()) > 1]
    check(not twice, f"{len(twice)} canaries are in the topic more than once")
    check(not lost, f"{len(lost)} accepted canaries are not in the topic")
    rows = verdicts(folder)
    explained(rows)
    check(len(rows) == 200 - sum(w["slots"] for w in exported.get("withdrawn", [])), "canaries not accounted for")
    say(f"broker killed: {len(accepted)} accepted, 0 lost, {len(unknown)} of unknown result; "
        f"outcomes { {o: len(by(rows, outcome=o)) for o in OUTCOMES} }")


def test_kafka_keys_and_headers(folder):
    """(e) an alert topic whose records name the canary in their key or in a header alone."""
    kafka = Kafka(folder).start()
    try:
        kafka.topic("alerts")
        log = folder / "auth.log"
        log.write_text("")
        prepare(folder, COMMON + f"""
[campaign]
name = "beside"
window = "4s"
[[injector]]
name = "log"
type = "file"
path = "auth.log"
[[watcher]]
name = "alerts"
type = "kafka"
brokers = ["{kafka.brokers}"]
topic = "alerts"
dialect = "json"
stage = "detected"
""" + route("ssh", "fake-login/sshd-failed-password", "log", "host-log", 6, "written",
                    expect("detected", "alerts", "40s", "60s")))
        run = begun(folder)
        wait_for("six log lines", lambda: len(log.read_text().splitlines()) == 6, 60, run)
        alerts = []
        for number, line in enumerate(log.read_text().splitlines()):
            # The token is the one word of 16 letters and digits.
            token = next(w for w in line.split() if len(w) == 16 and w.isalnum())
            header, key = (f"user:{token}", "host") if number % 2 else ("kind:alert", token)
            alerts.append(f'{header}\t{key}\t{{"id": "a{number}", "rule": {{"id": "r"}}}}')
        kafka.put("alerts", alerts, "parse.key=true", "parse.headers=true")
        ended(run, (0,), 120)
    finally:
        kafka.stop()
    rows = verdicts(folder)
    check(len(by(rows, outcome="detected")) == 6, f"not all detected: {rows}")
    say("keys and headers: 6 of 6 detected by a token beside the value")


def through_kafka(topic, injector, watcher, more=""):
    """A short campaign into a topic and out of it; the two sides connect as they are told to."""
    return COMMON + f"""
[campaign]
name = "kafka"
window = "1s"
deliver_timeout = "4s"
[[injector]]
name = "topic"
type = "kafka"
topic = "{topic}"
{injector}
[[watcher]]
name = "topic"
type = "kafka"
topic = "{topic}"
{watcher}
dialect = "json"
stage = "ingested"
""" + short_route("first", "fake-login/cloudtrail-console-login-failure") + more


def short_route(name, recipe):
    return route(name, recipe, "topic", "broker", 3, "replicated", expect("ingested", "topic", "8s", "9s"))


def test_kafka_over_tls_with_sasl(folder):
    """(g) SASL over TLS, in and out: three mechanisms; a wrong password, a strange authority and no
    TLS at all are said clearly, and nothing is sent."""
    for place in ("ca", "strange-ca"):
        (folder / place).mkdir()
        certificates(folder / place)
    identity = folder / "identity.pem"
    identity.write_text((folder / "ca" / "server.key").read_text() + (folder / "ca" / "server.pem").read_text())
    os.environ["LAB_KAFKA_PASSWORD"], os.environ["LAB_KAFKA_WRONG"] = Kafka.PASSWORD, "not-the-password"
    kafka = Kafka(folder, identity).start()

    def side(mechanism, password="LAB_KAFKA_PASSWORD", tls=f'ca_file = "{folder}/ca/ca.pem"'):
        return (f'brokers = ["{kafka.secure_brokers}"]\nsecurity = {{ type = "sasl", mechanism = "{mechanism}", '
                f'user = "{Kafka.USER}", password = {{ env = "{password}" }}, {tls} }}')

    try:
        for mechanism in ("plain", "scram-sha-256", "scram-sha-512"):
            place = folder / mechanism
            place.mkdir()
            kafka.topic(mechanism)
            prepare(place, through_kafka(mechanism, side(mechanism), side(mechanism)))
            dwell(place, "check", "--connect")
            dwell(place, "run")
            rows = verdicts(place)
            check(len(rows) == 3 == len(by(rows, outcome="detected")), f"{mechanism}: {[(r['outcome'], r['reason']) for r in rows]}")
            check(kafka.ends(mechanism) == 3, f"{mechanism}: {kafka.ends(mechanism)} records")
        kafka.topic("untouched")
        faults = {
            "wrong-password": (side("plain", password="LAB_KAFKA_WRONG"), "uthentication failed"),
            "wrong-password-scram": (side("scram-sha-512", password="LAB_KAFKA_WRONG"), "uthentication failed"),
            "strange-authority": (side("scram-sha-512", tls=f'ca_file = "{folder}/strange-ca/ca.pem"'), "certificate verify failed"),
            "no-tls": (side("plain", tls="tls = false"), "cannot reach"),
        }
        for name, fault in faults.items():
            refused_side(kafka, folder / name, *fault)
        check(kafka.ends("untouched") == 0, f"{kafka.ends('untouched')} records came in spite of it")
    finally:
        kafka.stop()
    say(f"SASL over TLS: 3 mechanisms, 3 of 3 each; {len(faults)} faults refused, 0 records")


def refused_side(kafka, place, bad, words):
    """`check` names the fault on both sides; a run with a sound watcher goes to its end, and every
    event is undelivered for that reason."""
    place.mkdir()
    prepare(place, through_kafka("untouched", bad, bad))
    said = json.loads(dwell(place, "check", "--connect", "--json", ok=(3,)))["connections"]
    check(len(said) == 2 and not any(c["ok"] for c in said), f"{place.name}: {said}")
    for one in said:
        check(words in " ".join(one["notes"]), f"{place.name} is not clear: {one}")
    (place / "dwell.toml").write_text(through_kafka("untouched", bad, f'brokers = ["{kafka.brokers}"]'))
    dwell(place, "run", ok=(3,))
    rows = verdicts(place)
    check(len(rows) == 3 == len(by(rows, outcome="undelivered")), f"{place.name}: {[(r['outcome'], r['reason']) for r in rows]}")
    exported = export(place)
    reasons = [json.dumps(r["o"]) for r in exported["receipt"]]
    check(all(words in reason for reason in reasons), f"{place.name}: receipts say {reasons}")
    held = json.dumps(exported)
    check(Kafka.PASSWORD not in held and "not-the-password" not in held, "a password is in the ledger")


def test_kafka_framing(folder):
    """(h) a compacted topic, records framed for a registry, and a second route of another format:
    refused by the check and by a run, which then writes nothing, unless forced."""
    kafka = Kafka(folder).start()
    side = f'brokers = ["{kafka.brokers}"]'
    plain_lines = short_route("second", "fake-login/sshd-failed-password")
    # The first route's own shape.
    document = dwell(folder, "recipes", "render", "fake-login/cloudtrail-console-login-failure").strip()
    cases = [
        ("compacted", ["cleanup.policy=compact"], [], "", "compacted (cleanup.policy=compact)"),
        ("registry", [], ["\0\0\0\0\7avro"] * 4, "", "4 of the 4 records looked at are framed for a schema registry"),
        ("shared", [], [document] * 4, plain_lines,
         "4 of the 4 records looked at are JSON, but the events of fake-login/sshd-failed-password are not"),
    ]
    try:
        for topic, settings, records, more, words in cases:
            kafka.topic(topic, *settings)
            if records:
                kafka.put(topic, records)
            config = through_kafka(topic, side, side, more)
            if topic == "compacted":
                # A compacted topic takes no record without a key.
                config = config.replace('response = "none"', 'response = "none"\nkey = "{{ token }}"')
            refused_framing(kafka, folder / topic, config, len(records), words)
    finally:
        kafka.stop()
    say("framing: 3 of 3 refused by check and run, nothing written; 3 of 3 delivered when forced")


def refused_framing(kafka, place, config, before, words):
    place.mkdir()
    topic = place.name
    prepare(place, config)
    said = json.loads(dwell(place, "check", "--connect", "--json", ok=(3,)))["connections"][0]
    check(not said["ok"] and any(words in note for note in said["notes"]), f"{topic}: {said}")
    done = subprocess.run([DWELL, "run"], cwd=place, capture_output=True, text=True, timeout=120)
    check(done.returncode == 3 and words in done.stderr, f"{topic}: run ended with {done.returncode}: {done.stderr}")
    check("run" not in export(place), f"{topic}: a refused run is in the ledger")
    check(kafka.ends(topic) == before, f"{topic}: something was written")
    (place / "dwell.toml").write_text(config.replace(f'topic = "{topic}"', f'topic = "{topic}"\nforce_encoding = true', 1))
    dwell(place, "check", "--connect")
    dwell(place, "run")
    rows = verdicts(place)
    check(rows and len(by(rows, outcome="detected")) == len(rows), f"{topic}: {[(r['outcome'], r['reason']) for r in rows]}")
    check(kafka.ends(topic) == before + len(rows), f"{topic}: {kafka.ends(topic)} records")


def test_calibrate_through_kafka(folder):
    """(j) the harness's floor at a real broker: judged by the program and again from its rows, its topics
    gone afterwards and nothing else, also after Ctrl-C; and a report that rests on it."""
    kafka = Kafka(folder).start()
    try:
        kafka.topic("bystander")
        kafka.put("bystander", ["a record of somebody else"])
        there = kafka.topics()
        found = json.loads(dwell(folder, "calibrate", "--quick", "--kafka", kafka.brokers, "--json", "--dir", "kept",
                                 "--output", "calibration.json", ok=(0, 1), timeout=200))
        check(kafka.topics() == there, f"topics after a calibration: {kafka.topics()}, before: {there}")
        kafka_floor(folder / "kept", found)
        interrupted_calibration(kafka, folder, there)
        check(kafka.ends("bystander") == 1, "a record of somebody else is gone")
        floor_in_report(kafka, folder)
    finally:
        kafka.stop()


def kafka_floor(kept, found):
    wrong = [c for c in found["checks"] if not c["holds"]]
    check(not wrong, f"planted and not found again: {wrong}")
    wrong = [c for c in found["coverage"] if c["of"].startswith("polled") and not c["met"]]
    check(not wrong, f"the true instant lies outside of polled intervals: {wrong}")
    check(found["not_measured"] == [], f"not measured: {found['not_measured']}")
    floors = {f["watcher"]: f for f in found["floors"]}
    check(set(floors) == {"webhook", "file", "kafka"}, f"floors of {sorted(floors)}")
    floor = floors["kafka"]
    check(floor["n"] == floors["webhook"]["n"] > 100, f"n: {floor['n']}")
    check(0 <= floor["least_ns"] <= floor["p50"]["value_ns"] <= floor["p99"]["value_ns"] <= floor["max_ns"] < 10e9,
          f"no floor: {floor}")
    scenarios = {f["scenario"] for f in found["by_scenario"] if f["watcher"] == "kafka" and f["n"] > 0}
    check(len(scenarios) == 10, f"scenarios with a Kafka row: {sorted(scenarios)}")
    # Again, from the detector's own file and the ledger's rows, with arithmetic of our own.
    rows = [json.loads(line) for line in (kept / "truth-plain.jsonl").read_text().splitlines()]
    left = {r["alert"]: r["stamp"][1] for r in rows if r["what"] == "emitted" and r["outlet"] == "kafka-plain"}
    seen = {r["i"]: r["t"][1] for r in export(kept)["sighting"] if r["w"] == "kafka-plain"}
    check(set(left) == set(seen), f"{len(left)} records left, {len(seen)} were seen")
    late = sorted(seen[alert] - left[alert] for alert in left)
    own = (len(late), late[0], late[-1], late[math.ceil(0.5 * len(late)) - 1], late[math.ceil(0.99 * len(late)) - 1])
    said = (floor["n"], floor["least_ns"], floor["max_ns"], floor["p50"]["value_ns"], floor["p99"]["value_ns"])
    check(own == said, f"the floor is {own} by our own arithmetic, {said} by the program")
    say(f"Kafka floor, ms: p50 {own[3] / 1e6:.2f}, p99 {own[4] / 1e6:.2f}, max {own[2] / 1e6:.2f}, n = {own[0]}")


def interrupted_calibration(kafka, folder, there):
    """Ctrl-C in the middle: no result, and no topic is left."""
    log = folder / "interrupted.log"
    with open(log, "w") as out:
        run = subprocess.Popen([DWELL, "calibrate", "--quick", "--kafka", kafka.brokers, "--output", "none.json"],
                               cwd=folder, stdout=subprocess.DEVNULL, stderr=out)
    wait_for("a campaign under way", lambda: "/480 " in log.read_text(), 60, run)
    check(len(kafka.topics()) == len(there) + 4, f"topics during a calibration: {kafka.topics()}")
    run.send_signal(signal.SIGINT)
    wait_for("the first signal's answer", lambda: "Injection stopped" in log.read_text(), 30, run)
    # The second one leaves at once.
    run.send_signal(signal.SIGINT)
    code = run.wait(60)
    check(code == 3, f"an interrupted calibration ended with {code}: {log.read_text()[-2000:]}")
    check(kafka.topics() == there, f"topics after Ctrl-C: {kafka.topics()}")
    check(not (folder / "none.json").exists(), "an interrupted calibration was stored")


def floor_in_report(kafka, folder):
    """A run beside the calibration tells the floor of its Kafka watcher."""
    place = folder / "report"
    place.mkdir()
    shutil.copy(folder / "calibration.json", place)
    kafka.topic("floor")
    side = f'brokers = ["{kafka.brokers}"]'
    prepare(place, through_kafka("floor", side, side))
    dwell(place, "run")
    told = report(place)["floor"]
    check("kafka" in [k["kind"] for k in told["kinds"]], f"the report's floor: {told}")
    check(not any("did not measure" in w for w in told["words"]), f"the report's words: {told['words']}")


def main():
    # The second name is the one that the shipped files use; ElastAlert 2 expands it in its rule.
    os.environ["LAB_HOOK_SECRET"] = os.environ["DWELL_HOOK_TOKEN"] = SECRET
    chosen = sys.argv[1:]
    results = []

    def attempt(test, *arguments):
        if chosen and test.__name__ not in chosen:
            return
        folder = base / test.__name__
        folder.mkdir()
        begin = time.monotonic()
        try:
            test(*arguments, folder)
            state = "ok"
        except Exception:
            traceback.print_exc()
            state = "FAILED"
        results.append((test.__name__, state, time.monotonic() - begin))
        print(f"{state:6} {test.__name__} ({results[-1][2]:.0f} s)", flush=True)

    global DWELL
    DWELL = str(pathlib.Path(DWELL).resolve())
    base = pathlib.Path(tempfile.mkdtemp(prefix="dwell-lab-"))
    base.chmod(0o711)
    try:
        attempt(test_syslog_over_tls)
        attempt(test_broker_killed)
        attempt(test_kafka_keys_and_headers)
        attempt(test_kafka_over_tls_with_sasl)
        attempt(test_kafka_framing)
        attempt(test_calibrate_through_kafka)
        pipeline_tests = [test_pipeline_end_to_end, test_rule_disabled_in_silence, test_shipped_files,
                          test_more_than_a_page_can_hold]
        if not chosen or any(t.__name__ in chosen for t in pipeline_tests):
            try:
                with Pipeline(base) as pipeline:
                    for test in pipeline_tests:
                        attempt(test, pipeline)
            except Exception:
                traceback.print_exc()
                done = {name for name, _, _ in results}
                results.extend((t.__name__, "FAILED", 0) for t in pipeline_tests if t.__name__ not in done)
    finally:
        Service.stop_all()
        if os.environ.get("LAB_KEEP"):
            say(f"kept: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    failed = sum(1 for _, state, _ in results if state != "ok")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())

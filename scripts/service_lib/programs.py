"""What the images of deploy/docker-compose.yml stand for on this machine: how the program in the image is
installed, and what the image's entry point makes of a command and an environment."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from .cache import ServicesError, need, run
from .process import HOST
from .servers import Kafka, SeaweedFs

ROOT = Path(__file__).resolve().parents[2]


class Floodmark:
    """The binary of this repository."""

    @staticmethod
    def binary():
        path = Path(os.environ.get("FLOODMARK_BIN") or ROOT / "target/debug/floodmark")
        if not path.exists():
            raise ServicesError(f"{path} is missing: build it with `cargo build`, or set FLOODMARK_BIN")
        return path.resolve()

    def command(self, container, command, environment):
        return [self.binary(), *command], environment | {"NO_COLOR": "1"}

    def healthy(self, container, test):
        asked = subprocess.run([self.binary(), *test[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return asked.returncode == 0


class Weed:
    """SeaweedFS: the image's entry point is the program itself."""

    def command(self, container, command, environment):
        return [SeaweedFs(Path()).install() / "bin/weed", *command], environment


class Prometheus:
    """Debian's package; the image's entry point is the program itself."""

    def command(self, container, command, environment):
        hint = "On Debian and Ubuntu: apt-get install prometheus"
        return [need("prometheus", "the stack", hint), *command], environment


class KafkaImage:
    """Apache's image writes its properties file from KAFKA_ variables and formats an empty log directory."""

    # Variables that are for the shell scripts, not for the server.
    OF_SCRIPTS = {"KAFKA_HEAP_OPTS"}

    @staticmethod
    def property_name(variable):
        """The rule of the image: ___ stands for -, __ for _, _ for a dot."""
        name = variable.removeprefix("KAFKA_").lower()
        return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")

    def properties(self, environment):
        wanted = {name: value for name, value in environment.items() if name.startswith("KAFKA_")}
        return {self.property_name(name): value for name, value in wanted.items() if name not in self.OF_SCRIPTS}

    def command(self, container, command, environment):
        kafka = Kafka(Path())
        libraries = f"{kafka.install()}/libs/*"
        java = shutil.which("java")
        if not java:
            raise ServicesError("Apache Kafka needs `java`, which is not on the PATH. Install Java 17 or newer.")
        file = container.dir / "server.properties"
        properties = self.properties(environment)
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        logging = container.dir / "log4j2.xml"
        logging.write_text(kafka.LOGGING)
        java_command = [java, *environment.get("KAFKA_HEAP_OPTS", "").split(), "-cp", libraries]
        java_command.append(f"-Dlog4j2.configurationFile={logging}")
        if not (Path(properties["log.dirs"]) / "meta.properties").exists():
            storage = ["kafka.tools.StorageTool", "format", "-t", environment["CLUSTER_ID"], "-c", file]
            run([*java_command, *storage], "formatting Kafka's log directory")
        return [*java_command, "kafka.Kafka", file], environment

    def healthy(self, container, test):
        """The image's check asks the broker that its last argument names; its own words are as good, and cheaper."""
        port = int(test[-1].rpartition(":")[2])
        with socket.create_connection((HOST, port), timeout=2):
            return "Kafka Server started" in container.log.read_text(errors="replace")


class KafkaUi:
    """The jar that the image is made of. No registry has it, so it runs where it is given."""

    JAR = "FLOODMARK_KAFKA_UI_JAR"
    HINT = "https://github.com/kafbat/kafka-ui/releases has the jar of each version"
    JAVA = 25
    PORT = 8080

    def left_out(self):
        return None if os.environ.get(self.JAR) else f"{self.JAR} names no jar of it. {self.HINT}"

    def jar(self):
        path = Path(os.environ[self.JAR]).resolve()
        if not path.is_file():
            raise ServicesError(f"{self.JAR}: there is no file {path}. {self.HINT}")
        return path

    def java(self):
        """JAVA_HOME's, if set: Kafka is content with an older one, which may be the one on the PATH."""
        home = os.environ.get("JAVA_HOME")
        java = shutil.which("java", path=f"{home}/bin" if home else None)
        said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
        version = re.search(r'version "(\d+)', said)
        if not version or int(version[1]) < self.JAVA:
            found = f"{java} is Java {version[1]}" if version else "there is none"
            raise ServicesError(f"Kafka UI needs Java {self.JAVA} or newer, and {found}. Set JAVA_HOME to one.")
        return java

    def command(self, container, command, environment):
        """As the image's entry point has it. In a container it listens on every address, here it must not."""
        options = ["--add-opens", "java.rmi/javax.rmi.ssl=ALL-UNNAMED", *environment.get("JAVA_OPTS", "").split()]
        port = container.ports.of(container.service.name, self.PORT)
        listen = {"SERVER_ADDRESS": HOST, "SERVER_PORT": str(port)}
        return [self.java(), *options, "-jar", self.jar()], environment | listen


PROGRAMS = {
    "apache/kafka": KafkaImage(),
    "chrislusf/seaweedfs": Weed(),
    "floodmark": Floodmark(),
    "ghcr.io/kafbat/kafka-ui": KafkaUi(),
    "prom/prometheus": Prometheus(),
}


def left_out(image):
    """Why nothing runs here for an image, or None."""
    if image not in PROGRAMS:
        return f"{image} is only to be had as an image"
    return PROGRAMS[image].left_out() if hasattr(PROGRAMS[image], "left_out") else None

"""Apache Kafka's console tools: Java programs, one process each."""

import shutil
import subprocess
import sys

from embedded import ROOT

# Short-lived processes on few cores: quick to start matters, peak speed does not.
JAVA = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
QUIET = """<Configuration status="ERROR"><Appenders><Console name="err" target="SYSTEM_ERR">
<PatternLayout pattern="%p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="err"/></Root></Loggers></Configuration>
"""
MAIN = {
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}
PATIENCE = 120


def available():
    return shutil.which("java") is not None


def kafka_folder():
    """Where Kafka's jars stand; installs them if need be."""
    command = [sys.executable, str(ROOT / "scripts/services"), "install", "kafka"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Tools:
    """The tools, pointed at one cluster."""

    def __init__(self, brokers, folder):
        self.brokers, self.folder = brokers, folder
        logging = folder / "log4j2.xml"
        logging.write_text(QUIET)
        self.java = [*JAVA, "-cp", f"{kafka_folder()}/libs/*", f"-Dlog4j2.configurationFile={logging}"]

    def start(self, tool, *args, **kwargs):
        command = [*self.java, MAIN[tool], "--bootstrap-server", self.brokers, *map(str, args)]
        return subprocess.Popen(command, cwd=self.folder, text=True, **kwargs)

    def run(self, tool, *args, check=0, stdin=""):
        """Runs to the end; the exit code must be `check`. Returns stdout, and stderr after it on failure."""
        process = self.start(
            tool, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{tool} {args} did not end in {PATIENCE} s\n{out}\n{err}") from None
        if process.returncode != check:
            raise AssertionError(
                f"{tool} {' '.join(map(str, args))}: exit code {process.returncode}, not {check}\n{out}\n{err}"
            )
        return out if check == 0 else out + err


def table(text):
    """Rows of what a tool prints under a line of capitals, as dictionaries."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    head = next(i for i, words in enumerate(lines) if len(words) > 1 and words[0].isupper())
    return [dict(zip(lines[head], words, strict=False)) for words in lines[head + 1 :]]

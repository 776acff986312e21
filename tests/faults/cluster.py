"""Three brokers with rights: a topic has a leader that can move, and a user who may be refused."""

import signal

from service_lib.process import HOST, free_port
from service_lib.servers import Kafka

PROTOCOLS = "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
USER, PASSWORD = "floodmark", "a-password"
JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="admin" password="unused" user_{USER}="{PASSWORD}";'
)


class Node(Kafka):
    """One of three. The first is the controller; brokers and the tests' own clients come in by a listener
    without names, whose users may do anything."""

    heap = "384m"

    def __init__(self, directory, number, cluster):
        self.name, self.number, self.cluster = f"kafka-{number}", number, cluster
        super().__init__(directory)

    def choose_ports(self):
        return self.cluster.ports[self.number]

    def settings(self, ports):
        controller = f"{HOST}:{self.cluster.ports[1]['controller']}"
        listeners = [f"PLAINTEXT://{HOST}:{ports['kafka']}", f"SASL_PLAINTEXT://{HOST}:{ports['named']}"]
        controlling = [f"CONTROLLER://{controller}"] if self.number == 1 else []
        replicated = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
        return (
            super().settings({"kafka": ports["kafka"], "controller": self.cluster.ports[1]["controller"]})
            | {f"{topic}.replication.factor": 3 for topic in replicated}
            | {
                "process.roles": "broker,controller" if self.number == 1 else "broker",
                "node.id": self.number,
                "listeners": ",".join(listeners + controlling),
                "advertised.listeners": ",".join(listeners),
                "listener.security.protocol.map": PROTOCOLS,
                "default.replication.factor": 3,
                "min.insync.replicas": 2,
                "transaction.state.log.min.isr": 2,
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": JAAS,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                # A broker that died is noticed soon.
                "broker.session.timeout.ms": 6000,
            }
        )


class Cluster:
    """Starts, stops and kills its nodes."""

    def __init__(self, directory):
        taken = set()
        self.ports = {
            number: {name: free_port(taken) for name in ("kafka", "named", "controller")} for number in (1, 2, 3)
        }
        self.nodes = {number: Node(directory, number, self) for number in (1, 2, 3)}

    def start(self, *numbers):
        for number in numbers or self.nodes:
            self.nodes[number].start()
        for number in numbers or self.nodes:
            self.nodes[number].wait()

    def stop(self, *numbers):
        for number in numbers or self.nodes:
            self.nodes[number].stop()

    def kill(self, number):
        self.nodes[number].signal(signal.SIGKILL)

    def addresses(self, listener="kafka"):
        return ",".join(f"{HOST}:{ports[listener]}" for ports in self.ports.values())

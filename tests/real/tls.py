"""A broker with TLS: certificates made on the spot, and a listener for each way in."""

import subprocess

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from service_lib.process import HOST, free_port
from service_lib.servers import Kafka

USER, PASSWORD = "telemetry-user", "a-password-nobody-may-see"
PLAIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="admin" password="unused" user_{USER}="{PASSWORD}";'
)
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Who comes in by each, beside the plain one that the tests' own clients use.
LISTENERS = {
    "ssl": "SSL",
    "sasl": "SASL_SSL",
    # Whoever has no certificate of the CA is sent away.
    "mutual": "SSL",
    # Its certificate names another host.
    "elsewhere": "SSL",
}


class Authority:
    """A CA and the certificates it has signed, as PEM files in a directory."""

    def __init__(self, directory):
        self.dir = directory
        self.dir.mkdir(parents=True)
        self.ca = self.dir / "ca.pem"
        self.run("req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", 2, "-subj", "/CN=a CA for tests")

    def run(self, command, *args):
        new_key = ["-newkey", "rsa:2048", "-nodes"] if command == "req" else []
        subprocess.run(
            ["openssl", command, *new_key, *map(str, args)], cwd=self.dir, check=True, capture_output=True, text=True
        )

    def sign(self, name, alternatives):
        """Returns the certificate, its key, and a file that holds both, as Kafka wants them."""
        certificate, key, both = (self.dir / f"{name}.{ending}" for ending in ("pem", "key", "both.pem"))
        extensions = self.dir / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n")
        self.run("req", "-keyout", key, "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2]
        self.run("x509", "-req", "-in", f"{name}.csr", "-out", certificate, "-extfile", extensions, *signer)
        both.write_text(key.read_text() + certificate.read_text())
        return certificate, key, both


class TlsKafka(Kafka):
    """One broker; see `LISTENERS`."""

    name = "kafka-tls"
    heap = "384m"

    def __init__(self, directory):
        super().__init__(directory)
        self.authority = Authority(directory / "certificates")
        *_, self.own = self.authority.sign("broker", f"DNS:localhost,IP:{HOST}")
        *_, self.foreign = self.authority.sign("elsewhere", "DNS:kafka.example.com")
        self.certificate, self.key, _ = self.authority.sign("client", "DNS:client.example.com")
        # One that this broker knows nothing of.
        self.stranger = Authority(directory / "stranger")
        self.strange_certificate, self.strange_key, _ = self.stranger.sign("client", "DNS:client.example.com")

    def choose_ports(self):
        taken = set()
        return {name: free_port(taken) for name in ("kafka", "controller", *LISTENERS)}

    def settings(self, ports):
        plain = super().settings(ports)
        listening = [f"{name.upper()}://{HOST}:{ports[name]}" for name in LISTENERS]
        protocols = {name.upper(): protocol for name, protocol in LISTENERS.items()}
        protocols |= {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        stores = {"keystore": self.own, "truststore": self.authority.ca}
        return (
            plain
            | {name: ",".join([plain[name], *listening]) for name in ("listeners", "advertised.listeners")}
            | {"listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in protocols.items())}
            | {f"ssl.{store}.type": "PEM" for store in stores}
            | {f"ssl.{store}.location": path for store, path in stores.items()}
            | {
                "listener.name.mutual.ssl.client.auth": "required",
                "listener.name.elsewhere.ssl.keystore.type": "PEM",
                "listener.name.elsewhere.ssl.keystore.location": self.foreign,
                "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
                "listener.name.sasl.plain.sasl.jaas.config": PLAIN,
                "listener.name.sasl.scram-sha-512.sasl.jaas.config": SCRAM,
            }
        )

    def address(self, listener="kafka"):
        return f"{HOST}:{self.record.read()['ports'][listener]}"

    def add_user(self):
        """PLAIN knows the user from the configuration; SCRAM's users stand in the cluster."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        alteration = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
        admin = AdminClient({"bootstrap.servers": self.address()})
        for future in admin.alter_user_scram_credentials([alteration]).values():
            future.result()

    def properties(self, listener, **replaced):
        """What a client needs to come in; `replaced` changes or, by None, leaves out."""
        found = {"security.protocol": LISTENERS[listener], "ssl.ca.location": self.authority.ca}
        if listener == "sasl":
            found |= {
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "${KAFKA_USER}",
                "sasl.password": "${KAFKA_PASSWORD}",
            }
        if listener == "mutual":
            found |= {"ssl.certificate.location": self.certificate, "ssl.key.location": self.key}
        found |= {name.replace("_", "."): value for name, value in replaced.items()}
        return {name: str(value) for name, value in found.items() if value is not None}

"""The services of deploy/docker-compose.yml without Docker: each container's command, with its environment
and its mounted files, runs as a process of this machine.

    compose file ─> services ─> what an image stands for here ─> command, environment, files
                                        │                              │ names and ports rewritten
                                        └ not to be had: said, left out └> processes, in the file's order

In a container, services find each other by name (`kafka:29092`) and ports are their own. Here all share
127.0.0.1, so each port of each container gets one of this machine, the published ones those that the file
publishes, and names, addresses and paths are rewritten wherever they stand: arguments, environment,
configuration files. Nothing else is changed, so a mistake in the file shows here too. What cannot show
are Docker's own doings: images, users, limits, restarts.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request

from . import compose
from .cache import ServicesError, say
from .process import HOST, Record, free_port, port_is_free
from .programs import PROGRAMS, left_out

READY_SECONDS = 120
STOP_SECONDS = 40
VOLUMES = "volumes"
# Published ports that have a variable in the file.
PUBLISHED = [name for name in compose.names_and_defaults() if name.endswith("_PORT")]


class Ports:
    """Which port of this machine stands for a container's."""

    def __init__(self, services):
        self.names = {name: dict(service.ports) for name, service in services.items()}
        self.taken = {port for ports in self.names.values() for port in ports.values()}

    def of(self, service, port):
        ports = self.names[service]
        if port not in ports:
            # SeaweedFS has for each of its ports another one 10,000 above it.
            ports[port] = free_port(self.taken, with_grpc=True)
        return ports[port]

    def elsewhere(self, text):
        """Rewrites `service:port`, as one container names another."""
        names = "|".join(map(re.escape, self.names))
        found = rf"(?<![\w.-])({names}):(\d+)\b"
        return re.sub(found, lambda m: f"{HOST}:{self.of(m[1], int(m[2]))}", text)

    def own(self, service, text):
        """Rewrites the addresses that a container itself listens on."""
        text = re.sub(r"\b(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)\b", lambda m: f"{HOST}:{self.of(service, int(m[1]))}", text)
        text = re.sub(r"(\.port=)([1-9]\d*)\b", lambda m: f"{m[1]}{self.of(service, int(m[2]))}", text)
        return re.sub(rf"=(0\.0\.0\.0|{re.escape(service)})$", f"={HOST}", text)


class Container:
    """A service of the file as a process."""

    def __init__(self, service, ports, directory):
        self.service, self.ports, self.dir = service, ports, directory / service.name
        self.log = self.dir / "server.log"
        self.record = Record(self.dir / "process.json")
        self.program = PROGRAMS.get(service.image)
        self.paths = {}

    def rewrite(self, text):
        # Its own first: what they are rewritten to has a port of this machine already, and no name.
        text = self.ports.elsewhere(self.ports.own(self.service.name, text))
        for inner, outer in self.paths.items():
            text = re.sub(rf"(?<![\w.]){re.escape(inner)}(?![\w.-])", str(outer), text)
        return text

    def mount(self):
        """Volumes are directories that stay; files beside the compose file are copied, names in them rewritten."""
        for inner, outer in self.service.volumes.items():
            if "/" not in outer:
                self.paths[inner] = self.dir.parent / VOLUMES / outer
                self.paths[inner].mkdir(parents=True, exist_ok=True)
                continue
            source = (compose.FOLDER / outer).resolve()
            if not source.exists():
                raise ServicesError(f"{source}: {compose.FILE} mounts it into {self.service.name}, but it is missing")
            copy = self.dir / "mounted" / source.name
            files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
            for file in files:
                target = copy / file.relative_to(source) if source.is_dir() else copy
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self.ports.elsewhere(file.read_text()))
            self.paths[inner] = copy

    def start(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        self.mount()
        environment = {name: self.rewrite(value) for name, value in self.service.environment.items()}
        command = [self.rewrite(part) for part in self.service.command]
        command, environment = self.program.command(self, command, environment)
        # Nothing of this shell's environment gets in, as nothing gets into a container.
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.dir,
                env=inherited | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.record.write(process.pid, self.ports.names[self.service.name])
        return process

    def healthy(self):
        """What the file's health check says; OSError means not yet."""
        test = [self.rewrite(part) for part in self.service.healthcheck]
        if not test:
            return True
        if test[0] == "wget":
            with urllib.request.urlopen(test[-1], timeout=5) as answer:
                return answer.status == 200
        return self.program.healthy(self, test)

    def wait(self, process, condition):
        """Until it is what others wait for: started, healthy, or done."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            code = process.poll()
            if condition == "service_completed_successfully" and code == 0:
                return
            if code is not None:
                raise ServicesError(
                    f"{self.service.name} ended with exit code {code}. Its log ends:\n{self.log_tail()}"
                )
            if condition != "service_completed_successfully":
                with contextlib.suppress(OSError):
                    if self.healthy():
                        return
            time.sleep(0.2)
        raise ServicesError(
            f"{self.service.name} was not ready after {READY_SECONDS} s. Its log ends:\n{self.log_tail()}"
        )

    def stop(self):
        record = self.record.alive()
        if not record:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(record["pid"], number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                if not self.record.alive():
                    say(f"{self.service.name}: stopped")
                    return
                time.sleep(0.1)
        raise ServicesError(f"{self.service.name}: process {record['pid']} does not end")

    def log_tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def variables(free_ports):
    """What fills the file: the environment's, and free ports instead of the published ones if so wanted."""
    taken = set()
    chosen = {name: str(free_port(taken, with_grpc=True)) for name in PUBLISHED} if free_ports else {}
    return compose.variables() | chosen


def refuse_taken_ports(containers):
    for name, container in containers.items():
        taken = [port for port in container.service.ports.values() if not port_is_free(port)]
        if taken:
            raise ServicesError(
                f"port {taken[0]}, which {name} publishes, is taken: choose another one in deploy/.env "
                "(deploy/.env.example has the names), or let `stack up --free-ports` choose all"
            )


def urls(services, running):
    """Where what runs answers, as shell variables that the suites and the README use."""
    ports = {name: service.ports for name, service in services.items()}
    s3, kafka = services["s3"].environment, ports["kafka"][9092]
    may_be_left_out = {"KAFKA_UI_URL": f"http://{HOST}:{ports['kafka-ui'][8080]}"} if "kafka-ui" in running else {}
    return may_be_left_out | {
        "KAFKA_BROKERS": f"localhost:{kafka}",
        "AWS_ENDPOINT_URL": f"http://{HOST}:{ports['s3'][8333]}",
        "AWS_ACCESS_KEY_ID": s3["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": s3["AWS_SECRET_ACCESS_KEY"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "S3_CONSOLE_URL": f"http://{HOST}:{ports['s3'][23646]}",
        "FLOODMARK_URL": f"http://{HOST}:{ports['floodmark'][8787]}",
        "PROMETHEUS_URL": f"http://{HOST}:{ports['prometheus'][9090]}",
    }


def up(directory, free_ports=False, only=()):
    """Starts the services (or some of them, with what they depend on) in the file's order; returns the
    variables of `urls`."""
    down(directory)
    services = compose.services(variables(free_ports))
    wanted = with_dependencies(services, only)
    ports = Ports(services)
    containers = {name: Container(service, ports, directory) for name, service in services.items() if name in wanted}
    for name, container in list(containers.items()):
        reason = left_out(container.service.image)
        if reason:
            say(f"{name}: left out, {reason}")
            del containers[name]
    refuse_taken_ports(containers)
    try:
        start(containers, services)
    except BaseException:
        down(directory)
        raise
    return urls(services, containers)


def start(containers, services):
    """In order, each when what it depends on has come as far as the file wants."""
    started = {}
    for name, container in containers.items():
        for other, condition in container.service.depends_on.items():
            containers[other].wait(started[other], condition)
        started[name] = container.start()
    for name, process in started.items():
        done = any(s.depends_on.get(name) == "service_completed_successfully" for s in services.values())
        containers[name].wait(process, "service_completed_successfully" if done else "service_healthy")
        say(f"{name}: {'done' if done else 'ready'}")


def with_dependencies(services, only):
    if not only:
        return set(services)
    unknown = set(only) - services.keys()
    if unknown:
        raise ServicesError(f"{compose.FILE} has no service {', '.join(sorted(unknown))}: it has {', '.join(services)}")
    wanted, found = list(only), set()
    while wanted:
        name = wanted.pop()
        found.add(name)
        wanted += services[name].depends_on
    return found


def down(directory, volumes=False):
    """Ends what `up` started, the last service first. Data stay, unless the volumes are to go too."""
    services = compose.services(compose.variables())
    for service in reversed(services.values()):
        Container(service, None, directory).stop()
    if volumes:
        shutil.rmtree(directory / VOLUMES, ignore_errors=True)


def status(directory):
    """One line per service; how many run."""
    running = 0
    for name, service in compose.services(compose.variables()).items():
        container = Container(service, None, directory)
        record = container.record.alive()
        running += bool(record)
        print(f"{name}: " + (f"process {record['pid']}, log {container.log}" if record else "not running"))
    return running

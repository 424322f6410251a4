from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.addresses import bind_error, ensure_addresses, is_free, load_addresses
from control.config.values import Address, parse_address
from control.errors import FileProblem
from tests.control.configs import PLAIN, PROGRAM, config_of


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "addresses.json"


def test_everything_that_the_configuration_needs(path: Path) -> None:
    addresses = ensure_addresses(path, config_of(PLAIN + PROGRAM), starting=True)
    assert set(addresses.hosts) == {"support.teacher", "support.student"}
    inside = [addresses.student_server, addresses.trainer, *addresses.hosts.values()]
    assert len({address.port for address in inside}) == 4
    assert all(is_free(address) for address in inside)
    assert addresses.gateway == parse_address("127.0.0.1:8000")
    assert load_addresses(path) == addresses


def test_ports_stay_the_same(path: Path) -> None:
    config = config_of(PLAIN + PROGRAM)
    first = ensure_addresses(path, config, starting=True)
    assert ensure_addresses(path, config, starting=True) == first


def test_a_port_that_somebody_took_is_replaced(path: Path, taken: socket.socket) -> None:
    config = config_of(PLAIN)
    first = ensure_addresses(path, config, starting=True)
    port: int = taken.getsockname()[1]
    text = path.read_text().replace(str(first.trainer.port), str(port))
    path.write_text(text)
    # A process of a running limbeck: the port is taken because our own trainer listens there.
    assert ensure_addresses(path, config, starting=False).trainer.port == port
    again = ensure_addresses(path, config, starting=True)
    assert again.trainer.port != port
    assert again.student_server == first.student_server


def test_a_route_that_is_gone_is_forgotten(path: Path) -> None:
    ensure_addresses(path, config_of(PLAIN + PROGRAM), starting=True)
    assert ensure_addresses(path, config_of(PLAIN), starting=True).hosts == {}


def test_missing_and_damaged(path: Path) -> None:
    with pytest.raises(FileProblem, match=r"not been started in this folder \(`limbeck up`\)"):
        load_addresses(path)
    path.write_text("{}")
    with pytest.raises(FileProblem, match="remove it and start again"):
        load_addresses(path)


@pytest.mark.parametrize("name", ["data", ".limbeck"])
def test_the_folder_around_a_data_folder(tmp_path: Path, name: str) -> None:
    """As in `limbeck status --data limbeck-demo`."""
    (tmp_path / name).mkdir()
    ensure_addresses(tmp_path / name / "addresses.json", config_of(PLAIN), starting=True)
    with pytest.raises(FileProblem) as caught:
        load_addresses(tmp_path / "addresses.json")
    assert f"in this folder (but in {tmp_path / name}: name that one)" in str(caught.value)


def test_a_listener_with_reuseport_counts_as_in_use(taken: socket.socket) -> None:
    port: int = taken.getsockname()[1]
    assert bind_error(Address(host="127.0.0.1", port=port)) == "in use"
    assert bind_error(Address(host="192.0.2.1", port=port)) not in (None, "in use")


@pytest.mark.parametrize("text", ["8000", "127.0.0.1:", ":8000", "h:0", "h:65536", "h:x", "h:-1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_address(text)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    address = parse_address("[::1]:8000")
    assert (address.host, str(address)) == ("::1", "[::1]:8000")
    assert address.url == "http://[::1]:8000"

"""With the network switched off nothing but this machine is reached, in kernels too."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from longctx_edu.teaching.offline import is_this_machine, no_network

ELSEWHERE = ("192.0.2.1", 80)  # an address kept free for examples


@pytest.mark.parametrize("number", ["127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "::1%lo"])
def test_loopback_and_unspecified_numbers_are_this_machine(number):
    assert is_this_machine(number)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", b"localhost", "a.localhost", "", None])
def test_names_of_the_loopback_are_this_machine(name):
    assert is_this_machine(name)


def test_the_name_of_this_machine_is_known():
    assert is_this_machine(socket.gethostname())


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "example.org", b"a.b"])
def test_everything_else_is_elsewhere(host):
    assert not is_this_machine(host)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_to_elsewhere_is_refused_with_a_reason(family, kind, method):
    host = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with no_network(), socket.socket(family, kind) as outgoing:
        with pytest.raises(OSError, match=f"switched off here, and {host} is not") as refused:
            getattr(outgoing, method)((host, 80))
    assert refused.value.errno == errno.ENETUNREACH


def test_a_datagram_to_elsewhere_is_refused():
    with no_network(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
        with pytest.raises(OSError, match="switched off"):
            outgoing.sendto(b"text", ELSEWHERE)
        with pytest.raises(OSError, match="switched off"):
            outgoing.sendto(b"text", 0, ELSEWHERE)


def test_the_name_of_another_machine_is_not_even_looked_up():
    with no_network(), pytest.raises(socket.gaierror, match=r"example\.org is not this machine"):
        socket.create_connection(("example.org", 80))


def test_this_machine_still_answers():
    with no_network(), socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("localhost", server.getsockname()[1])) as client:
            assert client.getpeername()[0] == "127.0.0.1"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_unix_sockets_are_left_alone(tmp_path):
    with no_network(), socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))


def test_the_former_state_comes_back_even_after_an_error():
    def state():
        return socket.socket.connect, socket.socket.sendto, socket.getaddrinfo, dict(os.environ)

    before = state()
    with pytest.raises(KeyError), no_network(), no_network():
        raise KeyError
    assert state() == before


def test_other_programs_are_told_in_their_environment():
    code = "import os; print(os.environ['HTTPS_PROXY'], os.environ['HF_HUB_OFFLINE'])"
    with no_network():
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == "http://127.0.0.1:9 1\n"


def test_a_notebook_kernel_is_offline_and_its_namespace_is_clean():
    from jupyter_client.manager import start_new_kernel

    printed = []

    def keep(message):
        printed.append(message["content"].get("text") or message["content"].get("evalue", ""))

    with no_network():
        manager, client = start_new_kernel(kernel_name="python3")
        try:
            for cell in (
                "print([name for name in dir() if 'network' in name or 'offline' in name])",
                f"import socket; socket.create_connection({ELSEWHERE}, timeout=5)",
            ):
                client.execute_interactive(cell, timeout=60, allow_stdin=False, output_hook=keep)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    text = "".join(printed)
    assert text.startswith("[]\n")
    assert "switched off here, and 192.0.2.1 is not this machine" in text

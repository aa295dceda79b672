"""Network switched off, for a block of code and for the notebook kernels that it starts.

The tests run under it, which proves that the course works offline. Python's own
sockets reach this machine alone; other programs are sent to a proxy that does not
exist. It is a guard for programs that mean well, not a wall.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    **{
        spelling: value
        for name, value in {
            "http_proxy": _NOWHERE,
            "https_proxy": _NOWHERE,
            "all_proxy": _NOWHERE,
            "no_proxy": "127.0.0.1,localhost,::1",
        }.items()
        for spelling in (name, name.upper())
    },
}
# A kernel runs this before its first cell, in the reader's namespace: it leaves no name there.
_STARTUP = "__import__('longctx_edu.teaching.offline', fromlist=['']).refuse_network()\n"
_SOCKET_METHODS = ("connect", "connect_ex", "sendto")


def is_this_machine(host: str | bytes | None) -> bool:
    """Say whether a host, by name or by number, is this machine; no name is looked up."""
    name = (host.decode("ascii", "replace") if isinstance(host, bytes) else host or "").lower()
    try:
        number = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name in ("", "localhost", socket.gethostname().lower()) or name.endswith(
            ".localhost"
        )
    return number.is_loopback or number.is_unspecified


def refuse_network() -> None:
    """Let this process reach no other machine from now on; an attempt raises ``OSError``."""

    def guarded(method):
        def call(self, *arguments):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = arguments[-1][0]  # the address comes last, as (host, port, ...)
                if not is_this_machine(host):
                    raise OSError(errno.ENETUNREACH, _refusal(host))
            return method(self, *arguments)

        return call

    def guarded_lookup(host, *arguments, **options):
        if not is_this_machine(host):
            raise socket.gaierror(socket.EAI_NONAME, _refusal(host))
        return look_up(host, *arguments, **options)

    look_up, socket.getaddrinfo = socket.getaddrinfo, guarded_lookup
    for name in _SOCKET_METHODS:
        setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Switch the network off for a block, for what it starts, and for the kernels it starts.

    May be nested. The former state comes back at the end, whatever happened.
    """
    kept_methods = {name: getattr(socket.socket, name) for name in _SOCKET_METHODS}
    kept_lookup, kept_environment = socket.getaddrinfo, dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="longctx-offline-") as folder:
        startup = Path(folder, "profile_default", "startup", "00-offline.py")
        startup.parent.mkdir(parents=True)
        startup.write_text(_STARTUP)
        ours = {**_ENVIRONMENT, "IPYTHONDIR": folder}
        os.environ.update(ours)
        refuse_network()
        try:
            yield
        finally:
            socket.getaddrinfo = kept_lookup
            for name, method in kept_methods.items():
                setattr(socket.socket, name, method)
            for name in ours:
                os.environ.pop(name, None)
                if name in kept_environment:
                    os.environ[name] = kept_environment[name]


def _refusal(host) -> str:
    return f"The network is switched off here, and {host} is not this machine."

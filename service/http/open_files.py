"""How many connections the process can hold without running out of file descriptors."""

import resource

from index.errors import InputError
from service.http.load import SPARE_CONNECTIONS

DEFAULT_CONNECTIONS = 4_096
# Two bundles of 30 mapped files in a swap, event log, Redis (8 connections for each of 5 uses), subprocesses.
OWN_FILES = 160


def allow_connections(wanted: int | None, n_ports: int) -> int:
    """The limit of connections of each port: what is wanted, else the default or what the process may open.

    The soft limit of open files is raised as far as needed. InputError where the hard limit does not allow it.
    """
    reserved = OWN_FILES + SPARE_CONNECTIONS
    possible = (_raise_limit(reserved + n_ports * (wanted or DEFAULT_CONNECTIONS)) - reserved) // n_ports
    if possible < (wanted or 1):
        raise InputError(
            f"RECO_MAX_CONNECTIONS: the process may open files for {max(0, possible)} connections beside its own "
            f"{reserved}, and {wanted or 1} are wanted: raise `ulimit -n`, or lower the setting"
        )
    return min(possible, wanted or DEFAULT_CONNECTIONS)


def _raise_limit(wanted: int) -> int:
    """How many of the wanted files the process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft

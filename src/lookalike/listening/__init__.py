"""A port that strangers reach: which connections are kept, for how long, and which one goes when another comes."""

from lookalike.listening.connections import REASONS, ConnectionLimits, Connections, State, network_of
from lookalike.listening.files import allow_files
from lookalike.listening.hosts import LOOPBACK, wrong_host
from lookalike.listening.protocol import AT_ONCE, BACKLOG, deepen_backlog, limited_protocol
from lookalike.listening.rates import Rate

__all__ = [
    "AT_ONCE",
    "BACKLOG",
    "LOOPBACK",
    "REASONS",
    "ConnectionLimits",
    "Connections",
    "Rate",
    "State",
    "allow_files",
    "deepen_backlog",
    "limited_protocol",
    "network_of",
    "wrong_host",
]

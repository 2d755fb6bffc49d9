"""A port that strangers reach: which connections are kept, for how long, and which one goes when another comes."""

from lookalike.listening.connections import REASONS, ConnectionLimits, Connections, State, network_of
from lookalike.listening.door import Door, ListeningServer, bind
from lookalike.listening.files import allow_files
from lookalike.listening.hosts import LOOPBACK, wrong_host
from lookalike.listening.protocol import limited_protocol
from lookalike.listening.rates import Rate

__all__ = [
    "LOOPBACK",
    "REASONS",
    "ConnectionLimits",
    "Connections",
    "Door",
    "ListeningServer",
    "Rate",
    "State",
    "allow_files",
    "bind",
    "limited_protocol",
    "network_of",
    "wrong_host",
]

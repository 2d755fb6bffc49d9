"""A port that strangers reach: which connections are kept, for how long, and which one goes when another comes."""

from lookalike.listening.connections import REASONS, ConnectionLimits, Connections, State, network_of
from lookalike.listening.files import allow_files
from lookalike.listening.protocol import BACKLOG, limited_protocol

__all__ = [
    "BACKLOG",
    "REASONS",
    "ConnectionLimits",
    "Connections",
    "State",
    "allow_files",
    "limited_protocol",
    "network_of",
]

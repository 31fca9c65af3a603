"""memsvc: a conversational long-term memory service."""

__version__ = "0.6.0"

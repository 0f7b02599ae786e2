"""Tests of the orchestrator without sockets."""

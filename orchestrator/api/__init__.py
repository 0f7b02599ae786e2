"""The orchestrator's API, by subject. `orchestrator.servicer` puts the parts together."""

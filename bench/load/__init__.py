"""What the orchestrator itself costs: one worker on one core, with scripted models of realistic latency."""

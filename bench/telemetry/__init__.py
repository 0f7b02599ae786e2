"""The telemetry bench: what traces cost a worker."""

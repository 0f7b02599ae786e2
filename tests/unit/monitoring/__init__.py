"""Tests of what Prometheus and Grafana are given."""

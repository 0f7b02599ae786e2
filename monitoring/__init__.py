"""What Prometheus and Grafana are given: rules, alerts and dashboards, as code.

    python -m monitoring

writes them into the chart, `--check` says which of them are old. Their queries name only what `longvideo.metrics`
declares, what the rules record, and what `monitoring.foreign` lists of others' metrics.
"""

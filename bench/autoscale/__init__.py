"""Whether the chart's scaling is any good: a day of questions, and a model of pods that the chart's own objects rule.

Nothing here measures a machine: it is arithmetic, the same on every run.
"""

"""What a period cost, out of the ledger of model calls. docs/costs.md has the formulas.

costs
├── sharing     who had which share of the GPUs, by a sweep over the calls in the order of time
├── replicas    how many replicas there were, from Prometheus
├── cells       what is added up for each group of calls
├── savings     what was not spent
└── report      all of it together
"""

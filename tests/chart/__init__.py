"""The Helm chart, rendered and looked at from all sides."""

"""The video question service: looks closely at one short clip."""

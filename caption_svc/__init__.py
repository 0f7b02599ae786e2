"""The caption service: turns segments of videos into words, and keeps them."""

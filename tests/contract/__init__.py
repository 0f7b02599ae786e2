"""What every implementation of a seam must do, and services on loopback."""

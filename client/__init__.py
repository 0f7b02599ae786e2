"""What a person runs: the gRPC client, the longvideo command and the embedded stack."""

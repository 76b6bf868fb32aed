"""Merkle roots over turns, and the receipt of what entered training."""

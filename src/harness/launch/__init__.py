"""Signals and where a run is launched."""

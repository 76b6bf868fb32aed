"""Consent-gated fine-tuning on meetings, and proof of what the model kept."""

__version__ = "0.1.0"

"""Exports become a content store and the draft of a manifest, for people to complete."""

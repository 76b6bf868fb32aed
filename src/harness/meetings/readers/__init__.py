"""One strict reader a format: every byte is consumed, or the file is refused with its line."""

"""Values of the configuration; the schema is ``harness.config``."""

"""Who agreed to what: manifest, rules and the gate that alone makes permissions."""

"""The frozen base model, its tokenizer, the adapter on it, and the two merged."""

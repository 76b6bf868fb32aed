"""Documents, canaries, packing: from admitted turns to rows of tokens."""

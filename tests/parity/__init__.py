"""The law of parity: what is trained in every cell, how, and what must come out."""

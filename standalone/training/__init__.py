"""Training of the tiny face models: seeded portrait drawings and what learns from them."""

"""What waits for the engine, what is made of it at once, and the making."""

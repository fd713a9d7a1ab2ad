"""Prompts sampled to pictures: by Stable Diffusion, and by FLUX.1."""

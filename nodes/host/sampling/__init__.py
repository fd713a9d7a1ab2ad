"""A face while ComfyUI samples: what is patched, which row of a call is which latent of which side, and where it acts."""

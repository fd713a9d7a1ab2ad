"""PuLID for SDXL and FLUX.1 (https://github.com/ToTheBeginning/PuLID)."""

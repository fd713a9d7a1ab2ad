"""Existing ComfyUIs as the backend of the local API: one front spreads requests over them, by HTTP."""

"""The hosted service, asked over HTTP."""

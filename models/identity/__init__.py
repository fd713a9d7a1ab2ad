"""Face embeds to tokens to keys and values of each attention block: what all identity methods share, and a folder for each."""

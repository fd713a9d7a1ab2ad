"""Checkpoints into diffusers' and transformers' networks: from a diffusers folder, or from a single file without any network.

clip_merges.txt is the vocabulary of OpenAI's CLIP, which no checkpoint holds: https://github.com/openai/CLIP, MIT licence,
copyright (c) 2021 OpenAI; the licence is in clip_licence.txt.
"""

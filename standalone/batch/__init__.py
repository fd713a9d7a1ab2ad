"""Many requests from a file, one picture file for each: resumable, with an index. Described in docs/batch.md."""

"""What is reached over HTTP: the paths, who may call them, and the answers."""

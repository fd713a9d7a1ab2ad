"""Old nodes as the nodes of a new graph, method by method."""

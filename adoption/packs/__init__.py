"""What is known of each pack: its nodes, and what their values mean."""

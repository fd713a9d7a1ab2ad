"""What a trained model can do: figures and sheets of people whom it never saw."""

"""What the local API remembers of its requests: the same statements on SQLite, and on PostgreSQL for several fronts."""

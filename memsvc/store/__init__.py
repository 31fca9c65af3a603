"""The truth: workspaces, sessions and what is owed for them, in SQLite or PostgreSQL."""

"""The models: encoders that turn texts into vectors."""

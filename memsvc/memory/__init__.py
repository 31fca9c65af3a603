"""The use cases, named after the stages of a memory."""

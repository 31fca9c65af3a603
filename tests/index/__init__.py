"""Tests of the index: both homes, and what only one of them does."""

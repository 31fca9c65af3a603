"""Tests of how the encoder and the fusion are trained."""

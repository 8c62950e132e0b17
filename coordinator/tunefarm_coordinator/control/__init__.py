"""Carries out what the pure brains decide: events to the journal, instructions to compute and farm."""

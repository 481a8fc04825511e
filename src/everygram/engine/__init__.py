"""Exact queries over checked ids: numbers and arrays out."""

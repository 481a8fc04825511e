"""Searches for text and documents: strings over tokens."""

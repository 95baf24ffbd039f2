"""Bijections from data to noise."""

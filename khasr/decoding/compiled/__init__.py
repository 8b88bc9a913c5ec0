"""Prefix beam search compiled by numba, with the results of pyctcdecode's search."""

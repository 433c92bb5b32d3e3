"""Blind listening tests: questions and checks, clips of equal loudness, the page, what the answers say."""

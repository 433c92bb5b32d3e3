"""Rows as scoring leaves them, for tests of what is made of rows."""


def row(utterance: str, errors: int | None, words: int = 8, voice: str = "v", **changes) -> dict:
    """A score row; `errors` None for an utterance that has no rate."""
    counts = {"substitutions": errors, "deletions": None if errors is None else 0}
    return {
        "utterance": utterance,
        "status": "ok" if errors is not None else "ref_empty",
        "flags": [],
        "failures": {},
        "prompt": f"{voice}/prompt.wav",
        "voice": voice,
        "reference_words": words,
        **counts,
        "insertions": counts["deletions"],
        "wer": None if errors is None else errors / words,
        "guarded_errors": errors,
        **changes,
    }

"""What the model is asked at the end of each segment."""


def extraction_request(question: str) -> str:
    """Return the request for a note, to stand right after a segment.

    The question comes first: asked the other way round, a small model repeats the request.
    """
    return f"{question}\nAnswer with a sentence copied from the text above."

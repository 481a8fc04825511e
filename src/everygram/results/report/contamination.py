"""placeholder"""


def page(result: object) -> str:
    """x"""
    return "<html"

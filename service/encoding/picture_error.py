"""Why an item's picture cannot be had."""


class PictureError(Exception):
    """The picture cannot be read or fetched; `may_pass` where a later attempt may succeed."""

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass

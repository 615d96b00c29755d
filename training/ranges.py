# SPDX-License-Identifier: Apache-2.0
"""How settings refuse a value that cannot be."""


class OutOfRange(ValueError):
    """A value of the right kind that cannot be; raised by `__post_init__`s of settings.

    `loop.reading.build` makes an error of it that names the key's whole path.
    """

    def __init__(self, key: str, expected: str) -> None:
        """Names the field and what it must be."""
        super().__init__(key, expected)
        self.key, self.expected = key, expected

"""Shared by the tests of networks: the server of the tests of datasets, which answers as the hub does."""

from tests.data.conftest import server

__all__ = ["server"]

"""What survives a restart: alerts, incidents, what was sent, expected nodes, in one SQLite file."""

from alerts.book.book import Book
from alerts.book.errors import BookError

__all__ = ["Book", "BookError"]

"""Programs whose results the documentation or the code cites; see README.md."""

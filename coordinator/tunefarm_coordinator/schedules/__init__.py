"""The best-schedule database: SQLAlchemy Core over SQLite or PostgreSQL."""

"""What migrate.py is made of, a subject a file."""

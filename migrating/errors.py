class UserError(ValueError):
    """A mistake that the user can mend: migrate.py prints its message alone and exits with 2."""

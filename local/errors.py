"""What the commands of this package cannot do."""


class CommandError(Exception):
    """Why a command cannot do its work: expected, found, what to do. Shown as it stands."""

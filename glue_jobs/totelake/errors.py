"""What can go wrong, by the part that a person has to look at.

Every message names what was expected, what was found and what to do about it. A foreign
error is translated once, where it is met, and stays attached as the cause.
"""


class TotelakeError(Exception):
    """Any error that this library raises on purpose."""


class ArgumentError(TotelakeError):
    """A job was started with arguments that it cannot use."""


class CredentialError(TotelakeError):
    """A secret is missing, unreadable or does not hold what a connection needs."""


class SourceError(TotelakeError):
    """The source database cannot be reached or cannot give a snapshot."""


class SchemaError(TotelakeError):
    """A table does not have the columns or types that are declared for it."""


class LakeError(TotelakeError):
    """A zone holds something that cannot be read or must not be there."""


class ConflictError(TotelakeError):
    """Another run committed first; nothing of this one was kept."""


class QualityError(TotelakeError):
    """A batch does not add up: rows in are not rows out plus rows rejected."""


class SparkError(TotelakeError):
    """Spark's Java process ended before its work did."""


class WarehouseError(TotelakeError):
    """The warehouse cannot be reached or refused what was to be loaded."""


class CatalogError(TotelakeError):
    """The Data Catalog refused a partition."""


class ReconcileError(TotelakeError):
    """Two places that should hold the same do not."""

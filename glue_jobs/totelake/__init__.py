"""The library that the three Glue jobs share: from the ToteSys source to the star."""

__version__ = "0.1.0"

"""The stand-in for the ToteSys database: its schema, its history, and single changes to it."""

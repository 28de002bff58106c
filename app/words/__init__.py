"""The page in the visitor's language: English is in the code, every other language in one file here."""

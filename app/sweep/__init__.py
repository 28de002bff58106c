"""One method through several retentions: what was asked, its rows and its files. No widget in here."""

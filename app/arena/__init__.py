"""Several methods on one picture and question: what is known of each run, as a table, as files. No widgets here."""

"""What a measured run comes to: figures, the documents that keep them, tables, and checks for CI. Pure but for the files."""

"""SQL: one module per table or tight group of tables, the database, the writer."""

"""A small ERP, as a vendor would run it: one database per customer, and writers that never stop."""

UPDATE respaldo.installation SET functions = %(functions)s

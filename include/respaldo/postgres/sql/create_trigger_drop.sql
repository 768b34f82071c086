CREATE EVENT TRIGGER respaldo_drop ON sql_drop EXECUTE FUNCTION respaldo.capture()

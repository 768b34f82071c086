CREATE EVENT TRIGGER respaldo_rewrite ON table_rewrite EXECUTE FUNCTION respaldo.capture()

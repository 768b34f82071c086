CREATE EVENT TRIGGER respaldo_ddl ON ddl_command_end EXECUTE FUNCTION respaldo.capture()

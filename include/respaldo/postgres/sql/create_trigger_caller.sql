CREATE EVENT TRIGGER respaldo_caller ON ddl_command_end EXECUTE FUNCTION respaldo.caller()

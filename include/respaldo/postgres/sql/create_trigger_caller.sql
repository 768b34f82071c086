CREATE EVENT TRIGGER "00_respaldo_caller" ON ddl_command_end EXECUTE FUNCTION respaldo.caller()

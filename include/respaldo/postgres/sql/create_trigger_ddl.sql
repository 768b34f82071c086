CREATE EVENT TRIGGER "00_respaldo_ddl" ON ddl_command_end EXECUTE FUNCTION respaldo.capture()

-- Put a message in the log, in the running transaction. Sealed: anybody may write a message.
-- As bytes in UTF-8, whatever the database's encoding: the output plugin does not convert messages.
CREATE OR REPLACE FUNCTION respaldo.emit(prefix text, body json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    content bytea := convert_to(body :: text, 'UTF8');
    secret bytea;
    seal bytea;
BEGIN
    SELECT convert_to(i.secret, 'UTF8') INTO STRICT secret FROM respaldo.installation i;
    seal := sha256(secret || sha256(secret || content));
    PERFORM pg_logical_emit_message(
        true, prefix, convert_to(encode(seal, 'hex') || E'\n', 'UTF8') || content);
    -- A message of a subtransaction (its caller's block is one) and the row written next carry the
    -- same position, and are then decoded in any order: one more record keeps them apart.
    PERFORM pg_logical_emit_message(true, 'end of ' || prefix, ''::bytea);
END
$function$

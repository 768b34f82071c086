-- An object's definition and its rights as text, the same wherever the same object exists: without
-- oids, and in one order. {definition, rights}; null: no such object.
--
-- As a dump carries it: what pg_dump leaves out (invalid indexes, states of internal triggers, copies
-- of a parent's foreign keys) is not here. Nor is what is placement or state: tablespaces, replica
-- identities (except an index), statistics, populations, values of sequences, the mark that CLUSTER
-- leaves (no event trigger fires for that).
-- Casts and parentheses of expressions are left out: PostgreSQL itself writes "a IN (...)" with others
-- once it was dumped and restored.
CREATE OR REPLACE FUNCTION respaldo.describe(catalog oid, object oid) RETURNS text[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = 'force_generic_plan'
SET jit = off
SET DateStyle = 'ISO, MDY'
SET IntervalStyle = 'postgres'
SET TimeZone = 'UTC'
SET extra_float_digits = 3
SET bytea_output = 'hex'
SET lc_monetary = 'C'
SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $function$
DECLARE
    definition text;
    rights text;
    entry jsonb;
    owner oid;
    acl aclitem[];
    acl_type "char";
BEGIN
    -- parts of a table or domain are described with it
    CASE catalog
        WHEN 'pg_trigger' :: regclass THEN
            SELECT 'pg_class' :: regclass, tgrelid INTO catalog, object
              FROM pg_trigger WHERE oid = object;
        WHEN 'pg_policy' :: regclass THEN
            SELECT 'pg_class' :: regclass, polrelid INTO catalog, object
              FROM pg_policy WHERE oid = object;
        WHEN 'pg_rewrite' :: regclass THEN
            SELECT 'pg_class' :: regclass, ev_class INTO catalog, object
              FROM pg_rewrite WHERE oid = object;
        WHEN 'pg_attrdef' :: regclass THEN
            SELECT 'pg_class' :: regclass, adrelid INTO catalog, object
              FROM pg_attrdef WHERE oid = object;
        WHEN 'pg_constraint' :: regclass THEN
            SELECT CASE WHEN conrelid <> 0 THEN 'pg_class' :: regclass
                        ELSE 'pg_type' :: regclass END,
                   CASE WHEN conrelid <> 0 THEN conrelid ELSE contypid END INTO catalog, object
              FROM pg_constraint WHERE oid = object;
        WHEN 'pg_type' :: regclass THEN
            SELECT CASE WHEN typrelid <> 0 THEN 'pg_class' :: regclass
                        ELSE 'pg_type' :: regclass END,
                   CASE WHEN typrelid <> 0 THEN typrelid ELSE oid END INTO catalog, object
              FROM pg_type WHERE oid = object;
        ELSE NULL;
    END CASE;
    IF catalog = 'pg_class' :: regclass THEN
        SELECT concat_ws(E'\n',
                   format('%s %I.%I %s %s %s %s', c.relkind, n.nspname, c.relname,
                          c.relpersistence, (SELECT amname FROM pg_am m WHERE m.oid = c.relam),
                          CASE WHEN c.relrowsecurity THEN 'row security' END,
                          CASE WHEN c.relforcerowsecurity THEN 'forced' END),
                   CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
                   (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C")
                      FROM (SELECT unnest(c.reloptions)
                             UNION ALL
                            SELECT 'toast.' || unnest(t.reloptions)
                              FROM pg_class t WHERE t.oid = c.reltoastrelid) o (o)),
                   (SELECT string_agg(concat_ws(' ',
                               'column', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                               CASE WHEN a.attcollation <> t.typcollation
                                    THEN (SELECT format('collate %I.%I', o.nspname, l.collname)
                                            FROM pg_collation l
                                            JOIN pg_namespace o ON o.oid = l.collnamespace
                                           WHERE l.oid = a.attcollation) END,
                               CASE WHEN a.attnotnull THEN 'not null' END,
                               -- a dump says NULL where a parent's default does not apply
                               nullif(regexp_replace(
                                   pg_get_expr(d.adbin, d.adrelid), '^NULL(::.*)?$', ''), ''),
                               a.attidentity, a.attgenerated, a.attcompression,
                               CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END,
                               nullif(a.attstattarget, -1),
                               CASE WHEN NOT a.attislocal AND NOT c.relispartition
                                    THEN 'inherited' END,
                               (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C")
                                  FROM unnest(a.attoptions) o
                                 -- the server's own mark: when the column came to be
                                 WHERE NOT starts_with(o, 'pg_attver=')),
                               a.attfdwoptions :: text,
                               x.description), E'\n'
                               -- a dump puts what is inherited first
                               ORDER BY CASE WHEN NOT c.relispartition AND EXISTS (
                                                 SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)
                                             THEN a.attname END COLLATE "C", a.attnum)
                      FROM pg_attribute a
                      JOIN pg_type t ON t.oid = a.atttypid
                      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                      LEFT JOIN pg_description x ON x.objoid = a.attrelid AND x.objsubid = a.attnum
                                                AND x.classoid = 'pg_class' :: regclass
                     WHERE a.attrelid = c.oid AND a.attnum > 0
                       AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')),
                   -- an index's columns have statistics targets only
                   (SELECT string_agg(a.attnum || ' statistics ' || a.attstattarget, E'\n'
                                      ORDER BY a.attnum)
                      FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND c.relkind IN ('i', 'I') AND a.attstattarget >= 0),
                   (SELECT string_agg(concat_ws(' ',
                               'constraint', quote_ident(k.conname),
                               -- an inherited check is valid in an empty child, and after a dump
                               -- as valid as the parent's
                               CASE WHEN k.conislocal OR k.contype <> 'c'
                                    THEN pg_get_constraintdef(k.oid)
                                    ELSE regexp_replace(
                                        pg_get_constraintdef(k.oid), ' NOT VALID$', '') END,
                               CASE WHEN NOT k.convalidated AND (k.conislocal OR k.contype <> 'c')
                                    THEN 'unvalidated' END,
                               (SELECT description FROM pg_description
                                 WHERE objoid = k.oid AND objsubid = 0
                                   AND classoid = 'pg_constraint' :: regclass)), E'\n'
                               ORDER BY k.conname COLLATE "C")
                      FROM pg_constraint k
                     WHERE k.conrelid = c.oid AND k.contype <> 't'
                       AND NOT (k.contype = 'f' AND k.conparentid <> 0)),
                   (SELECT string_agg(concat_ws(' ',
                               pg_get_indexdef(i.indexrelid),
                               CASE WHEN i.indisprimary THEN 'primary' END,
                               CASE WHEN NOT i.indisvalid THEN 'invalid' END,
                               CASE WHEN i.indisreplident AND r.relreplident = 'i'
                                    THEN 'replica identity' END,
                               (SELECT 'of ' || (p.inhparent :: regclass) FROM pg_inherits p
                                 WHERE p.inhrelid = i.indexrelid),
                               (SELECT description FROM pg_description
                                 WHERE objoid = i.indexrelid AND objsubid = 0
                                   AND classoid = 'pg_class' :: regclass)), E'\n'
                               ORDER BY x.relname COLLATE "C")
                      FROM pg_index i
                      JOIN pg_class x ON x.oid = i.indexrelid
                      JOIN pg_class r ON r.oid = i.indrelid
                     WHERE i.indexrelid = c.oid
                        OR (i.indrelid = c.oid AND (i.indisvalid OR x.relkind = 'I'))),
                   (SELECT string_agg(concat_ws(' ',
                               pg_get_triggerdef(t.oid), t.tgenabled,
                               (SELECT description FROM pg_description
                                 WHERE objoid = t.oid AND objsubid = 0
                                   AND classoid = 'pg_trigger' :: regclass)), E'\n'
                               ORDER BY t.tgname COLLATE "C")
                      FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
                   (SELECT string_agg(concat_ws(' ',
                               pg_get_ruledef(w.oid), w.ev_enabled,
                               (SELECT description FROM pg_description
                                 WHERE objoid = w.oid AND objsubid = 0
                                   AND classoid = 'pg_rewrite' :: regclass)), E'\n'
                               ORDER BY w.rulename COLLATE "C")
                      FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN'),
                   (SELECT string_agg(concat_ws(' ',
                               'policy', quote_ident(p.polname), p.polcmd, p.polpermissive,
                               pg_get_expr(p.polqual, p.polrelid), 'check',
                               pg_get_expr(p.polwithcheck, p.polrelid),
                               (SELECT description FROM pg_description
                                 WHERE objoid = p.oid AND objsubid = 0
                                   AND classoid = 'pg_policy' :: regclass)), E'\n'
                               ORDER BY p.polname COLLATE "C")
                      FROM pg_policy p WHERE p.polrelid = c.oid),
                   (SELECT string_agg('parent ' || (h.inhparent :: regclass), E'\n' ORDER BY h.inhseqno)
                      FROM pg_inherits h WHERE h.inhrelid = c.oid),
                   CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
                   pg_get_expr(c.relpartbound, c.oid),
                   CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
                   (SELECT concat_ws(' ', v.srvname, f.ftoptions :: text)
                      FROM pg_foreign_table f JOIN pg_foreign_server v ON v.oid = f.ftserver
                     WHERE f.ftrelid = c.oid),
                   -- of an identity column's a dump keeps no type of its own
                   (SELECT concat_ws(' ', CASE WHEN NOT EXISTS (
                                              SELECT FROM pg_depend d
                                               WHERE d.classid = 'pg_class' :: regclass
                                                 AND d.objid = c.oid AND d.deptype = 'i')
                                          THEN format_type(s.seqtypid, NULL) END,
                                     s.seqstart, s.seqincrement,
                                     CASE WHEN s.seqmin NOT IN (
                                              -32768, -2147483648, -9223372036854775808)
                                          THEN s.seqmin END,
                                     'to',
                                     CASE WHEN s.seqmax NOT IN (
                                              32767, 2147483647, 9223372036854775807)
                                          THEN s.seqmax END,
                                     s.seqcache, s.seqcycle,
                                     (SELECT format('%s %s %I', d.deptype, d.refobjid :: regclass,
                                                    a.attname)
                                        FROM pg_depend d
                                        JOIN pg_attribute a ON a.attrelid = d.refobjid
                                                           AND a.attnum = d.refobjsubid
                                       WHERE d.classid = 'pg_class' :: regclass AND d.objid = c.oid
                                         AND d.objsubid = 0 AND d.refobjsubid > 0
                                         AND d.deptype IN ('a', 'i')
                                         AND d.refclassid = 'pg_class' :: regclass))
                      FROM pg_sequence s WHERE s.seqrelid = c.oid),
                   (SELECT description FROM pg_description
                                 WHERE objoid = c.oid AND objsubid = 0
                                   AND classoid = 'pg_class' :: regclass),
                   CASE WHEN c.relkind = 'c' THEN (SELECT description FROM pg_description
                                 WHERE objoid = c.reltype AND objsubid = 0
                                   AND classoid = 'pg_type' :: regclass) END),
               concat_ws(E'\n',
                   (SELECT string_agg(format('%I %s', a.attname, x.line), E'\n'
                                      ORDER BY a.attname COLLATE "C", x.line COLLATE "C")
                      FROM pg_attribute a, LATERAL (
                           SELECT format('%s=%s%s/%s', coalesce(nullif(e.grantee, 0) :: regrole :: text, ''),
                                         e.privilege_type, CASE WHEN e.is_grantable THEN '*' END,
                                         e.grantor :: regrole)
                             FROM aclexplode(a.attacl) e) x (line)
                     WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped),
                   (SELECT string_agg(format('%I to %s', p.polname, (
                               SELECT string_agg(coalesce(nullif(o, 0) :: regrole :: text, 'public'),
                                                 ', ' ORDER BY o = 0, o :: regrole :: text COLLATE "C")
                                 FROM unnest(p.polroles) o)), E'\n' ORDER BY p.polname COLLATE "C")
                      FROM pg_policy p WHERE p.polrelid = c.oid)),
               CASE WHEN c.relkind = 'c' THEN t.typowner ELSE c.relowner END,
               CASE WHEN c.relkind = 'c' THEN t.typacl ELSE c.relacl END,
               CASE c.relkind WHEN 'c' THEN 'T' WHEN 'S' THEN 's' WHEN 'i' THEN NULL
                              WHEN 'I' THEN NULL ELSE 'r' END
          INTO definition, rights, owner, acl, acl_type
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_type t ON t.oid = c.reltype
         WHERE c.oid = object;
    ELSIF catalog = 'pg_proc' :: regclass THEN
        SELECT concat_ws(E'\n',
                   CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE
                       (SELECT concat_ws(' ', 'aggregate', p.oid :: regprocedure,
                                   pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                                   p.proparallel, g.aggkind, g.aggnumdirectargs, g.aggtransfn,
                                   g.aggfinalfn, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn,
                                   g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn, g.aggfinalextra,
                                   g.aggmfinalextra, g.aggfinalmodify, g.aggmfinalmodify,
                                   g.aggsortop :: regoperator, format_type(g.aggtranstype, NULL),
                                   g.aggtransspace, format_type(g.aggmtranstype, NULL),
                                   g.aggmtransspace, g.agginitval, g.aggminitval)
                          FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
                   END,
                   (SELECT description FROM pg_description
                                 WHERE objoid = p.oid AND objsubid = 0
                                   AND classoid = 'pg_proc' :: regclass)),
               p.proowner, p.proacl, 'f'
          INTO definition, owner, acl, acl_type
          FROM pg_proc p
         WHERE p.oid = object;
    ELSIF catalog = 'pg_type' :: regclass THEN
        SELECT concat_ws(E'\n',
                   concat_ws(' ', t.typtype, t.oid :: regtype, t.typlen, t.typbyval, t.typcategory,
                             t.typispreferred, t.typdelim, t.typalign, t.typstorage,
                             t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin,
                             t.typmodout, t.typanalyze,
                             CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                             CASE WHEN t.typnotnull THEN 'not null' END,
                             t.typdefault, t.typcollation :: regcollation),
                   (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                      FROM pg_enum e WHERE e.enumtypid = t.oid),
                   (SELECT string_agg(concat_ws(' ',
                               quote_ident(k.conname), pg_get_constraintdef(k.oid),
                               CASE WHEN NOT k.convalidated THEN 'unvalidated' END,
                               (SELECT description FROM pg_description
                                 WHERE objoid = k.oid AND objsubid = 0
                                   AND classoid = 'pg_constraint' :: regclass)), E'\n'
                               ORDER BY k.conname COLLATE "C")
                      FROM pg_constraint k WHERE k.contypid = t.oid),
                   (SELECT concat_ws(' ', r.rngsubtype :: regtype, r.rngmultitypid :: regtype,
                                     r.rngcollation :: regcollation, o.opcname, r.rngcanonical,
                                     r.rngsubdiff)
                      FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc
                     WHERE r.rngtypid = t.oid),
                   (SELECT description FROM pg_description
                                 WHERE objoid = t.oid AND objsubid = 0
                                   AND classoid = 'pg_type' :: regclass)),
               t.typowner, t.typacl, 'T'
          INTO definition, owner, acl, acl_type
          FROM pg_type t
         WHERE t.oid = object;
    ELSIF EXISTS (SELECT FROM pg_attribute WHERE attrelid = catalog AND attname = 'oid') THEN
        -- any other: its row, with every reference told by name
        EXECUTE format('SELECT to_jsonb(t) FROM %s t WHERE oid = $1', catalog :: regclass)
           INTO entry USING object;
        IF entry IS NOT NULL THEN
            SELECT concat_ws(E'\n',
                       catalog :: regclass,
                       string_agg(format('%s %s', a.attname, CASE
                           WHEN k.pktable IS NULL OR a.atttypid = 'regproc' :: regtype THEN entry ->> a.attname
                           WHEN k.is_array THEN (
                               SELECT string_agg((pg_identify_object(k.pktable, o :: oid, 0)).identity,
                                                 ', ' ORDER BY n)
                                 FROM unnest(CASE jsonb_typeof(entry -> a.attname)
                                             WHEN 'array' THEN ARRAY(
                                                 SELECT jsonb_array_elements_text(entry -> a.attname))
                                             ELSE string_to_array(entry ->> a.attname, ' ') END)
                                      WITH ORDINALITY u (o, n))
                           WHEN entry ->> a.attname <> '0'
                           THEN (pg_identify_object(k.pktable, (entry ->> a.attname) :: oid, 0)).identity
                       END), E'\n' ORDER BY a.attname COLLATE "C"),
                       CASE catalog
                         WHEN 'pg_statistic_ext' :: regclass THEN pg_get_statisticsobjdef(object)
                         WHEN 'pg_opfamily' :: regclass THEN concat_ws(E'\n',
                             (SELECT string_agg(concat_ws(' ', o.amoplefttype :: regtype,
                                         o.amoprighttype :: regtype, o.amopstrategy, o.amoppurpose,
                                         o.amopopr :: regoperator), E'\n'
                                         ORDER BY o.amoplefttype :: regtype :: text COLLATE "C",
                                                  o.amoprighttype :: regtype :: text COLLATE "C",
                                                  o.amopstrategy)
                                FROM pg_amop o WHERE o.amopfamily = object),
                             (SELECT string_agg(concat_ws(' ', o.amproclefttype :: regtype,
                                         o.amprocrighttype :: regtype, o.amprocnum, o.amproc), E'\n'
                                         ORDER BY o.amproclefttype :: regtype :: text COLLATE "C",
                                                  o.amprocrighttype :: regtype :: text COLLATE "C",
                                                  o.amprocnum)
                                FROM pg_amproc o WHERE o.amprocfamily = object))
                         WHEN 'pg_ts_config' :: regclass THEN
                             (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno,
                                         m.mapdict :: regdictionary), E'\n'
                                         ORDER BY m.maptokentype, m.mapseqno)
                                FROM pg_ts_config_map m WHERE m.mapcfg = object)
                       END,
                       obj_description(object, (catalog :: regclass) :: name))
              INTO definition
              FROM pg_attribute a
              LEFT JOIN LATERAL (
                  SELECT f.pktable, bool_or(f.is_array) AS is_array
                    FROM pg_get_catalog_foreign_keys() f
                   WHERE f.fktable = catalog AND f.fkcols = ARRAY[a.attname :: text]
                   GROUP BY f.pktable) k ON true
             WHERE a.attrelid = catalog AND a.attnum > 0 AND a.attname <> 'oid'
               -- rights come below, bodies above; a version is that of a library
               AND (a.atttypid <> 'oid' :: regtype OR k.pktable IS NOT NULL)
               AND a.atttypid NOT IN ('aclitem[]' :: regtype, 'pg_node_tree' :: regtype,
                                      'xid' :: regtype)
               AND k.pktable IS DISTINCT FROM 'pg_authid' :: regclass
               AND a.attname NOT IN ('collversion', 'collencoding', 'stxkeys');
            SELECT coalesce(max(v :: oid) FILTER (WHERE k ~ '(owner|role|umuser)$'), 0),
                   (SELECT array_agg(i :: aclitem)
                      FROM jsonb_each(entry) e (k, v), jsonb_array_elements_text(e.v) i
                     WHERE e.k ~ 'acl$' AND jsonb_typeof(e.v) = 'array')
              INTO owner, acl
              FROM jsonb_each_text(entry) j (k, v)
             WHERE k ~ '(owner|role|umuser)$';
            IF catalog = 'pg_extension' :: regclass THEN
                -- its objects are not described one by one: what default privileges gave them is here
                SELECT string_agg(concat((pg_identify_object(m.classid, m.objid, 0)).identity, ': ',
                           (SELECT string_agg(concat(e.grantee :: regrole, '=', e.privilege_type,
                                       CASE WHEN e.is_grantable THEN '*' END, '/',
                                       e.grantor :: regrole), ' '
                                       ORDER BY e.grantee :: regrole :: text COLLATE "C",
                                                e.grantor :: regrole :: text COLLATE "C",
                                                e.privilege_type)
                              FROM aclexplode(m.acl) e)), E'\n'
                           ORDER BY (pg_identify_object(m.classid, m.objid, 0)).identity COLLATE "C")
                  INTO rights
                  FROM (SELECT d.classid, d.objid,
                               CASE d.classid
                                 WHEN 'pg_proc' :: regclass
                                 THEN coalesce(p.proacl, acldefault('f', p.proowner))
                                 WHEN 'pg_type' :: regclass
                                 THEN coalesce(t.typacl, acldefault('T', t.typowner))
                                 ELSE coalesce(c.relacl, acldefault(
                                     CASE c.relkind WHEN 'S' THEN 's' :: "char" ELSE 'r' END,
                                     c.relowner))
                               END AS acl
                          FROM pg_depend d
                          LEFT JOIN pg_class c
                            ON d.classid = 'pg_class' :: regclass AND c.oid = d.objid
                          LEFT JOIN pg_proc p
                            ON d.classid = 'pg_proc' :: regclass AND p.oid = d.objid
                          LEFT JOIN pg_type t
                            ON d.classid = 'pg_type' :: regclass AND t.oid = d.objid
                         WHERE d.refclassid = catalog AND d.refobjid = object AND d.deptype = 'e'
                           AND d.classid IN ('pg_class' :: regclass, 'pg_proc' :: regclass,
                                             'pg_type' :: regclass)) m;
            END IF;
            acl_type := CASE catalog
                WHEN 'pg_namespace' :: regclass THEN 'n'
                WHEN 'pg_language' :: regclass THEN 'l'
                WHEN 'pg_foreign_data_wrapper' :: regclass THEN 'F'
                WHEN 'pg_foreign_server' :: regclass THEN 'S'
            END;
        END IF;
    END IF;
    IF definition IS NULL THEN
        RETURN NULL;
    END IF;
    IF catalog IS DISTINCT FROM 'pg_proc' :: regclass THEN
        definition := translate(regexp_replace(definition,
            '::("[^"]*"|[a-z_][a-z0-9_]*)(\.("[^"]*"|[a-z_][a-z0-9_]*))?( [a-z]+)*'
            || '(\([0-9,]+\))?( [a-z]+)*(\[\])*', '', 'g'), '()', '');
        -- the negative of a number, read again, is a negative number
        definition := regexp_replace(definition, '''-([0-9.]+)''', '- \1', 'g');
        -- a null of a rule's own SELECT, read again, has a name
        definition := regexp_replace(definition, '\mNULL AS unknown\M', 'NULL', 'g');
    END IF;
    RETURN ARRAY[definition, concat_ws(E'\n',
        'owner ' || CASE WHEN owner <> 0 THEN owner :: regrole :: text END,
        (SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C")
           FROM (SELECT format('%s=%s%s/%s', coalesce(nullif(e.grantee, 0) :: regrole :: text, ''),
                               e.privilege_type, CASE WHEN e.is_grantable THEN '*' END,
                               e.grantor :: regrole)
                   FROM aclexplode(coalesce(
                       acl, CASE WHEN acl_type IS NOT NULL THEN acldefault(acl_type, owner) END)) e
                ) r (line)),
        rights)];
END
$function$

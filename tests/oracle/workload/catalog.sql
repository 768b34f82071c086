-- What there is in a database, for the generator to choose from; Respaldo's own left out.
with spaces as (
  select oid, nspname from pg_catalog.pg_namespace
   where nspname !~ '^pg_' and nspname not in ('information_schema', 'respaldo')
), relations as (
  select c.oid, s.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition, c.reloftype,
         c.relispopulated, pg_catalog.pg_get_userbyid(c.relowner) as owner
    from pg_catalog.pg_class c join spaces s on s.oid = c.relnamespace
   where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
     and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e'
                        and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
), typenames as (
  select t.oid,
         case when n.nspname = 'pg_catalog' then null
              else pg_catalog.format('%I.%I', n.nspname, t.typname) end as name
    from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
), columns as (
  select a.attrelid, pg_catalog.json_agg(pg_catalog.json_build_array(
           a.attname,
           coalesce(own.name, element.name || '[]',
                    pg_catalog.format_type(a.atttypid, a.atttypmod)),
           a.attnotnull, a.atthasdef, a.attidentity, a.attgenerated, a.attislocal)
           order by a.attnum) as list
    from pg_catalog.pg_attribute a
    join relations r on r.oid = a.attrelid and r.relkind <> 'S'
    join pg_catalog.pg_type t on t.oid = a.atttypid
    left join typenames own on own.oid = a.atttypid and t.typelem = 0
    left join typenames element on element.oid = t.typelem and t.typcategory = 'A'
   where a.attnum > 0 and not a.attisdropped
   group by 1
)
select pg_catalog.json_build_object(
  'relations', (select pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', r.oid::bigint, 'schema', r.nspname, 'name', r.relname, 'kind', r.relkind,
      'persistence', r.relpersistence, 'partition', r.relispartition, 'owner', r.owner,
      'populated', r.relispopulated,
      'strategy', (select p.partstrat from pg_catalog.pg_partitioned_table p
                    where p.partrelid = r.oid),
      'partition_key', (select p.partattrs[0] from pg_catalog.pg_partitioned_table p
                         where p.partrelid = r.oid),
      'columns', c.list,
      'constraints', (select pg_catalog.json_agg(pg_catalog.json_build_array(k.conname, k.contype)
                        order by 1) from pg_catalog.pg_constraint k where k.conrelid = r.oid),
      'key', (select pg_catalog.json_agg(a.attname order by u.n)
                from pg_catalog.pg_constraint k
                cross join lateral unnest(k.conkey) with ordinality u(attnum, n)
                join pg_catalog.pg_attribute a on (a.attrelid, a.attnum) = (k.conrelid, u.attnum)
               where k.conrelid = r.oid and k.contype = 'p'),
      'indexes', (select pg_catalog.json_agg(pg_catalog.json_build_array(
                           x.relname, i.indisunique, k.oid is not null, i.indisvalid))
                    from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
                    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid
                          and k.conrelid = i.indrelid
                   where i.indrelid = r.oid),
      'triggers', (select pg_catalog.json_agg(t.tgname order by 1) from pg_catalog.pg_trigger t
                    where t.tgrelid = r.oid and not t.tgisinternal),
      'rules', (select pg_catalog.json_agg(t.rulename order by 1) from pg_catalog.pg_rewrite t
                 where t.ev_class = r.oid and t.rulename <> '_RETURN'),
      'policies', (select pg_catalog.json_agg(t.polname order by 1) from pg_catalog.pg_policy t
                    where t.polrelid = r.oid),
      'parents', (select pg_catalog.json_agg(h.inhparent::bigint) from pg_catalog.pg_inherits h
                   where h.inhrelid = r.oid)
    ) order by r.oid) from relations r left join columns c on c.attrelid = r.oid),
  'types', (select pg_catalog.json_object_agg(n.name, case t.typtype
        when 'e' then (select pg_catalog.json_agg(e.l) from (
            select 'enum' as l, -1 as o union all
            select enumlabel, enumsortorder from pg_catalog.pg_enum where enumtypid = t.oid
            order by o) e)
        when 'd' then pg_catalog.json_build_array('domain', coalesce(
            (select b.name from typenames b where b.oid = t.typbasetype),
            pg_catalog.format_type(t.typbasetype, t.typtypmod)))
        else (select pg_catalog.json_agg(e.l order by e.o) from (
            select 'composite' as l, -1 as o union all
            select coalesce(
                (select b.name from typenames b where b.oid = a.atttypid),
                pg_catalog.format_type(a.atttypid, a.atttypmod)), a.attnum
              from pg_catalog.pg_attribute a
             where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) e) end)
      from pg_catalog.pg_type t join typenames n on n.oid = t.oid
      join spaces s on s.oid = t.typnamespace
     where t.typtype in ('e', 'd')
        or (t.typtype = 'c' and exists (select from pg_catalog.pg_class c
                                         where c.oid = t.typrelid and c.relkind = 'c'))),
  'schemas', (select pg_catalog.json_agg(nspname order by 1) from spaces),
  'functions', (select pg_catalog.json_agg(pg_catalog.json_build_array(
        pg_catalog.format('%I.%I', s.nspname, p.proname),
        pg_catalog.pg_get_function_identity_arguments(p.oid), p.prokind,
        p.prorettype::pg_catalog.regtype::text) order by p.oid)
      from pg_catalog.pg_proc p join spaces s on s.oid = p.pronamespace
     where not exists (select from pg_catalog.pg_depend d where d.objid = p.oid
            and d.deptype in ('e', 'i')
            and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)),
  'extensions', (select pg_catalog.json_agg(extname) from pg_catalog.pg_extension
                  where extname <> 'plpgsql'),
  'event_triggers', (select pg_catalog.json_agg(evtname) from pg_catalog.pg_event_trigger
                      where evtname !~ '^respaldo')
)

-- The vendor's own database: who may enter what, and how each customer is set up.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    language text NOT NULL DEFAULT 'es',
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);

CREATE TABLE accesses (
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    tenant text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'manager', 'clerk', 'support')),
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, tenant)
);

CREATE TABLE settings (
    tenant text NOT NULL,
    name text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- No primary key.
CREATE TABLE sign_ins (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id bigint NOT NULL,
    address inet NOT NULL
);

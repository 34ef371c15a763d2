-- The tables of the sample shop, for PostgreSQL. Safe to run again: nothing that exists is changed.
-- No foreign keys: the rows may be loaded, changed and deleted in any order.

CREATE TABLE IF NOT EXISTS public.articles (
    id bigint PRIMARY KEY,
    title text NOT NULL,
    body text NOT NULL,
    category text NOT NULL,
    lang text NOT NULL,
    published boolean NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS public.products (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    price numeric(10, 2) NOT NULL,
    in_stock integer NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS public.customers (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    city text NOT NULL,
    since date NOT NULL
);

CREATE TABLE IF NOT EXISTS public.orders (
    id bigint PRIMARY KEY,
    customer_id bigint NOT NULL,
    product_id bigint NOT NULL,
    status text NOT NULL,
    eta date,
    total numeric(10, 2) NOT NULL,
    updated_at timestamptz NOT NULL
);

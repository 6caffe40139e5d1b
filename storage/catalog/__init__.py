"""storage.catalog: the rows about everything. SQLAlchemy Core on SQLite (PostgreSQL by the same statements).

Belongs here: tables, the engine with its locking rules, one module of named queries per noun.
Does not belong here: rules (they are pure modules that take rows and return decisions).
"""

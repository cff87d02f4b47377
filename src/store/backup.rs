//! Backups: whole databases, made while the program runs, in folders of their own.

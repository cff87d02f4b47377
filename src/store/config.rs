//! Everything of the database that the snapshot of the configuration is made from.

use rusqlite::Connection;

use super::{
    StoreError, Vault, combos,
    combos::{AliasRow, ComboRow},
    keys,
    keys::KeyRow,
    pricing,
    pricing::PriceRow,
    providers,
    providers::ProviderRow,
    settings,
    settings::SettingRow,
};

/// The configuration as the database has it.
#[derive(Debug, Clone, Default)]
pub struct ConfigRows {
    /// Settings, by key.
    pub settings: Vec<SettingRow>,
    /// Providers, also inactive ones, in the order in which they are tried.
    pub providers: Vec<ProviderRow>,
    /// Combos, also inactive ones, by name.
    pub combos: Vec<ComboRow>,
    /// Aliases, by name.
    pub aliases: Vec<AliasRow>,
    /// Keys, also revoked ones, by name: a revoked key must be known to be refused.
    pub keys: Vec<KeyRow>,
    /// The user's prices.
    pub prices: Vec<PriceRow>,
}

/// Reads it all. In a change it sees what the change has done so far.
///
/// # Errors
/// Only those of the database. Secrets that cannot be opened are marked in their rows.
pub fn load_config(conn: &Connection, vault: &Vault) -> Result<ConfigRows, StoreError> {
    Ok(ConfigRows {
        settings: settings::list(conn, vault)?,
        providers: providers::list(conn, vault)?,
        combos: combos::list(conn)?,
        aliases: combos::aliases(conn)?,
        keys: keys::list(conn)?,
        prices: pricing::list(conn)?,
    })
}

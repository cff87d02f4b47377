//! Everything of the database that the snapshot of the configuration is made from.

use rusqlite::Connection;

use super::{
    OpenError, Options, StoreError, Vault, combos,
    combos::{AliasRow, ComboRow},
    connect, keys,
    keys::KeyRow,
    models,
    models::ModelRow,
    pricing,
    pricing::PriceRow,
    providers,
    providers::ProviderRow,
    schema, settings,
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
    /// Models that the user has described.
    pub models: Vec<ModelRow>,
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
        models: models::list(conn)?,
        prices: pricing::list(conn)?,
    })
}

/// Looks into the database of a data folder, which a running program may have open: makes and migrates nothing. `None` if
/// there is no database yet.
///
/// # Errors
/// What is wrong with it, also that it has another version than this program's.
pub fn peek(options: &Options) -> Result<Option<ConfigRows>, OpenError> {
    let path = options.database();
    if !path.exists() {
        return Ok(None);
    }
    let conn = connect::reader(&path, options.busy).map_err(OpenError::unusable(&path))?;
    let found = schema::version(&conn).map_err(OpenError::unusable(&path))?;
    if found != schema::HEAD {
        let message = format!("it has version {found}, this program makes it {}", schema::HEAD);
        return Err(OpenError::Unusable { path, error: StoreError::Other(message) });
    }
    let vault = Vault::load(&Options { may_wrap: false, ..options.clone() }, false)?;
    load_config(&conn, &vault).map(Some).map_err(OpenError::unusable(&path))
}

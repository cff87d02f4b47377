//! What upstreams said that they offer, for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::super::probe::Offered;

/// How long a list of models is good.
const CATALOGUE: Duration = Duration::from_secs(300);
/// Lists of models that are kept.
const CATALOGUES: usize = 256;

/// Lists of models that were asked for a while ago, by provider.
#[derive(Debug, Default)]
pub(in crate::api) struct Catalogues(Mutex<HashMap<String, (Instant, Vec<Offered>)>>);

impl Catalogues {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Vec<Offered>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: &str) -> Option<Vec<Offered>> {
        let kept = self.lock();
        kept.get(id).filter(|(asked, _)| asked.elapsed() < CATALOGUE).map(|(_, models)| models.clone())
    }

    pub(super) fn put(&self, id: &str, models: &[Offered]) {
        let mut kept = self.lock();
        if kept.len() >= CATALOGUES {
            kept.retain(|_, (asked, _)| asked.elapsed() < CATALOGUE);
        }
        if kept.len() < CATALOGUES || kept.contains_key(id) {
            kept.insert(id.to_owned(), (Instant::now(), models.to_vec()));
        }
    }

    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }
}

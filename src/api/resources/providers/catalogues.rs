//! What upstreams said that they offer, and how their models answered when they were tested, for a while.

use std::{
    collections::{BTreeMap, HashMap},
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

/// Models whose last test is kept.
const TESTED: usize = 2_000;

/// How a model answered when it was last tested.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::api) struct Tested {
    /// Name of the provider.
    pub(in crate::api::resources) provider: String,
    /// Its name there.
    pub(in crate::api::resources) model: String,
    /// Whether it answered.
    pub(in crate::api::resources) up: bool,
    /// How long that took, in milliseconds.
    pub(in crate::api::resources) latency_ms: u64,
    /// The status of its answer; `None` if there was none.
    pub(in crate::api::resources) status: Option<u16>,
    /// What was wrong; empty if nothing was.
    pub(in crate::api::resources) detail: String,
    /// When, in Unix milliseconds.
    pub(in crate::api::resources) at_ms: i64,
}

/// The last test of each model, until the program ends.
#[derive(Debug, Default)]
pub(in crate::api) struct Availability(Mutex<BTreeMap<(String, String), Tested>>);

impl Availability {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Tested>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a test in the place of the one before; beyond the bound the oldest goes.
    pub(in crate::api::resources) fn put(&self, tested: Tested) {
        let mut kept = self.lock();
        kept.insert((tested.provider.clone(), tested.model.clone()), tested);
        if kept.len() > TESTED
            && let Some(oldest) = kept.iter().min_by_key(|(_, tested)| tested.at_ms).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
    }

    /// All of them, by provider and model.
    pub(in crate::api::resources) fn all(&self) -> Vec<Tested> {
        self.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_test_makes_room() {
        let availability = Availability::default();
        for number in 0..TESTED as i64 + 2 {
            availability.put(Tested {
                provider: "p".to_owned(),
                model: format!("m{number:05}"),
                up: true,
                latency_ms: 1,
                status: Some(200),
                detail: String::new(),
                at_ms: number,
            });
        }
        let all = availability.all();
        assert_eq!((all.len(), all[0].model.as_str()), (TESTED, "m00002"));
        availability.put(Tested { up: false, ..all[0].clone() });
        assert_eq!(availability.all().len(), TESTED);
        assert!(!availability.all()[0].up);
    }
}
